package h3_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/edge"
	"github.com/airside-gateway/airside/proto/web"
)

// usual are limits that no test reaches by accident.
var usual = edge.Limits{
	Headers: 64 << 10, Body: 1 << 20, Idle: time.Minute, HeaderTimeout: patient, BodyTimeout: patient, WriteTimeout: patient,
}

// lines keeps what is logged.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// gateway serves h, on TLS with every version unless l says otherwise, until the test
// ends.
func gateway(t *testing.T, h airside.HandlerFunc, l *edge.Listener) (*edge.Server, string, *lines) {
	t.Helper()
	log := &lines{}
	s := edge.New(edge.Settings{Handler: h, Fallback: web.Protocol{}, Log: slog.New(slog.NewJSONHandler(log, nil))})
	apply(t, s, l)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patient)
		defer cancel()
		if err := s.Shutdown(ctx, 0); err != nil {
			t.Errorf("shutting down: %v", err)
		}
	})
	return s, s.Addrs()[l.Address].String(), log
}

// apply puts ls into force, completed.
func apply(t *testing.T, s *edge.Server, ls ...*edge.Listener) {
	t.Helper()
	for _, l := range ls {
		if l.Address == "" {
			l.Address = "127.0.0.1:0"
		}
		if l.Limits == (edge.Limits{}) {
			l.Limits = usual
		}
		if !l.HTTP1 && !l.HTTP2 {
			l.HTTP1, l.HTTP2, l.HTTP3 = true, true, true
		}
		if l.TLS == nil {
			l.TLS = &edge.TLS{SelfSigned: true}
		}
	}
	c, err := s.Prepare(ls)
	if err != nil {
		t.Fatal(err)
	}
	c.Commit()
}

func text(s string) airside.HandlerFunc {
	return func(x *airside.Exchange) (*http.Response, error) { return web.Response(x, 200, nil, []byte(s)), nil }
}

func over(t *testing.T, c http.RoundTripper, method, addr string, body io.Reader) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+addr+"/", body)
	if err != nil {
		t.Fatal(err)
	}
	return do(t, c, r)
}

