// Package airsidetest starts a whole gateway in one line of a test.
package airsidetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/config"

	_ "github.com/airside-gateway/airside/all" // a gateway under test has every policy
)

// A Gateway is a gateway under test. It stops with the test, which fails if
// anything was left under way.
type Gateway struct {
	App  *app.App
	Addr string // of the plain listener: host:port
	TLS  string // of the listener with a self-signed certificate

	std, stdTLS string // of the like listeners whose engine is std

	t    testing.TB
	dir  string
	logs *logs
}

// listeners comes before every configuration that says nothing of listening: one
// address for HTTP/1.1 and h2c, one for TLS with HTTP/1.1, HTTP/2 and HTTP/3, and both again
// with the engine std.
const listeners = `admin: off
shutdown: { grace: 10s }
listen:
  - { address: "127.0.0.1:0", limits: { body: 256MiB } }
  - { address: "localhost:0", tls: { self_signed: true }, protocols: [h1, h2, h3], limits: { body: 256MiB } }
  - { address: "127.0.0.2:0", engine: std, limits: { body: 256MiB } }
  - { address: "127.0.0.3:0", engine: std, tls: { self_signed: true }, limits: { body: 256MiB } }
`

// Start runs a gateway with the configuration yaml, in which $1, $2, ... stand for
// the addresses of upstreams. A configuration without `listen` is served on a plain
// and on a TLS listener. The gateway spoils what it uses again after an exchange, so
// that it shows if anybody has kept it.
func Start(t testing.TB, yaml string, upstreams ...string) *Gateway {
	t.Helper()
	g := &Gateway{t: t, logs: &logs{}, dir: t.TempDir()}
	g.App = app.New(app.Settings{Log: slog.New(slog.NewJSONHandler(g.logs, &slog.HandlerOptions{Level: slog.LevelDebug})), Poison: true})
	if err := g.Apply(yaml, upstreams...); err != nil {
		t.Fatalf("the configuration was refused:\n%v", err)
	}
	t.Cleanup(func() {
		if err := g.App.Shutdown(context.Background()); err != nil {
			t.Errorf("shutting down: %v", err)
		}
	})
	return g
}

// Apply loads another configuration into the running gateway.
func (g *Gateway) Apply(yaml string, upstreams ...string) error {
	for i := len(upstreams); i > 0; i-- {
		yaml = strings.ReplaceAll(yaml, fmt.Sprintf("$%d", i), upstreams[i-1])
	}
	if !strings.Contains(yaml, "listen:") {
		yaml = listeners + yaml
	}
	c, err := app.Parse(g.dir+"/airside.yaml", []byte(yaml), config.Lookup{})
	if err != nil {
		return err
	}
	if err := g.App.Apply(c); err != nil {
		return err
	}
	for configured, a := range g.App.Addrs() {
		host, _, err := net.SplitHostPort(configured)
		if err != nil {
			return err
		}
		switch host {
		case "localhost":
			_, port, err := net.SplitHostPort(a.String())
			if err != nil {
				return err
			}
			g.TLS = "localhost:" + port
		case "127.0.0.2":
			g.std = a.String()
		case "127.0.0.3":
			g.stdTLS = a.String()
		default:
			g.Addr = a.String()
		}
	}
	return nil
}

// Mode is how a client speaks.
type Mode string

// The modes.
const (
	H1       Mode = "h1"
	H1TLS    Mode = "h1tls"
	H1Std    Mode = "h1std" // served by net/http
	H1TLSStd Mode = "h1tlsstd"
	H2       Mode = "h2"
	H2C      Mode = "h2c"
	H2Std    Mode = "h2std"
	H2CStd   Mode = "h2cstd"
	H3       Mode = "h3"
)

// Modes are all of them.
var Modes = [...]Mode{H1, H1TLS, H1Std, H1TLSStd, H2, H2C, H2Std, H2CStd, H3}

// URL is the address of path on the listener for mode.
func (g *Gateway) URL(m Mode, path string) string {
	switch m {
	case H1TLS, H2, H3:
		return "https://" + g.TLS + path
	case H1Std, H2CStd:
		return "http://" + g.std + path
	case H1TLSStd, H2Std:
		return "https://" + g.stdTLS + path
	case H1, H2C:
	}
	return "http://" + g.Addr + path
}

// Client returns a client that speaks m only, follows no redirects and reads no
// compressed answers. It is closed with the test.
func (g *Gateway) Client(m Mode) *http.Client {
	return Client(g.t, m)
}

// Client is [Gateway.Client] for any server.
func Client(t testing.TB, m Mode) *http.Client {
	p := new(http.Protocols)
	p.SetHTTP2(m == H2 || m == H2Std)
	p.SetUnencryptedHTTP2(m == H2C || m == H2CStd)
	p.SetHTTP1(!p.HTTP2() && !p.UnencryptedHTTP2())
	tr := &http.Transport{
		Protocols: p, DisableCompression: true, MaxIdleConnsPerHost: 1000, ExpectContinueTimeout: 5 * time.Second,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the certificate under test is self-signed
	}
	t.Cleanup(tr.CloseIdleConnections)
	var rt http.RoundTripper = tr
	if m == H3 {
		rt = overQUIC(t)
	}
	return &http.Client{Transport: rt, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Each runs f as a subtest in every mode.
func Each(t *testing.T, f func(t *testing.T, m Mode)) {
	t.Helper()
	for _, m := range Modes {
		t.Run(string(m), func(t *testing.T) { f(t, m) })
	}
}

// Upstream starts an agent and returns its address. It speaks HTTP/1.1 and h2c.
func Upstream(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

// Echo is an agent that answers with what it received, as JSON; see [Seen].
func Echo(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	if _, err := body.ReadFrom(r.Body); err != nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(Seen{
		Method: r.Method, URI: r.RequestURI, Host: r.Host, Header: r.Header, Body: body.String(), Proto: r.Proto,
	}); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// Seen is what an agent saw of a request.
type Seen struct {
	Method, URI, Host, Body, Proto string
	Header                         http.Header
}

// A Line is a line of the gateway's log.
type Line map[string]any

// Exchanges returns the access-log lines so far.
func (g *Gateway) Exchanges() []Line {
	var out []Line
	for _, l := range g.logs.lines() {
		if l["msg"] == "exchange" {
			out = append(out, l)
		}
	}
	return out
}

// Log returns the whole log so far, as it was written.
func (g *Gateway) Log() string {
	g.logs.mu.Lock()
	defer g.logs.mu.Unlock()
	return g.logs.b.String()
}

// WaitExchange waits until the log has a line of an exchange for which ok is true.
func (g *Gateway) WaitExchange(ok func(Line) bool) Line {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		more := g.logs.more()
		for _, l := range g.Exchanges() {
			if ok(l) {
				return l
			}
		}
		select {
		case <-more:
		case <-ctx.Done():
			g.t.Fatalf("no such exchange was logged:\n%s", g.Log())
		}
	}
}

// logs keeps what the gateway logs.
type logs struct {
	mu      sync.Mutex
	b       bytes.Buffer
	waiters []chan struct{}
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.waiters {
		close(w)
	}
	l.waiters = nil
	return l.b.Write(p)
}

// more returns a channel that is closed by the next line.
func (l *logs) more() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := make(chan struct{})
	l.waiters = append(l.waiters, w)
	return w
}

func (l *logs) lines() []Line {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Line
	for b := range bytes.SplitSeq(l.b.Bytes(), []byte("\n")) {
		var line Line
		if json.Unmarshal(b, &line) == nil {
			out = append(out, line)
		}
	}
	return out
}
