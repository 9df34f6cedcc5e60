package pool

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
)

// TestShares proves that agents get exchanges by their weight, exactly, also from many
// goroutines at once.
func TestShares(t *testing.T) {
	var counts [3]atomic.Int64
	var s Settings
	for i, weight := range []int{3, 2, 1} {
		m := member1(t, serve(t, func(http.ResponseWriter, *http.Request) { counts[i].Add(1) }), link())
		m.Weight = weight
		s.Members = append(s.Members, m)
	}
	s.Host = HostUpstream
	p, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			for range 20 {
				if _, _, err := ask(t, p, exchange(t, "GET", "/", nil)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	got := [3]int64{counts[0].Load(), counts[1].Load(), counts[2].Load()}
	if want := [3]int64{60, 40, 20}; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestMax proves that no more exchanges are under way at an endpoint than it may have,
// that the next endpoint with room is asked, and that the answer is 503 at once when
// there is none.
func TestMax(t *testing.T) {
	let := make(chan struct{})
	agent := func() Member {
		l := link()
		l.MaxActive = 2
		return member1(t, serve(t, func(http.ResponseWriter, *http.Request) { <-let }), l)
	}
	p, err := New(Settings{Members: []Member{agent(), agent()}, Limits: limits, Host: HostUpstream})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, _, err := ask(t, p, exchange(t, "GET", "/", nil)); err != nil {
				t.Error(err)
			}
		})
	}
	for p.Snapshot().Endpoints[0].Active+p.Snapshot().Endpoints[1].Active < 4 {
		<-time.After(time.Millisecond)
	}
	_, _, err = ask(t, p, exchange(t, "GET", "/", nil))
	if e := wantCode(t, err, airside.Unavailable); e.RetryAfter != time.Second {
		t.Errorf("got Retry-After %s, want 1s", e.RetryAfter)
	}
	if !NothingSent(err) {
		t.Error("nothing was sent, but the error does not say so")
	}
	close(let)
	all.Wait()
	if _, _, err := ask(t, p, exchange(t, "GET", "/", nil)); err != nil {
		t.Errorf("after the others: %v", err)
	}
}

// TestReuse proves that connections are used again after a whole answer, and not after
// one that was given up.
func TestReuse(t *testing.T) {
	tests := []struct {
		name  string
		body  string
		read  func(*http.Response)
		reuse bool
	}{
		{"read", "", func(r *http.Response) { _, _ = io.Copy(io.Discard, r.Body) }, true},
		{"with a body", "hello", func(r *http.Response) { _, _ = io.Copy(io.Discard, r.Body) }, true},
		{"long and not read", "long", func(*http.Response) {}, false},
		{"endless and not read", "endless", func(*http.Response) {}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var conns atomic.Int64
			s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				switch string(b) {
				case "long":
					_, _ = w.Write(make([]byte, 300<<10))
				case "endless":
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done()
				default:
					_, _ = w.Write([]byte("answer"))
				}
			}))
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					conns.Add(1)
				}
			}
			s.Start()
			t.Cleanup(s.Close)
			p := pool1(t, s.URL, link())
			for range 5 {
				resp, err := p.Handle(exchange(t, "POST", "/", strings.NewReader(tt.body)))
				if err != nil {
					t.Fatal(err)
				}
				tt.read(resp)
				_ = resp.Body.Close()
			}
			want := int64(5)
			if tt.reuse {
				want = 1
			}
			if got := conns.Load(); got != want {
				t.Errorf("got %d connections, want %d", got, want)
			}
		})
	}
}

