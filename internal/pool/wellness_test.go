package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool/health"
)

// looking gives a pool a group that is closed with the test.
func looking(t *testing.T, s health.Settings) func(*Settings) {
	t.Helper()
	g := health.New(s)
	t.Cleanup(func() { _ = g.Close() })
	return func(s *Settings) { s.Health = g }
}

// strict has the breaker of an endpoint open by its first failure.
func strict(t *testing.T) func(*Settings) {
	t.Helper()
	return looking(t, health.Settings{Breaker: breaker(1, time.Hour, 1)})
}

func breaker(errs int, rest time.Duration, halfOpen int) *health.Breaker {
	b := &health.Breaker{}
	b.Defaults()
	b.Errors, b.For, b.HalfOpen = errs, rest, halfOpen
	return b
}

// wantState checks the state of the first endpoint, and why it has it.
func wantState(t *testing.T, p *Pool, state, why string) {
	t.Helper()
	e := p.Snapshot().Endpoints[0]
	if e.State != state || !strings.Contains(e.Why, why) || (why == "") != (e.Why == "") || e.Since.IsZero() {
		t.Errorf("got %s since %s (%s), want %s (%s)", e.State, e.Since, e.Why, state, why)
	}
}

// until waits until an endpoint of p is in a state.
func until(t *testing.T, p *Pool, state string) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		for _, e := range p.Snapshot().Endpoints {
			if e.State == state {
				return
			}
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("got %+v, want %s", p.Snapshot(), state)
		}
	}
}

// TestStatuses proves which answers count against an endpoint, and that an endpoint whose
// answers count has the client see them nevertheless.
func TestStatuses(t *testing.T) {
	for _, tt := range []struct {
		status int
		header string
		want   string
	}{
		{200, "", StateHealthy},
		{404, "", StateHealthy},
		{408, "", StateHealthy},
		{429, "", StateHealthy},
		{429, "Retry-After: 1\r\n", StateHealthy},
		{501, "", StateHealthy},
		{503, "Retry-After: 1\r\n", StateHealthy},
		{500, "", StateOpen},
		{502, "", StateOpen},
		{503, "", StateOpen},
		{504, "", StateOpen},
	} {
		for _, length := range []string{"Content-Length: 0\r\n\r\n", "Content-Length: 2\r\n\r\nab"} {
			t.Run(fmt.Sprint(tt.status, tt.header, length), func(t *testing.T) {
				p := pool1(t, raw(t, func(c *net.TCPConn) {
					head(c)
					write(c, fmt.Sprintf("HTTP/1.1 %d X\r\nConnection: close\r\n%s%s", tt.status, tt.header, length))
				}), link(), strict(t))
				resp, _, err := ask(t, p, exchange(t, "GET", "/", nil))
				if err != nil || resp.StatusCode != tt.status {
					t.Fatalf("got %v, %v, want %d", resp, err, tt.status)
				}
				why := ""
				if tt.want == StateOpen {
					why = fmt.Sprintf("1 failure in a row, the last: it answered %d", tt.status)
				}
				wantState(t, p, tt.want, why)
			})
		}
	}
}

