// Package h1 is the edge's own server engine for HTTP/1.1: one goroutine a connection,
// buffers that are held only while there is something in them, the strict parser of
// internal/http1, and requests whose memory is used again. To what stands above it is
// as net/http: a handler gets a [http.ResponseWriter] and a [*http.Request].
//
// A request, its header map, its URL and its body, and the [http.ResponseWriter] are
// valid until the handler returns, and used again afterwards; strings are not, and may
// be kept. The context of a request ends when its client leaves, or when the handler
// has returned. Who has asked for its Done, or derived another from it, may keep it; it
// is not used again then.
//
// A client that shuts its sending side after a request is given [Config.Grace] for the
// answer to come: nothing tells it from one that has left. One that resets the
// connection has left at once.
//
// What it does otherwise than net/http:
//   - It refuses what package http1 does, and a target that is too long by 414.
//   - The URL of a request is empty: the target is for the handler to read.
//   - A handler may always read and write at the same time. What it leaves of a body is
//     not read in its place: the connection ends.
//   - A connection of HTTP/1.0 ends with its first answer, and gets no interim ones.
//   - It guesses no Content-Type. An answer without a Content-Length is chunked, unless
//     nothing is written at all.
//   - An answer that is cut is sent as far as it was written. If only the end of the
//     connection would tell its end, the connection is reset.
//   - A connection can be taken over only if its request asks for an upgrade.
package h1

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside/internal/edge/clock"
	"github.com/airside-gateway/airside/internal/http1"
)

// Config is what a [Server] is made of.
type Config struct {
	Handler http.Handler

	// Refuse answers what is not a valid request: r holds as much of it as could be
	// read, and the connection is closed after the answer.
	Refuse func(w http.ResponseWriter, r *http.Request, why *http1.Error)

	Context context.Context //nolint:containedctx // what the contexts of requests are derived of

	MaxHead       int           // bytes of a head
	HeaderTimeout time.Duration // longest time for a head to arrive; 0 none
	Idle          time.Duration // longest wait for the next request; 0 none
	WriteTimeout  time.Duration // longest time for one write; 0 none
	Grace         time.Duration // how long after a half-close an answer may begin

	State func(net.Conn, http.ConnState) // told of StateNew, StateClosed and StateHijacked; may be nil
	Watch *Watcher                       // notices clients that leave; nil: they are noticed when they are written to
	Log   *slog.Logger

	// Poison overwrites what is used again, before it is, so that a test finds who has
	// kept it.
	Poison bool
}

// A Server serves connections. See [http.Server], which it stands in for.
type Server struct {
	Config
	clock     clock.Clock
	tick      time.Duration
	exchanges sync.Pool // of *exchange

	draining atomic.Bool
	cutting  atomic.Bool

	mu        sync.Mutex
	conns     map[*conn]struct{}
	listeners map[net.Listener]struct{}
	sweeping  bool
	closed    bool
	work      int           // connections, calls of Serve, and the sweeper
	ended     chan struct{} // closed once nothing of it is left, after closed
	empty     chan struct{} // tells the sweeper that the last connection has gone
}

// New returns a server.
func New(c Config) *Server {
	s := &Server{Config: c, conns: map[*conn]struct{}{}, listeners: map[net.Listener]struct{}{}, ended: make(chan struct{}), empty: make(chan struct{}, 1)}
	s.tick = clock.Tick(c.HeaderTimeout, c.Idle, c.WriteTimeout)
	return s
}

// Serve takes connections from l until it is closed. It returns
// [http.ErrServerClosed] after Shutdown or Close, and otherwise the error of l.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		_ = l.Close() // as [http.Server] does
		return http.ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.work++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listeners, l)
		s.done()
	}()
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			s.take(nc)
		case s.draining.Load():
			return http.ErrServerClosed
		default:
			return err
		}
	}
}

// take serves nc on a goroutine of its own. A connection that was accepted before a
// shutdown is served, for a request may be on its way.
func (s *Server) take(nc net.Conn) {
	c := newConn(s, nc)
	s.tell(nc, http.StateNew)
	if !s.enter(c) {
		_ = nc.Close() // it was never served
		s.tell(nc, http.StateClosed)
		return
	}
	go c.serve()
}

// enter takes c among the connections, unless all of them are cut.
func (s *Server) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cutting.Load() {
		return false
	}
	c.kicked = s.closed
	s.conns[c] = struct{}{}
	s.work++
	if !s.sweeping {
		s.sweeping = true
		s.clock.Set(time.Now())
		s.work++
		go s.sweep()
	}
	return true
}

// leave forgets c.
func (s *Server) leave(c *conn, state http.ConnState) {
	s.tell(c.nc, state)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.hush()
	s.done()
}

// done takes note that something of what work counts has ended. It is called with mu
// held.
func (s *Server) done() {
	if s.work--; s.work == 0 && s.closed {
		close(s.ended)
	}
}

// hush has the sweeper look whether it is wanted still. It is called with mu held.
func (s *Server) hush() {
	if !s.closed || !s.sweeping || len(s.conns) > 0 {
		return
	}
	select {
	case s.empty <- struct{}{}:
	default:
	}
}

func (s *Server) tell(nc net.Conn, state http.ConnState) {
	if s.State != nil {
		s.State(nc, state)
	}
}

// Shutdown takes no more connections, closes those that wait for a request, and
// returns when the others have answered what they were asked, or with the error of
// ctx. It does not wait for connections that were taken over.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop((*conn).kick)
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close cuts all connections, and ends the contexts of their requests. It waits for
// nothing.
func (s *Server) Close() error {
	s.cutting.Store(true)
	s.stop((*conn).cut)
	return nil
}

func (s *Server) stop(each func(*conn)) {
	s.draining.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.work == 0 {
		close(s.ended)
	}
	s.closed = true
	for l := range s.listeners {
		_ = l.Close() // Serve sees it
	}
	for c := range s.conns {
		each(c)
	}
	s.hush()
}
