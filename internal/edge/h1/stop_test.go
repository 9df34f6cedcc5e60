package h1

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// shutdown begins one, and returns when it has.
func (s *served) shutdown(ctx context.Context) <-chan error {
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(ctx) }()
	for !s.draining.Load() {
		<-time.After(time.Millisecond)
	}
	s.mu.Lock() // each connection has been told
	defer s.mu.Unlock()
	return done
}

// TestShutdown proves that a shutdown loses nothing: what is under way, and what has
// begun to come, is answered, with the word that the connection ends; what waits is
// closed.
func TestShutdown(t *testing.T) {
	each(t, func(t *testing.T, way way) {
		begun, proceed := make(chan bool), make(chan bool)
		s := serve(t, way, func(w http.ResponseWriter, r *http.Request) {
			if r.RequestURI == "/wait" {
				begun <- true
				<-proceed
			}
			_, _ = io.WriteString(w, "ok")
		}, limits(time.Minute, time.Minute, time.Minute))
		idle, busy, slow, fresh := s.dial(), s.dial(), s.dial(), s.dial()
		for _, c := range []*client{idle, busy, slow} {
			c.say("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			c.want("GET", 200, "ok")
		}
		busy.say("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
		within(t, begun, "the request")
		slow.say("GET / HTTP/1.1\r\nHost: ")
		if _, err := fresh.Write(nil); err != nil { // over TLS that shakes hands
			t.Fatal(err)
		}
		done := s.shutdown(t.Context())
		idle.wantEnd()
		slow.say("a\r\n\r\n")
		if a, _ := slow.hear("GET"); a.Body != "ok" || !a.Close {
			t.Errorf("got %+v", a)
		}
		slow.wantEnd()
		select {
		case err := <-done:
			t.Errorf("Shutdown has not waited: %v", err)
		default:
		}
		proceed <- true
		if a, _ := busy.hear("GET"); a.Body != "ok" || !a.Close {
			t.Errorf("got %+v", a)
		}
		busy.wantEnd()
		fresh.wantEnd()
		if err := within(t, done, "Shutdown"); err != nil {
			t.Error(err)
		}
		if c, err := net.Dial("tcp", s.addr); err == nil {
			_ = c.Close()
			t.Error("the address is still open")
		}
	})
}

// TestShutdownGivesUp proves that Shutdown ends with its context, and that Close then
// ends what is under way, wherever it is.
func TestShutdownGivesUp(t *testing.T) {
	each(t, func(t *testing.T, way way) {
		begun, ended := make(chan bool, 3), make(chan bool, 3)
		s := serve(t, way, func(w http.ResponseWriter, r *http.Request) {
			switch r.RequestURI {
			case "/context":
				begun <- true
				<-r.Context().Done()
			case "/body":
				begun <- true
				_, _ = io.Copy(io.Discard, r.Body)
			case "/write":
				piece := make([]byte, 1<<20)
				begun <- true
				for err := error(nil); err == nil; {
					_, err = w.Write(piece)
				}
			}
			ended <- true
		})
		for _, head := range []string{"GET /context HTTP/1.1\r\n", "POST /body HTTP/1.1\r\nContent-Length: 5\r\n", "GET /write HTTP/1.1\r\n"} {
			s.dial().say("%sHost: a\r\n\r\n", head)
			within(t, begun, "a request")
		}
		unshaken := dial(t, plain, s.addr)
		ctx, cancel := context.WithCancel(t.Context())
		done := s.shutdown(ctx)
		cancel()
		if err := within(t, done, "Shutdown"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		for range 3 {
			within(t, ended, "a handler")
		}
		unshaken.wantEnd()
	})
}

// A late listener has accepted a connection when the server stops, and not yet given
// it to the server.
type late struct {
	net.Listener

	conns chan net.Conn
	held  chan bool
}

func (l *late) Accept() (net.Conn, error) {
	if _, err := l.Listener.Accept(); err != nil {
		return nil, err
	}
	l.held <- true
	return <-l.conns, nil
}

// TestAcceptedIsServed proves that a connection which was accepted before a shutdown is
// served if its request comes, and that both are told of.
func TestAcceptedIsServed(t *testing.T) {
	var open atomic.Int64
	s := New(Config{Handler: http.HandlerFunc(play), Refuse: refuse, Context: context.Background(), MaxHead: 8 << 10, State: func(_ net.Conn, st http.ConnState) {
		switch st {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		case http.StateActive, http.StateIdle:
			t.Errorf("told of %v", st)
		}
	}})
	for _, cut := range []bool{false, true} {
		ln := listen(t)
		l := &late{Listener: &kept{Listener: ln}, conns: make(chan net.Conn), held: make(chan bool)}
		end := make(chan error, 1)
		srv := &served{Server: s, t: t, way: plain, addr: ln.Addr().String()}
		if cut {
			s = New(s.Config)
			srv.Server = s
		}
		go func() { end <- s.Serve(l) }()
		c := srv.dial()
		c.say("GET /length?12345 HTTP/1.1\r\nHost: a\r\n\r\n")
		within(t, l.held, "the connection")
		done := srv.shutdown(t.Context())
		if cut {
			_ = s.Close()
		}
		l.conns <- within(t, l.Listener.(*kept).last(), "the accepted connection")
		if cut {
			c.wantEnd()
		} else {
			c.want("GET", 200, "12345")
			c.wantEnd()
		}
		if err := within(t, end, "Serve"); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		if err := within(t, done, "Shutdown"); err != nil {
			t.Error(err)
		}
		if n := open.Load(); n != 0 {
			t.Errorf("%d connections were not told to have ended", n)
		}
		if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("a server that has stopped serves: %v", err)
		}
	}
}

// kept keeps the connection that it has accepted.
type kept struct {
	net.Listener

	mu sync.Mutex
	c  net.Conn
}

func (k *kept) Accept() (net.Conn, error) {
	c, err := k.Listener.Accept()
	if err == nil {
		k.mu.Lock()
		k.c = c
		k.mu.Unlock()
	}
	return c, err
}

func (k *kept) last() <-chan net.Conn {
	k.mu.Lock()
	defer k.mu.Unlock()
	ch := make(chan net.Conn, 1)
	ch <- k.c
	return ch
}

// A shy connection tells its address when it is asked to, as one behind a proxy does,
// and has been read of.
type shy struct {
	net.Conn

	tell <-chan struct{}
}

func (s *shy) RemoteAddr() net.Addr {
	<-s.tell
	return s.Conn.RemoteAddr()
}

func (s *shy) Close() error               { return s.Conn.Close() }
func (s *shy) Unread() (net.Conn, []byte) { return s.Conn, []byte("GET /length?12345 HTTP/1.1\r\nHo") }

type shyly struct {
	net.Listener

	tell <-chan struct{}
	n    int
}

func (l *shyly) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil && l.n == 0 {
		l.n++
		return &shy{Conn: c, tell: l.tell}, nil
	}
	return c, err
}

// TestNobodyWaitsForAnAddress proves that a client which does not say who it is keeps
// no other waiting, and is served once it has, with what was read of it before.
func TestNobodyWaitsForAnAddress(t *testing.T) {
	s := New(Config{Handler: http.HandlerFunc(play), Refuse: refuse, Context: context.Background(), MaxHead: 8 << 10})
	ln := listen(t)
	tell, end := make(chan struct{}), make(chan error, 1)
	go func() { end <- s.Serve(&shyly{Listener: ln, tell: tell}) }()
	srv := &served{Server: s, t: t, way: plain, addr: ln.Addr().String()}
	first, second := srv.dial(), srv.dial()
	second.say("GET /length?12345 HTTP/1.1\r\nHost: a\r\n\r\n")
	second.want("GET", 200, "12345")
	close(tell)
	first.say("st: a\r\n\r\n")
	first.want("GET", 200, "12345")
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	<-end
}

// TestHijacked proves that a connection which was taken over is the taker's: neither
// Shutdown waits for it, nor do Close, a deadline or the end of its client's sending
// side do anything to it.
func TestHijacked(t *testing.T) {
	each(t, func(t *testing.T, way way) {
		taken, proceed := make(chan error), make(chan bool)
		states := make(chan http.ConnState, 9)
		s := serve(t, way, func(w http.ResponseWriter, r *http.Request) {
			ctl := http.NewResponseController(w)
			if r.RequestURI == "/plain" {
				_, _, err := ctl.Hijack()
				if err == nil {
					t.Error("a connection was taken over that had to be driven")
				}
				return
			}
			c, rw, err := ctl.Hijack()
			taken <- err
			<-proceed
			if _, _, err := ctl.Hijack(); !errors.Is(err, http.ErrHijacked) {
				t.Errorf("taking it twice: got %v", err)
			}
			if err := ctl.Flush(); !errors.Is(err, http.ErrHijacked) {
				t.Errorf("flushing: got %v", err)
			}
			w.WriteHeader(http.StatusOK)
			if r.Context().Err() != nil {
				t.Error("the context has ended")
			}
			got, err := io.ReadAll(rw)
			if err != nil {
				t.Error(err)
			}
			_, _ = c.Write(got)
			_ = c.Close()
			if string(got) == "panic" {
				panic(http.ErrAbortHandler)
			}
		}, limits(short, short, short), func(c *Config) {
			c.Grace = 0
			c.State = func(_ net.Conn, st http.ConnState) { states <- st }
		})
		c := s.dial()
		c.say("GET /plain HTTP/1.1\r\nHost: a\r\n\r\n")
		c.want("GET", 200, "")
		c.say("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: up\r\n\r\npan")
		if err := within(t, taken, "the handler"); err != nil {
			t.Fatal(err)
		}
		c.say("ic")
		if half, ok := c.Conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
			t.Fatal("cannot shut the sending side")
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		_ = s.Close()
		<-time.After(2 * short)
		proceed <- true
		if got, err := io.ReadAll(c.br); string(got) != "panic" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if got := []http.ConnState{<-states, <-states}; got[0] != http.StateNew || got[1] != http.StateHijacked || len(states) > 0 {
			t.Errorf("told of %v", got)
		}
	})
}