// TestStale proves that a request which went into a connection that the agent had just
// closed is sent again where that is safe: if it may be repeated, with its body too.
func TestStale(t *testing.T) {
	tests := []struct {
		method, body string
		header       http.Header
		ok           bool
	}{
		{"GET", "", nil, true},
		{"DELETE", "", nil, true},
		{"PUT", "body", nil, true},
		{"POST", "body", http.Header{"Idempotency-Key": {"1"}}, true},
		{"POST", "body", http.Header{}, false}, // a part was sent
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.method, len(tt.header)), func(t *testing.T) {
			var conns atomic.Int64
			p := pool1(t, raw(t, func(c *net.TCPConn) {
				n := conns.Add(1)
				for first := true; ; first = false {
					r := newReader(c)
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					b, _ := io.ReadAll(req.Body)
					if n == 1 && !first {
						reset(c)
						return
					}
					write(c, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(b), b))
				}
			}), link())
			if _, _, err := ask(t, p, exchange(t, "GET", "/", nil)); err != nil {
				t.Fatal(err)
			}
			x := exchange(t, tt.method, "/", strings.NewReader(tt.body))
			maps.Copy(x.Request.Header, tt.header)
			_, body, err := ask(t, p, x)
			if !tt.ok {
				wantCode(t, err, airside.UpstreamFailed)
				return
			}
			if err != nil || body != tt.body {
				t.Errorf("got %q, %v, want %q", body, err, tt.body)
			}
		})
	}
}

// TestStaleBound proves that a request which makes the agent break off is not sent over
// one idle connection after the other without end.
func TestStaleBound(t *testing.T) {
	var poisoned atomic.Int64
	var waiting sync.WaitGroup
	waiting.Add(10)
	p := pool1(t, raw(t, func(c *net.TCPConn) {
		for {
			req, err := http.ReadRequest(newReader(c))
			if err != nil {
				return
			}
			if req.URL.Path == "/poison" {
				poisoned.Add(1)
				reset(c)
				return
			}
			waiting.Done()
			waiting.Wait()
			write(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	}), link())
	var all sync.WaitGroup
	for range 10 { // ten idle connections
		all.Go(func() { _, _, _ = ask(t, p, exchange(t, "GET", "/", nil)) })
	}
	all.Wait()
	_, _, err := ask(t, p, exchange(t, "GET", "/poison", nil))
	e := wantCode(t, err, airside.UpstreamFailed)
	if NothingSent(err) {
		t.Errorf("%v says that nothing was sent", e)
	}
	if got := poisoned.Load(); got > maxConns {
		t.Errorf("the request was sent %d times, want at most %d", got, maxConns)
	}
}

// TestEndpointClosed proves that an endpoint closes what it has, and that what was under
// way goes on to its end.
func TestEndpointClosed(t *testing.T) {
	let := make(chan struct{})
	m := member1(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		<-let
		_, _ = io.WriteString(w, "the end")
	}), link())
	p, err := New(Settings{Members: []Member{m}, Limits: limits, Host: HostUpstream})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.Handle(exchange(t, "GET", "/", nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Endpoint.Close(); err != nil {
		t.Fatal(err)
	}
	close(let)
	b, err := io.ReadAll(resp.Body)
	if err != nil || string(b) != "the end" {
		t.Errorf("got %q, %v", b, err)
	}
	_ = resp.Body.Close()
}

// TestTimeoutOfStreams proves that the time-out of the exchange does not end an event
// stream that has begun, and does end any other answer.
func TestTimeoutOfStreams(t *testing.T) {
	for _, tt := range []struct {
		media string
		ok    bool
	}{{"text/event-stream; charset=utf-8", true}, {"application/json", false}} {
		t.Run(tt.media, func(t *testing.T) {
			p := pool1(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", tt.media)
				for range 5 {
					_, _ = io.WriteString(w, "data: x\n\n")
					_ = http.NewResponseController(w).Flush()
					select {
					case <-time.After(150 * time.Millisecond):
					case <-r.Context().Done():
					}
				}
			}), link(), func(s *Settings) { s.Limits.Total = 400 * time.Millisecond })
			_, body, err := ask(t, p, exchange(t, "GET", "/", nil))
			if tt.ok {
				if want := strings.Repeat("data: x\n\n", 5); err != nil || body != want {
					t.Errorf("got %q, %v", body, err)
				}
				return
			}
			wantCode(t, err, airside.Timeout)
		})
	}
}

