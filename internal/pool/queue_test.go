package pool

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

// queued waits until so many exchanges stand in the queue of p.
func queued(p *Pool, n int) {
	for p.Snapshot().Queued != n {
		<-time.After(time.Millisecond)
	}
}

// TestQueue proves that exchanges wait for a place in the order in which they came, that
// one too many, one that waits too long and one whose client leaves do not get one, and
// that only those who get none count as overflows.
func TestQueue(t *testing.T) {
	let := make(chan struct{})
	var mu sync.Mutex
	var got []string
	l := link()
	l.MaxActive = 1
	m := member1(t, serve(t, func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got = append(got, r.URL.Path)
		mu.Unlock()
		<-let
	}), l)
	p, err := New(Settings{Members: []Member{m}, Limits: limits, Host: HostUpstream, Queue: &Queue{Size: 3, Wait: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	come := func(path string, want airside.Code) func() {
		x := exchange(t, "GET", path, nil)
		ctx, leave := context.WithCancel(x.Context())
		x.Request = x.Request.WithContext(ctx)
		all.Go(func() {
			_, _, err := ask(t, p, x)
			if code := codeOf(err); code != want {
				t.Errorf("%s: %v, want %q", path, err, want)
			}
		})
		return leave
	}
	leaves := []func(){come("/a", "")}
	for p.Snapshot().Endpoints[0].Active < 1 {
		<-time.After(time.Millisecond)
	}
	for i, path := range []string{"/b", "/gone", "/c"} {
		want := airside.Code("")
		if path == "/gone" {
			want = airside.Canceled
		}
		leaves = append(leaves, come(path, want))
		queued(p, i+1)
	}
	_, _, err = ask(t, p, exchange(t, "GET", "/many", nil))
	if e := wantCode(t, err, airside.Unavailable); e.RetryAfter != time.Second {
		t.Errorf("got Retry-After %s, want 1s", e.RetryAfter)
	}
	leaves[2]()
	queued(p, 2)
	close(let)
	all.Wait()
	for _, leave := range leaves {
		leave()
	}
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff([]string{"/a", "/b", "/c"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s := p.Snapshot(); s.Overflows != 1 || s.Queued != 0 {
		t.Errorf("%d overflows and %d in the queue, want 1 and 0", s.Overflows, s.Queued)
	}
}

func codeOf(err error) airside.Code {
	if err == nil {
		return ""
	}
	return airside.AsError(err).Code
}

// TestQueueWaits proves that nobody waits longer than wait.
func TestQueueWaits(t *testing.T) {
	let := make(chan struct{})
	l := link()
	l.MaxActive = 1
	m := member1(t, serve(t, func(http.ResponseWriter, *http.Request) { <-let }), l)
	p, err := New(Settings{Members: []Member{m}, Limits: limits, Host: HostUpstream, Queue: &Queue{Size: 1, Wait: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	var first sync.WaitGroup
	first.Go(func() {
		if _, _, err := ask(t, p, exchange(t, "GET", "/", nil)); err != nil {
			t.Error(err)
		}
	})
	for p.Snapshot().Endpoints[0].Active < 1 {
		<-time.After(time.Millisecond)
	}
	began := time.Now()
	_, _, err = ask(t, p, exchange(t, "GET", "/", nil))
	wantCode(t, err, airside.Unavailable)
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("refused after %v, want 50ms", took)
	}
	close(let)
	first.Wait()
}

// TestQueueLosesNobody proves that under load everybody who waits gets a place, with two
// pools at the same endpoint, as after a reload.
func TestQueueLosesNobody(t *testing.T) {
	var under, most atomic.Int64
	l := link()
	l.MaxActive = 2
	m := member1(t, serve(t, func(http.ResponseWriter, *http.Request) {
		if n := under.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-time.After(100 * time.Microsecond)
		under.Add(-1)
	}), l)
	var pools []*Pool
	for range 2 {
		p, err := New(Settings{Members: []Member{m}, Limits: limits, Host: HostUpstream, Queue: &Queue{Size: 100, Wait: time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		pools = append(pools, p)
	}
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			for range 20 {
				if _, _, err := ask(t, pools[i%2], exchange(t, "GET", "/", nil)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if most.Load() > 2 {
		t.Errorf("%d at once, want at most 2", most.Load())
	}
	for i, p := range pools {
		if s := p.Snapshot(); s.Queued != 0 || s.Overflows != 0 {
			t.Errorf("pool %d: %d in the queue and %d overflows, want none", i, s.Queued, s.Overflows)
		}
	}
}

// TestQueueNoHedge proves that a second request beside the first waits for nobody, and takes
// no place from those who wait.
func TestQueueNoHedge(t *testing.T) {
	let := make(chan struct{})
	l := link()
	l.MaxActive = 1
	s := Settings{Limits: limits, Host: HostUpstream, Queue: &Queue{Size: 1, Wait: time.Minute}}
	for range 2 {
		s.Members = append(s.Members, member1(t, serve(t, func(http.ResponseWriter, *http.Request) { <-let }), l))
	}
	p, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 3 {
		all.Go(func() {
			if _, _, err := ask(t, p, exchange(t, "GET", "/", nil)); err != nil {
				t.Error(err)
			}
		})
		for s := p.Snapshot(); s.Queued+s.Endpoints[0].Active+s.Endpoints[1].Active != i+1; s = p.Snapshot() {
			<-time.After(time.Millisecond)
		}
	}
	x := exchange(t, "GET", "/", nil)
	x.Request = x.Request.WithContext(context.WithValue(x.Context(), triedKey{}, elsewhere{&tried{}}))
	_, _, err = ask(t, p, x)
	wantCode(t, err, airside.Unavailable)
	if s := p.Snapshot(); s.Overflows != 0 || s.Queued != 1 {
		t.Errorf("%d overflows and %d in the queue, want 0 and 1", s.Overflows, s.Queued)
	}
	close(let)
	all.Wait()
}
