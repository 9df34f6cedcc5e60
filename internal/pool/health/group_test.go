package health

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestAbsent proves that an endpoint that leaves and comes back finds its state, and that
// of those that do not come back not too much is kept.
func TestAbsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, hosts := grouped(t, Settings{Eject: ejecting()}, 3)
		fail(hosts[0], 5)
		g.Leave(hosts[0])
		if h := g.Use(hosts[0].Address()); h != hosts[0] {
			t.Fatal("it is another")
		}
		want(t, hosts[0], StateEjected, "5 failures")
		g.Use(hosts[1].Address())
		g.Leave(hosts[1])
		if g.present != 3 {
			t.Errorf("%d are present, want 3", g.present)
		}
		for i := range 2 * maxAbsent {
			g.Leave(g.Use(fmt.Sprintf("http://old%d:1", i)))
		}
		if n := len(g.hosts); n > maxAbsent+3 {
			t.Errorf("%d hosts are kept, want at most %d", n, maxAbsent+3)
		}
		sleep(keptFor + time.Second)
		g.Leave(hosts[2])
		if n := len(g.hosts); n != 3 {
			t.Errorf("%d hosts are kept, want 3", n)
		}
	})
}

// TestLogBounded proves that every change is logged once, and that the log is not
// flooded.
func TestLogBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, logger := newRecord()
		_, hosts := grouped(t, Settings{Breaker: breaking(func(b *Breaker) { b.Errors, b.For = 1, time.Millisecond }), Log: logger}, 1)
		h := hosts[0]
		once(h, refused)
		if got := log.all(); len(got) != 1 || !holds(got[0], []string{"level=WARN", "endpoint=http://a:1", "from=healthy", "to=open", "the agent refused the connection"}) {
			t.Fatalf("got %q", got)
		}
		sleep(time.Millisecond)
		synctest.Wait()
		once(h, ok)
		if got := log.all(); len(got) != 3 || !holds(got[1], []string{"level=INFO", "to=half_open"}) || !holds(got[2], []string{"level=INFO", "to=healthy"}) {
			t.Fatalf("got %q", got)
		}
		for range 1000 {
			once(h, refused)
			sleep(time.Millisecond)
			synctest.Wait()
			once(h, ok)
		}
		sleep(reportEvery)
		once(h, refused)
		got := log.all()
		if len(got) != maxReported+2 || !strings.Contains(got[maxReported], "changes=2953") {
			t.Errorf("got %d lines, the last %q", len(got), got[len(got)-2:])
		}
	})
}

// TestNever proves of any order of exchanges, times and comings and goings that no more
// endpoints are ejected than may be, that gates say what states say, and that a panic
// lets all be asked but those whose breakers are open.
func TestNever(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			g, _ := grouped(t, Settings{
				Eject: ejecting(func(e *Eject) {
					e.Errors, e.Max, e.HalfOpen = 2, Share(rapid.Float64Range(0.01, 1).Draw(r, "max")), rapid.IntRange(1, 3).Draw(r, "half_open")
				}),
				Breaker: breaking(func(b *Breaker) { b.Errors, b.Of = 4, 6 }),
				Panic:   Share(rapid.Float64Range(0, 1).Draw(r, "panic")),
			}, 0)
			in := map[string]*Host{}
			for range rapid.IntRange(1, 100).Draw(r, "steps") {
				address := fmt.Sprintf("http://h%d", rapid.IntRange(0, 6).Draw(r, "host"))
				h := in[address]
				switch {
				case h == nil:
					in[address] = g.Use(address)
				case rapid.IntRange(0, 12).Draw(r, "leave") == 0:
					g.Leave(h)
					delete(in, address)
				default:
					once(h, rapid.SampledFrom([]Result{ok, refused, silent, nothing, answered(503)}).Draw(r, "result"))
				}
				if rapid.IntRange(0, 4).Draw(r, "time") == 0 {
					sleep(time.Duration(rapid.IntRange(1, 40).Draw(r, "seconds")) * time.Second)
				}
				synctest.Wait()
				consistent(t, g, in)
			}
		})
	})
}

