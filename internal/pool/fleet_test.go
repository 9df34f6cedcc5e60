package pool

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool/balance"
)

// opened is a member whose endpoint the pool closes.
func opened(t *testing.T, address string) Member {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	e, err := Open(u, link())
	if err != nil {
		t.Fatal(err)
	}
	return Member{Endpoint: e, Weight: 1}
}

// changing is a pool that is closed with the test.
func changing(t *testing.T, s Settings) *Pool {
	t.Helper()
	s.Limits, s.Host = limits, HostUpstream
	p, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func set(t *testing.T, p *Pool, members ...Member) {
	t.Helper()
	if err := p.Set(members); err != nil {
		t.Fatal(err)
	}
}

// states lists the endpoints of a snapshot in short.
func states(p *Pool) []string {
	var out []string
	for _, e := range p.Snapshot().Endpoints {
		out = append(out, fmt.Sprintf("%s %s active=%d", strings.TrimPrefix(e.Address, "http://"), e.State, e.Active))
	}
	return out
}

// TestSetUnderLoad proves that no exchange is lost while endpoints come and go all the
// time, whatever balance chooses among them, and that each endpoint that left is closed.
func TestSetUnderLoad(t *testing.T) {
	var served atomic.Int64
	var addresses []string
	for range 4 {
		addresses = append(addresses, serve(t, func(w http.ResponseWriter, r *http.Request) {
			served.Add(1)
			_, _ = io.Copy(w, r.Body)
		}))
	}
	for _, by := range []string{balance.RoundRobin, balance.LeastRequest, balance.PeakEWMA, balance.Hash} {
		t.Run(by, func(t *testing.T) {
			served.Store(0)
			p := changing(t, Settings{
				Balance: balance.Settings{By: by, Load: 1.25, SlowStart: time.Second},
				Key:     func(*airside.Exchange) uint64 { return rand.Uint64() },
				Members: []Member{opened(t, addresses[0])},
			})
			var all sync.WaitGroup
			var asked atomic.Int64
			stop := make(chan struct{})
			once := func(n int) {
				body := fmt.Sprint("body ", n)
				asked.Add(1)
				if _, got, err := ask(t, p, exchange(t, "POST", "/", strings.NewReader(body))); err != nil || got != body {
					t.Errorf("got %q, %v", got, err)
				}
			}
			for range 8 {
				all.Go(func() {
					for n := 0; ; n++ {
						select {
						case <-stop:
							return
						default:
							once(n)
						}
					}
				})
			}
			present, gone := map[string]Member{}, []*Endpoint{}
			for n := range 50 {
				gone = append(gone, shuffle(t, p, addresses, present)...)
				once(n)
			}
			close(stop)
			all.Wait()
			set(t, p)
			if got := served.Load(); got != asked.Load() {
				t.Errorf("agents were asked %d times, want %d: each exchange once", got, asked.Load())
			}
			for _, e := range gone {
				if !e.stats.Retired() {
					t.Errorf("%s left, but was not closed", e.address)
				}
			}
			if len(gone) < 10 {
				t.Errorf("only %d endpoints left: nothing was proven", len(gone))
			}
		})
	}
}

// shuffle gives p other members than it has, at least one, and returns who left.
func shuffle(t *testing.T, p *Pool, addresses []string, present map[string]Member) (gone []*Endpoint) {
	var members []Member
	certain := addresses[rand.IntN(len(addresses))]
	for _, a := range addresses {
		m, is := present[a]
		switch {
		case a != certain && rand.IntN(2) == 0:
			if is {
				gone = append(gone, m.Endpoint)
				delete(present, a)
			}
			continue
		case !is:
			m = opened(t, a)
			present[a] = m
		}
		members = append(members, m)
	}
	set(t, p, members...)
	return gone
}

// TestLeaving proves that an endpoint that leaves ends what it has begun, is shown as
// leaving as long as that takes, gets nothing new, and is closed when it is idle.
func TestLeaving(t *testing.T) {
	begun, let := make(chan struct{}), make(chan struct{})
	slow := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-let
		_, _ = io.WriteString(w, "slow")
	})
	fast := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fast") })
	a, b := opened(t, slow), opened(t, fast)
	p := changing(t, Settings{Members: []Member{a}})
	answer := make(chan string)
	go func() {
		_, body, err := ask(t, p, exchange(t, "GET", "/", nil))
		answer <- fmt.Sprint(body, err)
	}()
	<-begun
	set(t, p, b)
	in := func(s string) string { return strings.TrimPrefix(s, "http://") }
	want := []string{in(fast) + " healthy active=0", in(slow) + " leaving active=1"}
	if diff := cmp.Diff(want, states(p)); diff != "" {
		t.Errorf("while it ends what it has begun (-want +got)\n%s", diff)
	}
	for range 4 {
		x := exchange(t, "GET", "/", nil)
		if _, body, err := ask(t, p, x); err != nil || body != "fast" || x.Endpoint != fast {
			t.Errorf("got %q from %s, %v", body, x.Endpoint, err)
		}
	}
	again := opened(t, slow) // it comes back while the first is still busy
	set(t, p, again, b)
	want = []string{in(slow) + " healthy active=1", in(fast) + " healthy active=0"}
	if diff := cmp.Diff(want, states(p)); diff != "" {
		t.Errorf("when it has come back (-want +got)\n%s", diff)
	}
	set(t, p, b)
	if a.Endpoint.stats.Retired() || !again.Endpoint.stats.Retired() {
		t.Error("the idle one should be closed, and the busy one not")
	}
	close(let)
	if got := <-answer; got != "slow<nil>" {
		t.Errorf("what it had begun ended in %q", got)
	}
	if !a.Endpoint.stats.Retired() {
		t.Error("it is idle, but was not closed")
	}
	want = []string{in(fast) + " healthy active=0"}
	if diff := cmp.Diff(want, states(p)); diff != "" {
		t.Errorf("when it has ended (-want +got)\n%s", diff)
	}
}

