package health

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func checking(change ...func(*Check)) *Check {
	c := &Check{}
	c.Defaults()
	c.Path, c.Interval, c.Timeout = "/healthz", time.Millisecond, 20*time.Second
	for _, f := range change {
		f(c)
	}
	return c
}

// asked makes one check.
func asked(t *testing.T, s Settings, address string) error {
	t.Helper()
	p, err := newProbe(&s, address)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	return p.within(t.Context(), s.Check.Timeout)
}

func wantErr(t *testing.T, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// serve starts an agent with all versions of HTTP.
func serve(t *testing.T, secure bool, h http.HandlerFunc) (string, *tls.Config) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.Protocols = &http.Protocols{}
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetHTTP2(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.EnableHTTP2 = true
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	t.Cleanup(s.Close)
	if !secure {
		s.Start()
		return s.URL, cfg
	}
	s.StartTLS()
	cfg.RootCAs = x509.NewCertPool()
	cfg.RootCAs.AddCert(s.Certificate())
	return s.URL, cfg
}

// nowhere is an address that refuses connections.
func nowhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	return "http://" + l.Addr().String()
}

// mute is an address that takes connections and says nothing.
func mute(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return "http://" + l.Addr().String()
}

// TestByHTTP proves what checks by HTTP ask, and what they find, over each version.
func TestByHTTP(t *testing.T) {
	tests := []struct {
		protocol, version string
		secure            bool
	}{
		{"auto", "HTTP/1.1", false},
		{"auto", "HTTP/2.0", true},
		{"h1", "HTTP/1.1", false},
		{"h1", "HTTP/1.1", true},
		{"h2", "HTTP/2.0", true},
		{"h2c", "HTTP/2.0", false},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s %v", tt.protocol, tt.secure), func(t *testing.T) {
			status := http.StatusOK
			var got string
			address, cfg := serve(t, tt.secure, func(w http.ResponseWriter, r *http.Request) {
				got = fmt.Sprintf("%s %s %s %s %s", r.Proto, r.Method, r.URL, r.Host, r.UserAgent())
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(status)
				_, _ = io.WriteString(w, strings.Repeat("x", 100<<10)) // more than is read
			})
			s := Settings{Check: checking(func(c *Check) { c.Path = "/healthz?deep=1" }), Protocol: tt.protocol, TLS: cfg}
			wantErr(t, asked(t, s, address), "")
			if want := tt.version + " GET /healthz?deep=1 " + address[strings.Index(address, "//")+2:] + " airside-health"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			s.Host = "agent.example"
			status = http.StatusFound
			wantErr(t, asked(t, s, address), "")
			s.Check.Host = "health.example"
			status = http.StatusServiceUnavailable
			wantErr(t, asked(t, s, address), "GET /healthz?deep=1 answered 503")
			if !strings.Contains(got, " health.example ") {
				t.Errorf("got %q, want the host of the check", got)
			}
			s.Check.Status = []Statuses{{200, 204}, {503, 503}}
			wantErr(t, asked(t, s, address), "")
			status = http.StatusFound
			wantErr(t, asked(t, s, address), "GET /healthz?deep=1 answered 302")
		})
	}
}

// TestByTCP proves that a connection is enough, with TLS where exchanges have it.
func TestByTCP(t *testing.T) {
	s := Settings{Check: checking(func(c *Check) { c.Protocol, c.Path = byTCP, "" })}
	wantErr(t, asked(t, s, mute(t)), "")
	wantErr(t, asked(t, s, nowhere(t)), "connect: connection refused")
	address, cfg := serve(t, true, func(http.ResponseWriter, *http.Request) {})
	wantErr(t, asked(t, s, address), "TLS handshake: the certificate is not valid")
	s.TLS = cfg
	wantErr(t, asked(t, s, address), "")
	s.Check.Timeout = 50 * time.Millisecond
	wantErr(t, asked(t, s, strings.Replace(mute(t), "http:", "https:", 1)), "TLS handshake: no answer within 50ms")
}

