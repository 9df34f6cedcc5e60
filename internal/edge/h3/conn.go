package h3

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// linger is how long a connection that is to end stays open after its last request:
// what was sent last may be lost on the way and need sending again, and a client that
// is told to leave closes it by itself.
const linger = time.Second

// forever is the time-out of a connection that has none.
const forever = math.MaxInt64

// A conn is one connection. It has an http3.Server of its own, so that it can be ended
// alone.
type conn struct {
	server *Server
	quic   *quic.Conn
	http   *http3.Server
	limits Limits

	mu      sync.Mutex
	active  int  // requests that the handler has
	leaving bool // the client was told
	gone    bool
	timer   *time.Timer // rings when there was no request for too long
}

func newConn(s *Server, qc *quic.Conn) *conn {
	c := &conn{server: s, quic: qc, limits: s.config.Limits()}
	if c.limits.Idle <= 0 {
		c.limits.Idle = forever
	}
	c.http = &http3.Server{
		Handler: http.HandlerFunc(c.serveHTTP), MaxHeaderBytes: c.limits.Headers,
		Logger: slog.New(severe{s.config.Log.Handler()}),
	}
	c.mu.Lock() // the timer may ring at once
	defer c.mu.Unlock()
	c.timer = time.AfterFunc(c.limits.Idle, c.idle)
	return c
}

// serve returns when the connection is closed and every handler has returned.
func (c *conn) serve() {
	err := c.http.ServeQUICConn(c.quic)
	c.mu.Lock()
	c.gone = true
	c.timer.Stop()
	c.mu.Unlock()
	c.close(http3.ErrCodeNoError) // if it was not before
	if err != nil {
		c.server.config.Log.LogAttrs(context.Background(), slog.LevelDebug, "an HTTP/3 connection ended",
			slog.String("client", c.quic.RemoteAddr().String()), slog.Any("err", err))
	}
	c.server.forget(c)
}

// begin counts a request that the handler has. There are never more than the limit,
// also of a client that resets its requests at once (as in CVE-2023-44487): quic-go
// lets it begin others when the handler is done only.
func (c *conn) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active++
	c.timer.Stop()
}

func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active--
	if c.active == 0 && !c.gone {
		c.timer.Reset(c.patience())
	}
}

// patience is how long the connection may be without a request. It is called with c.mu
// held.
func (c *conn) patience() time.Duration {
	if c.leaving {
		return linger
	}
	return c.limits.Idle
}

// idle ends a connection that had no request for too long. Heads that never end are no
// requests.
func (c *conn) idle() {
	c.mu.Lock()
	if c.active > 0 || c.gone {
		c.mu.Unlock()
		return
	}
	if !c.leaving {
		c.goAway()
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.close(http3.ErrCodeNoError)
}

// leave tells the client to use another connection, and closes this one when its
// requests are done.
func (c *conn) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.leaving && !c.gone {
		c.goAway()
	}
}

// goAway is called with c.mu held, before the connection is gone: its goroutine is
// waited for.
func (c *conn) goAway() {
	c.leaving = true
	if c.active == 0 {
		c.timer.Reset(linger)
	}
	c.server.wg.Go(func() { _ = c.http.Shutdown(c.quic.Context()) }) // returns when the connection is closed
}

func (c *conn) close(code http3.ErrCode) {
	_ = c.quic.CloseWithError(quic.ApplicationErrorCode(code), "") // it is closed, whatever it returns
}

// severe keeps to itself what http3 tells of single requests, which may be secret.
type severe struct{ slog.Handler }

func (h severe) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelError && h.Handler.Enabled(ctx, l)
}