// TestNotTheAgent proves that what clients and the gateway itself break off never counts
// against an endpoint. What is wrong with bodies is in TestClientFaults.
func TestNotTheAgent(t *testing.T) {
	endless := func(c *net.TCPConn) {
		head(c)
		write(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
		hold(c)
	}
	silent := func(c *net.TCPConn) { hold(c) }
	begun := func(ctx context.Context, t *testing.T, p *Pool, read bool) *http.Response {
		x := exchange(t, "GET", "/", nil)
		x.Request = x.Request.WithContext(ctx)
		resp, err := p.Handle(x)
		if err != nil {
			t.Fatal(err)
		}
		if read {
			if _, err := io.ReadFull(resp.Body, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
		}
		return resp
	}
	tests := []struct {
		name   string
		agent  func(*net.TCPConn)
		change func(*Settings)
		ask    func(t *testing.T, p *Pool)
	}{
		{"the client leaves before the answer", silent, nil, func(t *testing.T, p *Pool) {
			ctx, cancel := context.WithCancel(t.Context())
			x := exchange(t, "GET", "/", nil)
			x.Request = x.Request.WithContext(ctx)
			time.AfterFunc(20*time.Millisecond, cancel)
			_, _, err := ask(t, p, x)
			wantCode(t, err, airside.Canceled)
		}},
		{"the client leaves within the answer", endless, nil, func(t *testing.T, p *Pool) {
			ctx, cancel := context.WithCancel(t.Context())
			resp := begun(ctx, t, p, true)
			cancel()
			if _, err := io.ReadAll(resp.Body); err == nil {
				t.Error("got a whole answer")
			}
			_ = resp.Body.Close()
		}},
		{"the answer is closed unread", endless, nil, func(t *testing.T, p *Pool) {
			_ = begun(t.Context(), t, p, false).Body.Close()
		}},
		{"the answer is closed half read", endless, nil, func(t *testing.T, p *Pool) {
			_ = begun(t.Context(), t, p, true).Body.Close()
		}},
		{"a try is overtaken", silent, nil, func(t *testing.T, p *Pool) {
			ctx, cancel := context.WithCancelCause(t.Context())
			x := exchange(t, "GET", "/", nil)
			x.Request = x.Request.WithContext(ctx)
			time.AfterFunc(20*time.Millisecond, func() { cancel(errors.New("another was faster")) })
			if _, _, err := ask(t, p, x); err == nil {
				t.Error("got an answer")
			}
		}},
		{"the client asked for little time", silent, func(s *Settings) {
			s.Deadline = Deadline{Header: "Request-Timeout", FromClient: true}
		}, func(t *testing.T, p *Pool) {
			x := exchange(t, "GET", "/", nil)
			x.Request.Header.Set("Request-Timeout", "600")
			_, _, err := ask(t, p, x)
			wantCode(t, err, airside.Timeout)
		}},
		{"the time of the route is over too soon", silent, nil, func(t *testing.T, p *Pool) {
			x := exchange(t, "GET", "/", nil)
			ctx, cancel := context.WithTimeoutCause(x.Context(), 10*time.Millisecond, airside.Errorf(airside.Timeout, "late"))
			defer cancel()
			x.Request = x.Request.WithContext(ctx)
			_, _, err := ask(t, p, x)
			wantCode(t, err, airside.Timeout)
		}},
		{"it is the client that takes the time", silent, func(s *Settings) { s.Limits.Total = 300 * time.Millisecond }, func(t *testing.T, p *Pool) {
			x := exchange(t, "POST", "/", stall(t, "some"))
			_, _, err := ask(t, p, x)
			wantCode(t, err, airside.Timeout)
		}},
		{"CONNECT", silent, nil, func(t *testing.T, p *Pool) {
			_, _, err := ask(t, p, exchange(t, "CONNECT", "/", nil))
			wantCode(t, err, airside.Unsupported)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.change == nil {
				tt.change = func(*Settings) {}
			}
			p := pool1(t, raw(t, tt.agent), link(), strict(t), tt.change)
			for range 2 {
				tt.ask(t, p)
				wantState(t, p, StateHealthy, "")
			}
		})
	}
}

// TestRouteTimeCounts proves that an agent which is silent for all the time that a route
// allows is to blame for it.
func TestRouteTimeCounts(t *testing.T) {
	p := pool1(t, raw(t, func(c *net.TCPConn) { hold(c) }), link(), strict(t))
	x := exchange(t, "GET", "/", nil)
	ctx, cancel := context.WithTimeoutCause(x.Context(), longWait+50*time.Millisecond, airside.Errorf(airside.Timeout, "late"))
	defer cancel()
	x.Request = x.Request.WithContext(ctx)
	_, _, err := ask(t, p, x)
	wantCode(t, err, airside.Timeout)
	wantState(t, p, StateOpen, "the time that the route allows")
}

// TestSuccessClears proves that a whole answer, of any kind, makes failures before it
// forgotten.
func TestSuccessClears(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
		"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("x", 300000),
		"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody",
	} {
		for _, relay := range []bool{true, false} {
			t.Run(fmt.Sprintf("%.50q %v", answer, relay), func(t *testing.T) {
				var n atomic.Int32
				p := pool1(t, raw(t, func(c *net.TCPConn) {
					head(c)
					if n.Add(1)%2 == 0 {
						write(c, strings.Replace(answer, "\r\n", "\r\nConnection: close\r\n", 1))
					}
				}), link(), looking(t, health.Settings{Breaker: breaker(2, time.Hour, 1)}))
				for i := range 6 {
					resp, err := p.Handle(exchange(t, "POST", "/", nil))
					if (err == nil) != (i%2 == 1) {
						t.Fatalf("exchange %d: got %v", i, err)
					}
					if err != nil {
						continue
					}
					if _, err := readAll(resp.Body, relay); err != nil {
						t.Fatal(err)
					}
					_ = resp.Body.Close()
				}
				wantState(t, p, StateHealthy, "")
			})
		}
	}
}

// TestOpen proves what the client is told when the breaker is open, that nothing is sent,
// and that exactly as many try afterwards as may, however many ask.
func TestOpen(t *testing.T) {
	var asked atomic.Int32
	fails, let := atomic.Bool{}, make(chan struct{})
	fails.Store(true)
	address := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if fails.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		<-let
	})
	p := pool1(t, address, link(), looking(t, health.Settings{Breaker: breaker(3, 2*time.Second, 2), Panic: 0.25}))
	for range 3 {
		_, _, _ = ask(t, p, exchange(t, "GET", "/", nil))
	}
	if _, _, err := ask(t, p, exchange(t, "GET", "/", nil)); err == nil {
		t.Error("an open breaker let something through")
	} else {
		e := wantCode(t, err, airside.Unavailable)
		if want := "the agent has failed too often and is given a rest; try again soon"; e.Message != want || e.RetryAfter < time.Second || e.RetryAfter > 2*time.Second || !NothingSent(err) {
			t.Errorf("got %q after %s, want %q after 2s", e.Message, e.RetryAfter, want)
		}
	}
	fails.Store(false)
	until(t, p, StateHalfOpen)
	before := asked.Load()
	var all sync.WaitGroup
	results := make(chan error, 20)
	for range 20 {
		all.Go(func() {
			_, _, err := ask(t, p, exchange(t, "GET", "/", nil))
			results <- err
		})
	}
	for range 18 {
		wantCode(t, <-results, airside.Unavailable)
	}
	close(let)
	all.Wait()
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if n := asked.Load() - before; n != 2 {
		t.Errorf("%d tried, want 2", n)
	}
	wantState(t, p, StateHealthy, "")
}

