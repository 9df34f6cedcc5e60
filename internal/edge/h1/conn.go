package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside/internal/edge/lifetime"
	"github.com/airside-gateway/airside/internal/http1"
)

// A conn is a connection of a client. All but what is atomic belongs to its goroutine.
//
// Where it can be, the whole of its life goes on inside of [http1.Socket.Drive]: there
// a wait for the next request costs one system call less. A request that has come with
// its whole body is served in there, since it needs nothing more of the connection.
// Any other one is pending until the connection has come out.
type conn struct {
	server *Server
	nc     net.Conn // is closed, and handed over
	bare   net.Conn // is read and written
	sock   *http1.Socket
	step   func(uintptr) bool
	remote string
	peer   netip.Addr // of remote
	addr   string     // peer as text
	tls    *tls.ConnectionState

	in      http1.Buffer
	few     [32]byte // the first bytes of a request over TLS, so that waiting for them holds no buffer
	scan    http1.Scan
	dry     bool      // the last read took all there was
	begun   bool      // a head has begun to come
	served  bool      // a request has been answered
	over    bool      // the connection ends
	linger  bool      // the client may be sending still: let it read the answer
	pending *exchange // is to be served outside
	stolen  bool      // somebody has taken the connection over

	readBy, writeBy atomic.Int64 // deadlines by the server's clock; 0 none
	gone            atomic.Bool  // the client has shut its sending side, or reset
	watch           int32
	watched         bool

	mu     sync.Mutex
	live   *lifetime.Context // of the exchange under way, or nil
	turn   int               // how many were under way
	fuse   *time.Timer       // ends the one under way; or nil
	reset  bool              // the client has reset the connection
	ready  bool              // the first wait for a request has begun
	kicked bool              // a wait was ended, or the next one will be
	off    bool              // nobody may touch the deadlines any more
}

func newConn(s *Server, nc net.Conn) *conn { return &conn{server: s, nc: nc} }

// unwrap finds out what is to be read and written. It may wait for the client.
func (c *conn) unwrap() {
	nc := c.nc
	c.remote, c.peer = nc.RemoteAddr().String(), netip.IPv4Unspecified()
	if ap, err := netip.ParseAddrPort(c.remote); err == nil {
		c.peer = ap.Addr().Unmap().WithZone("")
	}
	c.addr = c.peer.String()
	for {
		u, ok := nc.(unreader)
		if !ok {
			break
		}
		inner, ahead := u.Unread()
		c.in.Wrote(copy(c.in.Space(len(ahead)), ahead))
		nc = inner
	}
	c.bare = nc
	if u, ok := nc.(wrapper); ok {
		c.bare = u.Bare()
	}
	c.sock = http1.NewSocket(c.bare)
	c.step = c.sock.Step(c.advance)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nc = nc
}

// An unreader is a connection of which a part was read: it gives the connection
// beneath, and what was read and not used.
type unreader interface {
	Unread() (net.Conn, []byte)
}

// A wrapper is a connection that does the same as the one beneath, but for being
// closed.
type wrapper interface{ Bare() net.Conn }

// transport is the connection under TLS and wrappers, which the kernel knows.
func transport(nc net.Conn) net.Conn {
	for {
		switch c := nc.(type) {
		case wrapper:
			nc = c.Bare()
		case interface{ NetConn() net.Conn }:
			nc = c.NetConn()
		default:
			return nc
		}
	}
}

// serve serves the connection to its end.
func (c *conn) serve() {
	defer c.close()
	if !c.open() {
		return
	}
	for !c.over {
		x := c.await()
		if x != nil {
			c.exchange(x)
		}
	}
}

// open makes what must be before the first request.
func (c *conn) open() bool {
	c.unwrap()
	if w := c.server.Watch; w != nil {
		c.watch, c.watched = w.Add(transport(c.nc), c.left)
	}
	if t, ok := c.nc.(*tls.Conn); ok && !c.shake(t) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ready = true
	if c.kicked {
		_ = c.nc.SetReadDeadline(past) // it is closed if it cannot be set
	}
	return !c.server.cutting.Load()
}

// shake waits for the TLS handshake, which may be over already.
func (c *conn) shake(t *tls.Conn) bool {
	ctx, cancel := c.server.Context, context.CancelFunc(func() {})
	if d := c.server.HeaderTimeout; d > 0 {
		ctx, cancel = context.WithTimeout(ctx, d)
	}
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		return false // the client hears it by an alert
	}
	state := t.ConnectionState()
	c.tls = &state
	return true
}