// TestReasons proves what operators are told of checks that found nobody.
func TestReasons(t *testing.T) {
	s := Settings{Check: checking()}
	wantErr(t, asked(t, s, nowhere(t)), "GET /healthz: connection refused")
	address, _ := serve(t, true, func(http.ResponseWriter, *http.Request) {})
	wantErr(t, asked(t, s, address), "GET /healthz: the certificate is not valid")
	wantErr(t, asked(t, s, "http://agent.invalid"), "GET /healthz: the name cannot be resolved")
	cut, _ := serve(t, false, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "x")
	})
	wantErr(t, asked(t, s, cut), "GET /healthz: the connection ended before the answer did")
	s.Check.Timeout = 50 * time.Millisecond
	wantErr(t, asked(t, s, mute(t)), "GET /healthz: no answer within 50ms")
}

// TestByGRPC proves that the standard health service is asked as it is defined, and what
// is made of its answers.
func TestByGRPC(t *testing.T) {
	message := func(b ...byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
	}
	tests := []struct {
		name    string
		status  string // grpc-status
		body    []byte
		want    string
		trailed bool
	}{
		{"serving", "0", message(8, 1), "", true},
		{"serving, and fields of later", "0", message(8, 1, 18, 2, 'a', 'b', 24, 200, 1, 37, 1, 2, 3, 4, 41, 1, 2, 3, 4, 5, 6, 7, 8), "", true},
		{"not serving", "0", message(8, 2), "gRPC health check answered NOT_SERVING", true},
		{"unknown", "0", message(), "gRPC health check answered UNKNOWN", true},
		{"not of this world", "0", message(8, 77), "gRPC health check answered 77", true},
		{"no such service", "5", nil, `gRPC health check answered gRPC status "5"`, true},
		{"not implemented", "12", nil, `gRPC health check answered gRPC status "12"`, false},
		{"cut message", "0", message(8, 1)[:6], "gRPC health check: the answer is not a HealthCheckResponse", true},
		{"no message", "0", nil, "gRPC health check: the answer is not a HealthCheckResponse", true},
		{"no status", "", message(8, 1), `gRPC health check answered gRPC status ""`, true},
	}
	for _, secure := range []bool{false, true} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s %v", tt.name, secure), func(t *testing.T) {
				var got string
				address, cfg := serve(t, secure, func(w http.ResponseWriter, r *http.Request) {
					b, _ := io.ReadAll(r.Body)
					got = fmt.Sprintf("%s %s %s %s %s %q", r.Proto, r.Method, r.URL, r.Header.Get("Content-Type"), r.Header.Get("Te"), b)
					w.Header().Set("Content-Type", "application/grpc")
					if tt.status != "" {
						w.Header().Set(map[bool]string{true: http.TrailerPrefix, false: ""}[tt.trailed]+"Grpc-Status", tt.status)
					}
					_, _ = w.Write(tt.body)
				})
				s := Settings{Check: checking(func(c *Check) { c.Protocol, c.Path, c.Service = byGRPC, "", "clinic.Records" }), TLS: cfg, Protocol: "auto"}
				wantErr(t, asked(t, s, address), tt.want)
				if want := `HTTP/2.0 POST /grpc.health.v1.Health/Check application/grpc trailers "\x00\x00\x00\x00\x10\n\x0eclinic.Records"`; got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		}
	}
	if got, want := grpcRequest(""), []byte{0, 0, 0, 0, 0}; !bytes.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestChecks proves how checks in a row make an endpoint unwell and well again, that the
