package http

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kept is what an app keeps over reloads.
type kept struct {
	values map[string]any
	built  int
}

func (k *kept) env(where string) *airside.Env {
	return &airside.Env{
		Where: where, Log: slog.New(slog.DiscardHandler),
		OnClose: func(func() error) {},
		Keep: func(key string, build func() (any, error)) (any, error) {
			if v, ok := k.values[key]; ok {
				return v, nil
			}
			v, err := build()
			if err == nil {
				k.values[key] = v
				k.built++
			}
			return v, err
		},
	}
}

func keeping(t *testing.T) *kept {
	k := &kept{values: map[string]any{}}
	t.Cleanup(func() {
		for _, v := range k.values {
			if err := v.(io.Closer).Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return k
}

func config(change ...func(*Config)) Config {
	var c Config
	c.Defaults()
	for _, f := range change {
		f(&c)
	}
	return c
}

func build(t *testing.T, c Config) airside.Handler {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	h, err := New(keeping(t).env("upstreams.agent"), c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func ask(t *testing.T, h airside.Handler) (*nethttp.Response, string, error) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
	resp, err := h.Handle(airside.NewExchange(r, slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, "", err
	}
	b, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	return resp, string(b), err
}

// TestValidate is the table of settings that are refused, and of some that are not.
func TestValidate(t *testing.T) {
	url := func(u string) func(*Config) { return func(c *Config) { c.URL = u } }
	set := func(f func(*Config)) func(*Config) {
		return func(c *Config) { c.URL = "https://agent"; f(c) }
	}
	ends := func(es ...Endpoint) func(*Config) { return func(c *Config) { c.Endpoints = es } }
	tests := []struct {
		name   string
		change func(*Config)
		want   string // empty: good
	}{
		{"http", url("http://agent:8000"), ""},
		{"https with a path", url("https://agent.example/a/b%20c/"), ""},
		{"address", url("http://[::1]:8000"), ""},
		{"nothing", func(*Config) {}, "an http upstream needs a url, or endpoints"},
		{"both", func(c *Config) { c.URL, c.Endpoints = "http://a", []Endpoint{{URL: "http://b", Weight: 1}} }, "endpoints: write either url or endpoints"},
		{"no URL", url("http://a b"), "url: is not a URL such as http://agent:8000"},
		{"scheme", url("ftp://agent"), "url: must begin with http:// or https://"},
		{"no scheme", url("agent:8000"), "url: must begin with http:// or https://"},
		{"no host", url("http:///a"), "url: the host is missing"},
		{"bad host", url("http://a_gent!"), `url: the host "a_gent!" has a character at byte 6 that no host name has`},
		{"secret", url("http://me:hunter2@agent"), "url: must not hold a user name or a password; auth is not yet supported by this version"},
		{"query", url("http://agent?a"), "url: must not hold a query"},
		{"empty query", url("http://agent?"), "url: must not hold a query"},
		{"fragment", url("http://agent#a"), "url: must not hold a fragment"},
		{"empty fragment", url("http://agent#"), "url: must not hold a fragment"},
		{"dots", url("http://agent/a/../b"), `url: segment 2 of the path is a dot segment, ".."; send the path it stands for`},
		{"slashes", url("http://agent//a"), "url: the path has an empty segment (//) before segment 2; send a single slash"},
		{"endpoints", ends(Endpoint{URL: "http://a", Weight: 1}, Endpoint{URL: "https://b/c", Weight: 256}), ""},
		{"one host, two paths", ends(Endpoint{URL: "http://a/b", Weight: 1}, Endpoint{URL: "http://a/c", Weight: 1}), ""},
		{"twice", ends(Endpoint{URL: "http://a", Weight: 1}, Endpoint{URL: "http://A/", Weight: 1}), "endpoints[1]: is the same as endpoints[0]; give one of them a weight"},
		{"weight", ends(Endpoint{URL: "http://a"}, Endpoint{URL: "http://b", Weight: 257}), "endpoints[0].weight: must be 1 to 256\nendpoints[1].weight: must be 1 to 256"},
		{"too many", ends(make([]Endpoint, 257)...), "endpoints: must be at most 256"},
		{"bad endpoint", ends(Endpoint{URL: "http://a", Weight: 1}, Endpoint{URL: "b", Weight: 1}), "endpoints[1].url: must begin with http:// or https://"},
		{"h2", set(func(c *Config) { c.Protocol = "h2" }), ""},
		{"h2 without TLS", func(c *Config) { c.URL, c.Protocol = "http://a", "h2" }, "protocol: h2 needs https URLs (without TLS it is h2c)"},
		{"h2c with TLS", set(func(c *Config) { c.Protocol = "h2c" }), "protocol: h2c needs http URLs (with TLS it is h2)"},
		{"tls without https", func(c *Config) { c.URL, c.TLS = "http://a", &TLS{} }, "tls: no URL is https"},
		{"host", set(func(c *Config) { c.Host = "agent.internal:8443" }), ""},
		{"preserve", set(func(c *Config) { c.Host = "preserve" }), ""},
		{"bad host setting", set(func(c *Config) { c.Host = "a b" }), `host: must be upstream, preserve, or a host: the host "a b" has a character at byte 1 that no host name has`},
		{"fallback", set(func(c *Config) { c.FallbackOn = []int{502, 200} }), "fallback_on[1]: must be a status from 400 to 599"},
		{"max", set(func(c *Config) { c.Connections.Max = -1 }), "connections.max: must not be negative"},
		{"idle", set(func(c *Config) { c.Connections.Idle = -1 }), "connections.idle: must not be negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := config(tt.change)
			got := ""
			if err := c.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("%q shows a secret", got)
			}
		})
	}
}

// TestTLSValidate proves that a certificate and its key come together.
func TestTLSValidate(t *testing.T) {
	for _, tt := range []struct {
		tls  TLS
		want string
	}{
		{TLS{}, ""},
		{TLS{CA: "a", Cert: "b", Key: "c"}, ""},
		{TLS{Cert: "b"}, "cert: needs key, the file of its private key"},
		{TLS{Key: "c"}, "key: needs cert, the file of its certificate"},
	} {
		got := ""
		if err := tt.tls.Validate(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.tls, got, tt.want)
		}
	}
}

// TestEndpointText proves that a URL stands for an endpoint with defaults.
func TestEndpointText(t *testing.T) {
	var e Endpoint
	if err := e.UnmarshalText([]byte("http://a")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Endpoint{URL: "http://a", Weight: 1}, e); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestFallbackOn proves that the handler says which answers count as none.
func TestFallbackOn(t *testing.T) {
	h := build(t, config(func(c *Config) { c.URL, c.FallbackOn = "http://a", []int{502, 503} }))
	f, ok := h.(interface{ FallbackOn(status int) bool })
	if !ok || !f.FallbackOn(503) || f.FallbackOn(504) {
		t.Errorf("got %t", ok)
	}
}

// TestKeep proves that connections are kept over a reload that does not concern them, and
// only then.
func TestKeep(t *testing.T) {
	two := func(c *Config) {
		c.Endpoints = []Endpoint{{URL: "https://a", Weight: 1}, {URL: "https://b", Weight: 1}}
	}
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	writeFile(t, ca, authority(t).certPEM)
	tests := []struct {
		name   string
		where  string
		change func(*Config)
		built  int // anew
	}{
		{"same", "upstreams.x", func(*Config) {}, 0},
		{"time-outs, weight, path, host, retry", "upstreams.x", func(c *Config) {
			c.Timeout, c.FirstByte, c.StreamIdle, c.Host, c.Retry = 1, 2, 3, "preserve", &pool.Retry{Attempts: 1}
			c.Endpoints[0].Weight, c.Endpoints[1].URL = 5, "https://b/path"
		}, 0},
		{"one more", "upstreams.x", func(c *Config) { c.Endpoints = append(c.Endpoints, Endpoint{URL: "https://c", Weight: 1}) }, 1},
		{"connect time-out", "upstreams.x", func(c *Config) { c.ConnectTimeout = 1 }, 2},
		{"idle", "upstreams.x", func(c *Config) { c.Connections.Idle = 1 }, 2},
		{"protocol", "upstreams.x", func(c *Config) { c.Protocol = "h1" }, 2},
		{"engine", "upstreams.x", func(c *Config) { c.Engine = "std" }, 2},
		{"certificates", "upstreams.x", func(c *Config) { c.TLS = &TLS{CA: ca} }, 2},
		{"another upstream", "upstreams.y", func(*Config) {}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := keeping(t)
			if _, err := New(k.env("upstreams.x"), config(two)); err != nil {
				t.Fatal(err)
			}
			before := k.built
			if _, err := New(k.env(tt.where), config(two, tt.change)); err != nil {
				t.Fatal(err)
			}
			if got := k.built - before; got != tt.built {
				t.Errorf("got %d endpoints opened anew, want %d", got, tt.built)
			}
		})
	}
	t.Run("the same file with new content", func(t *testing.T) {
		k := keeping(t)
		c := config(two, func(c *Config) { c.TLS = &TLS{CA: ca} })
		for _, want := range []int{2, 4} {
			if _, err := New(k.env("upstreams.x"), c); err != nil {
				t.Fatal(err)
			}
			if k.built != want {
				t.Errorf("got %d endpoints opened, want %d", k.built, want)
			}
			writeFile(t, ca, authority(t).certPEM)
		}
	})
}

// TestFiles proves what is said of files that cannot be used.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	a := authority(t)
	empty, cert, key := filepath.Join(dir, "empty"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	large, other := filepath.Join(dir, "large"), filepath.Join(dir, "other.pem")
	writeFile(t, empty, nil)
	writeFile(t, cert, a.certPEM)
	writeFile(t, key, a.keyPEM)
	writeFile(t, other, authority(t).keyPEM)
	writeFile(t, large, make([]byte, 1<<20+1))
	none := filepath.Join(dir, "none")
	tests := []struct {
		tls  TLS
		want string
	}{
		{TLS{CA: none}, fmt.Sprintf("tls.ca: cannot read %q: it does not exist", none)},
		{TLS{CA: dir}, fmt.Sprintf("tls.ca: cannot read %q: is a directory", dir)},
		{TLS{CA: large}, fmt.Sprintf("tls.ca: %q is larger than 1MiB", large)},
		{TLS{CA: empty}, "tls.ca: the file holds no certificate (PEM)"},
		{TLS{Cert: cert, Key: none}, fmt.Sprintf("tls.key: cannot read %q: it does not exist", none)},
		{TLS{Cert: cert, Key: other}, "tls.cert: the files are not a certificate and its key: tls: private key does not match public key"},
		{TLS{Cert: cert, Key: key}, ""},
	}
	for _, tt := range tests {
		_, err := New(keeping(t).env("upstreams.x"), config(func(c *Config) { c.URL, c.TLS = "https://a", &tt.tls }))
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.tls, got, tt.want)
		}
	}
}

