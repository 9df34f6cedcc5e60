package h1

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/airside-gateway/airside/internal/edge/lifetime"
	"github.com/airside-gateway/airside/internal/http1"
)

// An exchange is one request and its answer, with all the memory that both need. It is
// used again, for other connections too.
type exchange struct {
	conn *conn
	head http1.Head
	body body
	out  response

	req   *http.Request
	blank *http.Request // what req is reset to: nothing but the context
	url   url.URL
	ctx   *lifetime.Context
}

// newExchange returns one that is ready for a head.
func (c *conn) newExchange() *exchange {
	x, _ := c.server.exchanges.Get().(*exchange)
	if x == nil {
		x = new(exchange)
	}
	x.conn = c
	x.head.Reset()
	if x.ctx == nil {
		x.ctx = &lifetime.Context{Context: c.server.Context}
		x.blank = new(http.Request).WithContext(x.ctx)
		x.req = new(http.Request)
	}
	x.out.reset(x)
	return x
}

// manyFields is from how many on the maps of headers are not used again: clearing them
// would cost each request to come.
const manyFields = 64

// release gives x back when its request has been answered.
func (x *exchange) release() {
	s := x.conn.server
	x.conn = nil
	x.body = body{}
	x.out.forget()
	if s.Poison {
		x.poison()
		return
	}
	if !x.ctx.Finish() {
		x.ctx, x.blank, x.req = nil, nil, nil
	}
	if x.head.Fields > manyFields {
		x.head = http1.Head{}
	}
	if len(x.out.header) > manyFields {
		x.out.header = nil
	}
	s.exchanges.Put(x)
}

// poison makes whatever is kept of the request useless: so a test sees who has kept it,
// and the race detector who reads it now. Nobody uses x again.
func (x *exchange) poison() {
	const junk = "kept after its exchange"
	for _, h := range []http.Header{x.head.Header, x.out.header} {
		for k, v := range h {
			for i := range v {
				v[i] = junk
			}
			h[k] = []string{junk}
		}
		if h != nil {
			h["Poison"] = []string{junk}
		}
	}
	x.req.Method, x.req.Host, x.req.RequestURI = junk, junk, junk
	x.url = url.URL{Path: junk}
	x.ctx.End()
}

// chunked is the value of Request.TransferEncoding for all.
func chunked() []string { return []string{"chunked"} }

// prepare makes the request of the head.
func (x *exchange) prepare() error {
	h, c := &x.head, x.conn
	if h.Expects {
		if !h.Continue || len(h.Header["Expect"]) > 1 {
			return errExpect
		}
		if h.Minor == 0 { // RFC 9110 section 10.1.1
			h.Continue = false
			delete(h.Header, "Expect")
		}
	}
	r := x.req
	*r = *x.blank
	x.url = url.URL{}
	r.Method, r.URL, r.RequestURI = h.Method, &x.url, h.Target
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, h.Minor
	if h.Minor == 0 {
		r.Proto = "HTTP/1.0"
	}
	r.Header, r.Host, r.RemoteAddr, r.TLS, r.Close = h.Header, h.Host, c.remote, c.tls, h.Close
	r.Body = http.NoBody
	switch {
	case h.Chunked:
		delete(h.Header, "Transfer-Encoding")
		delete(h.Header, "Content-Length")
		r.ContentLength, r.TransferEncoding = -1, chunked()
		if err := x.announce(); err != nil {
			return err
		}
	case h.Length > 0:
		r.ContentLength = h.Length
	}
	if x.body.open(x); !x.body.ended {
		r.Body = &x.body
		if h.Continue {
			x.out.asking.Store(awaits)
		}
	}
	return nil
}

var (
	errExpect    = &http1.Error{Status: http.StatusExpectationFailed, Reason: "the request expects something other than 100-continue"}
	errAnnounced = &http1.Error{Status: http.StatusBadRequest, Reason: "the request announces a trailer that may not be one"}
)

// announce makes the map of the trailers that the head names.
func (x *exchange) announce() error {
	lines, ok := x.head.Header["Trailer"]
	if !ok {
		return nil
	}
	delete(x.head.Header, "Trailer")
	t := http.Header{}
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			name = http.CanonicalHeaderKey(strings.Trim(name, " \t"))
			switch name {
			case "":
				continue
			case "Transfer-Encoding", "Trailer", "Content-Length", "Host":
				return errAnnounced
			}
			if !http1.ValidName(name) {
				return errAnnounced
			}
			t[name] = nil
		}
	}
	if len(t) > 0 {
		x.req.Trailer = t
	}
	return nil
}