// TestTrialGivenUp proves that a client that leaves while its exchange tries an endpoint
// gives the place back.
func TestTrialGivenUp(t *testing.T) {
	var mode atomic.Int32
	arrived := make(chan struct{}, 1)
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch mode.Load() {
		case 0:
			w.WriteHeader(http.StatusBadGateway)
		case 1:
			arrived <- struct{}{}
			<-r.Context().Done()
		}
	})
	p := pool1(t, address, link(), looking(t, health.Settings{Breaker: breaker(1, 2*time.Second, 1)}))
	_, _, _ = ask(t, p, exchange(t, "GET", "/", nil))
	mode.Store(1)
	until(t, p, StateHalfOpen)
	ctx, cancel := context.WithCancel(t.Context())
	x := exchange(t, "GET", "/", nil)
	x.Request = x.Request.WithContext(ctx)
	go func() {
		<-arrived
		cancel()
	}()
	_, _, err := ask(t, p, x)
	wantCode(t, err, airside.Canceled)
	wantState(t, p, StateHalfOpen, "it answered 502")
	mode.Store(2)
	if _, _, err := ask(t, p, exchange(t, "GET", "/", nil)); err != nil {
		t.Errorf("the place is not free again: %v", err)
	}
	wantState(t, p, StateHealthy, "")
}

