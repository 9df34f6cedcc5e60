// Package admin is the operators' side of the gateway: health, readiness, and the
// live configuration, on an address of its own. Nothing that it serves changes
// anything, and no client of the gateway can reach it.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/airside-gateway/airside/internal/app"
)

// A Server serves the admin address.
type Server struct {
	program string // its version
	app     *app.App
	log     *slog.Logger
	srv     *http.Server
	ln      net.Listener
	wg      sync.WaitGroup
	own     bool // the address is of the loopback interface
}

// Listen opens address and serves a on it until [Server.Close]. On an address that
// others can reach only health and readiness are served: they tell nothing. Version is
// that of the program.
func Listen(a *app.App, address, version string, log *slog.Logger) (*Server, error) {
	ln, err := net.Listen("tcp", address) //nolint:noctx // binding an address does not wait
	if err != nil {
		return nil, fmt.Errorf("listening on the admin address %s: %w (is another gateway running? give this one another address under admin, or write admin: off)", address, err)
	}
	s := &Server{program: version, app: a, log: log, ln: ln}
	if ap, err := netip.ParseAddrPort(ln.Addr().String()); err == nil {
		s.own = ap.Addr().IsLoopback()
	}
	const short = 10 * time.Second
	s.srv = &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: short, ReadTimeout: short, WriteTimeout: short, IdleTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10,
	}
	s.wg.Go(func() {
		if err := s.srv.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			log.LogAttrs(context.Background(), slog.LevelError, "the admin server stopped", slog.Any("err", err))
		}
	})
	return s, nil
}

// Addr is the open address.
func (s *Server) Addr() net.Addr { return s.ln.Addr() }

// Close ends the server.
func (s *Server) Close() error {
	err := s.srv.Close()
	s.wg.Wait()
	return err
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /readyz", s.ready)
	if s.own {
		mux.HandleFunc("GET /config", s.config)
		mux.HandleFunc("GET /version", s.version)
	}
	return s.guard(mux)
}

// guard refuses what a web page could send by way of an operator's browser: a
// foreign Origin, or a Host that some DNS name was made to stand for (DNS
// rebinding). It does not bind probes, which bring no Origin and may name any host
// where the address is not of the loopback interface.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.Header.Get("Origin") != "" {
			http.Error(w, "the admin API is not for web pages", http.StatusForbidden)
			return
		}
		if s.own && !localName(r.Host) {
			http.Error(w, "ask for 127.0.0.1 or localhost", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func localName(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && a.IsLoopback()
}

// health says that the process runs.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	s.write(w, http.StatusOK, "text/plain; charset=utf-8", []byte("ok\n"))
}

// ready says whether the gateway wants requests: 200, or 503 before the first
// configuration and from the moment that it begins to stop.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if !s.app.Ready() {
		s.write(w, http.StatusServiceUnavailable, "text/plain; charset=utf-8", []byte("not ready\n"))
		return
	}
	s.write(w, http.StatusOK, "text/plain; charset=utf-8", []byte("ready\n"))
}

// config dumps the live configuration, secrets masked.
func (s *Server) config(w http.ResponseWriter, _ *http.Request) {
	c := s.app.Config()
	if c == nil {
		s.write(w, http.StatusServiceUnavailable, "text/plain; charset=utf-8", []byte("no configuration is in force yet\n"))
		return
	}
	s.write(w, http.StatusOK, "application/yaml", c.Dump())
}

// version says which program runs, which configuration is in force, and since when.
func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	b, err := json.Marshal(struct {
		Version string       `json:"version"`
		Config  *app.Applied `json:"config"` // null before the first
	}{s.program, s.app.Applied()})
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	s.write(w, http.StatusOK, "application/json", append(b, '\n'))
}

func (s *Server) write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever left need not read it
}
