package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside/internal/edge/h1"
)

// A Server owns the listeners and serves all of them with one handler.
type Server struct {
	Settings

	ctx      context.Context // ends when the server has stopped
	cancel   context.CancelFunc
	draining atomic.Bool
	cutting  atomic.Bool // the grace is over
	choice   atomic.Pointer[Choice]
	engines  engines
	census   connections

	mu      sync.Mutex
	sockets map[string]*socket // by Listener.Address
	retired []*socket
	doors   map[string]*door // for HTTP/3, by the address that is bound

	watchOnce sync.Once
	watch     *h1.Watcher // or nil

	ownOnce sync.Once
	own     *tls.Certificate // self-signed
	ownErr  error

	tunnelMu sync.Mutex
	tunnels  map[net.Conn]struct{} // connections taken over from an engine
	tunnelWG sync.WaitGroup
}

// New returns a server that listens nowhere yet; see [Server.Prepare].
func New(s Settings) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	return &Server{Settings: s, ctx: ctx, cancel: cancel, sockets: map[string]*socket{}, doors: map[string]*door{}, tunnels: map[net.Conn]struct{}{}}
}

// A Change is a set of listeners that is ready to take the place of another.
type Change struct {
	server *Server
	next   []*Listener
	fresh  map[string]*socket
}

// Prepare opens the addresses of ls that are not open yet and loads what TLS
// needs, all or nothing. The change takes effect by [Change.Commit]; without it,
// [Change.Discard] closes what was opened. An address that stays keeps its
// connections, whatever else changes.
func (s *Server) Prepare(ls []*Listener) (*Change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &Change{server: s, next: ls, fresh: map[string]*socket{}}
	var errs []error
	seen := map[string]bool{}
	for i, l := range ls {
		if seen[l.Address] {
			errs = append(errs, &ListenerError{Index: i, Err: fmt.Errorf("%s is listed twice", l.Address)})
			continue
		}
		seen[l.Address] = true
		if err := c.prepare(l); err != nil {
			errs = append(errs, &ListenerError{Index: i, Err: err})
		}
	}
	if err := errors.Join(errs...); err != nil {
		c.Discard()
		return nil, err
	}
	return c, nil
}

func (c *Change) prepare(l *Listener) error {
	if l.TLS != nil {
		conf, err := l.TLS.config(c.server, l.HTTP1, l.HTTP2)
		if err != nil {
			return err
		}
		l.tls = conf
	}
	if c.server.sockets[l.Address] != nil {
		return c.openDoor(l)
	}
	k, err := c.server.openSocket(l)
	if err != nil {
		return err
	}
	c.fresh[l.Address] = k
	return c.openDoor(l)
}

// A ListenerError says which of the listeners cannot be served.
type ListenerError struct {
	Index int
	Err   error
}

func (e *ListenerError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *ListenerError) Unwrap() error { return e.Err }

// Discard closes what [Server.Prepare] opened.
func (c *Change) Discard() {
	for _, k := range c.fresh {
		_ = k.ln.Close() // nothing has used it
	}
	c.closeDoors()
	for _, l := range c.next {
		if l.TLS != nil {
			l.TLS.stop()
		}
	}
}

// Commit puts the change into force. Addresses that are no longer listed are
// closed; their connections are served to their end.
func (c *Change) Commit() {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = slices.DeleteFunc(s.retired, (*socket).spent)
	var gone []*socket
	listed := map[string]bool{}
	for _, l := range c.next {
		listed[l.Address] = true
		k := s.sockets[l.Address]
		if k == nil {
			k = c.fresh[l.Address]
			s.sockets[l.Address] = k
		}
		k.stopWatch()
		k.use(l)
	}
	for addr, k := range s.sockets {
		if !listed[addr] {
			k.close()
			k.stopWatch()
			s.retired = append(s.retired, k)
			delete(s.sockets, addr)
			gone = append(gone, k)
		}
	}
	c.useDoors()
	for _, k := range gone { // so that the address can be opened again by the next change
		k.finishAccepting()
	}
}

// Addrs returns the open addresses, by the address of the configuration: they
// differ where that has port 0.
func (s *Server) Addrs() map[string]net.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := map[string]net.Addr{}
	for a, k := range s.sockets {
		m[a] = k.ln.Addr()
	}
	return m
}

// Drain begins the end: from now on every answer asks its client to use another
// connection (Connection: close, or GOAWAY).
func (s *Server) Drain() { s.draining.Store(true) }

// Shutdown drains and stops. For the time linger, or until no connection is left,
// the server goes on as usual, so that clients learn by an answer, and not by a
// connection closed under their hands, that it is about to leave. Then it takes
// nothing new, and waits for what is under way until the end of ctx. What is left
// then is cut, and the error says so.
func (s *Server) Shutdown(ctx context.Context, linger time.Duration) error {
	s.Drain()
	timer := time.NewTimer(linger)
	defer timer.Stop()
	select {
	case <-s.census.gone():
	case <-timer.C:
	case <-ctx.Done():
	}
	s.mu.Lock()
	sockets := s.retired
	for _, k := range s.sockets {
		k.close()
		k.stopWatch()
		sockets = append(sockets, k)
	}
	s.mu.Unlock()
	for _, k := range sockets {
		k.finishAccepting()
	}
	s.census.settle(ctx)
	stop := context.AfterFunc(ctx, func() { s.cutting.Store(true) })
	defer stop()
	err := errors.Join(s.engines.shutdown(ctx, s.Log), s.endTunnels(ctx))
	s.cancel() // what net/http does not notice to be cut, such as an upload that waits for the agent
	for _, k := range sockets {
		k.finish()
	}
	if w := s.watch; w != nil {
		if cerr := w.Close(); !errors.Is(cerr, os.ErrClosed) { // a second shutdown has nothing to do
			err = errors.Join(err, cerr)
		}
	}
	return err
}

// adopt takes note of a connection that left its engine, or closes it if the
// server is stopping for good.
func (s *Server) adopt(c net.Conn) bool {
	s.tunnelMu.Lock()
	defer s.tunnelMu.Unlock()
	if s.tunnels == nil {
		_ = c.Close()
		return false
	}
	s.tunnels[c] = struct{}{}
	s.tunnelWG.Add(1)
	return true
}

func (s *Server) release(c net.Conn) {
	s.tunnelMu.Lock()
	defer s.tunnelMu.Unlock()
	delete(s.tunnels, c)
	s.tunnelWG.Done()
}

// endTunnels waits for upgraded connections until the end of ctx and closes those
// that are left.
func (s *Server) endTunnels(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.tunnelWG.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.tunnelMu.Lock()
	n := len(s.tunnels)
	if n == 0 {
		s.tunnels = nil
		s.tunnelMu.Unlock()
		return nil
	}
	for c := range s.tunnels {
		_ = c.Close()
	}
	s.tunnels = nil
	s.tunnelMu.Unlock()
	<-done
	s.Log.LogAttrs(ctx, slog.LevelWarn, "cutting upgraded connections that did not end in time", slog.Int("count", n))
	return fmt.Errorf("%d upgraded connections: %w", n, ctx.Err())
}