// three is a pool of one endpoint that is not well and two that are.
func three(t *testing.T, bad string, l Link, retry *Retry, change func(*Settings)) (p *Pool, asked *atomic.Int32) {
	t.Helper()
	asked = &atomic.Int32{}
	s := Settings{Members: []Member{member1(t, bad, l)}, Limits: limits, Host: HostUpstream, Retry: retry}
	for range 2 {
		s.Members = append(s.Members, member1(t, serve(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) }), l))
	}
	change(&s)
	p, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return p, asked
}

func ejecting() health.Settings {
	e := &health.Eject{}
	e.Defaults()
	return health.Settings{Eject: e, Panic: 0.25}
}

// TestRefused proves R6: with one of three endpoints that refuses connections clients see
// no error, and it is not asked any more after five failures.
func TestRefused(t *testing.T) {
	retry := &Retry{}
	retry.Defaults()
	retry.Backoff, retry.MaxBackoff = 0, 0
	p, asked := three(t, nobody(t), link(), retry, looking(t, ejecting()))
	bad := p.Snapshot().Endpoints[0].Address
	failed := 0
	for range 300 {
		x := exchange(t, "POST", "/", nil)
		if resp, _, err := ask(t, p, x); err != nil || resp.StatusCode != 200 {
			t.Fatalf("got %v, %v, want 200", resp, err)
		}
		failed += len(x.Failures)
	}
	if n := asked.Load(); n != 300 || failed != 5 {
		t.Errorf("%d were answered and %d tries failed, want 300 and 5", n, failed)
	}
	s := p.Snapshot()
	if e := s.Endpoints[0]; e.Address != bad || e.State != StateEjected || e.Requests != 5 || s.Panic {
		t.Errorf("got %+v", s)
	}
}

// TestBlackhole proves R6: of one of three endpoints that answers no attempt to connect
// nobody sees anything after one connect time-out, if enough ask at once: those who did
// are answered elsewhere, and it is not asked any more.
func TestBlackhole(t *testing.T) {
	retry := &Retry{}
	retry.Defaults()
	retry.Backoff, retry.MaxBackoff = 0, 0
	l := link()
	l.Connect = 200 * time.Millisecond
	p, asked := three(t, deaf(t), l, retry, looking(t, ejecting()))
	var all sync.WaitGroup
	for range 15 { // a third of them comes to it, at the same time
		all.Go(func() {
			if resp, _, err := ask(t, p, exchange(t, "POST", "/", nil)); err != nil || resp.StatusCode != 200 {
				t.Errorf("got %v, %v, want 200", resp, err)
			}
		})
	}
	all.Wait()
	wantState(t, p, StateEjected, "the agent could not be reached within 200ms")
	for range 50 {
		x := exchange(t, "GET", "/", nil)
		if _, _, err := ask(t, p, x); err != nil || len(x.Failures) > 0 {
			t.Errorf("got %v, %v, want no failure", err, x.Failures)
		}
	}
	if n := asked.Load(); n != 65 {
		t.Errorf("%d were answered, want 65", n)
	}
}