// A signer is an authority, or what one signed.
type signer struct {
	cert            *x509.Certificate
	key             *ecdsa.PrivateKey
	certPEM, keyPEM []byte
}

func authority(t *testing.T) *signer {
	t.Helper()
	return sign(t, nil, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
}

// sign makes a certificate out of the template; by itself if by is nil.
func sign(t *testing.T, by *signer, c *x509.Certificate) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.Subject = pkix.Name{CommonName: "test"}
	if c.NotAfter.IsZero() {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	if by == nil {
		by = &signer{cert: c, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{
		cert: cert, key: key,
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
	}
}

func (s *signer) pair(t *testing.T) tls.Certificate {
	t.Helper()
	p, err := tls.X509KeyPair(s.certPEM, s.keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func writeFile(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// secure starts an agent that speaks TLS as cfg says, HTTP/2 too if it offers it.
func secure(t *testing.T, cfg *tls.Config, h nethttp.HandlerFunc) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = cfg
	s.EnableHTTP2 = len(cfg.NextProtos) > 0
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

func echoProto(w nethttp.ResponseWriter, r *nethttp.Request) {
	who := ""
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		who = " " + r.TLS.PeerCertificates[0].Subject.CommonName
	}
	_, _ = fmt.Fprintf(w, "%s %s%s", r.Proto, r.Host, who)
}

// TestTLS proves that agents are asked over TLS as the settings say, and what the client
// is told when that does not work.
func TestTLS(t *testing.T) {
	ca := authority(t)
	local := []net.IP{net.IPv4(127, 0, 0, 1)}
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	good := sign(t, ca, &x509.Certificate{IPAddresses: local, DNSNames: []string{"agent.example"}, ExtKeyUsage: both}).pair(t)
	named := sign(t, ca, &x509.Certificate{DNSNames: []string{"agent.example"}, ExtKeyUsage: both}).pair(t)
	expired := sign(t, ca, &x509.Certificate{IPAddresses: local, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1, 0)}).pair(t)
	stranger := sign(t, authority(t), &x509.Certificate{IPAddresses: local, ExtKeyUsage: both})
	client := sign(t, ca, &x509.Certificate{ExtKeyUsage: both})
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		writeFile(t, path, b)
		return path
	}
	caFile := file("ca.pem", ca.certPEM)
	mine := TLS{CA: caFile, Cert: file("c.pem", client.certPEM), Key: file("c.key", client.keyPEM)}
	theirs := TLS{CA: caFile, Cert: file("s.pem", stranger.certPEM), Key: file("s.key", stranger.keyPEM)}
	clients := x509.NewCertPool()
	clients.AddCert(ca.cert)
	server := func(cert tls.Certificate, change ...func(*tls.Config)) *tls.Config {
		cfg := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS10}
		for _, f := range change {
			f(cfg)
		}
		return cfg
	}
	mutual := func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, clients }
	http1 := func(c *tls.Config) { c.NextProtos = nil }
	old := func(c *tls.Config) { c.MaxVersion = tls.VersionTLS11 }
	cbc := func(c *tls.Config) {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
	}
	gcm := func(c *tls.Config) { c.MaxVersion, c.NextProtos = tls.VersionTLS12, nil }
	const invalid, failed = "the certificate of the agent is not valid", "the TLS handshake with the agent failed"
	tests := []struct {
		name     string
		server   *tls.Config
		tls      TLS
		protocol string
		want     string // the answer, or the message
		fails    bool
	}{
		{"HTTP/2", server(good), TLS{CA: caFile}, "auto", "HTTP/2.0 H", false},
		{"HTTP/1.1 by the agent", server(good, http1), TLS{CA: caFile}, "auto", "HTTP/1.1 H", false},
		{"HTTP/1.1 by setting", server(good), TLS{CA: caFile}, "h1", "HTTP/1.1 H", false},
		{"HTTP/2 by setting", server(good), TLS{CA: caFile}, "h2", "HTTP/2.0 H", false},
		{"TLS 1.2", server(good, gcm), TLS{CA: caFile}, "auto", "HTTP/1.1 H", false},
		{"server name", server(named), TLS{CA: caFile, ServerName: "agent.example"}, "auto", "HTTP/2.0 H", false},
		{"mutual", server(good, mutual), mine, "auto", "HTTP/2.0 H test", false},
		{"mutual, HTTP/1.1", server(good, mutual, http1), mine, "auto", "HTTP/1.1 H test", false},
		{"no HTTP/2", server(good, http1), TLS{CA: caFile}, "h2", "the agent does not speak HTTP/2", true},
		{"self-signed", server(stranger.pair(t)), TLS{CA: caFile}, "auto", invalid, true},
		{"unknown to the system", server(good), TLS{}, "auto", invalid, true},
		{"expired", server(expired), TLS{CA: caFile}, "auto", invalid, true},
		{"wrong name", server(named), TLS{CA: caFile}, "auto", invalid, true},
		{"TLS 1.1", server(good, old), TLS{CA: caFile}, "auto", failed, true},
		{"no AEAD", server(good, cbc), TLS{CA: caFile}, "auto", failed, true},
		{"certificate missing", server(good, mutual, http1), TLS{CA: caFile}, "auto", failed, true},
		{"certificate of a stranger", server(good, mutual, http1), theirs, "auto", failed, true},
		{"certificate missing, TLS 1.2", server(good, mutual, gcm), TLS{CA: caFile}, "auto", failed, true},
	}
	for _, engine := range []string{"fast", "std"} {
		for _, tt := range tests {
			t.Run(engine+"/"+tt.name, func(t *testing.T) {
				address := secure(t, tt.server, echoProto)
				h := build(t, config(func(c *Config) { c.URL, c.TLS, c.Protocol, c.Engine = address, &tt.tls, tt.protocol, engine }))
				for range 2 { // the second over the same connection, if there is one
					_, body, err := ask(t, h)
					if tt.fails {
						wantFailure(t, err, airside.UpstreamFailed, tt.want)
						continue
					}
					want := strings.Replace(tt.want, " H", " "+strings.TrimPrefix(address, "https://"), 1)
					if err != nil || body != want {
						t.Errorf("got %q, %v, want %q", body, err, want)
					}
				}
			})
		}
	}
}

func wantFailure(t *testing.T, err error, code airside.Code, message string) {
	t.Helper()
	e, ok := errors.AsType[*airside.Error](err)
	if !ok || e.Code != code || e.Message != message {
		t.Errorf("got %v, want %s: %s", err, code, message)
	}
}

// TestNotTLS proves what is said of an agent that does not speak TLS, or begins to and
// stops.
func TestNotTLS(t *testing.T) {
	plain := httptest.NewServer(nethttp.HandlerFunc(echoProto))
	t.Cleanup(plain.Close)
	h := build(t, config(func(c *Config) { c.URL = "https" + strings.TrimPrefix(plain.URL, "http") }))
	_, _, err := ask(t, h)
	wantFailure(t, err, airside.UpstreamFailed, "the TLS handshake with the agent failed")

	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	h = build(t, config(func(c *Config) { c.URL, c.TLSTimeout = "https://"+l.Addr().String(), 60*time.Millisecond }))
	_, _, err = ask(t, h)
	wantFailure(t, err, airside.Timeout, "the TLS handshake with the agent took longer than 60ms")
}

// TestUpgradeOverTLS proves that an upgrade finds HTTP/1.1 though the agent prefers HTTP/2.
func TestUpgradeOverTLS(t *testing.T) {
	ca := authority(t)
	cert := sign(t, ca, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, caFile, ca.certPEM)
	address := secure(t, &tls.Config{Certificates: []tls.Certificate{cert.pair(t)}, NextProtos: []string{"h2", "http/1.1"}},
		func(w nethttp.ResponseWriter, r *nethttp.Request) {
			c, rw, err := nethttp.NewResponseController(w).Hijack()
			if err != nil {
				w.WriteHeader(nethttp.StatusTeapot)
				return
			}
			defer func() { _ = c.Close() }()
			_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + r.Header.Get("Upgrade") + "\r\n\r\n")
			_ = rw.Flush()
			_, _ = io.Copy(c, rw)
		})
	h := build(t, config(func(c *Config) { c.URL, c.TLS = address, &TLS{CA: caFile} }))
	for range 2 {
		resp, _, err := ask(t, h)
		if err != nil || resp.StatusCode != nethttp.StatusTeapot || resp.ProtoMajor != 2 {
			t.Fatalf("got %v, %v, want HTTP/2", resp, err)
		}
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.Header.Set("Upgrade", "websocket")
		resp, err = h.Handle(airside.NewExchange(r, slog.New(slog.DiscardHandler)))
		if err != nil || resp.StatusCode != nethttp.StatusSwitchingProtocols {
			t.Fatalf("got %v, %v, want 101", resp, err)
		}
		c := resp.Body.(io.ReadWriteCloser)
		if _, err := io.WriteString(c, "hello"); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 5)
		if _, err := io.ReadFull(c, b); err != nil || !bytes.Equal(b, []byte("hello")) {
			t.Errorf("got %q, %v", b, err)
		}
		if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}
}