// exchange has the request of x answered.
func (c *conn) exchange(x *exchange) {
	c.begin(x)
	cut := x.serve(c.server.Handler.ServeHTTP)
	c.end(x, cut)
}

// begin takes note that x is under way.
func (c *conn) begin(x *exchange) {
	if c.in.Len() == 0 {
		c.in.Release()
	}
	c.mu.Lock()
	c.live = x.ctx
	c.turn++
	cutting := c.server.cutting.Load()
	if c.kicked && !cutting {
		_ = c.nc.SetReadDeadline(time.Time{}) // fails as the next read does
	}
	c.kicked = false
	if cutting {
		x.ctx.End()
	}
	c.mu.Unlock()
	if c.gone.Load() {
		c.left(false)
	}
}

// end does what comes after the handler. Cut says that the answer is not whole.
func (c *conn) end(x *exchange, cut bool) {
	switch {
	case c.stolen:
	case cut:
		_ = x.out.flush() // what was written before; the answer is cut anyway
	case x.out.finish() != nil:
		cut = true
	}
	c.stop(x)
	c.served = true
	unread := !x.body.ended
	switch {
	case c.stolen:
		c.over = true
	case cut:
		c.over = true
		if x.out.bodied && !x.out.sized && !x.out.coded {
			c.abort()
		}
	case unread || x.out.close || x.head.Close:
		c.over = true
		c.linger = unread || c.in.Len() > 0
	}
	x.release()
}

// stop takes note that x is not under way any more.
func (c *conn) stop(x *exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = nil
	if c.fuse != nil {
		c.fuse.Stop()
		c.fuse = nil
	}
	if x.out.moved && !c.off && !c.server.cutting.Load() {
		_ = c.nc.SetDeadline(time.Time{}) // fails as the next read does
	}
}

// abort makes the end of the connection visible as one that is none: only it tells the
// end of an answer that has no length. TLS has no words for that: the connection
// beneath is closed first, so that none are said.
func (c *conn) abort() {
	if t, ok := transport(c.nc).(*net.TCPConn); ok {
		_ = t.SetLinger(0) // fails where the connection has ended already
	}
	if t, ok := c.nc.(*tls.Conn); ok {
		_ = t.NetConn().Close() // it is closed again with what stands on it
	}
}

// serve calls the handler, and reports whether the answer was given up.
func (x *exchange) serve(handler func(http.ResponseWriter, *http.Request)) (cut bool) {
	defer func() {
		if p := recover(); p != nil {
			cut = true
			if p != http.ErrAbortHandler { //nolint:errorlint // it is that very value
				x.conn.server.Log.LogAttrs(x.conn.server.Context, slog.LevelError, "a handler panicked", slog.Any("value", p), slog.String("stack", string(debug.Stack())))
			}
		}
	}()
	handler(&x.out, x.req)
	return false
}

// unparsed returns an exchange for a request whose head cannot be parsed: b is what has
// come of it.
func (c *conn) unparsed(b []byte) *exchange {
	x := c.newExchange()
	x.guess(b)
	return x
}

// guess takes HEAD for the method of a request that says so and is broken behind that:
// its refusal has no body, for the client waits for none.
func (x *exchange) guess(b []byte) {
	const head = http.MethodHead + " "
	if len(b) >= len(head) && string(b[:len(head)]) == head {
		x.head.Method = http.MethodHead
	}
}

// refuse answers what is not a valid request, and ends the connection. It returns true.
func (c *conn) refuse(x *exchange, err error) bool {
	why, ok := err.(*http1.Error) //nolint:errorlint // the parser returns nothing else
	if !ok {
		why = &http1.Error{Status: http.StatusBadRequest, Reason: "the request is malformed"}
	}
	r := x.req
	*r = *x.blank
	x.url = url.URL{}
	r.Method, r.RequestURI, r.URL = x.head.Method, x.head.Target, &x.url
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	r.Header, r.Host, r.RemoteAddr, r.TLS, r.Body = x.head.Header, x.head.Host, c.remote, c.tls, http.NoBody
	x.body.ended = true
	x.out.close = true
	c.begin(x)
	cut := x.serve(func(w http.ResponseWriter, r *http.Request) { c.server.Refuse(w, r, why) })
	c.end(x, cut)
	c.over, c.linger = true, !cut
	return true
}
