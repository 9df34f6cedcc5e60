package h3_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"go.uber.org/goleak"

	"github.com/airside-gateway/airside/internal/edge/h3"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patient is how long a test waits for what must come, on a machine that is busy.
const patient = 30 * time.Second

// generous are limits that no test reaches by accident.
var generous = h3.Limits{Headers: 64 << 10, Streams: 100, Handshake: patient, Idle: time.Minute, Body: patient, Write: patient}

// certificate makes a certificate for localhost, which may sign itself.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serve starts a server with h, and closes it with the test.
func serve(t *testing.T, h http.HandlerFunc, l h3.Limits, change ...func(*h3.Config)) *h3.Server {
	t.Helper()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conf := &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
	c := h3.Config{
		Handler: h, TLS: func() *tls.Config { return conf }, Limits: func() h3.Limits { return l },
		Admit: func() func() { return func() {} }, Log: slog.New(slog.DiscardHandler),
	}
	for _, f := range change {
		f(&c)
	}
	s := h3.New(udp, c)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var insecure = &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}}

// client returns a client of its own connections, which is closed with the test.
func client(t *testing.T) *http3.Transport {
	tr := &http3.Transport{TLSClientConfig: insecure, DisableCompression: true}
	t.Cleanup(func() { tr.Close() })
	return tr
}

func request(t *testing.T, s *h3.Server, method string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "https://"+s.Addr().String()+"/a?b=c", body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func do(t *testing.T, c http.RoundTripper, r *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("after %d bytes: %v", len(b), err)
	}
	return resp, string(b)
}

// wait returns what comes on c.
func wait[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patient):
		t.Fatal("it never came")
		panic("unreachable")
	}
}

// TestRequest proves that a handler sees of a request what net/http would show.
func TestRequest(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprint(w, r.Method, r.RequestURI, r.ProtoMajor, r.TLS.ServerName, " ", r.ContentLength, r.Body == http.NoBody, " ", string(b), r.Header["Host"], r.Trailer)
	}, generous)
	c := client(t)
	for _, tt := range []struct {
		name string
		r    *http.Request
		want string
	}{
		{"no body", request(t, s, "GET", nil), "GET/a?b=c3 0 true [] map[]"},
		{"no body of a method that has one", request(t, s, "POST", nil), "POST/a?b=c3 0 true [] map[]"},
		{"trailers that never come, of no body", with(request(t, s, "GET", nil), func(r *http.Request) { r.Trailer = http.Header{"X-T": {"v"}} }), "GET/a?b=c3 -1 false [] map[X-T:[]]"},
		{"a body where few have one", request(t, s, "DELETE", strings.NewReader("abc")), "DELETE/a?b=c3 3 false abc[] map[]"},
		{"a body of unknown length where few have one", request(t, s, "DELETE", struct{ io.Reader }{strings.NewReader("abc")}), "DELETE/a?b=c3 -1 false abc[] map[]"},
		{"of unknown length", request(t, s, "POST", struct{ io.Reader }{strings.NewReader("abc")}), "POST/a?b=c3 -1 false abc[] map[]"},
		{"trailers", with(request(t, s, "POST", struct{ io.Reader }{strings.NewReader("abc")}), func(r *http.Request) {
			r.Trailer = http.Header{"X-T": {"v"}}
		}), "POST/a?b=c3 -1 false abc[] map[X-T:[v]]"},
	} {
		if _, got := do(t, c, tt.r); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func with(r *http.Request, f func(*http.Request)) *http.Request {
	f(r)
	return r
}

// TestAnswer proves that the ways of answering arrive as with net/http.
func TestAnswer(t *testing.T) {
	for _, tt := range []struct {
		name, method string
		h            http.HandlerFunc
		want         string // status, length, header X, trailers, body
	}{
		{"length", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", "1")
			w.Header().Set("Content-Length", "2")
			io.WriteString(w, "ab")
		}, "200 2 1 map[] ab"},
		{"large", "GET", func(w http.ResponseWriter, _ *http.Request) { w.Write(bytes.Repeat([]byte("x"), 5000)) }, "200 -1  map[] " + strings.Repeat("x", 5000)},
		{"nothing", "GET", func(http.ResponseWriter, *http.Request) {}, "200 0  map[] "},
		{"head", "HEAD", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "7") }, "200 7  map[] "},
		{"head without a length", "HEAD", func(http.ResponseWriter, *http.Request) {}, "200 -1  map[] "},
		{"204", "GET", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "204 0  map[] "},
		{"headers of a connection", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "keep-alive")
			w.Header().Set("Upgrade", "x")
			w.Header().Set("Transfer-Encoding", "chunked")
			io.WriteString(w, "ab")
		}, "200 2  map[] ab"},
		{"trailers", "GET", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-A, x-b")
			io.WriteString(w, "ab")
			w.Header().Set("X-A", "1")
			w.Header().Set(http.TrailerPrefix+"X-C", "3")
		}, "200 2  map[X-A:[1] X-C:[3]] ab"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, tt.h, generous)
			resp, b := do(t, client(t), request(t, s, tt.method, nil))
			if got := fmt.Sprint(resp.StatusCode, " ", resp.ContentLength, " ", resp.Header.Get("X"), " ", resp.Trailer, " ", b); got != tt.want {
				t.Errorf("got %.100q, want %.100q", got, tt.want)
			}
			for _, k := range []string{"Connection", "Upgrade", "Transfer-Encoding"} {
				if v, ok := resp.Header[k]; ok {
					t.Errorf("got %s: %q", k, v)
				}
			}
		})
	}
}

