// Package e2e tests whole gateways: what clients see of agents through them.
package e2e

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/airside-gateway/airside/airsidetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"), // keep-alive connections of test agents that are just closing
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
	)
}

// A cell is one shape of an exchange, tried in every combination of protocols.
type cell struct {
	name   string
	agent  http.HandlerFunc
	client func(t *testing.T, k call)
}

// A call is what a cell needs to make its request.
type call struct {
	*http.Client
	url     string
	mode    airsidetest.Mode
	gateway *airsidetest.Gateway
	agent   string // "h1" or "h2"
}

// TestMatrix is {h1, h2, h2c client} x {h1, h2 agent} x every shape of exchange.
func TestMatrix(t *testing.T) {
	agents := map[string]func(*testing.T, http.Handler) (yaml string){"h1": plainAgent, "h2": secureAgent}
	for _, mode := range airsidetest.Modes {
		for agent, start := range agents {
			for _, c := range cells {
				t.Run(string(mode)+"/"+agent+"/"+c.name, func(t *testing.T) {
					t.Parallel()
					g := airsidetest.Start(t, start(t, c.agent))
					c.client(t, call{Client: g.Client(mode), url: g.URL(mode, "/cell?q=1"), mode: mode, gateway: g, agent: agent})
				})
			}
		}
	}
}

func plainAgent(t *testing.T, h http.Handler) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return "upstreams: { agent: { http: { url: '" + s.URL + "', timeout: 60s } } }\nroutes: [{ path: /*, to: agent }]\n"
}

// secureAgent speaks HTTP/2 and HTTP/1.1 over TLS.
func secureAgent(t *testing.T, h http.Handler) string {
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return "upstreams: { agent: { http: { url: '" + s.URL + "', timeout: 60s, tls: { ca: '" + ca + "' } } } }\nroutes: [{ path: /*, to: agent }]\n"
}
