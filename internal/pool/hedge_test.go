package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

func hedge(change ...func(*Hedge)) *Hedge {
	var h Hedge
	h.Defaults()
	h.After, h.Budget = "10ms", 1
	for _, c := range change {
		c(&h)
	}
	return &h
}

// hedged is a pool of several endpoints that hedges.
func hedged(t *testing.T, h *Hedge, agents ...http.HandlerFunc) *Pool {
	t.Helper()
	s := Settings{Limits: limits, Host: HostUpstream, Hedge: h}
	for _, a := range agents {
		s.Members = append(s.Members, member1(t, serve(t, a), link()))
	}
	p, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// asks is [ask] for an exchange that is finished afterwards, as the edge does.
func asks(t *testing.T, h airside.Handler, x *airside.Exchange) (*http.Response, string, error) {
	t.Helper()
	defer x.Finish(airside.Outcome{})
	return ask(t, h, x)
}

// TestHedge proves that an endpoint that does not answer is overtaken by another, which
// gets the same request, that the loser hears of it, and that this is counted.
func TestHedge(t *testing.T) {
	stuck := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done() // or the server, and the test with it, does not end
	}
	p := hedged(t, hedge(), stuck, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("X-Seen"), b)
	})
	for i := range 20 {
		x := exchange(t, "PUT", fmt.Sprintf("/%d", i), strings.NewReader("body"))
		x.Request.Header.Set("X-Seen", "yes")
		_, got, err := asks(t, p, x)
		if want := fmt.Sprintf("PUT /%d yes body", i); err != nil || got != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
		if x.Context().Err() != nil {
			t.Fatal("the exchange ended with a try")
		}
	}
	if s := p.Snapshot(); s.Hedges < 10 || s.HedgesWon != s.Hedges || s.Endpoints[0].Failures != 0 {
		t.Errorf("got %d hedges of which %d won, and %d failures", s.Hedges, s.HedgesWon, s.Endpoints[0].Failures)
	}
}

// TestHedgeSameMoment proves that each exchange gets its own answer, once, if both tries
// are answered when the other is about to be given up, on connections that are used
// again.
func TestHedgeSameMoment(t *testing.T) {
	agent := func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, strings.Repeat(r.URL.Path, 100))
	}
	p := hedged(t, hedge(func(h *Hedge) { h.After, h.Max = "1ms", 3 }), agent, agent, agent)
	var all sync.WaitGroup
	for c := range 8 {
		all.Go(func() {
			for i := range 100 {
				path := fmt.Sprintf("/%d/%d", c, i)
				_, got, err := asks(t, p, exchange(t, "GET", path, nil))
				if want := strings.Repeat(path, 100); err != nil || got != want {
					t.Errorf("%s: got %.40q, %v", path, got, err)
					return
				}
			}
		})
	}
	all.Wait()
	if s := p.Snapshot(); s.Hedges == 0 || s.HedgesWon > s.Hedges {
		t.Errorf("got %d hedges of which %d won", s.Hedges, s.HedgesWon)
	}
}

// TestHedgeAsksOnlyElsewhere proves that an endpoint is not asked twice at the same time,
// and that nothing is taken out of the budget then.
func TestHedgeAsksOnlyElsewhere(t *testing.T) {
	var n atomic.Int64
	p := hedged(t, hedge(func(h *Hedge) { h.After = "1ms" }), func(http.ResponseWriter, *http.Request) {
		n.Add(1)
		<-time.After(50 * time.Millisecond)
	})
	if _, _, err := asks(t, p, exchange(t, "GET", "/", nil)); err != nil || n.Load() != 1 {
		t.Errorf("got %v after %d requests", err, n.Load())
	}
	if s := p.Snapshot(); s.Hedges != 0 || s.Overflows != 0 {
		t.Errorf("got %d hedges, %d overflows", s.Hedges, s.Overflows)
	}
}

// A step is what a scripted agent does: after a while it answers a status, or fails.
type step struct {
	after  time.Duration
	status int // 0: it fails
}

// script answers the tries of an exchange in their order, and notes when they began and
// which were given up.
type script struct {
	steps []step

	mu     sync.Mutex
	origin time.Time
	n      int
	begun  []time.Duration
	given  []int
	bodies atomic.Int64 // that are open
}

