package health

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestEjection proves that failures in a row eject an endpoint for a time that grows with
// every repetition up to its bound, that it is tried after that, and that it begins anew
// when it was well for long enough.
func TestEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, hosts := grouped(t, Settings{Eject: ejecting(func(e *Eject) { e.MaxFor = 75 * time.Second })}, 3)
		h := hosts[0]
		fail(h, 4)
		once(h, ok)
		fail(h, 4)
		want(t, h, StateHealthy, "")
		once(h, refused)
		for i, rest := range []time.Duration{30 * time.Second, 60 * time.Second, 75 * time.Second, 75 * time.Second} {
			want(t, h, StateEjected, map[bool]string{true: "5 failures in a row, the last: the agent refused", false: "tried again, and failed"}[i == 0])
			wantUsable(t, h, false)
			sleep(rest - time.Millisecond)
			synctest.Wait()
			wantUsable(t, h, false)
			sleep(time.Millisecond)
			synctest.Wait()
			want(t, h, StateHalfOpen, "fail")
			wantUsable(t, h, true)
			if i < 3 {
				once(h, answered(502))
			}
		}
		once(h, ok)
		want(t, h, StateHealthy, "")
		fail(h, 5) // at once again: it goes on growing
		sleep(74 * time.Second)
		synctest.Wait()
		want(t, h, StateEjected, "5 failures")
		sleep(time.Second)
		synctest.Wait()
		once(h, ok)
		sleep(76 * time.Second)
		fail(h, 5)
		sleep(30 * time.Second)
		synctest.Wait()
		want(t, h, StateHalfOpen, "5 failures")
		for _, o := range hosts[1:] {
			want(t, o, StateHealthy, "")
		}
	})
}

// TestErrorsOf proves that errors are counted among the last exchanges, however they are
// spread, and not beyond.
func TestErrorsOf(t *testing.T) {
	tests := []struct {
		errors, of int
		pattern    string // of exchanges: x fails
		want       bool   // ejected by the last of them, and not before
	}{
		{3, 10, "x....x...x", true},
		{3, 10, "x....x....x", false},
		{3, 10, "x....x....x..x", true},
		{1, 5, "....x", true},
		{2, 2, "x.x.xx", true},
		{3, 0, "xx.xx.xxx", true},
		{3, 0, "xx.xx.xx", false},
		{1, 0, "...x", true},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%d of %d %s", tt.errors, tt.of, tt.pattern), func(t *testing.T) {
			_, hosts := grouped(t, Settings{Eject: ejecting(func(e *Eject) { e.Errors, e.Of = tt.errors, tt.of })}, 2)
			for i, c := range tt.pattern {
				if !hosts[0].Usable() {
					t.Fatalf("ejected before exchange %d: %+v", i, hosts[0].Status())
				}
				once(hosts[0], map[rune]Result{'x': silent, '.': ok}[c])
			}
			if got := !hosts[0].Usable(); got != tt.want {
				t.Errorf("ejected is %v, want %v", got, tt.want)
			}
		})
	}
}

// TestRate proves that a share of failures within the window ejects, not below the least
// volume, and that what is older than the window is forgotten.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, hosts := grouped(t, Settings{Eject: ejecting(func(e *Eject) { e.Errors, e.Rate, e.Volume = 0, 0.5, 10 })}, 2)
		h := hosts[0]
		for range 4 {
			once(h, ok)
			once(h, broken)
		}
		once(h, broken)
		want(t, h, StateHealthy, "") // 5 of 9
		sleep(12 * time.Second)
		for range 8 {
			once(h, ok)
		}
		fail(h, 7)
		want(t, h, StateHealthy, "") // 7 of 15, and those before do not count
		once(h, broken)
		want(t, h, StateEjected, "8 of 16 exchanges failed within 10s, the last: the answer broke off")
		sleep(30 * time.Second)
		synctest.Wait()
		once(h, ok)
		fail(h, 9)
		want(t, h, StateHealthy, "") // it begins anew
	})
}

// speed is the latency of a host.
type speed struct {
	latency atomic.Int64
	warmed  atomic.Int64
}

func (s *speed) Latency() time.Duration { return time.Duration(s.latency.Load()) }
func (s *speed) Warm()                  { s.warmed.Add(1) }

