package h1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/airside-gateway/airside/internal/http1"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A way is how connections reach the engine.
type way string

const (
	plain   way = "plain"   // TCP, driven
	wrapped way = "wrapped" // the engine cannot see that it is TCP
	crumbs  way = "crumbs"  // as wrapped, and each read gives one byte
	secure  way = "secure"  // TLS
)

var ways = []way{plain, wrapped, crumbs, secure}

// A served server is an engine on an address of its own.
type served struct {
	*Server

	t    *testing.T
	way  way
	addr string
	log  *syncBuffer
	end  chan error // what Serve returned
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// serve starts an engine, which is closed with the test, and must leave nothing.
func serve(t *testing.T, way way, h http.HandlerFunc, changes ...func(*Config)) *served {
	t.Helper()
	watch, err := NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	s := &served{t: t, way: way, log: &syncBuffer{}, end: make(chan error, 1)}
	c := Config{
		Handler: h, Refuse: refuse, Context: context.Background(), MaxHead: 32 << 10, Grace: time.Minute,
		Watch: watch, Log: slog.New(slog.NewTextHandler(s.log, nil)), Poison: true,
	}
	for _, change := range changes {
		change(&c)
	}
	s.Server = New(c)
	ln := listen(t)
	s.addr = ln.Addr().String()
	go func() { s.end <- s.Serve(&reaching{Listener: ln, way: way, conf: certificate(t)}) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("something was left under way: %v", err)
		}
		if err := <-s.end; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
		if err := watch.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// refuse answers with the status and the reason.
func refuse(w http.ResponseWriter, _ *http.Request, why *http1.Error) {
	http.Error(w, why.Reason, why.Status)
}

// reaching gives connections by a way.
type reaching struct {
	net.Listener

	way  way
	conf *tls.Config
}

func (l *reaching) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	switch l.way {
	case wrapped:
		return &wrap{Conn: c, most: 1 << 20}, nil
	case crumbs:
		return &wrap{Conn: c, most: 1}, nil
	case secure:
		return tls.Server(c, l.conf), nil
	case plain:
	}
	return c, nil
}

// A wrap hides what a connection is. A read gives at most so many bytes.
type wrap struct {
	net.Conn

	most int
}

func (w *wrap) Read(p []byte) (int, error) { return w.Conn.Read(p[:min(len(p), w.most)]) }
func (w *wrap) NetConn() net.Conn          { return w.Conn }
func (w *wrap) CloseWrite() error {
	half, ok := w.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

func certificate(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
}

// A client is one end of a connection, which it reads and writes as it likes.
type client struct {
	net.Conn

	t   *testing.T
	raw *net.TCPConn
	br  *bufio.Reader
}

// dial connects to s by its way.
func (s *served) dial() *client { return dial(s.t, s.way, s.addr) }

func dial(t *testing.T, way way, addr string) *client {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	cl := &client{Conn: c, t: t, raw: c.(*net.TCPConn)}
	if way == secure {
		cl.Conn = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	cl.br = bufio.NewReader(cl.Conn)
	t.Cleanup(func() { _ = cl.Close() })
	return cl
}

// say writes.
func (c *client) say(format string, args ...any) {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.Conn, format, args...); err != nil {
		c.t.Fatal(err)
	}
}

// An answered request is what came back for one.
type answered struct {
	Status  int
	Header  http.Header
	Body    string
	Trailer http.Header
	Close   bool   // says that the connection ends
	Err     string // how reading it failed
}

// hear reads the answer to a request with a method, and those before it (1xx).
func (c *client) hear(method string) (a answered, interim []int) {
	for {
		resp, err := http.ReadResponse(c.br, &http.Request{Method: method})
		if err != nil {
			return answered{Err: kind(err)}, interim
		}
		if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
			interim = append(interim, resp.StatusCode)
			continue
		}
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return answered{Status: resp.StatusCode, Header: resp.Header}, interim
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		return answered{Status: resp.StatusCode, Header: resp.Header, Body: string(body), Trailer: resp.Trailer, Close: resp.Close, Err: kind(err)}, interim
	}
}

// kind says what sort of end an error is.
func kind(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "nothing came"
	}
	return "ended"
}

// want hears an answer and holds it to a status and a body.
func (c *client) want(method string, status int, body string) {
	c.t.Helper()
	a, _ := c.hear(method)
	if a.Status != status || a.Body != body || a.Err != "" {
		c.t.Fatalf("got %+v, want %d %q", a, status, body)
	}
}

// wantEnd waits for the end of the connection, which may be a reset.
func (c *client) wantEnd() {
	c.t.Helper()
	n, err := io.Copy(io.Discard, c.br)
	if n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("got %d bytes, %v, want the end of the connection", n, err)
	}
}

// within waits for ch.
func within[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("waited in vain: %s", what)
		panic("unreachable")
	}
}

// each runs f for every way.
func each(t *testing.T, f func(t *testing.T, way way)) {
	for _, w := range ways {
		t.Run(string(w), func(t *testing.T) { f(t, w) })
	}
}
