package server

import (
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"

	"github.com/airside-gateway/airside/internal/edge/lifetime"
	"github.com/airside-gateway/airside/internal/http1"
)

// A stream is one request and its answer, with all the memory that both need. It is
// used again, for other connections too.
type stream struct {
	conn *conn
	id   uint32
	body body
	out  response

	// What the client asks for. Until the handler starts it belongs to the reader, then
	// to the handler.
	method, scheme, path, authority string
	seen                            pseudos
	header                          http.Header
	values                          []string // those of header, one slice for all
	cookies                         []string
	refusal                         *http1.Error
	req                             *http.Request
	blank                           *http.Request // what req is reset to: nothing but the context
	url                             url.URL
	ctx                             *lifetime.Context

	// Under the lock of the connection.
	window  int64 // that the client has left for us
	left    int   // that we have left for the client
	owed    int   // that it is not told yet
	remote  bool  // the client has ended its side
	err     error // why nobody is there any more
	expects bool  // the client waits for a 100 (Continue)
	spoiled bool  // the context may be ended from elsewhere
	late    bool  // a write has taken too long
	slow    bool  // a read has
	writeBy int64 // deadline of the write under way, if it waits
	waits   bool  // it is among those that wait
	batch   uint64
	at      int // where the last frame of the stream lies in the output of that batch, if it has one

	wake chan struct{} // for who waits to write
	more chan struct{} // for who waits to read
}

var streams = sync.Pool{New: func() any {
	return &stream{header: make(http.Header, 16), wake: make(chan struct{}, 1), more: make(chan struct{}, 1)}
}}

// A pseudos says which pseudo-headers have come.
type pseudos uint8

const (
	sawMethod pseudos = 1 << iota
	sawScheme
	sawPath
	sawAuthority
)

// newStream returns one that is ready for a head. The lock is held.
func (c *conn) newStream(id uint32) *stream {
	st, _ := streams.Get().(*stream) // the pool holds nothing else
	st.conn, st.id = c, id
	if st.ctx == nil {
		st.ctx = &lifetime.Context{Context: c.server.Context}
		st.blank = new(http.Request).WithContext(st.ctx)
		st.req = new(http.Request)
	}
	st.ctx.Context = c.server.Context
	st.at = -1
	st.window, st.left = c.fresh, c.server.StreamWindow
	st.body.reset(st)
	st.out.reset(st)
	return st
}

// scrap gives st back, which has not been opened.
func (c *conn) scrap(st *stream) { st.release() }

// maxKept is how many names a header map may have to be kept, which never shrinks.
const maxKept = 64

// release gives st back. Nobody else knows of it any more.
func (st *stream) release() {
	if st.conn.server.Poison {
		st.poison()
		return
	}
	if clean := st.ctx.Finish(); !clean || st.spoiled {
		st.ctx, st.blank, st.req = nil, nil, nil
	}
	if len(st.header) > maxKept {
		st.header = make(http.Header, 16)
	}
	clear(st.header)
	clear(st.values)
	clear(st.cookies)
	st.out.forget()
	for _, ch := range []chan struct{}{st.wake, st.more} {
		select {
		case <-ch:
		default:
		}
	}
	*st = stream{
		header: st.header, values: st.values[:0], cookies: st.cookies[:0], ctx: st.ctx, blank: st.blank, req: st.req,
		wake: st.wake, more: st.more, out: response{header: st.out.header}, body: body{pieces: st.body.pieces[:0]},
	}
	streams.Put(st)
}

// poison makes whatever is kept of the request useless: so a test sees who has kept it,
// and the race detector who reads it now. Nobody uses st again.
func (st *stream) poison() {
	const junk = "kept after its exchange"
	for _, h := range []http.Header{st.header, st.out.header} {
		for k, v := range h {
			for i := range v {
				v[i] = junk
			}
			h[k] = []string{junk}
		}
		h["Poison"] = []string{junk}
	}
	st.req.Method, st.req.Host, st.req.RequestURI = junk, junk, junk
	st.url = url.URL{Path: junk}
	st.out.stop()
	st.out, st.body = response{header: st.out.header}, body{}
	st.ctx.End()
}

// put adds a field to the header.
func (st *stream) put(name, value string) {
	if old := st.header[name]; len(old) > 0 {
		st.header[name] = append(old, value)
		return
	}
	st.values = append(st.values, value)
	n := len(st.values)
	st.header[name] = st.values[n-1 : n : n]
}

// pseudo takes a pseudo-header, RFC 9113 section 8.3.1.
func (st *stream) pseudo(name, value string) bool {
	var to *string
	var which pseudos
	switch name {
	case ":method":
		to, which = &st.method, sawMethod
	case ":scheme":
		to, which = &st.scheme, sawScheme
	case ":path":
		to, which = &st.path, sawPath
	case ":authority":
		to, which = &st.authority, sawAuthority
	default:
		return false
	}
	if st.seen&which != 0 {
		return false
	}
	st.seen |= which
	*to = value
	return true
}

// prepare makes the request of the head. It reports whether that is well-formed.
func (st *stream) prepare(ends bool) bool {
	if !st.wellFormed() {
		return false
	}
	length, ok := st.length(ends)
	if !ok {
		return false
	}
	if len(st.cookies) > 0 { // RFC 9113 section 8.2.3
		st.put("Cookie", strings.Join(st.cookies, "; "))
	}
	c, r := st.conn, st.req
	*r = *st.blank
	st.url = url.URL{}
	r.Method, r.URL, r.RequestURI = st.method, &st.url, st.path
	r.Proto, r.ProtoMajor = "HTTP/2.0", 2
	r.Header, r.RemoteAddr, r.TLS = st.header, c.remote, c.tls
	if r.Host = st.authority; r.Host == "" {
		if lines := st.header["Host"]; len(lines) > 0 {
			r.Host = lines[0]
		}
	}
	if st.method == http.MethodConnect {
		r.RequestURI = st.authority
	}
	r.Body, r.ContentLength = http.NoBody, 0
	if !ends {
		r.Body, r.ContentLength = &st.body, length
		st.expect()
	}
	st.announce()
	return true
}