// TestEarlyAnswerOverTLS proves that an answer which comes before the request body was read
// is passed on, also through TLS.
func TestEarlyAnswerOverTLS(t *testing.T) {
	ca := authority(t)
	pair := sign(t, ca, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}).pair(t)
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, caFile, ca.certPEM)
	for _, protocols := range [][]string{nil, {"h2"}} {
		t.Run(fmt.Sprint(protocols), func(t *testing.T) {
			address := secure(t, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: protocols}, func(w nethttp.ResponseWriter, _ *nethttp.Request) {
				w.Header().Set("Connection", "close")
				w.WriteHeader(nethttp.StatusRequestEntityTooLarge)
				_, _ = io.WriteString(w, "too much")
			})
			h := build(t, config(func(c *Config) { c.URL, c.TLS = address, &TLS{CA: caFile} }))
			for run := range 50 {
				ctx, cancel := context.WithCancel(t.Context())
				r := httptest.NewRequestWithContext(t.Context(), "POST", "/", until{ctx})
				resp, err := h.Handle(airside.NewExchange(r, slog.New(slog.DiscardHandler)))
				if err != nil {
					t.Fatalf("run %d: %v", run, err)
				}
				b, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				cancel()
				if err != nil || resp.StatusCode != 413 || string(b) != "too much" {
					t.Fatalf("run %d: got %d %q, %v", run, resp.StatusCode, b, err)
				}
			}
		})
	}
}

// until is a body that goes on until ctx ends.
type until struct{ ctx context.Context }

func (u until) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, io.EOF
	}
	clear(p)
	return len(p), nil
}

// FuzzParse proves that whatever is taken for the URL of an endpoint is one without
// surprises.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"http://a", "https://A.b:1/c%20d/", "http://[::1]/", "http://a/%2e", "http://a@b", "http://a?b#c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parse(s)
		if err != nil {
			return
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			t.Fatalf("%q: got %+v", s, u)
		}
		again, err := parse(u.String())
		if err != nil || again.String() != u.String() {
			t.Fatalf("%q: %q is read as %v, %v", s, u, again, err)
		}
	})
}
