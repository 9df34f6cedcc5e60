package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool/balance"
	"github.com/airside-gateway/airside/internal/pool/health"
)

// moody is an agent that does whatever agents do, until it is told to be good.
type moody struct{ good atomic.Bool }

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	mood := rand.IntN(24)
	if m.good.Load() {
		mood = 23
	}
	rest := context.WithoutCancel(r.Context())
	slow := func(d time.Duration) {
		ctx, cancel := context.WithTimeout(rest, d)
		defer cancel()
		select {
		case <-ctx.Done():
		case <-r.Context().Done():
		}
	}
	switch mood {
	case 0:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case 1: // before it answers
		panic(http.ErrAbortHandler)
	case 2: // within its answer
		w.Header().Set("Content-Length", "100000")
		_, _ = io.WriteString(w, "begun")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case 3: // after its head
		w.Header().Set("Content-Length", "100000")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case 4, 5:
		slow(5 * time.Millisecond)
	case 6:
		slow(350 * time.Millisecond)
	case 7: // early
		w.WriteHeader(http.StatusConflict)
		return
	case 8:
		w.WriteHeader(http.StatusProcessing)
	case 9:
		w.WriteHeader(http.StatusNotModified)
		return
	case 10:
		w.Header().Set("Content-Type", "text/event-stream")
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	for range 20 {
		_, _ = fmt.Fprintf(w, "%s %s %d\n", r.URL.Path, r.Header.Get("X-Id"), len(b))
	}
}

// TestEverythingAtOnce proves that with all that a pool can do in use at once, while agents
// misbehave, clients leave, endpoints come and go, and generations change, every exchange
// gets its own answer, whole or not at all; and that afterwards nothing is held: no place,
// nobody in the queue, no goroutine (see TestMain), no descriptor; and that agents who
// are good again are well again.
func TestEverythingAtOnce(t *testing.T) {
	before := descriptors(t)
	stress(t)
	for after := descriptors(t); after > before; after = descriptors(t) { // or the test does not end
		<-time.After(time.Millisecond)
	}
}

// descriptors counts those that are open; 0 where the system does not say.
func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return len(open)
}

