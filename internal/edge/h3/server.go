// Package h3 serves HTTP/3 (RFC 9114) on a UDP address, by quic-go. It is the only
// package that knows quic-go: what it hands on is what net/http would.
package h3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// Limits bound what a client may make the server hold, and for how long. A
// connection keeps those that were in force when it began.
type Limits struct {
	Headers   int           // bytes of a request head, as RFC 9114 section 4.2.2 counts them
	Streams   int           // requests of a connection that are under way at a time
	Handshake time.Duration // longest time for the handshake
	Idle      time.Duration // longest time without a request on a connection
	Body      time.Duration // longest wait for a request to turn out to have no body
	Write     time.Duration // longest time for the end of an answer that the handler has given
}

// Config is what a [Server] needs. Its functions are called for each connection, by
// several goroutines at a time.
type Config struct {
	Handler http.Handler
	TLS     func() *tls.Config // in force; nil refuses the connection. It is not changed after it was returned
	Limits  func() Limits      // in force

	// Admit is asked before a handshake begins. What it returns is called when the
	// connection has gone; nil refuses it.
	Admit func() (gone func())

	Log *slog.Logger
}

// Errors of a [Server].
var (
	ErrEnded = errors.New("h3: the server has ended")
	errNoTLS = errors.New("h3: the listener speaks no TLS any more")
	errFull  = errors.New("h3: there are as many connections as there may be")
)

const (
	// handshakes is how many handshakes may be under way before a client must prove that
	// the address it sends from is its own (RFC 9000 section 8.1.2).
	handshakes = 128

	// silence is how long a client may send nothing at all, and nudge how often it is
	// asked whether it is still there: an agent may think for longer.
	silence = time.Minute
	nudge   = 20 * time.Second

	// control is how many streams a client may open for other things than requests. It
	// needs three (RFC 9114 section 6.2).
	control = 10

	// What a client may send ahead, on a stream and on a connection. Both are memory.
	streamAhead, streamAheadMax = 256 << 10, 1 << 20
	connAhead, connAheadMax     = 512 << 10, 2 << 20
)

// A Server serves HTTP/3 on one UDP socket. It ends when it takes no connections and
// has none: by [Server.Retire], [Server.Shutdown] or [Server.Close].
type Server struct {
	config    Config
	udp       net.PacketConn
	transport *quic.Transport
	pending   atomic.Int64 // handshakes under way
	wg        sync.WaitGroup
	done      chan struct{} // closed when it has ended

	keys sync.Mutex // guards what follows
	from *tls.Config
	tls  *tls.Config // made of from

	mu        sync.Mutex
	listener  *quic.Listener // nil: takes no connections
	accepting int            // goroutines that accept
	conns     map[*conn]struct{}
	ended     bool
}

// New returns a server on udp, which it owns from then on. It takes no connections
// before [Server.Start].
func New(udp net.PacketConn, c Config) *Server {
	s := &Server{config: c, udp: udp, done: make(chan struct{}), conns: map[*conn]struct{}{}}
	s.transport = &quic.Transport{
		Conn:                udp,
		VerifySourceAddress: func(net.Addr) bool { return s.pending.Load() >= handshakes },
		ConnContext:         s.admit,
	}
	return s
}

// Addr is the address that is served.
func (s *Server) Addr() net.Addr { return s.udp.LocalAddr() }

// Done returns a channel that is closed when the server has ended: every connection is
// closed, and the address free.
func (s *Server) Done() <-chan struct{} { return s.done }

// Start takes connections, again if the server was retired in the meantime. It returns
// [ErrEnded] if it has ended already.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return ErrEnded
	}
	if s.listener != nil {
		return nil
	}
	ln, err := s.transport.Listen(&tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{http3.NextProtoH3},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.encryption() },
	}, &quic.Config{GetConfigForClient: func(*quic.ClientInfo) (*quic.Config, error) { return s.quic(), nil }})
	if err != nil {
		return fmt.Errorf("taking HTTP/3 connections: %w", err)
	}
	s.listener = ln
	s.accepting++
	s.wg.Go(func() { s.accept(ln) })
	return nil
}