// TestInterim proves that 103 arrives ahead of the answer, and that a client that waits
// to be asked for its body is asked when somebody reads it.
func TestInterim(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a>")
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(103)
		clear(w.Header())
		if r.Header.Get("X-Unread") == "" {
			io.Copy(w, r.Body)
		}
	}, generous)
	for _, unread := range []bool{false, true} {
		var got []string
		r := request(t, s, "POST", strings.NewReader("abc"))
		r.Header.Set("Expect", "100-continue")
		if unread {
			r.Header.Set("X-Unread", "yes")
		}
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			got = append(got, fmt.Sprint(code, h))
			return nil
		}}))
		resp, b := do(t, client(t), r)
		want := []string{"103 map[Link:[</a>]]", "100 map[]"}
		if unread {
			want = want[:1]
		}
		if !slices.Equal(got, want) || resp.Header.Get("Link") != "" || b != "abc" && !unread {
			t.Errorf("got %q, and then %v %q, want %q", got, resp.Header, b, want)
		}
	}
}

// TestCut proves that an answer that the handler gives up never looks whole.
func TestCut(t *testing.T) {
	for name, before := range map[string]func(http.ResponseWriter){
		"before anything": func(http.ResponseWriter) {},
		"after the head":  func(w http.ResponseWriter) { http.NewResponseController(w).Flush() },
		"within a length": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "abc")
			http.NewResponseController(w).Flush()
		},
		"without a length": func(w http.ResponseWriter) {
			io.WriteString(w, "abc")
			http.NewResponseController(w).Flush()
		},
		"not flushed": func(w http.ResponseWriter) { io.WriteString(w, "abc") },
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			before(w)
			panic(http.ErrAbortHandler)
		}, generous)
		resp, err := client(t).RoundTrip(request(t, s, "GET", nil))
		if err != nil {
			continue
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if e, ok := errors.AsType[*http3.Error](err); !ok || e.ErrorCode != http3.ErrCodeInternalError {
			t.Errorf("%s: got %q, %v, want H3_INTERNAL_ERROR", name, b, err)
		}
	}
}

// TestStreams proves that no more requests of a connection are under way than there
// may be.
func TestStreams(t *testing.T) {
	began, let := make(chan struct{}, 10), make(chan struct{})
	l := generous
	l.Streams = 3
	s := serve(t, func(http.ResponseWriter, *http.Request) {
		began <- struct{}{}
		<-let
	}, l)
	c := client(t)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			resp, err := c.RoundTrip(request(t, s, "GET", nil))
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
		})
	}
	for range 3 {
		wait(t, began)
	}
	for range 2 {
		select {
		case <-began:
			t.Error("a fourth request began")
		case <-time.After(100 * time.Millisecond):
		}
		let <- struct{}{}
		wait(t, began)
	}
	close(let)
	wg.Wait()
}

// TestResets proves that a client that resets its requests as soon as it has sent them
// does not get more of them under way than there may be.
func TestResets(t *testing.T) {
	began, let := make(chan struct{}, 10), make(chan struct{})
	l := generous
	l.Streams = 2
	s := serve(t, func(http.ResponseWriter, *http.Request) {
		began <- struct{}{}
		<-let // whatever the client does
	}, l)
	defer close(let)
	c := dial(t, s, insecure)
	for range l.Streams {
		open(t.Context(), t, s, c)
		wait(t, began)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if open(ctx, t, s, c) {
		t.Error("another request was begun")
	}
	let <- struct{}{}
	if !open(t.Context(), t, s, c) {
		t.Error("the end of one makes no room")
	}
	wait(t, began)
}

// open begins a request and resets it, and reports whether it could.
func open(ctx context.Context, t *testing.T, s *h3.Server, c *quic.Conn) bool {
	t.Helper()
	str, err := c.OpenStreamSync(ctx)
	if err != nil {
		return false
	}
	str.Write(head(s))
	str.Close()
	str.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
	return true
}