func stress(t *testing.T) {
	agents, all := make([]*moody, 4), make([]*Endpoint, 0, 4)
	var members []Member
	l := link()
	l.MaxActive, l.MaxIdle = 6, 3
	for i := range agents {
		agents[i] = &moody{}
		s := httptest.NewServer(agents[i])
		defer s.Close()
		u, err := url.Parse(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Open(u, l)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
		members = append(members, Member{Endpoint: e, Weight: 1 + i})
	}
	reopen := func(i int) Member { // an endpoint that has left is not used again
		u := &url.URL{Scheme: all[i].scheme, Host: all[i].host}
		e, err := Open(u, l)
		if err != nil {
			t.Error(err)
		}
		all = append(all, e)
		return Member{Endpoint: e, Weight: 1}
	}
	eject := ejecting()
	eject.Eject.Errors, eject.Eject.For, eject.Eject.Max, eject.Eject.HalfOpen = 3, 5*time.Millisecond, 1, 2
	eject.Breaker, eject.Panic = breaker(6, 5*time.Millisecond, 2), 0.3
	group := health.New(eject)
	defer group.Close()

	made := func(by string) *Pool {
		p, err := New(Settings{
			Members: members, Limits: Limits{Total: 5 * time.Second, FirstByte: 300 * time.Millisecond, FirstEvent: time.Second, StreamIdle: time.Second},
			Host: HostUpstream, Balance: balance.Settings{By: by, Load: 1.25, SlowStart: 10 * time.Millisecond}, Health: group,
			Key:   func(x *airside.Exchange) uint64 { return balance.Key(x.Request.URL.Path) },
			Retry: retry(func(r *Retry) { r.PerTry, r.Backoff, r.Budget = 200*time.Millisecond, time.Millisecond, 1 }),
			Queue: &Queue{Size: 8, Wait: 200 * time.Millisecond}, Hedge: hedge(func(h *Hedge) { h.After, h.Max = "3ms", 2 }),
			Deadline: Deadline{Header: "X-Left"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	var present atomic.Pointer[Pool]
	present.Store(made(balance.LeastRequest))
	pools := []*Pool{present.Load()}

	var clients, ruler sync.WaitGroup
	var whole, cut atomic.Int64
	over := make(chan struct{})
	for c := range 12 {
		clients.Go(func() {
			for i := range 40 {
				switch got := client(t, present.Load(), fmt.Sprintf("%d-%d", c, i)); {
				case got:
					whole.Add(1)
				default:
					cut.Add(1)
				}
			}
		})
	}
	ruler.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-over:
				return
			case <-time.After(2 * time.Millisecond):
			}
			p := present.Load()
			if i%10 == 9 { // a new generation
				next := made([]string{balance.RoundRobin, balance.PeakEWMA, balance.Hash, balance.LeastRequest, balance.Random}[i/10%5])
				present.Store(next)
				pools = append(pools, next)
				p.Retire()
				_ = p.Set(nil)
				p = next
			}
			k := i % len(members)
			if i%3 == 0 { // one leaves, and comes back as another
				rest := append(append([]Member(nil), members[:k]...), members[k+1:]...)
				_ = p.Set(rest)
				members[k] = reopen(k)
			}
			_ = p.Set(members)
			_ = p.Snapshot()
		}
	})
	clients.Wait()
	close(over)
	ruler.Wait()
	if whole.Load() < cut.Load() {
		t.Errorf("%d exchanges were answered and %d were not: that proves little", whole.Load(), cut.Load())
	}
	for _, a := range agents {
		a.good.Store(true)
	}
	recovers(t, present.Load(), len(members))
	for _, p := range pools {
		p.Retire()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if s := p.Snapshot(); s.Queued != 0 {
			t.Errorf("%d are in the queue", s.Queued)
		}
	}
	for _, e := range all {
		if n := e.stats.Active(); n != 0 || !e.stats.Retired() {
			t.Errorf("%d places at %s were not given back; retired is %v", n, e.address, e.stats.Retired())
		}
	}
}

// recovers waits until all endpoints are well again.
func recovers(t *testing.T, p *Pool, n int) {
	for i := 0; ; i++ {
		client(t, p, fmt.Sprintf("again-%d", i))
		well := 0
		for _, e := range p.Snapshot().Endpoints {
			if e.State == StateHealthy || e.State == StateWarming {
				well++
			}
		}
		if well == n && i > 100 {
			return
		}
	}
}

// client makes an exchange as the edge and a client would, and reports whether the answer
// was whole.
func client(t *testing.T, p *Pool, id string) bool {
	method := []string{"GET", "PUT", "POST", "HEAD", "DELETE"}[rand.IntN(5)]
	size := []int{0, 1, 2000, 40_000, 100_000}[rand.IntN(5)]
	var body io.Reader
	if size > 0 && method != "HEAD" {
		body = strings.NewReader(strings.Repeat("x", size))
	} else {
		size = 0
	}
	x := exchange(t, method, "/"+id, body)
	x.Request.Header.Set("X-Id", id)
	ctx, leave := context.WithCancel(x.Context())
	defer leave()
	if rand.IntN(8) == 0 {
		defer time.AfterFunc(time.Duration(rand.IntN(10_000))*time.Microsecond, leave).Stop()
	}
	x.Request = x.Request.WithContext(ctx)
	defer x.Finish(airside.Outcome{})
	resp, err := p.Handle(x)
	if err != nil {
		if airside.AsError(err).Code == airside.Internal {
			t.Errorf("%s: %v", id, err)
		}
		return false
	}
	defer resp.Body.Close()
	if rand.IntN(10) == 0 { // wants no more of it
		return false
	}
	b, err := readAll(resp.Body, rand.IntN(2) == 0)
	if err != nil {
		return false
	}
	want := strings.Repeat(fmt.Sprintf("/%s %s %d\n", id, id, size), 20)
	if resp.StatusCode == http.StatusOK && method != "HEAD" && string(b) != want {
		t.Errorf("%s: got %.60q, want %.60q", id, b, want)
	}
	return resp.StatusCode < 500
}
