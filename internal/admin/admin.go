// Package admin is the operators' side of the gateway: health, readiness, the live
// configuration, upstreams, and what came of the newest exchanges, on an address of its
// own. Nothing that it serves changes anything, and no client of the gateway can reach
// it. What it serves, and to whom, stands in one table: see routes.go.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/config"
)

// A Server serves the admin address.
type Server struct {
	Settings

	srv         *http.Server
	ln          net.Listener
	own         bool // the address is of the loopback interface
	table       []route
	started     time.Time
	credentials atomic.Pointer[credentials]
	failures    failures
	profiling   sync.Mutex     // one profile of a span of time is taken at a time
	listing     chan struct{}  // holds a token for each list of exchanges that is being made
	closing     chan struct{}  // closed when the server ends
	entering    sync.Mutex     // guards that no handler begins once closing is closed
	handlers    sync.WaitGroup // requests under way
	wg          sync.WaitGroup
	ending      sync.Once
	recorder    *Recorder
	document    []byte // the description of the API
}

// Settings are what a server is made of.
type Settings struct {
	App      *app.App
	Version  string       // of the program
	Log      *slog.Logger // must not be nil
	Config   config.Admin
	Recorder *Recorder    // what is known of exchanges; nil if nothing is
	Metrics  http.Handler // serves /metrics; nil if there are none
}

// Bounds of what is served at a time.
const (
	maxConnections = 256
	maxLists       = 4 // of exchanges: the longest take 30 MB each
)

// Listen opens the address of the configuration and serves it until [Server.Close]. On
// an address that others can reach only health and readiness are served, which tell
// nothing, unless there is a token.
func Listen(s Settings) (*Server, error) {
	cred, err := newCredentials(&s.Config)
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", s.Config.Address) //nolint:noctx // binding an address does not wait
	if err != nil {
		return nil, fmt.Errorf("listening on the admin address %s: %w (is another gateway running? give this one another address under admin, or write admin: off)", s.Config.Address, err)
	}
	out := &Server{Settings: s, ln: ln, closing: make(chan struct{}), listing: make(chan struct{}, maxLists), started: time.Now(), recorder: s.Recorder}
	if out.recorder == nil {
		out.recorder = NewRecorder(nil)
	}
	out.credentials.Store(cred)
	if ap, err := netip.ParseAddrPort(ln.Addr().String()); err == nil {
		out.own = ap.Addr().IsLoopback()
	}
	out.table = out.routes()
	if out.document, err = describe(out.table, s.Version); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	const short = 10 * time.Second
	out.srv = &http.Server{
		Handler: out, ReadHeaderTimeout: short, ReadTimeout: short, WriteTimeout: short, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ConnContext: connected, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	out.wg.Go(func() {
		if err := out.srv.Serve(&door{Listener: ln, server: out}); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.Log.LogAttrs(context.Background(), slog.LevelError, "the admin server stopped", slog.Any("err", err))
		}
	})
	return out, nil
}

// Prepare reads what c asks for, so that it can be put into force without fail by
// calling what is returned. The address of c is that of s.
func (s *Server) Prepare(c *config.Admin) (commit func(), err error) {
	cred, err := newCredentials(c)
	if err != nil {
		return nil, err
	}
	return func() { s.credentials.Store(cred) }, nil
}

// Addr is the open address.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// TLS reports whether the address speaks TLS.
func (s *Server) TLS() bool { return s.credentials.Load().tls != nil }

// Close ends the server, and what it is answering.
func (s *Server) Close() error {
	s.ending.Do(func() {
		s.entering.Lock()
		defer s.entering.Unlock()
		close(s.closing)
	})
	err := s.srv.Close()
	s.wg.Wait()
	s.handlers.Wait()
	return err
}

// enter notes that a request is under way, unless the server ends: [Server.Close] waits
// for it then.
func (s *Server) enter() bool {
	s.entering.Lock()
	defer s.entering.Unlock()
	select {
	case <-s.closing:
		return false
	default:
		s.handlers.Add(1)
		return true
	}
}