// quic returns the settings of a new connection. Early data (0-RTT) is refused: it can
// be sent again by somebody else (RFC 8446 section 8).
func (s *Server) quic() *quic.Config {
	l := s.config.Limits()
	return &quic.Config{
		HandshakeIdleTimeout:           l.Handshake / 2, // the whole handshake may take twice that
		MaxIdleTimeout:                 silence,
		KeepAlivePeriod:                nudge,
		MaxIncomingStreams:             int64(l.Streams),
		MaxIncomingUniStreams:          control,
		InitialStreamReceiveWindow:     streamAhead,
		MaxStreamReceiveWindow:         streamAheadMax,
		InitialConnectionReceiveWindow: connAhead,
		MaxConnectionReceiveWindow:     connAheadMax,
	}
}

// encryption returns the TLS settings in force, for HTTP/3. They are made once, so that
// clients can resume their sessions.
func (s *Server) encryption() (*tls.Config, error) {
	now := s.config.TLS()
	if now == nil {
		return nil, errNoTLS
	}
	s.keys.Lock()
	defer s.keys.Unlock()
	if s.from != now {
		s.from, s.tls = now, now.Clone()
		s.tls.MinVersion, s.tls.NextProtos = tls.VersionTLS13, []string{http3.NextProtoH3}
	}
	return s.tls, nil
}

// An admission is a connection from its first packet on.
type admission struct{ complete func() }

type admissionKey struct{}

// admit counts a connection that is about to begin, until it is gone.
func (s *Server) admit(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	gone := s.config.Admit()
	if gone == nil {
		return nil, errFull
	}
	s.pending.Add(1)
	a := &admission{complete: sync.OnceFunc(func() { s.pending.Add(-1) })}
	context.AfterFunc(ctx, func() {
		a.complete()
		gone()
	})
	return context.WithValue(ctx, admissionKey{}, a), nil
}

// accept serves each connection whose handshake is complete, until ln is closed.
func (s *Server) accept(ln *quic.Listener) {
	for {
		qc, err := ln.Accept(context.Background())
		if err == nil {
			s.serve(qc)
			continue
		}
		if !errors.Is(err, quic.ErrServerClosed) {
			s.config.Log.LogAttrs(context.Background(), slog.LevelError, "HTTP/3 takes no more connections",
				slog.String("address", s.Addr().String()), slog.Any("err", err))
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.accepting--
		if s.listener == ln { // the socket broke
			s.listener = nil
		}
		s.end()
		return
	}
}

func (s *Server) serve(qc *quic.Conn) {
	if a, ok := qc.Context().Value(admissionKey{}).(*admission); ok {
		a.complete()
	}
	c := newConn(s, qc)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	retired := s.listener == nil
	s.mu.Unlock()
	s.wg.Go(c.serve)
	if retired {
		c.leave()
	}
}

// forget is told when a connection has gone.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.end()
}

// end ends the server if there is nothing left to do. It is called with s.mu held.
func (s *Server) end() {
	if s.ended || s.listener != nil || s.accepting > 0 || len(s.conns) > 0 {
		return
	}
	s.ended = true
	go func() { // whoever ends the server waits for done
		defer close(s.done)
		s.wg.Wait()
		_ = s.transport.Close() // there is no connection left
		_ = s.udp.Close()
	}()
}

// Retire takes no more connections, and asks the clients of those that there are to
// leave (GOAWAY, RFC 9114 section 5.2). Requests that have begun are served to their
// end.
func (s *Server) Retire() {
	s.mu.Lock()
	ln := s.listener
	s.listener = nil
	s.end()
	for c := range s.conns {
		c.leave()
	}
	s.mu.Unlock()
	if ln != nil {
		_ = ln.Close() // it was open
	}
}

// Shutdown is [Server.Retire], and waits until the server has ended or ctx has, whose
// error it returns then.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Retire()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close cuts what is under way and waits until the server has ended.
func (s *Server) Close() error {
	s.Retire()
	s.mu.Lock()
	var left []*conn
	for c := range s.conns {
		left = append(left, c)
	}
	s.mu.Unlock()
	for _, c := range left {
		c.close(http3.ErrCodeNoError)
	}
	<-s.done
	return nil
}
