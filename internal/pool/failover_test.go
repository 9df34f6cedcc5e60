package pool

import (
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/airside-gateway/airside"
)

// TestRetryWhen proves what a condition sees, and that it makes no request be sent again
// that may not be.
func TestRetryWhen(t *testing.T) {
	tests := []struct {
		name, when, method string
		header             http.Header
		list               []any
		tries              int
	}{
		{"a status", `response.status == 409 && response.headers["x-again"] == "1"`, "GET", http.Header{"X-Again": {"1"}}, []any{409, 200}, 2},
		{"not the header", `response.status == 409 && response.headers["x-again"] == "1"`, "GET", nil, []any{409, 200}, 1},
		{"a good answer too", `response.status == 202`, "GET", nil, []any{202}, 3},
		{"what is listed still is", `response.status == 409`, "GET", nil, []any{503, 409, 200}, 3},
		{"a request that may not be repeated", `response.status == 409`, "POST", nil, []any{409}, 1},
		{"an error", `error.kind == "malformed" && request.method == "GET"`, "GET", nil, []any{fails(malformed, true), 200}, 2},
		{"no place", `error.kind == "unavailable" && error.code == "unavailable"`, "POST", nil, []any{fails(full, false), 200}, 2},
		{"a client's fault", `error.code != ""`, "GET", nil, []any{airside.Errorf(airside.Invalid, ""), 200}, 1},
		{"an upgrade", `true`, "GET", nil, []any{101, 200}, 1},
		{"cannot be evaluated", `response.headers["x-none"] == ""`, "GET", nil, []any{409, 200}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &answers{list: tt.list}
				r := retry(func(r *Retry) { r.When = tt.when })
				if err := r.Validate(); err != nil {
					t.Fatal(err)
				}
				h := airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
					resp, err := a.Handle(x)
					if err == nil {
						maps.Copy(resp.Header, tt.header)
					}
					return resp, err
				})
				x := exchange(t, tt.method, "/", nil)
				if _, err := r.Middleware(half)(h).Handle(x); err != nil && tt.tries > 1 {
					t.Error(err)
				}
				if a.n != tt.tries {
					t.Errorf("got %d tries, want %d", a.n, tt.tries)
				}
			})
		})
	}
	bad := retry(func(r *Retry) { r.When, r.PerTry = "response.state == 1", -1 })
	err := bad.Validate()
	if err == nil || !strings.Contains(err.Error(), `when: column 9: response has no field "state"`) || !strings.Contains(err.Error(), "per_try: must not") {
		t.Errorf("got %v", err)
	}
}

// TestPerTry proves that a slow endpoint leaves time for another, and that only requests
// that may be sent again are given up so.
func TestPerTry(t *testing.T) {
	slow := func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.WriteString(w, "slow")
			return
		}
		w.Header().Set("Content-Length", "100") // a head alone does not begin an answer
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	hangs := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	s := Settings{Limits: limits, Host: HostUpstream, Retry: retry(func(r *Retry) {
		r.PerTry, r.Backoff, r.On = 100*time.Millisecond, time.Millisecond, nil
	})}
	for _, h := range []http.HandlerFunc{slow, hangs, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fast") }} {
		s.Members = append(s.Members, member1(t, serve(t, h), link()))
	}
	p, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		if _, got, err := asks(t, p, exchange(t, "GET", "/", nil)); err != nil || got != "fast" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if n := p.Snapshot().Retries; n < 6 {
		t.Errorf("got %d retries", n)
	}
	only, err := New(Settings{Members: s.Members[1:2], Limits: limits, Host: HostUpstream, Retry: s.Retry})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = asks(t, only, exchange(t, "GET", "/", nil))
	if e := wantCode(t, err, airside.Timeout); !strings.Contains(e.Message, "within 100ms") {
		t.Errorf("got %q", e.Message)
	}
	post := exchange(t, "POST", "/", nil)
	wait, err := New(Settings{Members: s.Members[:1], Limits: limits, Host: HostUpstream, Retry: retry(func(r *Retry) { r.PerTry = time.Nanosecond })})
	if err != nil {
		t.Fatal(err)
	}
	if _, got, err := asks(t, wait, post); err != nil || got != "slow" {
		t.Errorf("a request that may not be sent again: got %q, %v", got, err)
	}
}