func (s *script) ask(x *airside.Exchange) (*http.Response, error) {
	s.mu.Lock()
	n := s.n
	s.n++
	st := s.steps[min(n, len(s.steps)-1)]
	s.begun = append(s.begun, time.Since(s.origin))
	s.mu.Unlock()
	timer := time.NewTimer(st.after)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-x.Context().Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		s.given = append(s.given, n)
		return nil, ended(x.Context())
	}
	if st.status == 0 {
		return nil, (&failure{kind: broke, sent: true}).phrase()
	}
	s.bodies.Add(1)
	return &http.Response{StatusCode: st.status, Header: http.Header{}, Body: &closing{s: s, n: n}}, nil
}

// closing is a body that counts how often it is open.
type closing struct {
	s    *script
	n    int
	once sync.Once
}

func (c *closing) Read([]byte) (int, error) { return 0, io.EOF }
func (c *closing) Close() error {
	c.once.Do(func() { c.s.bodies.Add(-1) })
	return nil
}

// TestHedgeTable proves who wins, when, and who is given up.
func TestHedgeTable(t *testing.T) {
	const ms = time.Millisecond
	two := func(h *Hedge) { h.Max = 2 }
	tests := []struct {
		name   string
		hedge  *Hedge
		steps  []step
		begun  []time.Duration
		given  []int
		status int // 0: an error
		won    int // which try
		took   time.Duration
	}{
		{"first in time", hedge(), []step{{5 * ms, 200}}, []time.Duration{0}, nil, 200, 0, 5 * ms},
		{"first late, but first", hedge(), []step{{15 * ms, 200}, {10 * ms, 200}}, []time.Duration{0, 10 * ms}, []int{1}, 200, 0, 15 * ms},
		{"overtaken", hedge(), []step{{500 * ms, 200}, {10 * ms, 200}}, []time.Duration{0, 10 * ms}, []int{0}, 200, 1, 20 * ms},
		{"a client's fault is an answer", hedge(), []step{{500 * ms, 200}, {10 * ms, 404}}, []time.Duration{0, 10 * ms}, []int{0}, 404, 1, 20 * ms},
		{"second fails", hedge(), []step{{50 * ms, 200}, {10 * ms, 0}}, []time.Duration{0, 10 * ms}, nil, 200, 0, 50 * ms},
		{"second answers 503", hedge(), []step{{50 * ms, 200}, {10 * ms, 503}}, []time.Duration{0, 10 * ms}, nil, 200, 0, 50 * ms},
		{"first fails at once", hedge(), []step{{5 * ms, 0}, {1 * ms, 200}}, []time.Duration{0}, nil, 0, 0, 5 * ms},
		{"first fails late", hedge(), []step{{15 * ms, 0}, {30 * ms, 200}}, []time.Duration{0, 10 * ms}, nil, 200, 1, 40 * ms},
		{"first answers 503 late", hedge(), []step{{15 * ms, 503}, {30 * ms, 200}}, []time.Duration{0, 10 * ms}, nil, 200, 1, 40 * ms},
		{"both fail", hedge(), []step{{15 * ms, 0}, {30 * ms, 0}}, []time.Duration{0, 10 * ms}, nil, 0, 0, 40 * ms},
		{"an answer is better than none", hedge(), []step{{15 * ms, 0}, {30 * ms, 503}}, []time.Duration{0, 10 * ms}, nil, 503, 1, 40 * ms},
		{"the first of two failures", hedge(), []step{{15 * ms, 500}, {30 * ms, 503}}, []time.Duration{0, 10 * ms}, nil, 500, 0, 40 * ms},
		{"third", hedge(two), []step{{time.Second, 200}, {time.Second, 200}, {ms, 200}}, []time.Duration{0, 10 * ms, 20 * ms}, []int{0, 1}, 200, 2, 21 * ms},
		{"no more than max", hedge(two), []step{{100 * ms, 200}, {time.Second, 200}, {time.Second, 200}}, []time.Duration{0, 10 * ms, 20 * ms}, []int{1, 2}, 200, 0, 100 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{steps: tt.steps, origin: time.Now()}
				x := exchange(t, "GET", "/", nil)
				g := newHedger(tt.hedge)
				g.budget.request() // another, so that there is a budget for two
				resp, err := g.handle(x, s.ask)
				took := time.Since(s.origin)
				status, won := 0, 0
				if err == nil {
					status, won = resp.StatusCode, resp.Body.(*closing).n
					_ = resp.Body.Close()
				} else {
					wantCode(t, err, airside.UpstreamFailed)
				}
				x.Finish(airside.Outcome{})
				slices.Sort(s.given)
				if status != tt.status || won != tt.won || took != tt.took {
					t.Errorf("got %d of try %d after %s, want %d of %d after %s", status, won, took, tt.status, tt.won, tt.took)
				}
				if diff := cmp.Diff(tt.begun, s.begun); diff != "" {
					t.Errorf("begun (-want +got)\n%s", diff)
				}
				if diff := cmp.Diff(tt.given, s.given); diff != "" {
					t.Errorf("given up (-want +got)\n%s", diff)
				}
				if n := s.bodies.Load(); n != 0 {
					t.Errorf("%d answers were not closed", n)
				}
			})
		})
	}
}