// TestLatency proves that an endpoint is ejected that is much slower than the median of
// the others, only then, and with enough exchanges; and that the others are told when it
// comes back.
func TestLatency(t *testing.T) {
	tests := []struct {
		name    string
		ms      []int64
		ejected int // index; -1 nobody
	}{
		{"one slow", []int64{20, 200, 25}, 1},
		{"not slow enough", []int64{20, 55, 22}, -1},
		{"too little to matter", []int64{1, 8, 1}, -1},
		{"most are slow", []int64{20, 200, 180, 190}, -1}, // the median of the others is not small
		{"not known", []int64{0, 200, 0}, -1},
		{"two endpoints", []int64{20, 200}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, hosts := grouped(t, Settings{Eject: ejecting(func(e *Eject) { e.Latency, e.Volume = 3, 5 })}, len(tt.ms))
				speeds := make([]speed, len(tt.ms))
				for i, h := range hosts {
					speeds[i].latency.Store(tt.ms[i] * int64(time.Millisecond))
					h.Bind(&speeds[i])
					for range 4 {
						once(h, ok)
					}
				}
				sleep(2 * time.Second)
				for _, h := range hosts {
					wantUsable(t, h, true) // too few yet
					once(h, ok)
				}
				sleep(2 * time.Second)
				synctest.Wait()
				for i, h := range hosts {
					if i != tt.ejected {
						want(t, h, StateHealthy, "")
						continue
					}
					want(t, h, StateEjected, "its answers take 200ms to begin, those of the others 2")
					sleep(30 * time.Second)
					synctest.Wait()
					once(h, ok)
					want(t, h, StateHealthy, "")
					if n := speeds[i].warmed.Load(); n != 1 {
						t.Errorf("its slow start began %d times, want once", n)
					}
				}
			})
		})
	}
}

// TestMax proves that no more endpoints are ejected than may be.
func TestMax(t *testing.T) {
	tests := []struct {
		hosts int
		max   Share
		want  int
	}{{1, 0.5, 0}, {1, 1, 1}, {2, 0.5, 1}, {2, 0.1, 1}, {3, 0.5, 1}, {4, 0.5, 2}, {10, 0.3, 3}, {5, 1, 5}}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s of %d", tt.max, tt.hosts), func(t *testing.T) {
			_, hosts := grouped(t, Settings{Eject: ejecting(func(e *Eject) { e.Max = tt.max })}, tt.hosts)
			for _, h := range hosts {
				fail(h, 50)
			}
			got := 0
			for _, h := range hosts {
				if h.Status().State == StateEjected {
					got++
				}
			}
			if got != tt.want {
				t.Errorf("%d are ejected, want %d", got, tt.want)
			}
		})
	}
}

// TestMaxShrinks proves that endpoints are taken back when others leave, so that never
// more than the greatest share is ejected.
func TestMaxShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, hosts := grouped(t, Settings{Eject: ejecting()}, 4)
		fail(hosts[0], 5)
		sleep(time.Second)
		fail(hosts[1], 5)
		g.Leave(hosts[3])
		want(t, hosts[0], StateHealthy, "")
		want(t, hosts[1], StateEjected, "5 failures")
		g.Leave(hosts[2])
		want(t, hosts[1], StateEjected, "5 failures") // one of two
		g.Leave(hosts[0])
		want(t, hosts[1], StateHealthy, "")
	})
}

// TestPanic proves that endpoints that are ejected are asked nevertheless while too few
// are well, and no longer; and that breakers stay shut.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, logger := newRecord()
		g, hosts := grouped(t, Settings{
			Eject:   ejecting(func(e *Eject) { e.Max = 1 }),
			Breaker: breaking(func(b *Breaker) { b.On, b.Errors = []Cause{OnTimeout}, 2 }), Panic: 0.5, Log: logger,
		}, 4)
		fail(hosts[0], 5)
		fail(hosts[1], 5)
		if g.Panic() {
			t.Error("got a panic with half of them, want none")
		}
		wantUsable(t, hosts[1], false)
		once(hosts[2], silent)
		once(hosts[2], silent)
		want(t, hosts[2], StateOpen, "2 failures in a row")
		if !g.Panic() {
			t.Error("got no panic with a quarter of them")
		}
		wantUsable(t, hosts[0], true)
		want(t, hosts[0], StateEjected, "5 failures")
		wantUsable(t, hosts[2], false) // its breaker
		sleep(10 * time.Second)
		synctest.Wait()
		once(hosts[2], ok)
		wantUsable(t, hosts[2], true)
		wantUsable(t, hosts[0], false)
		if g.Panic() {
			t.Error("the panic does not end")
		}
		var told []string
		for _, l := range log.all() {
			if strings.Contains(l, "usable=") {
				told = append(told, l)
			}
		}
		if len(told) != 2 || !strings.Contains(told[0], "level=WARN") || !strings.Contains(told[1], "level=INFO") {
			t.Errorf("got %q, want a line for the beginning and one for the end", told)
		}
	})
}