// tcp returns a client that speaks HTTP/1.1 or HTTP/2 only, which is closed with the
// test.
func tcp(t *testing.T, h2 bool) *http.Transport {
	p := new(http.Protocols)
	p.SetHTTP1(!h2)
	p.SetHTTP2(h2)
	tr := &http.Transport{Protocols: p, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// TestExchange proves that an exchange over HTTP/3 is as any other: scheme, client,
// version, size.
func TestExchange(t *testing.T) {
	_, addr, log := gateway(t, func(x *airside.Exchange) (*http.Response, error) {
		b, err := io.ReadAll(x.Request.Body)
		if err != nil {
			return nil, err
		}
		h := x.Request.Header
		return web.Response(x, 200, nil, fmt.Append(nil, x.Client.Scheme, x.Client.Addr, h.Get("X-Forwarded-Proto"), h.Get("X-Forwarded-For"), h.Get("X-Forwarded-Host"), len(b))), nil
	}, &edge.Listener{})
	resp, got := over(t, client(t), "POST", addr, strings.NewReader("abc"))
	if want := "https127.0.0.1https127.0.0.1" + addr + "3"; got != want || resp.ProtoMajor != 3 || resp.Header.Get("X-Request-Id") == "" {
		t.Errorf("got %q, %v, want %q", got, resp.Header, want)
	}
	if v, ok := resp.Header["Alt-Svc"]; ok {
		t.Errorf("who speaks HTTP/3 already is told of it: %q", v)
	}
	if resp, _ := over(t, client(t), "CONNECT", addr, nil); resp.StatusCode != 405 {
		t.Errorf("CONNECT: got %d, want 405", resp.StatusCode)
	}
	if resp, _ := over(t, client(t), "POST", addr, strings.NewReader(strings.Repeat("x", 2<<20))); resp.StatusCode != 413 {
		t.Errorf("a large body: got %d, want 413", resp.StatusCode)
	}
	var line struct {
		HTTP   int
		Client string
		In     int
	}
	first, _, _ := strings.Cut(log.String(), "\n")
	if err := json.Unmarshal([]byte(first), &line); err != nil || line.HTTP != 3 || line.Client != "127.0.0.1" || line.In != 3 {
		t.Errorf("logged %s (%v)", first, err)
	}
}

// TestAltSvc proves that clients of TLS over TCP are told of HTTP/3, those of other
// listeners are not, and that what a policy says stands.
func TestAltSvc(t *testing.T) {
	said := ""
	_, addr, _ := gateway(t, func(x *airside.Exchange) (*http.Response, error) {
		h := http.Header{}
		if said != "" {
			h.Set("Alt-Svc", said)
		}
		return web.Response(x, 200, h, nil), nil
	}, &edge.Listener{})
	_, port, _ := net.SplitHostPort(addr)
	for _, h2 := range []bool{false, true} {
		for _, said = range []string{"", "clear"} {
			want := said
			if want == "" {
				want = `h3=":` + port + `"; ma=86400`
			}
			resp, _ := over(t, tcp(t, h2), "GET", addr, nil)
			if got := resp.Header.Values("Alt-Svc"); len(got) != 1 || got[0] != want {
				t.Errorf("HTTP/%d: got %q, want %q", resp.ProtoMajor, got, want)
			}
		}
	}
	said = ""
	_, addr, _ = gateway(t, text(""), &edge.Listener{HTTP1: true})
	if resp, _ := over(t, tcp(t, false), "GET", addr, nil); resp.Header.Get("Alt-Svc") != "" {
		t.Errorf("without HTTP/3: got %q", resp.Header.Get("Alt-Svc"))
	}
	resp, err := client(t).RoundTrip(mustRequest(t, addr))
	if err == nil {
		resp.Body.Close()
		t.Error("a listener without HTTP/3 speaks it")
	}
}

func mustRequest(t *testing.T, addr string) *http.Request {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, "GET", "https://"+addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestMisdirected proves that a request for another host than the handshake named is
// refused.
func TestMisdirected(t *testing.T) {
	_, addr, _ := gateway(t, text("ok"), &edge.Listener{})
	c := client(t)
	c.TLSClientConfig = insecure.Clone()
	c.TLSClientConfig.ServerName = "a.example"
	for host, want := range map[string]int{"a.example": 200, "b.example": 421} {
		r := mustRequest(t, addr)
		r.Host = host
		if resp, _ := do(t, c, r); resp.StatusCode != want {
			t.Errorf("%s: got %d, want %d", host, resp.StatusCode, want)
		}
	}
}

// pair writes a certificate and its key to files.
func pair(t *testing.T, c tls.Certificate, p edge.Pair) edge.Pair {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []struct {
		name, kind string
		der        []byte
	}{{p.Key, "PRIVATE KEY", key}, {p.Cert, "CERTIFICATE", c.Certificate[0]}} {
		if err := os.WriteFile(f.name, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// TestClientCertificate proves that who must show a certificate and does not is not
// heard.
func TestClientCertificate(t *testing.T) {
	dir := t.TempDir()
	own := certificate(t)
	p := pair(t, own, edge.Pair{Cert: filepath.Join(dir, "a.crt"), Key: filepath.Join(dir, "a.key")})
	heard := make(chan string, 2)
	_, addr, _ := gateway(t, func(x *airside.Exchange) (*http.Response, error) {
		heard <- x.Request.TLS.PeerCertificates[0].Subject.CommonName
		return web.Response(x, 200, nil, nil), nil
	}, &edge.Listener{TLS: &edge.TLS{Pairs: []edge.Pair{p}, ClientCA: p.Cert, ClientRequired: true}})
	if resp, err := client(t).RoundTrip(mustRequest(t, addr)); err == nil {
		resp.Body.Close()
		t.Error("accepted without a certificate")
	}
	c := client(t)
	c.TLSClientConfig = insecure.Clone()
	c.TLSClientConfig.Certificates = []tls.Certificate{own}
	over(t, c, "GET", addr, nil)
	if got := wait(t, heard); got != "localhost" || len(heard) != 0 {
		t.Errorf("heard %q and %d others, want localhost alone", got, len(heard))
	}
}

// TestRenewed proves that a renewed certificate is shown to new connections.
func TestRenewed(t *testing.T) {
	dir := t.TempDir()
	p := pair(t, certificate(t), edge.Pair{Cert: filepath.Join(dir, "a.crt"), Key: filepath.Join(dir, "a.key")})
	_, addr, _ := gateway(t, text("ok"), &edge.Listener{TLS: &edge.TLS{Pairs: []edge.Pair{p}}})
	shown := func() []byte {
		c, err := quic.DialAddr(t.Context(), addr, insecure, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseWithError(0, "")
		return c.ConnectionState().TLS.PeerCertificates[0].Raw
	}
	first := shown()
	pair(t, certificate(t), p)
	for deadline := time.Now().Add(patient); bytes.Equal(shown(), first); {
		if time.Now().After(deadline) {
			t.Fatal("the old certificate is still shown")
		}
		<-time.After(20 * time.Millisecond)
	}
}

// TestConnections proves that connections of both kinds count together.
func TestConnections(t *testing.T) {
	l := usual
	l.Connections = 1
	_, addr, _ := gateway(t, text("ok"), &edge.Listener{Limits: l})
	c := client(t)
	over(t, c, "GET", addr, nil)
	if resp, err := tcp(t, false).RoundTrip(mustRequest(t, addr)); err == nil {
		resp.Body.Close()
		t.Error("TCP was let in beside UDP")
	}
	if resp, err := client(t).RoundTrip(mustRequest(t, addr)); err == nil {
		resp.Body.Close()
		t.Error("a second connection over UDP was let in")
	}
	over(t, c, "GET", addr, nil) // the first goes on
}

// TestReload proves that connections outlive a reload that keeps the address, that HTTP/3
// can be taken away and given back, and that what is under way meanwhile is served.
func TestReload(t *testing.T) {
	began, let := make(chan struct{}), make(chan struct{})
	s, addr, _ := gateway(t, func(x *airside.Exchange) (*http.Response, error) {
		if x.Request.Method == "POST" {
			close(began)
			<-let
		}
		return web.Response(x, 200, nil, []byte("ok")), nil
	}, &edge.Listener{})
	qc, err := quic.DialAddr(t.Context(), addr, insecure, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer qc.CloseWithError(0, "")
	c := (&http3.Transport{}).NewClientConn(qc)
	over(t, c, "GET", addr, nil)
	other := usual
	other.Headers = 8 << 10
	apply(t, s, &edge.Listener{Limits: other})
	over(t, c, "GET", addr, nil)
	r := mustRequest(t, addr).WithContext(t.Context())
	r.Header.Set("X-Large", strings.Repeat("x", 10<<10))
	if resp, _ := do(t, client(t), r); resp.StatusCode != 431 {
		t.Errorf("a new connection: got %d, want 431, as the new limits say", resp.StatusCode)
	}

	under := make(chan error, 1)
	post, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		resp, err := c.RoundTrip(post)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
		}
		under <- err
	}()
	wait(t, began)
	apply(t, s, &edge.Listener{HTTP1: true})
	if resp, err := client(t).RoundTrip(mustRequest(t, addr)); err == nil {
		resp.Body.Close()
		t.Error("HTTP/3 is still spoken")
	}
	resp, _ := over(t, tcp(t, false), "GET", addr, nil)
	if v := resp.Header.Get("Alt-Svc"); v != "" {
		t.Errorf("HTTP/3 is still advertised: %q", v)
	}
	apply(t, s, &edge.Listener{})
	over(t, client(t), "GET", addr, nil)
	close(let)
	if err := wait(t, under); err != nil {
		t.Errorf("what was under way: %v", err)
	}
	wait(t, qc.Context().Done()) // its client was told to leave

	apply(t, s) // nothing is listened to any more
	udp, err := net.ListenPacket("udp", addr)
	for deadline := time.Now().Add(patient); err != nil && time.Now().Before(deadline); udp, err = net.ListenPacket("udp", addr) {
		<-time.After(10 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	udp.Close()
}

// TestDiscard proves that a change that does not take effect leaves nothing open.
func TestDiscard(t *testing.T) {
	s, _, _ := gateway(t, text("ok"), &edge.Listener{HTTP1: true})
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	good := &edge.Listener{Address: "localhost:0", HTTP1: true, HTTP3: true, Limits: usual, TLS: &edge.TLS{SelfSigned: true}}
	for name, bad := range map[string]*edge.Listener{
		"taken by UDP":     {Address: taken.LocalAddr().String(), HTTP1: true, HTTP3: true, Limits: usual, TLS: &edge.TLS{SelfSigned: true}},
		"needs encryption": {Address: "127.0.0.1:0", HTTP1: true, HTTP3: true, Limits: usual},
	} {
		c, err := s.Prepare([]*edge.Listener{good, bad})
		if err == nil {
			c.Discard()
			t.Errorf("%s: accepted", name)
		}
	}
	if got := len(s.Addrs()); got != 1 {
		t.Errorf("%d addresses are open, want 1", got)
	}
}

// TestTimes proves that a client that stops sending, or reading, is not waited for.
func TestTimes(t *testing.T) {
	l := usual
	l.BodyTimeout, l.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond
	_, addr, log := gateway(t, func(x *airside.Exchange) (*http.Response, error) {
		if x.Request.Method == "POST" {
			_, err := io.ReadAll(x.Request.Body)
			return nil, err
		}
		resp := web.Response(x, 200, nil, nil)
		resp.Body, resp.ContentLength = io.NopCloser(endless{}), -1
		return resp, nil
	}, &edge.Listener{Limits: l})
	pr, pw := io.Pipe()
	defer pw.Close()
	if resp, b := over(t, client(t), "POST", addr, pr); resp.StatusCode != 408 {
		t.Errorf("got %d %s, want 408", resp.StatusCode, b)
	}
	resp, err := client(t).RoundTrip(mustRequest(t, addr).WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for deadline := time.Now().Add(patient); !strings.Contains(log.String(), "the client stopped reading"); {
		if time.Now().After(deadline) {
			t.Fatalf("the exchange goes on: %s", log)
		}
		<-time.After(10 * time.Millisecond)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Error("the answer looks whole")
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestStop proves that a server that stops serves what is under way to the end, or cuts
// it when its time is over.
func TestStop(t *testing.T) {
	for _, cut := range []bool{false, true} {
		body, agent := io.Pipe()
		s := edge.New(edge.Settings{Handler: airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
			resp := web.Response(x, 200, nil, nil)
			resp.Body, resp.ContentLength = body, -1
			context.AfterFunc(x.Request.Context(), func() { agent.CloseWithError(errors.New("let go")) })
			return resp, nil
		}), Fallback: web.Protocol{}, Log: slog.New(slog.DiscardHandler)})
		apply(t, s, &edge.Listener{})
		resp, err := client(t).RoundTrip(mustRequest(t, s.Addrs()["127.0.0.1:0"].String()).WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patient)
		stopped := make(chan error, 1)
		go func() { stopped <- s.Shutdown(ctx, 0) }()
		if cut {
			cancel()
		} else {
			io.WriteString(agent, "all of it")
			agent.Close()
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if whole := err == nil && string(b) == "all of it"; whole == cut {
			t.Errorf("cut %t: got %q, %v", cut, b, err)
		}
		if err := wait(t, stopped); (err != nil) != cut {
			t.Errorf("cut %t: got %v", cut, err)
		}
		cancel()
	}
}