// TestHedgeClientLeaves proves that both tries end with the client.
func TestHedgeClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{steps: []step{{time.Hour, 200}}, origin: time.Now()}
		x := exchange(t, "GET", "/", nil)
		ctx, cancel := context.WithCancel(x.Context())
		x.Request = x.Request.WithContext(ctx)
		time.AfterFunc(time.Second, cancel)
		_, err := newHedger(hedge()).handle(x, s.ask)
		wantCode(t, err, airside.Canceled)
		x.Finish(airside.Outcome{})
		if s.n != 2 || len(s.given) != 2 || time.Since(s.origin) != time.Second {
			t.Errorf("%d tries, of which %d were given up after %s", s.n, len(s.given), time.Since(s.origin))
		}
	})
}

// TestHedgeMay proves which requests are sent twice.
func TestHedgeMay(t *testing.T) {
	body := func(n int) io.Reader { return strings.NewReader(strings.Repeat("x", n)) }
	tests := []struct {
		name, method string
		body         io.Reader
		change       func(*http.Request)
		repeat       Repeat
		want         bool
	}{
		{name: "get", method: "GET", want: true},
		{name: "put", method: "PUT", body: body(hedgeBody), want: true},
		{name: "long", method: "PUT", body: body(hedgeBody + 1)},
		{name: "of no known length", method: "PUT", body: io.MultiReader(body(1))},
		{name: "post", method: "POST"},
		{name: "post with a key", method: "POST", change: func(r *http.Request) { r.Header.Set("Idempotency-Key", "k") }, want: true},
		{name: "post, repeat any", method: "POST", repeat: RepeatAny, want: true},
		{name: "upgrade", method: "GET", change: func(r *http.Request) { r.Header.Set("Upgrade", "websocket") }},
		{name: "trailers", method: "PUT", body: body(1), change: func(r *http.Request) { r.Trailer = http.Header{"X": nil} }},
		{name: "expect", method: "PUT", body: body(1), change: func(r *http.Request) { r.Header.Set("Expect", "100-continue") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := exchange(t, tt.method, "/", tt.body)
				if tt.change != nil {
					tt.change(x.Request)
				}
				s := &script{steps: []step{{time.Second, 200}}}
				_, err := newHedger(hedge(func(h *Hedge) { h.Repeat = tt.repeat })).handle(x, s.ask)
				x.Finish(airside.Outcome{})
				if got := s.n > 1; err != nil || got != tt.want {
					t.Errorf("got %t, %v, want %t", got, err, tt.want)
				}
			})
		})
	}
}

// TestHedgeBudget proves that no more than the share is sent twice, however slow the
// agents are.
func TestHedgeBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newHedger(hedge(func(h *Hedge) { h.Budget = 0.1 }))
		var all sync.WaitGroup
		for range 500 {
			all.Go(func() {
				s := &script{steps: []step{{time.Second, 200}}}
				x := exchange(t, "GET", "/", nil)
				if _, err := g.handle(x, s.ask); err != nil {
					t.Error(err)
				}
				x.Finish(airside.Outcome{})
			})
		}
		all.Wait()
		if n := g.sent.Load(); n != 50 {
			t.Errorf("got %d hedges of 500 requests, want 50", n)
		}
	})
}