// TestPanicEnds proves that endpoints that are all ejected come back, one after the other,
// by the exchanges that a panic sends them, and that those which still fail do not.
func TestPanicEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, hosts := grouped(t, Settings{Eject: ejecting(func(e *Eject) { e.Max, e.HalfOpen, e.For = 1, 2, 10*time.Second }), Panic: 0.5}, 3)
		for _, h := range hosts {
			fail(h, 5)
		}
		if !g.Panic() {
			t.Fatal("got no panic, want one")
		}
		for range 10 { // their time is not over
			once(hosts[0], ok)
		}
		want(t, hosts[0], StateEjected, "5 failures")
		sleep(11 * time.Second)
		synctest.Wait()
		want(t, hosts[0], StateHalfOpen, "5 failures")
		for range 10 { // places are not counted meanwhile
			once(hosts[0], nothing)
			wantUsable(t, hosts[0], true)
		}
		once(hosts[0], ok)
		want(t, hosts[0], StateHalfOpen, "5 failures")
		once(hosts[0], ok)
		want(t, hosts[0], StateHealthy, "")
		once(hosts[1], refused)
		want(t, hosts[1], StateEjected, "tried again, and failed")
		wantUsable(t, hosts[1], true)
		once(hosts[2], ok)
		once(hosts[2], ok)
		want(t, hosts[2], StateHealthy, "")
		if g.Panic() {
			t.Error("the panic does not end")
		}
		wantUsable(t, hosts[1], false)
	})
}

// TestNoPanic proves that a panic can be switched off.
func TestNoPanic(t *testing.T) {
	g, hosts := grouped(t, Settings{Eject: ejecting(func(e *Eject) { e.Max = 1 })}, 1)
	fail(hosts[0], 5)
	wantUsable(t, hosts[0], false)
	if g.Panic() {
		t.Error("got a panic, want none")
	}
	if d := g.RetryAfter(); d < 29*time.Second || d > 30*time.Second {
		t.Errorf("got %s, want the time of the ejection", d)
	}
}

// TestBreaker proves that a breaker opens whatever the number of endpoints, lets exactly
// as many through after its time as is said, however many ask at once, and closes when all
// of them succeeded.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, hosts := grouped(t, Settings{Breaker: breaking(func(b *Breaker) { b.HalfOpen = 3 }), Panic: 0.25}, 1)
		h := hosts[0]
		fail(h, 9)
		wantUsable(t, h, true)
		fail(h, 1)
		for range 2 {
			wantUsable(t, h, false)
			if _, ok := h.Begin(); ok {
				t.Error("an open breaker let something through")
			}
			if d := g.RetryAfter(); d != 10*time.Second {
				t.Errorf("got %s, want 10s", d)
			}
			sleep(10 * time.Second)
			synctest.Wait()
			tickets := rush(h, 100)
			if len(tickets) != 3 {
				t.Fatalf("%d were let through, want 3", len(tickets))
			}
			wantUsable(t, h, false)
			h.Done(tickets[0], ok)
			h.Done(tickets[1], nothing) // gives its place back
			again := rush(h, 100)
			if len(again) != 1 {
				t.Fatalf("%d were let through, want 1", len(again))
			}
			h.Done(again[0], broken)
			want(t, h, StateOpen, "tried again, and failed: the answer broke off")
			h.Done(tickets[2], ok) // too late to matter
		}
		sleep(10 * time.Second)
		synctest.Wait()
		for range 3 {
			want(t, h, StateHalfOpen, "failed")
			once(h, ok)
		}
		want(t, h, StateHealthy, "")
	})
}