// first decides alone, that none overlap, and that a check leaves nothing behind.
func TestChecks(t *testing.T) {
	for _, initial := range []string{StateHealthy, StateUnhealthy} {
		t.Run(initial, func(t *testing.T) {
			var status, under, asked atomic.Int32
			status.Store(503)
			address, _ := serve(t, false, func(w http.ResponseWriter, _ *http.Request) {
				if under.Add(1) != 1 {
					t.Error("checks overlap")
				}
				asked.Add(1)
				w.WriteHeader(int(status.Load()))
				under.Add(-1)
			})
			log, logger := newRecord()
			g, _ := grouped(t, Settings{Check: checking(func(c *Check) { c.Initial = initial }), Log: logger}, 0)
			h := g.Use(address)
			wantUsable(t, h, initial == StateHealthy)
			if n := asked.Load(); n != 0 {
				t.Errorf("asked %d times before the start", n)
			}
			g.Start()
			g.Start()
			if initial == StateHealthy {
				log.await(t.Context(), t, "from=healthy", "to=unhealthy", "why=\"GET /healthz answered 503\"")
				if n := asked.Load(); n < 1 {
					t.Error("it was not the first check that decided")
				}
				wantUsable(t, h, false)
			}
			status.Store(204)
			log.await(t.Context(), t, "from=unhealthy", "to=healthy")
			want(t, h, StateHealthy, "")
			g.Leave(h)
			if g.Use(address) != h {
				t.Error("it is another")
			}
		})
	}
}

// TestTally is the table of how many checks decide.
func TestTally(t *testing.T) {
	tests := []struct {
		initial bool   // unwell
		checks  string // x fails
		want    string // after each: x is unwell
	}{
		{false, "x", "x"},
		{true, ".", "."},
		{false, ".xx.xxx", "......x"},
		{false, "x.x..", "xxxx."},
		{false, ".xxx.x..", "...xxxx."},
		{true, "x..", "xx."},
	}
	for _, tt := range tests {
		t.Run(tt.checks, func(t *testing.T) {
			h, c, got := &Host{bad: tt.initial}, checking(), ""
			tally := tally{first: true}
			for _, r := range tt.checks {
				h.bad = tally.count(c, h, r == '.')
				got += map[bool]string{true: "x", false: "."}[h.bad]
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// TestCloseEndsChecks proves that a group that is closed does not wait for an agent that
// says nothing, and takes hosts nevertheless.
func TestCloseEndsChecks(t *testing.T) {
	taken := make(chan struct{}, 8)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			taken <- struct{}{}
		}
	}()
	g := New(Settings{Check: checking(func(c *Check) { c.Timeout = time.Hour })})
	g.Start()
	h := g.Use("http://" + l.Addr().String())
	<-taken
	_ = g.Close()
	want(t, h, StateHealthy, "") // it was not the agent that ended the check
	wantUsable(t, g.Use("http://b"), true)
	_ = l.Close()
	<-ended
}

// TestJitter proves within which bounds intervals are drawn.
func TestJitter(t *testing.T) {
	for _, tt := range []struct {
		random float64
		want   time.Duration
	}{{0, 8 * time.Second}, {0.5, 10 * time.Second}, {1, 12 * time.Second}} {
		g, _ := grouped(t, Settings{
			Check:  checking(func(c *Check) { c.Interval, c.Jitter = 10*time.Second, 0.2 }),
			Random: func() float64 { return tt.random },
		}, 0)
		if got := g.interval(); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.random, got, tt.want)
		}
	}
}

// FuzzGRPCAnswer proves that no answer of an agent does harm, and that what is read as
// serving says so.
func FuzzGRPCAnswer(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 4, 18, 0, 8, 2})
	f.Add([]byte{1, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		status, err := grpcAnswer(b)
		if err != nil && status != 0 {
			t.Errorf("%x: got %d and %v", b, status, err)
		}
		if err == nil && (len(b) < grpcPrefix || b[0] != 0 || int(binary.BigEndian.Uint32(b[1:])) != len(b)-grpcPrefix) {
			t.Errorf("%x: got %d out of what is not one message", b, status)
		}
	})
}
