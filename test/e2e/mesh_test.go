package e2e

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
)

// With hedging, retries, a queue, ejection and a breaker at once, while generations change
// and clients leave, everybody who is answered gets an answer of his own, whole, though
// the memory of exchanges is spoiled as soon as it might be used again; what may not be
// repeated is carried out once; and in the end nobody holds a place.
func TestMeshUnderReload(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			l := &ledger{}
			agent := func(w http.ResponseWriter, r *http.Request) {
				b, err := io.ReadAll(r.Body)
				if err != nil {
					panic(http.ErrAbortHandler)
				}
				l.enter(r.URL.Path, "agent")
				switch pause(r.Context(), time.Duration(rand.IntN(6))*time.Millisecond); rand.IntN(12) {
				case 0:
					w.WriteHeader(http.StatusBadGateway)
				case 1:
					panic(http.ErrAbortHandler)
				case 2: // within its answer
					w.Header().Set("Content-Length", "100000")
					fmt.Fprintf(w, "did %s", b)
					_ = http.NewResponseController(w).Flush()
					panic(http.ErrAbortHandler)
				}
				fmt.Fprintf(w, "did %s of %s", b, r.URL.Path)
			}
			agents := []string{airsidetest.Upstream(t, agent), airsidetest.Upstream(t, agent), airsidetest.Upstream(t, agent)}
			generation := func(by string) string {
				return fmt.Sprintf(`
upstreams:
  agent:
    http:
      endpoints: ['$1', '$2', '$3']
      engine: %s
      balance: %s
      connections: { max: 8, queue: { size: 100, wait: 5s } }
      hedge: { after: 3ms, max: 2, budget: 1 }
      retry: { attempts: 4, budget: 1, backoff: 1ms }
      eject: { errors: 5, for: 10ms, max: 100%% }
      breaker: { errors: 20, for: 10ms }
routes: [{ path: /*, to: agent }]
`, engine, by)
			}
			g := airsidetest.Start(t, generation("least_request"), agents...)
			done := make(chan struct{})
			var ruler, clients sync.WaitGroup
			m := &mesh{}
			for _, mode := range []airsidetest.Mode{airsidetest.H1, airsidetest.H2C} {
				base := g.URL(mode, "")
				for c := range 3 {
					client := g.Client(mode)
					clients.Go(func() {
						for i := range 36 {
							path := fmt.Sprintf("/%s/%d/%d", mode, c, i)
							m.once(t, client, []string{"PUT", "GET", "POST"}[i%3], base, path)
						}
					})
				}
			}
			ruler.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-done:
						return
					case <-time.After(20 * time.Millisecond):
					}
					if err := g.Apply(generation([]string{"peak_ewma", "least_request", "round_robin"}[i%3]), agents...); err != nil {
						t.Error(err)
					}
				}
			})
			clients.Wait()
			close(done)
			ruler.Wait()
			for _, id := range l.ids() {
				if all, _ := l.of(id, ""); strings.HasSuffix(id, "/POST") && all != 1 {
					t.Errorf("%s was carried out %d times", id, all)
				}
			}
			if m.whole.Load() < 2*m.cut.Load() {
				t.Errorf("%d answers and %d failures: that proves little", m.whole.Load(), m.cut.Load())
			}
			for held := 1; held > 0; { // or the test does not end
				s := g.App.Upstreams()[0].Pool
				held = s.Queued
				for _, e := range s.Endpoints {
					held += e.Active
				}
			}
		})
	}
}

// A mesh counts what its clients got.
type mesh struct{ whole, cut atomic.Int64 }

func (m *mesh) once(t *testing.T, client *http.Client, method, base, path string) {
	path += "/" + method
	body := ""
	if method != http.MethodGet {
		body = strings.Repeat(path+" ", []int{1, 50, 2000}[rand.IntN(3)])
	}
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	if rand.IntN(10) == 0 {
		defer time.AfterFunc(time.Duration(rand.IntN(8000))*time.Microsecond, leave).Stop()
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		m.cut.Add(1)
		return
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		m.cut.Add(1)
		return
	}
	m.whole.Add(1)
	if s := string(got); !strings.HasPrefix(s, "did "+body+" of ") || !strings.HasSuffix(s, path) {
		t.Errorf("%s: got %.80q", path, s)
	}
}