// rush begins as many exchanges at once, and returns the tickets of those that were let
// through.
func rush(h *Host, n int) []Ticket {
	var mu sync.Mutex
	var out []Ticket
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if t, ok := h.Begin(); ok {
				mu.Lock()
				out = append(out, t)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return out
}

// TestStuckTrial proves that an exchange that does not end does not keep an endpoint
// aside for ever.
func TestStuckTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, hosts := grouped(t, Settings{Breaker: breaking()}, 1)
		h := hosts[0]
		fail(h, 10)
		sleep(10 * time.Second)
		synctest.Wait()
		stuck, _ := h.Begin()
		wantUsable(t, h, false)
		sleep(10 * time.Second)
		synctest.Wait()
		wantUsable(t, h, true)
		h.Done(stuck, refused) // it says nothing any more
		once(h, ok)
		want(t, h, StateHealthy, "")
	})
}

// TestLateResults proves that what began before an endpoint was put aside says nothing
// about it afterwards.
func TestLateResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, hosts := grouped(t, Settings{Eject: ejecting()}, 2)
		h := hosts[0]
		var late []Ticket
		for range 20 {
			ticket, _ := h.Begin()
			late = append(late, ticket)
		}
		fail(h, 5)
		sleep(30 * time.Second)
		synctest.Wait()
		h.Done(late[0], silent)
		want(t, h, StateHalfOpen, "5 failures")
		once(h, ok)
		for _, ticket := range late[1:] {
			h.Done(ticket, silent)
		}
		want(t, h, StateHealthy, "")
	})
}

// TestWhatCounts is the table of what counts against an endpoint, for it, and not at all.
func TestWhatCounts(t *testing.T) {
	orderly := Result{Kind: Answered, Status: 503, Orderly: true}
	only503 := []Cause{On503}
	tests := []struct {
		name string
		on   []Cause
		r    Result
		want verdict
	}{
		{"connect", causes(), refused, bad},
		{"reset", causes(), broken, bad},
		{"timeout", causes(), silent, bad},
		{"500", causes(), answered(500), bad},
		{"502", causes(), answered(502), bad},
		{"503", causes(), answered(503), bad},
		{"504", causes(), answered(504), bad},
		{"599", causes(), answered(599), bad},
		{"501: not implemented", causes(), answered(501), good},
		{"505: the client's version", causes(), answered(505), good},
		{"503 with a Retry-After", causes(), orderly, neutral},
		{"429", causes(), answered(429), neutral},
		{"200", causes(), ok, good},
		{"the client left", causes(), nothing, neutral},
		{"404", causes(), answered(404), good},
		{"503 alone", only503, answered(503), bad},
		{"503 alone, with a Retry-After", only503, orderly, bad},
		{"500 is not listed", only503, answered(500), good},
		{"connect is not listed", only503, refused, neutral},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := judge(tt.on, tt.r); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
			_, hosts := grouped(t, Settings{Eject: ejecting(func(e *Eject) { e.On, e.Errors = tt.on, 3 })}, 2)
			once(hosts[0], Result{Kind: Answered, Status: 503})
			once(hosts[0], Result{Kind: Answered, Status: 503})
			once(hosts[0], tt.r) // fails too; clears what was counted; or does not
			ejected := !hosts[0].Usable()
			once(hosts[0], Result{Kind: Answered, Status: 503})
			if got := map[[2]bool]verdict{{true, true}: bad, {false, true}: neutral, {false, false}: good}[[2]bool{ejected, !hosts[0].Usable()}]; got != tt.want {
				t.Errorf("by its effect: got %d, want %d", got, tt.want)
			}
		})
	}
}

// TestBackBeginsAnew proves that failures from before an endpoint was put aside do not
// count when it is back.
func TestBackBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, hosts := grouped(t, Settings{Breaker: breaking(func(b *Breaker) { b.Errors, b.Of = 3, 100 })}, 1)
		h := hosts[0]
		for range 2 {
			fail(h, 2)
			want(t, h, StateHealthy, "")
			fail(h, 1)
			want(t, h, StateOpen, "3 failures in the last 100 exchanges")
			sleep(10 * time.Second)
			synctest.Wait()
			once(h, ok)
		}
	})
}