// TestShared proves that an endpoint that leaves one of its pools stays open for the other.
func TestShared(t *testing.T) {
	address := serve(t, func(http.ResponseWriter, *http.Request) {})
	m := opened(t, address)
	p, q := changing(t, Settings{Members: []Member{m}}), changing(t, Settings{Members: []Member{m}})
	set(t, p)
	if _, _, err := ask(t, q, exchange(t, "GET", "/", nil)); err != nil {
		t.Error(err)
	}
	if got := states(p); got != nil {
		t.Errorf("the pool that it left lists %v", got)
	}
	set(t, q)
	if !m.Endpoint.stats.Retired() {
		t.Error("it has left all its pools, but was not closed")
	}
}

// TestNobody proves what a client sees when there is no endpoint, and that a pool without
// any takes some later.
func TestNobody(t *testing.T) {
	p := changing(t, Settings{})
	_, _, err := ask(t, p, exchange(t, "GET", "/", nil))
	e := wantCode(t, err, airside.Unavailable)
	if want := "no instance of the agent is known at the moment; try again soon"; e.Message != want || e.RetryAfter != time.Second {
		t.Errorf("got %q, after %s", e.Message, e.RetryAfter)
	}
	if !NothingSent(err) {
		t.Error("nothing was sent, but the error does not say so")
	}
	if s := p.Snapshot(); s.Overflows != 0 || len(s.Endpoints) != 0 {
		t.Errorf("the snapshot is %+v", s)
	}
	set(t, p, opened(t, serve(t, func(http.ResponseWriter, *http.Request) {})))
	if _, _, err := ask(t, p, exchange(t, "GET", "/", nil)); err != nil {
		t.Error(err)
	}
	if err := p.Set([]Member{{Weight: MaxWeight + 1}}); err == nil {
		t.Error("a weight out of bounds was taken")
	}
	if got := p.Snapshot().Endpoints; len(got) != 1 || got[0].Requests != 1 {
		t.Errorf("after members that were refused: %+v, want those before", got)
	}
}