// expect takes note of a client that waits to be asked for its body.
func (st *stream) expect() {
	if v := st.header["Expect"]; len(v) == 1 && strings.EqualFold(v[0], "100-continue") {
		delete(st.header, "Expect")
		st.expects = true
	}
}

func (st *stream) wellFormed() bool {
	if !http1.ValidName(st.method) && st.refusal == nil {
		st.refusal = errMethod
	}
	if st.method == http.MethodConnect {
		return st.seen == sawMethod|sawAuthority && st.authority != ""
	}
	if st.method == "" || st.seen&^sawAuthority != sawMethod|sawScheme|sawPath || st.scheme != "http" && st.scheme != "https" {
		return false
	}
	for i := range len(st.path) {
		if b := st.path[i]; b <= ' ' || b == 0x7f || b == '#' {
			return false
		}
	}
	return st.path != "" && (st.path[0] == '/' || st.path == "*" && st.method == http.MethodOptions)
}

// length is what the header says of the length of the body; -1 if nothing.
func (st *stream) length(ends bool) (n int64, ok bool) {
	lines, there := st.header["Content-Length"]
	st.body.length = -1
	switch {
	case !there:
		return -1, true
	case len(lines) != 1 || !digits(lines[0]):
		return 0, false
	}
	u, err := strconv.ParseUint(lines[0], 10, 63)
	if err != nil || ends && u > 0 {
		return 0, false
	}
	st.body.length = int64(u)
	return st.body.length, true
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// announce makes the map of the trailers that the head names.
func (st *stream) announce() {
	lines, ok := st.header["Trailer"]
	if !ok {
		return
	}
	delete(st.header, "Trailer")
	t := http.Header{}
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			name = http.CanonicalHeaderKey(strings.Trim(name, " \t"))
			switch {
			case name == "":
			case name == "Transfer-Encoding", name == "Trailer", name == "Content-Length", name == "Host", !http1.ValidName(name):
				st.refusal = errAnnounced
			default:
				t[name] = nil
			}
		}
	}
	if len(t) > 0 && st.req.Body != http.NoBody {
		st.req.Trailer = t
	}
}

// run has the request answered.
func (st *stream) run() {
	c := st.conn
	defer c.jobs.Done()
	if c.guard != nil {
		c.guard.Reached()
	}
	cut := st.serve()
	if !cut {
		cut = st.out.finish() != nil
	}
	if st.finish(cut) && c.guard != nil {
		c.guard.Answered()
	}
	st.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
	c.running--
}

// serve calls the handler, and reports whether the answer was given up.
func (st *stream) serve() (cut bool) {
	s := st.conn.server
	defer func() {
		if p := recover(); p != nil {
			cut = true
			if p != http.ErrAbortHandler { //nolint:errorlint // it is that very value
				s.Log.LogAttrs(s.Context, slog.LevelError, "a handler panicked", slog.Any("value", p), slog.String("stack", string(debug.Stack())))
			}
		}
	}()
	if st.refusal != nil {
		s.Refuse(&st.out, st.req, st.refusal)
		return false
	}
	s.Handler.ServeHTTP(&st.out, st.req)
	return false
}

// finish ends the stream when the handler has returned, and reports whether it was
// answered, and the client there still. Cut says that the answer is not whole.
func (st *stream) finish(cut bool) bool {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	answered := st.err == nil && c.broken == nil
	if st.err == nil {
		switch {
		case cut && st.late:
			c.reject(st, codeCancel)
		case cut:
			c.reject(st, codeInternal)
		case st.refusal != nil && st.refusal != errLarge:
			c.reject(st, codeProtocol) // RFC 9113 section 8.1.1: what was answered is malformed still
		case !st.remote:
			c.reject(st, codeNo) // RFC 9113 section 8.1: the client need not send the rest
		}
		c.remove(st)
	}
	return answered
}

// reject appends a RST_STREAM. What the client sends before it knows is ignored.
func (c *conn) reject(st *stream, why code) {
	c.out = appendReset(c.room(), st.id, why)
	c.ended.add(st.id)
}

// remove forgets a stream that has ended.
func (c *conn) remove(st *stream) {
	delete(c.streams, st.id)
	c.give(st.body.drop())
	if len(c.streams) == 0 {
		c.idleBy = c.server.clock.After(c.server.Idle, c.server.tick)
	}
	c.part()
}

// abandon ends a stream whose handler may be at work still. Its context is ended by
// the reader, which is the one to call it.
func (c *conn) abandon(st *stream, why error) {
	st.err = why
	st.spoiled = true
	c.doomed = append(c.doomed, st.ctx)
	st.wakeReader()
	st.wakeWriter()
	c.remove(st)
}

// reset ends a stream for an error of the client; st is nil if it is not open. It is
// for the reader.
func (c *conn) reset(st *stream, id uint32, why code) {
	c.out = appendReset(c.room(), id, why)
	c.ended.add(id)
	if st != nil {
		c.abandon(st, errReset)
	}
}

func (st *stream) wakeReader() {
	select {
	case st.more <- struct{}{}:
	default:
	}
}

func (st *stream) wakeWriter() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}
