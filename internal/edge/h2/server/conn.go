package server

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/airside-gateway/airside/internal/edge/lifetime"
)

// A guard is a connection that package h2 watches: it is told what becomes of
// requests.
type guard interface {
	Reached()
	Answered()
}

// A conn is a connection of a client. What stands before mu belongs to the goroutine
// that reads it, or does not change.
type conn struct {
	server *Server
	nc     net.Conn // is read, written and closed
	raw    net.Conn // the connection at the bottom of nc
	guard  guard    // nc, or nil
	remote string
	peer   netip.Addr // of remote
	addr   string     // peer as text
	tls    *tls.ConnectionState

	in      input
	decoder *hpack.Decoder
	head    head
	names   map[string]string   // lower case to canonical
	ready   []*stream           // their handlers are to be started
	doomed  []*lifetime.Context // are to be ended, when mu is not held
	greeted bool                // the first SETTINGS have come
	unacked int                 // SETTINGS of ours

	writeBy atomic.Int64 // deadline of the write under way by the server's clock; 0 none
	heard   atomic.Int64 // when the client last sent something

	jobs sync.WaitGroup // handlers and flushes

	mu      sync.Mutex
	streams map[uint32]*stream
	top     uint32 // the last stream that the client opened
	ended   ring   // streams that we have ended before the client did
	running int    // handlers, of streams that were reset too
	waiting []*stream

	window int64 // that the client has left for us
	fresh  int64 // of a new stream
	left   int   // that we have left for the client
	owed   int   // that it is not told yet

	out     []byte // not sent yet; in block, or grown beyond it
	block   *block
	batch   uint64        // how many times out was taken
	urgent  bool          // there is something in out that must not wait for more
	writing bool          // somebody is sending
	sent    chan struct{} // closed when nobody is, for who asks
	resized bool          // the client knows that our table is empty
	broken  error         // why nothing can be sent any more

	goingAway bool   // the client has been told to go
	over      bool   // no more streams are taken
	last      uint32 // the last one that was, then
	dead      bool   // the reader has ended
	probed    int64  // when the client was asked for a sign of life
	lastBy    int64  // when a client that was told to go must have sent what it will
	idleBy    int64
	closeBy   int64
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{
		server: s, nc: nc, raw: bottom(nc), remote: nc.RemoteAddr().String(), streams: map[uint32]*stream{},
		window: firstWindow, fresh: firstWindow, left: s.ConnWindow, unacked: 1, names: map[string]string{},
	}
	c.guard, _ = nc.(guard)
	if t, ok := nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := t.ConnectionState()
		c.tls = &state
	}
	c.peer = netip.IPv4Unspecified()
	if ap, err := netip.ParseAddrPort(c.remote); err == nil {
		c.peer = ap.Addr().Unmap().WithZone("")
	}
	c.addr = c.peer.String()
	c.decoder = hpack.NewDecoder(4<<10, c.field) // as it is without a setting
	c.decoder.SetMaxStringLength(s.MaxHead)
	return c
}

// bottom is the connection under TLS and wrappers, which the kernel knows.
func bottom(nc net.Conn) net.Conn {
	for {
		switch c := nc.(type) {
		case interface{ NetConn() net.Conn }:
			nc = c.NetConn()
		case interface{ Bare() net.Conn }:
			nc = c.Bare()
		default:
			return nc
		}
	}
}

// A failure ends a connection, RFC 9113 section 5.4.1.
type failure struct {
	code   code
	reason string
}

func (f *failure) Error() string { return "h2: " + f.reason }

func fail(why code, reason string) error { return &failure{why, reason} }

// serve serves the connection to its end.
func (c *conn) serve() {
	s := c.server
	s.tell(c.nc, http.StateActive) // so that it is known what it speaks
	s.tell(c.nc, http.StateIdle)
	c.greet()
	err := c.read()
	if f, ok := errors.AsType[*failure](err); ok {
		c.goodbye(f)
	}
	c.end()
	c.jobs.Wait()
	_ = c.nc.Close() // nobody is left to be told
	c.in.release()
	s.leave(c)
}

// greet says what the client may do.
func (c *conn) greet() {
	s := c.server
	c.mu.Lock()
	defer c.mu.Unlock()
	b := appendHead(c.room(), 4*settingSize, frameSettings, 0, 0)
	b = appendSetting(b, settingMaxStreams, s.Streams)
	b = appendSetting(b, settingInitialWindow, s.StreamWindow)
	b = appendSetting(b, settingMaxFrame, maxFrame)
	b = appendSetting(b, settingMaxHeaderList, s.MaxHead)
	c.out = appendWindow(b, 0, s.ConnWindow-firstWindow)
	c.send()
}

// read reads frames until the connection fails or ends.
func (c *conn) read() error {
	if err := c.in.preface(c.nc); err != nil {
		return err
	}
	for {
		err := c.frames()
		c.dispatch()
		if err != nil {
			return err
		}
		if err := c.in.fill(c.nc); err != nil {
			return err
		}
		c.heard.Store(c.server.clock.Now())
	}
}