// close ends the connection, unless somebody has taken it over.
func (c *conn) close() {
	if c.stolen {
		return
	}
	c.part()
	if c.linger && !c.server.cutting.Load() {
		c.drain()
	}
	c.in.Release()
	_ = c.nc.Close() // nobody is left to be told
	c.server.leave(c, http.StateClosed)
}

// part sees to it that nobody else ends what is done with the connection from now on,
// but by cutting it.
func (c *conn) part() {
	if c.watched {
		c.server.Watch.Remove(c.watch)
		c.watched = false
	}
	c.readBy.Store(0)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off = true
}

// lingerTime is how long a client that goes on sending may take to read its answer.
const lingerTime = 500 * time.Millisecond

// drain lets a client that is still sending read the answer: a connection that is
// closed with bytes unread is reset, and the answer lost with it.
func (c *conn) drain() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.in.Release()
	patience := lingerTime
	if c.server.draining.Load() {
		patience /= 4
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(patience))      // it is closed anyway
	_, _ = io.Copy(io.Discard, struct{ io.Reader }{c.bare}) // ends by the deadline, at the latest
}

// await waits for a request, and serves those that can be served on the way. It
// returns one that cannot.
func (c *conn) await() *exchange {
	var err error
	c.dry = false // what has come outside of Drive wakes nobody inside
	if c.sock.CanDrive() {
		err = c.sock.DriveFunc(c.step)
	} else {
		for err == nil && !c.advance() {
			err = c.more()
		}
	}
	if x := c.pending; x != nil {
		c.pending = nil
		return x
	}
	if err != nil && !c.over {
		c.failed(err)
	}
	return nil
}

// failed deals with the end of a wait: by the connection, by the deadline of the stage,
// or by a kick.
func (c *conn) failed(err error) {
	if !errors.Is(err, os.ErrDeadlineExceeded) || c.server.cutting.Load() {
		c.over = true
		return
	}
	_, late := c.settle()
	switch {
	case late && c.begun:
		c.refuse(c.unparsed(c.in.Bytes()), errTimeout)
	case late && !c.served:
		c.over = true
	default:
		c.lastLook()
	}
}

// kick ends the wait for a request; if one is under way, that one is let alone.
func (c *conn) kick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live != nil || c.off {
		return
	}
	c.kicked = true
	if c.ready {
		_ = c.nc.SetReadDeadline(past) // it is closed if it cannot be set
	}
}

// settle makes waiting possible again. It reports whether there was a kick, and whether
// the time of the stage is over.
func (c *conn) settle() (kicked, late bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kicked, late = c.kicked, c.readBy.CompareAndSwap(expired, 0)
	c.kicked = false
	_ = c.nc.SetReadDeadline(time.Time{}) // fails as the next read does
	return kicked, late
}

// lastLook takes what has come already, and ends the connection if there is nothing. A
// connection on which a head has begun, or that is new, gets its time.
func (c *conn) lastLook() {
	if c.begun || c.in.Len() > 0 {
		return
	}
	patience := lastLookTime
	if !c.served && c.server.draining.Load() && !c.gone.Load() {
		patience = newcomerTime
	}
	for again := true; again; patience = lastLookTime {
		_ = c.nc.SetReadDeadline(time.Now().Add(patience)) // fails as the read does
		err := c.read(c.server.MaxHead)
		again, _ = c.settle() // the kick may have come before the bytes were seen
		if err == nil {
			return
		}
		again = again && errors.Is(err, os.ErrDeadlineExceeded) && !c.server.cutting.Load()
	}
	c.over = true
}

// How long a connection may bring nothing before it is closed: when it has served, and
// when it is new and the server stops.
const (
	lastLookTime = time.Millisecond
	newcomerTime = 500 * time.Millisecond
)

// errTLS tells who speaks TLS to an address that has none, and the log.
var errTLS = &http1.Error{Status: http.StatusBadRequest, Reason: "TLS is spoken to an address that has none: use http://, or give the listener tls"}

var errTimeout = &http1.Error{Status: http.StatusRequestTimeout, Reason: "the head of the request took too long"}

// more waits for bytes of a head, outside of Drive.
func (c *conn) more() error {
	if c.tls == nil || c.in.Len() > 0 {
		return c.read(c.server.MaxHead)
	}
	n, err := c.bare.Read(c.few[:])
	if n == 0 {
		return err
	}
	c.in.Wrote(copy(c.in.Space(n), c.few[:n]))
	return nil
}