// TestHurryWhileDialing proves that the end of the time which a client asked for is no
// fault of an endpoint that is being connected to then, whatever notices it first.
func TestHurryWhileDialing(t *testing.T) {
	settings := ejecting()
	settings.Eject.Errors = 1
	p := pool1(t, deaf(t), link(), looking(t, settings), func(s *Settings) { s.Deadline = Deadline{Header: "X-Left", FromClient: true} })
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			x := exchange(t, "GET", "/", nil)
			x.Request.Header.Set("X-Left", "5")
			_, _, err := ask(t, p, x)
			if e := airside.AsError(err); err == nil || e.Code != airside.Timeout || !strings.Contains(e.Message, "that the request allows") {
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
	wantState(t, p, StateHealthy, "")
}

// TestPanicAsksAll proves that exchanges go to endpoints that are not well when too few
// others are there, and that operators see it.
func TestPanicAsksAll(t *testing.T) {
	settings := ejecting()
	settings.Eject.Max = 1
	settings.Eject.Errors = 1
	settings.Panic = 1
	p, _ := three(t, nobody(t), link(), nil, looking(t, settings))
	failed := 0
	for range 9 {
		if _, _, err := ask(t, p, exchange(t, "GET", "/", nil)); err != nil {
			failed++
		}
	}
	if s := p.Snapshot(); !s.Panic || s.Endpoints[0].State != StateEjected || failed != 3 {
		t.Errorf("%d failed, want a third: %+v", failed, s)
	}
}

// TestMembersChange proves that who comes and goes is looked after as long as it is there,
// and found again; and that a pool that is retired looks after nobody.
func TestMembersChange(t *testing.T) {
	settings := ejecting()
	settings.Eject.Errors = 1
	p, _ := three(t, nobody(t), link(), nil, looking(t, settings))
	_, _, _ = ask(t, p, exchange(t, "GET", "/", nil))
	until(t, p, StateEjected)
	members := func() (out []Member) {
		for _, m := range p.fleet.Load().members {
			out = append(out, Member{Endpoint: m.Endpoint, Weight: 1})
		}
		return out
	}
	all := members()
	for range 3 {
		if err := p.Set(all); err != nil { // as a reload would
			t.Fatal(err)
		}
	}
	wantState(t, p, StateEjected, "refused")
	p.Retire()
	p.Retire()
	if err := p.Set(all); err != nil {
		t.Fatal(err)
	}
	wantState(t, p, StateHealthy, "")
}

// TestUpgradeSettles proves that an upgrade is as good as an answer, and that one that
// cannot be asked for costs no place.
func TestUpgradeSettles(t *testing.T) {
	address := raw(t, func(c *net.TCPConn) {
		if strings.Contains(head(c), "Upgrade: x") {
			write(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			hold(c)
		}
	})
	p := pool1(t, address, link(), looking(t, health.Settings{Breaker: breaker(2, 20*time.Millisecond, 1)}))
	for range 2 {
		_, _, _ = ask(t, p, exchange(t, "POST", "/", nil))
	}
	until(t, p, StateHalfOpen)
	x := exchange(t, "GET", "/", nil)
	x.Request.Header.Set("Upgrade", "x")
	resp, err := p.Handle(x)
	if err != nil {
		t.Fatal(err)
	}
	until(t, p, StateHealthy) // while the connection is there
	_ = resp.Body.Close()
	wantState(t, p, StateHealthy, "")
}

// TestHealthAllocs proves that looking after health allocates nothing per exchange.
func TestHealthAllocs(t *testing.T) {
	address := serve(t, func(http.ResponseWriter, *http.Request) {})
	settings := ejecting()
	settings.Breaker = breaker(10, time.Second, 1)
	count := func(change ...func(*Settings)) float64 {
		p := pool1(t, address, link(), change...)
		return testing.AllocsPerRun(50, func() {
			x := airside.NewExchange(exchange(t, "GET", "/", nil).Request, slog.New(slog.DiscardHandler))
			if _, _, err := ask(t, p, x); err != nil {
				t.Fatal(err)
			}
			x.Finish(airside.Outcome{})
		})
	}
	if without, with := count(), count(looking(t, settings)); with > without+1 {
		t.Errorf("got %v allocations with health, %v without", with, without)
	}
}

// TestStreamSettles proves that an endpoint that is tried is back with the head of an
// answer: a stream may never end.
func TestStreamSettles(t *testing.T) {
	var n atomic.Int32
	address := raw(t, func(c *net.TCPConn) {
		head(c)
		if n.Add(1) > 1 {
			write(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
			hold(c)
		}
	})
	p := pool1(t, address, link(), looking(t, health.Settings{Breaker: breaker(1, 20*time.Millisecond, 1)}))
	_, _, _ = ask(t, p, exchange(t, "POST", "/", nil))
	until(t, p, StateHalfOpen)
	resp, err := p.Handle(exchange(t, "GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, p, StateHealthy, "")
	_ = resp.Body.Close()
	wantState(t, p, StateHealthy, "")
}