// TestHedgeTail proves that the slowest answers become faster, and by how much, when the
// delay is learned.
func TestHedgeTail(t *testing.T) {
	const requests = 4000
	slowest := func(t *testing.T, h *Hedge) (p99 time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			var g *hedger
			if h != nil {
				g = newHedger(h)
			}
			var took []time.Duration
			for i := range requests {
				first := 10 * time.Millisecond
				if i%20 == 0 {
					first = time.Second
				}
				s := &script{steps: []step{{first, 200}, {10 * time.Millisecond, 200}}, origin: time.Now()}
				x := exchange(t, "GET", "/", nil)
				var err error
				if g == nil {
					_, err = s.ask(x)
				} else {
					_, err = g.handle(x, s.ask)
				}
				if err != nil {
					t.Fatal(err)
				}
				x.Finish(airside.Outcome{})
				took = append(took, time.Since(s.origin))
			}
			took = took[requests/2:] // by then the delay is known
			slices.Sort(took)
			p99 = took[len(took)*99/100]
		})
		return p99
	}
	without, with := slowest(t, nil), slowest(t, hedge(func(h *Hedge) { h.After, h.Budget = "p90", 0.1 }))
	if without != time.Second || with > 25*time.Millisecond {
		t.Errorf("the slowest hundredth took %s without hedging and %s with it", without, with)
	}
}

// TestQuantile proves that a percentile is known to an eighth, that it follows what
// changes, and that it is not known too early.
func TestQuantile(t *testing.T) {
	q := &quantile{share: 0.95}
	for i := range leastSamples - 1 {
		q.add(time.Duration(i) * time.Millisecond)
	}
	if got := q.value(); got != 0 {
		t.Errorf("got %s of %d samples", got, leastSamples-1)
	}
	for range 3 * turnSamples / 1000 {
		for i := range 1000 {
			q.add(time.Duration(i+1) * time.Millisecond)
		}
	}
	if got := q.value(); got < 950*time.Millisecond || got > 1100*time.Millisecond {
		t.Errorf("got %s, want 950ms", got)
	}
	for range 3 * turnSamples {
		q.add(2 * time.Millisecond)
	}
	if got := q.value(); got < 2*time.Millisecond || got > 2300*time.Microsecond {
		t.Errorf("got %s, want 2ms", got)
	}
	for _, d := range []time.Duration{-1, 0, 1, time.Microsecond, time.Hour, 100000 * time.Hour} {
		if b := bucketOf(d); b < 0 || b >= buckets || d > 0 && d < time.Hour && endOf(b) < d {
			t.Errorf("%s is in bucket %d", d, b)
		}
	}
}

// TestHedgeSettings proves which settings are refused.
func TestHedgeSettings(t *testing.T) {
	for _, after := range []string{"1ms", "2s", "p50", "p95", "p99.9"} {
		if err := hedge(func(h *Hedge) { h.After = after }).Validate(); err != nil {
			t.Errorf("%s: %v", after, err)
		}
	}
	for _, after := range []string{"", "0s", "-1s", "p", "p49", "p100", "pNaN", "95", "p95x"} {
		if err := hedge(func(h *Hedge) { h.After = after }).Validate(); err == nil {
			t.Errorf("%q was taken", after)
		}
	}
	bad := Hedge{After: "x", Max: 4, Budget: 0, Repeat: "twice"}
	var fields []string
	for e := range strings.Lines(bad.Validate().Error()) {
		field, _, _ := strings.Cut(e, ":")
		fields = append(fields, field)
	}
	if diff := cmp.Diff([]string{"after", "max", "budget", "repeat"}, fields); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if errors.Is(errOvertaken, context.Canceled) || errOvertaken.Code != airside.Canceled {
		t.Error("who was overtaken looks like a failure")
	}
}

// TestHedgePanics proves that a panic of a second try is one of that try alone: the gateway
// goes on, and so does the exchange.
func TestHedgePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := exchange(t, "GET", "/", nil)
		var log strings.Builder
		x.Log = slog.New(slog.NewTextHandler(&log, nil))
		resp, err := newHedger(hedge()).handle(x, func(y *airside.Exchange) (*http.Response, error) {
			if y != x {
				panic("of the second try")
			}
			<-time.After(time.Second)
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, nil
		})
		x.Finish(airside.Outcome{})
		if err != nil || resp.StatusCode != 200 || !strings.Contains(log.String(), "of the second try") {
			t.Errorf("got %v, %v, and the log %q", resp, err, log.String())
		}
	})
}
