package app

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/config"
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
			h := fallback([]*target{{Handler: &first}, {Handler: second}})
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