// begins are agents that send a head, and then no first byte.
var begins = []struct {
	name  string
	head  string
	wait  bool // the connection stays open
	again bool // with retry alone; otherwise with FirstEvent
}{
	{"breaks off", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", false, true},
	{"breaks off, in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, true},
	{"a stream breaks off", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", false, false},
	{"a stream says nothing", "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", true, false},
}

// TestFirstByte proves that an answer which fails between its head and its first byte is
// asked for elsewhere, if that is wanted and the request may be repeated, and that such a
// failure is an error otherwise.
func TestFirstByte(t *testing.T) {
	for _, b := range begins {
		t.Run(b.name, func(t *testing.T) {
			var asked atomic.Int64
			bad := member1(t, raw(t, func(c *net.TCPConn) {
				_ = head(c)
				asked.Add(1)
				write(c, b.head)
				if b.wait {
					hold(c)
				}
			}), link())
			good := member1(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, "data: 1\n\n")
			}), link())
			s := Settings{Members: []Member{bad, good}, Limits: limits, Host: HostUpstream, Retry: retry(func(r *Retry) { r.Backoff = time.Millisecond })}
			s.Limits.FirstEvent = 200 * time.Millisecond
			if b.again {
				s.Limits.FirstEvent = 0
			}
			p, err := New(s)
			if err != nil {
				t.Fatal(err)
			}
			for range 4 {
				if _, got, err := asks(t, p, exchange(t, "GET", "/", nil)); err != nil || got != "data: 1\n\n" {
					t.Errorf("got %q, %v", got, err)
				}
			}
			if asked.Load() == 0 {
				t.Fatal("the agent that fails was not asked")
			}
			s.Members = s.Members[:1]
			if p, err = New(s); err != nil {
				t.Fatal(err)
			}
			asked.Store(0)
			resp, _, err := asks(t, p, exchange(t, "POST", "/", nil))
			if e, ok := errors.AsType[*airside.Error](err); !ok || e.Code != airside.UpstreamFailed && e.Code != airside.Timeout || asked.Load() != 1 {
				t.Errorf("a request that may not be repeated: got %v, %v after %d requests", resp, err, asked.Load())
			}
		})
	}
}

// TestStreamIdleAfterFirstEvent proves that FirstEvent is in force before the first byte
// only, and StreamIdle after it, whichever is longer.
func TestStreamIdleAfterFirstEvent(t *testing.T) {
	for _, tt := range []struct {
		name        string
		first, idle time.Duration
		wait        time.Duration // of the agent, before the first byte
	}{
		{"a long time before, a short one after", time.Minute, 100 * time.Millisecond, 300 * time.Millisecond},
		{"a short time before, a longer one after", 10 * time.Second, 300 * time.Millisecond, time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var n atomic.Int64
			p := pool1(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				n.Add(1)
				w.Header().Set("Content-Type", "text/event-stream")
				_ = http.NewResponseController(w).Flush()
				<-time.After(tt.wait)
				_, _ = io.WriteString(w, "data: 1\n\n")
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			}), link(), func(s *Settings) {
				s.Limits.FirstEvent, s.Limits.StreamIdle, s.Retry = tt.first, tt.idle, retry()
			})
			_, got, err := asks(t, p, exchange(t, "GET", "/", nil))
			e := wantCode(t, err, airside.Timeout)
			if got != "data: 1\n\n" || !strings.Contains(e.Message, "silent") || n.Load() != 1 {
				t.Errorf("got %q, %v after %d requests", got, err, n.Load())
			}
		})
	}
}
