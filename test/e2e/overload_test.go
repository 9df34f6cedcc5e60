package e2e

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
)

// A tally is what an open-loop load saw.
type tally struct {
	mu      sync.Mutex
	served  []time.Duration
	refused []time.Duration
	other   int
	blind   int // refusals without Retry-After
}

func (a *tally) add(status int, again string, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch status {
	case http.StatusOK:
		a.served = append(a.served, took)
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		a.refused = append(a.refused, took)
		if again == "" {
			a.blind++
		}
	default:
		a.other++
	}
}

func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(int(q*float64(len(d))), len(d)-1)]
}

// openLoop asks url every gap for as long as span, whether or not answers come.
func openLoop(t *testing.T, client *http.Client, url string, gap, span time.Duration) *tally {
	t.Helper()
	a := &tally{}
	var all sync.WaitGroup
	tick := time.NewTicker(gap)
	defer tick.Stop()
	end := time.Now().Add(span)
	for at := range tick.C {
		if at.After(end) {
			break
		}
		all.Go(func() {
			began := time.Now()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, http.NoBody)
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := client.Do(r)
			if err != nil {
				a.add(0, "", 0)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			a.add(resp.StatusCode, resp.Header.Get("Retry-After"), time.Since(began))
		})
	}
	all.Wait()
	return a
}

// TestOverload proves, with an agent that does ten things at a time, what bars.md R3 asks
// for under three times what it can do: the excess is refused with Retry-After, everything
// gets one of the two answers, about as much as the agent can do is served, and when the
// load is over nothing is refused any more. The figures are logged; times are not judged,
// for a machine may be busy with something else.
func TestOverload(t *testing.T) {
	const slots, takes = 10, 100 * time.Millisecond
	places := make(chan struct{}, slots)
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
		case <-r.Context().Done():
			return
		}
		<-time.After(takes)
		<-places
		_, _ = w.Write([]byte("done"))
	}))
	t.Cleanup(agent.Close)
	g := airsidetest.Start(t, `
policies:
  bearable: { concurrency: { adaptive: { start: 15 }, queue: 5, wait: 50ms } }
routes:
  - { path: /*, use: [bearable], to: $1 }
`, agent.URL)
	tr := &http.Transport{MaxIdleConnsPerHost: 1000}
	t.Cleanup(tr.CloseIdleConnections)
	client := &http.Client{Transport: tr}
	url := g.URL(airsidetest.H1, "/work")
	unloaded := openLoop(t, client, url, takes, 10*takes)
	const span = 4 * time.Second
	over := openLoop(t, client, url, takes/slots/3, span)
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	after := openLoop(t, client, url, takes, 10*takes)
	for len(after.refused)+after.other > 0 && ctx.Err() == nil {
		after = openLoop(t, client, url, takes, 10*takes)
	}
	peak := float64(span) / float64(takes) * slots
	t.Logf("unloaded p99 %v; at three times the capacity: %d served (%.0f %% of the peak), p99 %v; %d refused, median %v, p99 %v; normal within %v",
		quantile(unloaded.served, 0.99), len(over.served), 100*float64(len(over.served))/peak, quantile(over.served, 0.99),
		len(over.refused), quantile(over.refused, 0.5), quantile(over.refused, 0.99), time.Since(begin))
	if over.other > 0 || over.blind > 0 || len(over.refused) == 0 {
		t.Errorf("%d answers were neither, %d refusals did not say when to try again, %d refused", over.other, over.blind, len(over.refused))
	}
	if float64(len(over.served)) < peak/2 {
		t.Errorf("%d were served, of %.0f that the agent can do", len(over.served), peak)
	}
	if len(after.refused) > 0 {
		t.Errorf("%d of %d are refused when the load is over", len(after.refused), len(after.refused)+len(after.served))
	}
}
