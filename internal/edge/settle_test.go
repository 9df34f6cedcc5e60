package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"
)

// wantAnswer reads an answer from c.
func wantAnswer(t *testing.T, br *bufio.Reader) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
		t.Fatalf("got %d, %v", resp.StatusCode, err)
	}
	return resp
}

// stop shuts s down in the background.
func stop(t *testing.T, s *Server) <-chan error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		done <- s.Shutdown(ctx, 0)
	}()
	return done
}

// refusing waits until addr takes no connection any more.
func refusing(t *testing.T, addr string) {
	t.Helper()
	for range 1000 {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			c.Close()
		}
	}
	t.Fatal("the address is never closed")
}

// A stopping server serves the requests of which a part has arrived, be it on a new
// connection or on one that was idle.
func TestShutdownServesWhatHasArrived(t *testing.T) {
	for _, standard := range []bool{false, true} {
		t.Run(fmt.Sprintf("standard=%v", standard), func(t *testing.T) {
			t.Parallel()
			serveWhatHasArrived(t, &Listener{Standard: standard})
		})
	}
}

func serveWhatHasArrived(t *testing.T, l *Listener) {
	s, addr := start(t, l, echo)
	const head, rest = "GET / HTTP/1.1\r\nHost: h\r\n", "\r\n"
	used, unused := connect(t, addr), connect(t, addr)
	usedReader := bufio.NewReader(used)
	fmt.Fprint(used, head+rest)
	if resp := wantAnswer(t, usedReader); resp.Close {
		t.Fatal("the connection is not kept")
	}
	fmt.Fprint(used, head)
	fmt.Fprint(unused, head)
	done := stop(t, s)
	refusing(t, addr)
	for _, c := range []struct {
		net.Conn
		br *bufio.Reader
	}{{used, usedReader}, {unused, bufio.NewReader(unused)}} {
		fmt.Fprint(c, rest)
		if resp := wantAnswer(t, c.br); !resp.Close {
			t.Error("the client is not told that the server leaves")
		}
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Who brings nothing does not hold up the end: not an idle connection, not one that
// was never used, not one that stopped after its TLS handshake.
func TestShutdownWaitsForNobodyIdle(t *testing.T) {
	limits := generous
	limits.HeaderTimeout, limits.Idle = time.Hour, time.Hour
	s, addr := start(t, &Listener{Limits: limits}, echo)
	secured := &Listener{Address: "localhost:0", Limits: limits, HTTP1: true, HTTP2: true, TLS: &TLS{SelfSigned: true}}
	plain := &Listener{Address: "127.0.0.1:0", Limits: limits, HTTP1: true, HTTP2: true}
	apply(t, s, plain, secured)
	idle, unused := connect(t, addr), connect(t, addr)
	fmt.Fprint(idle, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	br := bufio.NewReader(idle)
	wantAnswer(t, br)
	handshaken := tls.Client(connect(t, s.Addrs()[secured.Address].String()), &tls.Config{InsecureSkipVerify: true})
	if err := handshaken.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := stop(t, s)
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the idle connection got %v, want its end", err)
	}
	if n, err := unused.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the unused connection got %v, want its end", err)
	}
	if _, err := handshaken.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the encrypted connection got %v, want its end", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A burden is clients that each send request after request, on a connection each or
// on one that they keep as long as they may.
type burden struct {
	wg       sync.WaitGroup
	mu       sync.Mutex
	answered int
	lost     []error
	enough   chan struct{} // closed after some answers
}

func load(t *testing.T, addr string, protocols *http.Protocols, keep bool) *burden {
	b := &burden{enough: make(chan struct{})}
	for range 8 {
		b.wg.Go(func() {
			tr := &http.Transport{Protocols: protocols, DisableKeepAlives: !keep}
			defer tr.CloseIdleConnections()
			for b.ask(t, tr, addr) {
			}
		})
	}
	return b
}

// ask reports whether the address is still open.
func (b *burden) ask(t *testing.T, tr *http.Transport, addr string) bool {
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+addr+"/", io.LimitReader(zeros{}, 100))
	if err != nil {
		t.Error(err)
		return false
	}
	resp, err := tr.RoundTrip(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return false
	}
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.lost = append(b.lost, err)
		return len(b.lost) < 10
	}
	if b.answered++; b.answered == 100 {
		close(b.enough)
	}
	return true
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// An address that is closed, by a stop or by a reload, loses no request: what it has
// accepted is answered, and the rest is refused.
func TestClosedAddressLosesNothing(t *testing.T) {
	h1, h2 := new(http.Protocols), new(http.Protocols)
	h1.SetHTTP1(true)
	h2.SetUnencryptedHTTP2(true)
	for _, tt := range []struct {
		name      string
		protocols *http.Protocols
		keep      bool
		standard  bool
	}{
		{"new connections", h1, false, false},
		{"kept connections", h1, true, false},
		{"new connections, net/http", h1, false, true},
		{"kept connections, net/http", h1, true, true},
		{"HTTP/2", h2, true, false},
		{"HTTP/2, net/http", h2, true, true},
	} {
		for _, by := range []string{"reload", "stop"} {
			t.Run(tt.name+", "+by, func(t *testing.T) {
				t.Parallel()
				s, addr := start(t, &Listener{Standard: tt.standard}, echo)
				b := load(t, addr, tt.protocols, tt.keep)
				<-b.enough
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				defer cancel()
				if by == "reload" {
					s.Drain() // so that kept connections end
					apply(t, s)
				} else if err := s.Shutdown(ctx, 20*time.Millisecond); err != nil {
					t.Error(err)
				}
				b.wg.Wait()
				if len(b.lost) > 0 {
					t.Errorf("%d requests answered, lost %v", b.answered, b.lost)
				}
			})
		}
	}
}
