// Package server is the edge's own server engine for HTTP/2 (RFC 9113): one goroutine
// a connection reads frames, workers that are used again run the handlers, and what
// they write is gathered, so that the answers of many streams leave in one record of
// TLS and one system call. To what stands above it is as net/http: a handler gets a
// [http.ResponseWriter] and a [*http.Request].
//
// A request, its header map and its URL are valid until the handler returns, and used
// again afterwards; strings are not, and may be kept. The context of a request ends
// when its client resets the stream or leaves, or when the handler has returned.
//
// Floods, and how long a head may take, are not judged here: connections come guarded
// by package h2, which sees all frames.
package server

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

	// Refuse answers a request that is malformed in a way that can be told to its
	// sender: r holds as much of it as could be read.
	Refuse func(w http.ResponseWriter, r *http.Request, why *http1.Error)

	Context context.Context //nolint:containedctx // what the contexts of requests are derived of

	MaxHead      int           // bytes of a head, as RFC 9113 section 10.5.1 counts them
	Idle         time.Duration // longest time without a stream; 0 none
	WriteTimeout time.Duration // longest time for one write; 0 none
	PingAfter    time.Duration // silence of the client after which it is asked for a sign of life; 0 none
	PingTimeout  time.Duration // how long that may take

	Streams      int // of a connection at once
	StreamWindow int // bytes of a body that wait for the handler
	ConnWindow   int // bytes of all bodies of a connection that do

	State func(net.Conn, http.ConnState) // told of StateActive, StateIdle and StateClosed; may be nil
	Log   *slog.Logger

	// Poison overwrites what is used again, before it is, so that a test finds who has
	// kept it.
	Poison bool
}

// A Server serves connections. See [http.Server], which it stands in for.
type Server struct {
	Config
	clock clock.Clock
	tick  time.Duration
	crew  crew

	draining atomic.Bool
	work     sync.WaitGroup // connections, workers and the sweeper

	mu        sync.Mutex
	conns     map[*conn]struct{}
	listeners map[net.Listener]struct{}
	sweeping  bool
	closed    bool
	empty     chan struct{} // tells the sweeper that the last connection has gone
}

// New returns a server.
func New(c Config) *Server {
	s := &Server{Config: c, conns: map[*conn]struct{}{}, listeners: map[net.Listener]struct{}{}, empty: make(chan struct{}, 1)}
	s.tick = clock.Tick(c.Idle, c.WriteTimeout, c.PingAfter, c.PingTimeout)
	s.crew.work = &s.work
	return s
}

// Serve takes connections from l until it is closed. Those of TLS must have shaken
// hands. It returns [http.ErrServerClosed] after Shutdown or Close.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return http.ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listeners, l)
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

// take serves nc on a goroutine of its own.
func (s *Server) take(nc net.Conn) {
	c := newConn(s, nc)
	if !s.enter(c) {
		_ = nc.Close() // it was never served
		s.tell(nc, http.StateClosed)
		return
	}
	go c.serve()
}

// enter takes c among the connections.
func (s *Server) enter(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[c] = struct{}{}
	s.work.Add(1)
	if !s.sweeping {
		s.sweeping = true
		s.clock.Set(time.Now())
		s.crew.open()
		s.work.Add(1)
		go s.sweep()
	}
	c.heard.Store(s.clock.Now())
	c.idleBy = s.clock.After(s.Idle, s.tick)
	return true
}

// leave forgets c.
func (s *Server) leave(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	if s.closed && len(s.conns) == 0 {
		select {
		case s.empty <- struct{}{}:
		default:
		}
	}
	s.mu.Unlock()
	s.tell(c.nc, http.StateClosed)
	s.work.Done()
}

func (s *Server) tell(nc net.Conn, state http.ConnState) {
	if s.State != nil {
		s.State(nc, state)
	}
}

// Shutdown takes no more connections, tells the clients of the others that no more
// requests are taken (RFC 9113 section 6.8), and returns when those that were have
// been answered, or with the error of ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop((*conn).drain)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.work.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close cuts all connections.
func (s *Server) Close() error {
	s.stop((*conn).cut)
	return nil
}

func (s *Server) stop(each func(*conn)) {
	s.draining.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for l := range s.listeners {
		_ = l.Close() // Serve sees it
	}
	for c := range s.conns {
		each(c)
	}
	if len(s.conns) == 0 {
		select {
		case s.empty <- struct{}{}:
		default:
		}
	}
}
