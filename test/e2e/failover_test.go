package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/airside-gateway/airside/airsidetest"
)

// failover is how the tests of failover reach their agents: one that dies, and one that
// does not.
func failover(t *testing.T, s stage, l *ledger, engine, protocol string, resets bool) *airsidetest.Gateway {
	return airsidetest.Start(t, fmt.Sprintf(`
upstreams:
  agent:
    http:
      endpoints: ['$1', '$2']
      protocol: %s
      engine: %s
      first_event: 20s
      retry: { backoff: 1ms }
routes: [{ path: /*, to: agent }]
`, protocol, engine), mortal(t, s, l, protocol == "h2c", resets), airsidetest.Upstream(t, immortal(l)))
}

// An agent that dies before the first byte of its answer costs nobody anything whose
// request may be repeated, whatever it had sent by then; any other request is refused and
// not repeated. Whoever has got a part of an answer sees that it is not the whole, and the
// request is not repeated either. (Bar R5.)
func TestAgentDies(t *testing.T) {
	modes := []airsidetest.Mode{airsidetest.H1, airsidetest.H1Std, airsidetest.H2C, airsidetest.H2, airsidetest.H2CStd}
	for _, link := range []struct{ engine, protocol string }{{"fast", "h1"}, {"std", "h1"}, {"std", "h2c"}} {
		for i, s := range stages {
			t.Run(fmt.Sprintf("%s/%s/%s", link.protocol, link.engine, s.name), func(t *testing.T) {
				t.Parallel()
				l := &ledger{}
				resets := i%2 == 0 && !s.began // a reset may overtake what was sent before it
				g := failover(t, s, l, link.engine, link.protocol, resets)
				for _, m := range modes {
					client := g.Client(m)
					client.Transport.(*http.Transport).DisableKeepAlives = true // or it repeats requests by itself
					for k := range 4 {
						for _, r := range repeats {
							id := fmt.Sprintf("/%s-%s-%d", m, r.name, k)
							d := death{stage: s, ledger: l, id: id, repeats: r.repeats}
							req, err := http.NewRequestWithContext(t.Context(), r.method, g.URL(m, id), strings.NewReader(r.body))
							if err != nil {
								t.Fatal(err)
							}
							if r.key {
								req.Header.Set("Idempotency-Key", id)
							}
							d.check(t, client, req)
						}
					}
				}
			})
		}
	}
}

// repeats are requests that may be repeated, and such that may not.
var repeats = []struct {
	name, method, body string
	key, repeats       bool
}{
	{name: "get", method: "GET", repeats: true},
	{name: "put", method: "PUT", body: "body", repeats: true},
	{name: "key", method: "POST", body: "body", key: true, repeats: true},
	{name: "post", method: "POST", body: "body"},
}

// A death is one request to an upstream of which an agent dies.
type death struct {
	stage
	ledger  *ledger
	id      string
	repeats bool
}

func (d *death) check(t *testing.T, client *http.Client, req *http.Request) {
	status, body := 0, ""
	resp, err := client.Do(req)
	if err == nil {
		var b []byte
		b, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		status, body = resp.StatusCode, string(b)
	}
	all, died := d.ledger.of(d.id, "mortal")
	whole := err == nil && status == 200 && body == "whole"+strings.Replace(d.id, "/", " ", 1)
	switch {
	case died == 0:
		if !whole || all != 1 {
			t.Errorf("%s: got %d %q, %v after %d tries of the agent that lives", d.id, status, body, err, all)
		}
	case died > 1:
		t.Errorf("%s: was sent %d times to the agent that dies", d.id, died)
	case !d.began && d.repeats:
		if !whole || all != 2 {
			t.Errorf("%s: got %d %q, %v after %d tries, want the whole answer after 2", d.id, status, body, err, all)
		}
	case !d.began:
		if err == nil && status != 502 || all != 1 { // its head alone may have been passed on
			t.Errorf("%s: got %d %q, %v after %d tries, want 502, or an answer that is cut, after 1", d.id, status, body, err, all)
		}
	default:
		d.checkCut(t, status, body, err, all)
	}
}

// checkCut checks an answer of which a part was passed on, or could have been: one of a
// known length may still become an error.
func (d *death) checkCut(t *testing.T, status int, body string, err error, all int) {
	cut := err != nil || status == 502 || d.sse && strings.Contains(body, "event: error")
	if !cut || all != 1 {
		t.Errorf("%s: got %d %q, %v after %d tries, want an answer that is cut, after 1", d.id, status, body, err, all)
	}
}