func consistent(t *testing.T, g *Group, in map[string]*Host) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if n, most := g.ejected(), g.most(); n > most {
		t.Fatalf("%d of %d are ejected, want at most %d", n, len(in), most)
	}
	usable := 0
	for _, h := range in {
		if h.usable() {
			usable++
		}
		blocked := h.breaker.phase == open
		aside := h.eject.phase == open && !g.panics
		if shut := Ticket(h.word.Load()).gate() == gateShut; shut != (blocked || aside) {
			t.Fatalf("%s: shut is %v, want %v; panic %v", h.address, shut, blocked || aside, g.panics)
		}
		if h.stateOf() != h.state {
			t.Fatalf("%s: the state is %s, want %s", h.address, h.state, h.stateOf())
		}
	}
	if few := float64(usable) < float64(g.s.Panic)*float64(len(in)); g.panics && !few {
		t.Fatalf("panic with %d of %d", usable, len(in))
	}
}

func (h *Host) stateOf() string {
	state, _ := h.stand()
	return state
}

// TestRace is for the race detector: everything at once.
func TestRace(t *testing.T) {
	g, hosts := grouped(t, Settings{
		Eject:   ejecting(func(e *Eject) { e.Of, e.Rate, e.Latency, e.Window, e.For = 10, 0.5, 2, time.Second, time.Millisecond }),
		Breaker: breaking(func(b *Breaker) { b.For = time.Millisecond }), Panic: 0.5,
	}, 3)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for k := range 2000 {
				h := hosts[(i+k)%3]
				once(h, []Result{ok, ok, refused, nothing, silent}[(k/50)%5])
				_, _ = h.Status(), g.Panic()
				if k%100 == 0 {
					g.Leave(g.Use(hosts[0].Address()))
					_ = g.RetryAfter()
				}
			}
		})
	}
	all.Wait()
	for _, h := range hosts {
		for range 3 {
			fail(h, 20) // whatever was: it can be put aside still
		}
	}
	if !g.Panic() && !hosts[0].Usable() && !hosts[1].Usable() && !hosts[2].Usable() {
		t.Error("nobody is usable, and there is no panic")
	}
}

// TestNoAllocs proves that exchanges with an endpoint that is well allocate nothing.
func TestNoAllocs(t *testing.T) {
	_, hosts := grouped(t, Settings{Eject: ejecting(func(e *Eject) { e.Rate = 0.5 }), Breaker: breaking()}, 3)
	h := hosts[0]
	if n := testing.AllocsPerRun(100, func() {
		if h.Usable() {
			once(h, ok)
		}
	}); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// BenchmarkWell is what health costs an exchange while all is well.
func BenchmarkWell(b *testing.B) {
	for _, counts := range []bool{false, true} {
		b.Run(fmt.Sprintf("counts=%v", counts), func(b *testing.B) {
			g := New(Settings{Eject: ejecting(func(e *Eject) {
				if counts {
					e.Rate = 0.5
				}
			}), Breaker: breaking()})
			defer g.Close()
			h := g.Use("http://a:1")
			b.ReportAllocs()
			for b.Loop() {
				if !h.Usable() {
					b.Fatal("it is not")
				}
				once(h, ok)
			}
		})
	}
}

// TestOneAtATime proves that who comes back is not checked before the check under way when
// it left has ended.
func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := checking(func(c *Check) { c.Jitter = 0 })
		g, _ := grouped(t, Settings{Check: c}, 0)
		const address = "http://[no address" // its check fails at once
		h := g.Use(address)
		before := &asking{cancel: func() {}, done: make(chan struct{})}
		h.asking = before
		g.Leave(h)
		g.Start()
		g.Use(address)
		synctest.Wait()
		want(t, h, StateHealthy, "")
		close(before.done)
		synctest.Wait()
		want(t, h, StateUnhealthy, "its address is not a URL")
	})
}