// TestCounts proves what a snapshot counts: requests, failures by the agent's fault alone,
// the latency, and exchanges for which there was no room.
func TestCounts(t *testing.T) {
	let := make(chan struct{})
	begun := make(chan struct{})
	l := link()
	l.MaxActive = 1
	m := member1(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/500":
			w.WriteHeader(http.StatusInternalServerError)
		case "/501":
			w.WriteHeader(http.StatusNotImplemented)
		case "/400":
			w.WriteHeader(http.StatusBadRequest)
		case "/break":
			panic(http.ErrAbortHandler)
		case "/half":
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "half")
		case "/wait":
			close(begun)
			<-let
		}
	}), l)
	p, err := New(Settings{Members: []Member{m}, Limits: limits, Host: HostUpstream})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/", "/500", "/501", "/400", "/break", "/half"} {
		_, _, _ = ask(t, p, exchange(t, "POST", path, nil)) // some fail, as they are told to
	}
	_, _, err = ask(t, p, exchange(t, "POST", "/", iotestErr{}))
	wantCode(t, err, airside.Invalid)
	done := make(chan error)
	go func() {
		_, _, err := ask(t, p, exchange(t, "GET", "/wait", nil))
		done <- err
	}()
	<-begun
	_, _, err = ask(t, p, exchange(t, "GET", "/", nil))
	wantCode(t, err, airside.Unavailable)
	s := p.Snapshot()
	e := s.Endpoints[0]
	close(let)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if e.Requests != 8 || e.Failures != 3 || e.Active != 1 || s.Overflows != 1 {
		t.Errorf("got %d requests, %d failures, %d active and %d overflows, want 8, 3, 1 and 1", e.Requests, e.Failures, e.Active, s.Overflows)
	}
	if e.Latency <= 0 || e.Latency > time.Minute || s.Balance != balance.RoundRobin {
		t.Errorf("got %s, by %s", e.Latency, s.Balance)
	}
}

// TestSlowClientIsNoFailure proves that no failure of an endpoint is counted if it was the
// client who took all the time that a try, or the whole, is given.
func TestSlowClientIsNoFailure(t *testing.T) {
	for _, set := range []func(*Settings){
		func(s *Settings) { s.Limits.Total = 50 * time.Millisecond },
		func(s *Settings) { s.Retry = retry(func(r *Retry) { r.Attempts, r.PerTry = 1, 50*time.Millisecond }) },
	} {
		p := pool1(t, serve(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }), link(), set)
		x := exchange(t, "PUT", "/", stall(t, "some"))
		x.Request.ContentLength = 100
		_, _, err := ask(t, p, x)
		wantCode(t, err, airside.Timeout)
		if e := p.Snapshot().Endpoints[0]; e.Failures != 0 {
			t.Errorf("got %d failures, want none: %v", e.Failures, err)
		}
	}
}

// iotestErr is a client whose body breaks off.
type iotestErr struct{}

func (iotestErr) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestTwice proves that an endpoint that is a member for two paths is listed once.
func TestTwice(t *testing.T) {
	m := member1(t, "http://127.0.0.1:1", link())
	n := m
	m.Path, n.Path, n.Weight = "/a", "/b", 2
	p, err := New(Settings{Members: []Member{m, n}})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Snapshot().Endpoints; len(got) != 1 || got[0].Weight != 3 {
		t.Errorf("got %+v, want one of weight 3", got)
	}
}

// TestChooseAllocates proves that a choice allocates nothing.
func TestChooseAllocates(t *testing.T) {
	for _, by := range []string{balance.RoundRobin, balance.PeakEWMA} {
		for n := 1; n <= 3; n++ {
			var members []Member
			for i := range n {
				members = append(members, member1(t, fmt.Sprintf("http://127.0.0.1:%d", i+1), link()))
			}
			p, err := New(Settings{Members: members, Balance: balance.Settings{By: by}})
			if err != nil {
				t.Fatal(err)
			}
			x := exchange(t, "GET", "/", nil)
			got := testing.AllocsPerRun(100, func() {
				m, err := p.choose(x)
				if err != nil {
					t.Fatal(err)
				}
				m.release()
			})
			if got != 0 {
				t.Errorf("%s of %d: got %.0f allocations", by, n, got)
			}
		}
	}
}
