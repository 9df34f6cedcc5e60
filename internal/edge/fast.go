package edge

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/edge/h1"
	"github.com/airside-gateway/airside/internal/edge/h2/server"
	"github.com/airside-gateway/airside/internal/http1"
)

// halfClosed is how long an answer may take to begin after its client has shut its
// sending side: a script that pipes a request in gets it, and who has left does not
// keep an agent busy.
const halfClosed = 2 * time.Second

// newFast returns our own engine for HTTP/1.1. Its connections may be of TLS. It tells
// state what becomes of them.
func (k *socket) newFast(l *Listener, state func(net.Conn, http.ConnState)) engine {
	return h1.New(h1.Config{
		Handler: http.HandlerFunc(k.serveHTTP), Refuse: k.refuse, Context: k.server.ctx,
		MaxHead: l.Limits.Headers, HeaderTimeout: l.Limits.HeaderTimeout, Idle: l.Limits.Idle,
		WriteTimeout: l.Limits.WriteTimeout, Grace: halfClosed,
		Watch: k.server.watcher(), Log: k.server.Log, Poison: k.server.Poison,
		State: func(c net.Conn, s http.ConnState) {
			if s == http.StateNew {
				k.server.census.ours(c)
			}
			state(c, s)
		},
	})
}

// newFastHTTP2 returns our own engine for HTTP/2. Its connections are guarded, and
// those of TLS have shaken hands. It tells state what becomes of them.
func (k *socket) newFastHTTP2(l *Listener, state func(net.Conn, http.ConnState)) engine {
	return server.New(server.Config{
		Handler: http.HandlerFunc(k.serveOurs), Refuse: k.refuse, Context: k.server.ctx,
		MaxHead: l.Limits.Headers, Idle: l.Limits.Idle, WriteTimeout: l.Limits.WriteTimeout,
		PingAfter: pingAfter, PingTimeout: pingTimeout,
		Streams: streamsPerConn, StreamWindow: streamWindow, ConnWindow: connWindow,
		State: state, Log: k.server.Log, Poison: k.server.Poison,
	})
}

func (k *socket) serveOurs(w http.ResponseWriter, r *http.Request) {
	k.server.serve(k.live.Load().Listener, w, r)
}

// watcher is the one for all engines; nil where connections cannot be watched.
func (s *Server) watcher() *h1.Watcher {
	s.watchOnce.Do(func() {
		w, err := h1.NewWatcher()
		if err != nil {
			s.Log.LogAttrs(s.ctx, slog.LevelWarn, "a client that leaves will only be noticed when it is written to", slog.Any("err", err))
			return
		}
		s.watch = w
	})
	return s.watch
}

// ours takes a connection out of the hands of settle: our own engine does not close
// one on which a request has arrived.
func (s *connections) ours(nc net.Conn) {
	if c := base(nc); c != nil {
		s.remove(c)
	}
}

// refusal is the code that goes with a status of the parser.
func refusal(status int) airside.Code {
	switch status {
	case http.StatusRequestTimeout:
		return airside.RequestTimeout
	case http.StatusRequestURITooLong:
		return airside.URITooLong
	case http.StatusRequestHeaderFieldsTooLarge:
		return airside.HeadersTooLarge
	case http.StatusExpectationFailed:
		return airside.ExpectationFailed
	case http.StatusNotImplemented:
		return airside.Unsupported
	case http.StatusHTTPVersionNotSupported:
		return airside.VersionUnsupported
	}
	return airside.Invalid
}

// refuse answers what is not a valid request of HTTP/1.1.
func (k *socket) refuse(w http.ResponseWriter, r *http.Request, why *http1.Error) {
	k.server.refuse(k.live.Load().Listener, w, r, airside.Errorf(refusal(why.Status), "%s", why.Reason).Because(errMalformed))
}

var errMalformed = errors.New("edge: not a valid request of HTTP/1.1")
