package app

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/pool"
	"github.com/airside-gateway/airside/proto/web"
)

// answering is an upstream that gives a status, or an error, and counts.
type answering struct {
	status, n int
	err       error
	fallback  int
}

func (a *answering) Handle(x *airside.Exchange) (*http.Response, error) {
	a.n++
	if a.err != nil {
		return nil, a.err
	}
	return web.Response(x, a.status, http.Header{}, nil), nil
}

func (a *answering) FallbackOn(status int) bool { return status == a.fallback }

func exchange() *airside.Exchange {
	return airside.NewExchange(httptest.NewRequest("GET", "/", http.NoBody), nil)
}

func TestWeightedShares(t *testing.T) {
	hs := []*answering{{status: 200}, {status: 200}, {status: 200}, {status: 200}}
	weights := []int{90, 9, 1, 0}
	var targets []*target
	var ts []config.Target
	for i, h := range hs {
		targets = append(targets, &target{Handler: h})
		ts = append(ts, config.Target{Weight: weights[i]})
	}
	w := newWeighted(targets, ts)
	const n = 10000
	for range n {
		if _, err := w.Handle(exchange()); err != nil {
			t.Fatal(err)
		}
	}
	for i, h := range hs {
		if want := n * weights[i] / 100; h.n < want-2 || h.n > want+2 {
			t.Errorf("target %d was asked %d times, want %d within 2", i, h.n, want)
		}
	}
}

// TestFallbackRepeats proves that a request of which something may have been sent goes to
// the next upstream only if it may be repeated: by its method, by its key, or because
// the route says so.
func TestFallbackRepeats(t *testing.T) {
	nobody := "http://" + closedPort(t)
	silent := silentAgent(t)
	for _, outcome := range []struct {
		name  string
		first airside.Handler
		sent  bool
	}{
		{"refused", agentAt(t, nobody, pool.Limits{}), false},
		{"silent", agentAt(t, silent, pool.Limits{FirstByte: 50 * time.Millisecond}), true},
		{"answers what falls back", &answering{status: 503, fallback: 503}, true},
		{"is too slow, elsewhere", &answering{err: airside.Errorf(airside.Timeout, "slow")}, true},
		{"has no room, elsewhere", &answering{err: airside.Errorf(airside.Unavailable, "full")}, true},
		{"fails, elsewhere", &answering{err: airside.Errorf(airside.UpstreamFailed, "failed")}, true},
	} {
		for _, request := range []struct {
			name, method, key string
			repeat            pool.Repeat
			may               bool
		}{
			{"POST", "POST", "", pool.RepeatSafe, false},
			{"PATCH", "PATCH", "", "", false},
			{"POST with a key", "POST", "k", pool.RepeatSafe, true},
			{"GET", "GET", "", pool.RepeatSafe, true},
			{"PUT", "PUT", "", pool.RepeatSafe, true},
			{"POST, repeat: any", "POST", "", pool.RepeatAny, true},
		} {
			t.Run(outcome.name+"/"+request.name, func(t *testing.T) {
				second := &answering{status: 204}
				h := fallback([]*target{{Handler: outcome.first}, {Handler: second}}, request.repeat)
				r := httptest.NewRequest(request.method, "/", strings.NewReader("what is wrong with me?"))
				if request.key != "" {
					r.Header.Set("Idempotency-Key", request.key)
				}
				x := airside.NewExchange(r, nil)
				resp, err := h.Handle(x)
				want := 0
				if request.may || !outcome.sent {
					want = 1
				}
				if second.n != want {
					t.Errorf("the second was asked %d times, want %d (%v, %v)", second.n, want, resp, err)
				}
				if want == 1 && (err != nil || resp.StatusCode != 204) {
					t.Errorf("got %v, %v, want the answer of the second", resp, err)
				}
			})
		}
	}
}

// agentAt is a pool of the one agent at address.
func agentAt(t *testing.T, address string, limits pool.Limits, deadline ...pool.Deadline) airside.Handler {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	e, err := pool.Open(u, pool.Link{Protocol: pool.Auto, Connect: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	s := pool.Settings{Members: []pool.Member{{Endpoint: e, Weight: 1}}, Limits: limits, Host: pool.HostUpstream}
	for _, d := range deadline {
		s.Deadline = d
	}
	p, err := pool.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestFallbackOutOfTime proves that nobody else is asked when the time is over that the
// client gave: it waits no longer.
func TestFallbackOutOfTime(t *testing.T) {
	first := agentAt(t, silentAgent(t), pool.Limits{}, pool.Deadline{Header: "Request-Timeout", FromClient: true})
	second := &answering{status: 204}
	x := airside.NewExchange(httptest.NewRequest(http.MethodGet, "/", http.NoBody), nil)
	x.Request.Header.Set("Request-Timeout", "50")
	_, err := fallback([]*target{{Handler: first}, {Handler: second}}, "").Handle(x)
	x.Finish(airside.Outcome{})
	if airside.AsError(err).Code != airside.Timeout || second.n != 0 {
		t.Errorf("got %v, and the second was asked %d times", err, second.n)
	}
}

// closedPort is an address at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// silentAgent reads requests and answers none of them.
func silentAgent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return "http://" + l.Addr().String()
}

func TestFallback(t *testing.T) {
	refused := airside.Errorf(airside.UpstreamFailed, "refused")
	for _, tt := range []struct {
		name   string
		first  answering
		asked  bool // the second is asked
		status int
	}{
		{"answers", answering{status: 200}, false, 200},
		{"cannot be reached", answering{err: refused}, true, 204},
		{"is too slow", answering{err: airside.Errorf(airside.Timeout, "slow")}, true, 204},
		{"has no room", answering{err: airside.Errorf(airside.Unavailable, "full")}, true, 204},
		{"blames the client", answering{err: airside.Errorf(airside.TooLarge, "large")}, false, 0},
		{"fails inside", answering{err: errors.New("a bug")}, false, 0},
		{"answers what falls back", answering{status: 503, fallback: 503}, true, 204},
		{"answers what does not", answering{status: 502, fallback: 503}, false, 502},
	} {
		t.Run(tt.name, func(t *testing.T) {
			second := &answering{status: 204}
			first := tt.first
			h := fallback([]*target{{Handler: &first}, {Handler: second}}, "")
			resp, err := h.Handle(exchange())
			if asked := second.n > 0; asked != tt.asked {
				t.Errorf("the second was asked: %v, want %v", asked, tt.asked)
			}
			if tt.status == 0 {
				if err == nil {
					t.Errorf("got %d, want an error", resp.StatusCode)
				}
				return
			}
			if err != nil || resp.StatusCode != tt.status {
				t.Errorf("got %v, %v, want %d", resp, err, tt.status)
			}
		})
	}
}