// read waits for bytes, outside of Drive. The buffer holds at most limit bytes.
func (c *conn) read(limit int) error {
	space := c.in.Space(limit)
	if len(space) == 0 {
		return io.ErrShortBuffer
	}
	n, err := c.bare.Read(space)
	if n == 0 {
		return err
	}
	c.in.Wrote(n)
	return nil
}

// advance goes on as far as it can with what is there. It returns true when the
// connection must come out of Drive, or has nothing to wait for.
func (c *conn) advance() bool {
	for {
		if c.in.Len() > 0 {
			done, more := c.next()
			if done {
				return true
			}
			if more {
				continue
			}
		}
		if c.dry && c.watched && !c.gone.Load() || !c.sock.CanDrive() {
			c.dry = false
			c.wait()
			return false
		}
		space := c.in.Space(c.server.MaxHead)
		n, again, err := c.sock.Try(space)
		switch {
		case again:
			c.wait()
			return false
		case err != nil:
			c.over = true
			return true
		}
		c.in.Wrote(n)
		c.dry = n < len(space)
	}
}

// wait sets the deadline of the wait that follows, and lets go of memory.
func (c *conn) wait() {
	if c.in.Len() == 0 {
		c.in.Release()
	}
	s := c.server
	switch {
	case c.in.Len() > 0 && c.begun:
	case c.in.Len() > 0 || !c.served:
		if !c.begun {
			c.begun = c.in.Len() > 0
			if c.readBy.Load() <= 0 || c.served {
				c.readBy.Store(s.clock.After(s.HeaderTimeout, s.tick))
			}
		}
	default:
		c.readBy.Store(s.clock.After(s.Idle, s.tick))
		if s.draining.Load() {
			c.kick()
		}
	}
}

// next looks for a request in what has been read. Done says that the connection has to
// come out of Drive; more, that there may be another request.
func (c *conn) next() (done, more bool) {
	b := c.in.Bytes()
	n, err := c.scan.End(b)
	switch {
	case (err != nil || n == 0) && http1.TLS(b):
		return c.refuse(c.unparsed(b), errTLS), false
	case err != nil:
		return c.refuse(c.unparsed(b), err), false
	case n == 0 && len(b) >= c.server.MaxHead:
		if !c.scan.Begun() {
			return c.refuse(c.unparsed(b), http1.ErrTargetLong), false
		}
		return c.refuse(c.unparsed(b), http1.ErrLarge), false
	case n == 0:
		return false, false
	case n > c.server.MaxHead:
		return c.refuse(c.unparsed(b), http1.ErrLarge), false
	}
	x := c.newExchange()
	if err = x.head.ParseRequest(b[:n]); err != nil {
		x.guess(b)
	}
	c.in.Take(n)
	c.scan = http1.Scan{}
	if c.readBy.Swap(0) == expired {
		c.settle()
		if c.begun { // else it came whole, at the end of the wait for it
			err = errTimeout
		}
	}
	c.begun = false
	if err == nil {
		err = x.prepare()
	}
	if err != nil {
		return c.refuse(x, err), false
	}
	if x.body.whole() && !x.head.Upgrade && !x.head.Continue {
		c.exchange(x)
		return c.over, true
	}
	c.pending = x
	return true, false
}

// left is told by the watcher that the client has gone, or has shut its sending side.
// What belongs to an exchange is touched with mu held only: afterwards it serves
// another.
func (c *conn) left(reset bool) {
	c.gone.Store(true)
	c.kick() // the end may have come with the last bytes, unnoticed: look once more
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset = c.reset || reset
	switch grace := c.server.Grace; {
	case c.live == nil || c.off:
	case c.reset || grace <= 0:
		c.live.End()
	case c.fuse == nil:
		turn := c.turn
		c.fuse = time.AfterFunc(grace, func() { c.endTurn(turn) })
	}
}

// endTurn ends the exchange under way if it is the one that it was.
func (c *conn) endTurn(turn int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live != nil && c.turn == turn {
		c.live.End()
	}
}

// cut ends everything.
func (c *conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live != nil {
		c.live.End()
	}
	if !c.ready {
		_ = c.nc.Close() // whatever it waits for
		return
	}
	_ = c.nc.SetDeadline(past) // it is closed if it cannot be set
}

// write sends the parts, within the write time-out. A write that takes longer fails,
// even if it succeeds in the end: the connection is not to be used any more.
func (c *conn) write(a, b []byte) error {
	c.writeBy.Store(c.server.clock.After(c.server.WriteTimeout, c.server.tick))
	_, err := c.sock.Writev(a, b)
	if c.writeBy.Swap(0) == expired && err == nil {
		return os.ErrDeadlineExceeded
	}
	return err
}