// frames takes the frames that have come whole.
func (c *conn) frames() error {
	for {
		f, ok, err := c.in.next()
		if err != nil || !ok {
			return err
		}
		if !c.greeted && (f.typ != frameSettings || f.has(flagAck)) {
			return fail(codeProtocol, "the first frame is not SETTINGS")
		}
		if c.head.open && (f.typ != frameContinuation || f.stream != c.head.id) {
			return fail(codeProtocol, "a head is interrupted by another frame")
		}
		if err := c.take(&f); err != nil {
			return err
		}
	}
}

func (c *conn) take(f *frame) error {
	switch f.typ {
	case frameData:
		return c.data(f)
	case frameHeaders:
		return c.headers(f)
	case frameContinuation:
		return c.continuation(f)
	case frameRSTStream:
		return c.rstStream(f)
	case frameSettings:
		return c.settings(f)
	case framePing:
		return c.ping(f)
	case frameWindowUpdate:
		return c.windowUpdate(f)
	case framePriority:
		return c.priority(f)
	case frameGoAway:
		return goAway(f)
	case framePushPromise:
		return fail(codeProtocol, "a client cannot push")
	}
	return nil
}

// dispatch starts the handlers of the streams that have come, and has sent what there
// is to say to the client.
func (c *conn) dispatch() {
	c.mu.Lock()
	starting := c.ready[:0]
	for _, st := range c.ready {
		if st.err != nil { // reset before it began
			defer st.release()
			continue
		}
		c.running++
		starting = append(starting, st)
	}
	if c.urgent {
		c.send()
	}
	c.mu.Unlock()
	for _, ctx := range c.doomed {
		ctx.End()
	}
	for _, st := range starting {
		c.jobs.Add(1)
		c.server.crew.start(job{stream: st})
	}
	clear(c.ready)
	c.ready, c.doomed = c.ready[:0], c.doomed[:0]
}

// data takes a piece of a body, RFC 9113 section 6.1.
func (c *conn) data(f *frame) error {
	p := f.payload
	if f.has(flagPadded) {
		if len(p) == 0 || int(p[0]) >= len(p) {
			return fail(codeProtocol, "the padding is as long as its frame")
		}
		p = p[1 : len(p)-int(p[0])]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(f.payload)
	switch {
	case f.stream == 0, f.stream > c.top && !c.over, f.stream%2 == 0:
		return fail(codeProtocol, "DATA on a stream that is not open")
	case n > c.left:
		return fail(codeFlowControl, "the connection's window is exceeded")
	}
	c.left -= n
	st := c.streams[f.stream]
	if st == nil || st.remote {
		c.give(n)
		if st != nil || !c.ignores(f.stream) {
			c.reset(st, f.stream, codeClosed)
		}
		return nil
	}
	c.give(n - len(p)) // padding is not kept
	switch {
	case n > st.left:
		c.give(len(p))
		c.reset(st, f.stream, codeFlowControl)
		return nil
	case !st.body.expects(len(p), f.has(flagEndStream)):
		c.give(len(p))
		c.reset(st, f.stream, codeProtocol)
		return nil
	}
	st.left -= n
	st.body.add(p)
	st.giveOwn(n - len(p))
	if f.has(flagEndStream) {
		st.remote = true
	}
	st.wakeReader()
	return nil
}

// ignores reports whether frames on a stream that is gone are to be passed over: the
// client may not know yet.
func (c *conn) ignores(id uint32) bool {
	return c.ended.has(id) || c.over && id > c.last
}

// give gives n bytes of the connection's window back.
func (c *conn) give(n int) {
	c.owed += n
	if c.owed >= c.server.ConnWindow/4 {
		c.out = appendWindow(c.room(), 0, c.owed)
		c.left += c.owed
		c.owed = 0
	}
}

// end ends all streams when nothing more will be read.
func (c *conn) end() {
	c.mu.Lock()
	c.dead = true
	if c.broken == nil {
		c.broken = errGone
	}
	for _, st := range c.streams {
		c.abandon(st, errGone)
	}
	c.wakeAll()
	c.mu.Unlock()
	_ = c.nc.SetWriteDeadline(past) // ends a write that is under way
	for _, ctx := range c.doomed {
		ctx.End()
	}
	c.doomed = nil
}

// How long a GOAWAY may take to be written, and how long the client then has to read
// it: what closes a connection on which bytes arrive is a reset, and that may overtake
// what was sent.
const (
	farewell = 250 * time.Millisecond
	linger   = time.Second
)

// goodbye tells the client why the connection ends, if it listens.
func (c *conn) goodbye(f *failure) {
	c.mu.Lock()
	c.out = appendGoAway(c.room(), c.top, f.code, f.reason)
	c.over, c.goingAway, c.last = true, true, c.top
	_ = c.nc.SetWriteDeadline(time.Now().Add(farewell)) // also of a write that is under way
	for c.writing {
		ch := c.sent
		if ch == nil {
			ch = make(chan struct{})
			c.sent = ch
		}
		c.mu.Unlock()
		<-ch
		c.mu.Lock()
	}
	c.flush()
	c.broken = f
	c.mu.Unlock()
	half, ok := c.raw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.raw.SetReadDeadline(time.Now().Add(linger)) // it is closed anyway
	_, _ = io.Copy(io.Discard, struct{ io.Reader }{c.raw})
}

// cut ends everything.
func (c *conn) cut() {
	_ = c.raw.Close() // the reader sees it
}

var errGone = errors.New("h2: the client has closed the connection")