// TestCanceled proves that the agent is let go when the client leaves, before the answer
// and within it, and that this is no fault of the agent.
func TestCanceled(t *testing.T) {
	for _, begun := range []bool{false, true} {
		for _, protocol := range []string{H1, H2C} {
			t.Run(fmt.Sprint(protocol, begun), func(t *testing.T) {
				asked, gone := make(chan struct{}), make(chan struct{})
				p := pool1(t, serveAll(t, func(w http.ResponseWriter, r *http.Request) {
					if begun {
						_ = http.NewResponseController(w).Flush()
					}
					close(asked)
					<-r.Context().Done()
					close(gone)
				}), linkOf(protocol))
				x := exchange(t, "GET", "/", nil)
				ctx, cancel := context.WithCancel(x.Context())
				x.Request = x.Request.WithContext(ctx)
				go func() { <-asked; cancel() }()
				_, _, err := ask(t, p, x)
				wantCode(t, err, airside.Canceled)
				<-gone
			})
		}
	}
}

// TestHTTP2 proves that unencrypted HTTP/2 works both ways at the same time, and that
// failures are told as over HTTP/1.1.
func TestHTTP2(t *testing.T) {
	address := serveAll(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/proto":
			_, _ = io.WriteString(w, r.Proto)
		case "/echo":
			c := http.NewResponseController(w)
			_ = c.Flush()
			_, _ = io.Copy(flusher{w, c}, r.Body)
		case "/cut":
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/refuse":
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			_, _ = io.WriteString(w, "too much")
		case "/giant":
			for range 300 {
				w.Header().Add("X-A", strings.Repeat("a", 1<<10))
			}
		case "/field":
			w.Header().Set("X-A", strings.Repeat("a", 300<<10))
		case "/silent":
			<-r.Context().Done()
		}
	})
	p := pool1(t, address, linkOf(H2C))
	_, body, err := ask(t, p, exchange(t, "GET", "/proto", nil))
	if err != nil || body != "HTTP/2.0" {
		t.Errorf("got %q, %v", body, err)
	}
	_, body, err = ask(t, p, exchange(t, "POST", "/echo", strings.NewReader(strings.Repeat("x", 1<<20))))
	if err != nil || len(body) != 1<<20 {
		t.Errorf("got %d bytes, %v", len(body), err)
	}
	_, body, err = ask(t, p, exchange(t, "GET", "/cut", nil))
	if wantCode(t, err, airside.UpstreamFailed); body != "half" {
		t.Errorf("got %q, want half", body)
	}
	_, _, err = ask(t, p, exchange(t, "GET", "/abort", nil))
	wantCode(t, err, airside.UpstreamFailed)
	_, _, err = ask(t, p, exchange(t, "GET", "/giant", nil))
	if e := wantCode(t, err, airside.UpstreamFailed); !strings.Contains(e.Message, "256KiB") {
		t.Errorf("got %v", e)
	}
	_, _, err = ask(t, p, exchange(t, "GET", "/field", nil))
	if e := wantCode(t, err, airside.UpstreamFailed); !strings.Contains(e.Message, "not valid HTTP") {
		t.Errorf("got %v", e)
	}
	hasty := pool1(t, address, linkOf(H2C), func(s *Settings) { s.Limits.FirstByte = 60 * time.Millisecond })
	_, _, err = ask(t, hasty, exchange(t, "GET", "/silent", nil))
	wantCode(t, err, airside.Timeout)
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		resp, body, err := ask(t, p, exchange(t, "POST", "/refuse", endless{ctx}))
		cancel()
		if err != nil || resp.StatusCode != 413 || body != "too much" {
			t.Fatalf("got %v, %q, %v", resp, body, err)
		}
	}
	_, _, err = ask(t, p, exchange(t, "POST", "/abort", stall(t, "some")))
	wantCode(t, err, airside.UpstreamFailed)
}

// TestNewBounds proves that a pool out of bounds is refused.
func TestNewBounds(t *testing.T) {
	m := member1(t, "http://127.0.0.1:1", link())
	light, heavy, odd := m, m, m
	light.Weight, heavy.Weight, odd.Path = 0, MaxWeight+1, "/%zz"
	for _, members := range [][]Member{{light}, {heavy}, {odd}, make([]Member, MaxMembers+1)} {
		if _, err := New(Settings{Members: members}); err == nil {
			t.Errorf("%d members %+v: got no error", len(members), members)
		}
	}
}
