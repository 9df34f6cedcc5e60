// Package h2 guards net/http's HTTP/2 server against clients that keep it busy
// without asking for anything (RFC 9113 section 10.5).
//
// A [Conn] stands between a connection and the server. It follows the heads of the
// frames that pass, both ways, and counts those that ask for nothing against a
// budget, to which requests that were answered and data that was moved add. A client
// that has used its budget up, that sends a head of a request without end or too
// slowly, or that does not begin in time, gets a GOAWAY with ENHANCE_YOUR_CALM and
// the reason, and its connection is closed. Nothing that it says after that is read.
//
// It does not judge whether frames are valid: the server does.
package h2

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// Limits are what one connection may do.
type Limits struct {
	// Head is how many bytes the head of a request may have. As they are sent,
	// compressed, twice that many may come, so that the server can answer one that is
	// somewhat too large.
	Head int
	// Time is how long a head may take from its first byte to its last, and any other
	// frame but DATA; also, from when the connection was accepted, the preface and the
	// first SETTINGS. 0 is no limit.
	Time time.Duration
	// Prompt sends what is written at once: the server gathers the head of an answer and
	// what comes after it by itself.
	Prompt bool
}

// A Breach is why a connection was closed, for the client too.
type Breach string

func (b Breach) Error() string { return "h2: " + string(b) }

// What ends a connection, beside a flood of a certain frame.
const (
	errBegin Breach = "the connection did not begin in time"
	errSlow  Breach = "a frame or the head of a request took too long"
	errLarge Breach = "the head of a request is too large"
)

// bufferSize holds what is read ahead: the server reads each frame by two reads.
const bufferSize = 2 << 10

// slack is what a head may have beyond twice the limit: the names that are short in
// HPACK and the blocks' own needs.
const slack = 4 << 10

// farewell is how long a GOAWAY may take to be written: a client that floods us may
// well not read.
const farewell = 250 * time.Millisecond

// linger is how long the client then has to read it: what closes a connection on which
// bytes arrive is a reset, and that may overtake what was sent.
const linger = time.Second

// A Conn is a connection of an HTTP/2 client, guarded. Read is for one goroutine at a
// time, as net/http uses it; deadlines of reading are its own and cannot be set.
type Conn struct {
	net.Conn

	limits Limits
	report func(Breach)
	budget *budget

	// The reader's.
	in      walker
	ahead   []byte // read from the connection, not yet by the server
	buf     [bufferSize]byte
	began   bool  // the first frame has come
	block   int   // bytes of the head that is coming
	inBlock bool  // a head has begun and not ended
	failed  error // what ended reading
	since   time.Time
	armed   time.Time // the deadline that is set
	top     uint32    // the last stream that the client opened

	mu   sync.Mutex // of writing, but for the deadline
	out  walker
	held held
	last []byte        // a GOAWAY that is to be written as soon as no frame is under way
	said chan struct{} // closed when it was written, or cannot be
	gone bool          // nothing can be written any more

	deadlines sync.Mutex
	leaving   bool // the deadline of writing is ours, and so is the end
}

// A secure is a Conn over TLS. net/http finds its state by the method.
type secure struct {
	*Conn

	state tls.ConnectionState
}

// ConnectionState is that of the TLS connection. With it, net/http takes the
// connection for what ALPN says, and gives the state to requests.
func (s *secure) ConnectionState() tls.ConnectionState { return s.state }

// Guard returns c, guarded: for [net/http.Server] with unencrypted HTTP/2. If c is a
// [tls.Conn], its handshake must be complete. The first frame must have come within
// l.Time of accepted. report is called at most once, if the connection is closed for
// a breach.
func Guard(c net.Conn, accepted time.Time, l Limits, report func(Breach)) net.Conn {
	g := &Conn{Conn: c, limits: l, report: report, budget: newBudget(), since: accepted, said: make(chan struct{}), in: walker{skip: uint32(prefaceSize)}}
	if t, ok := c.(*tls.Conn); ok {
		return &secure{Conn: g, state: t.ConnectionState()}
	}
	return g
}

// NetConn is the connection beneath.
func (c *Conn) NetConn() net.Conn { return c.Conn }

type contextKey struct{}

// WithConn returns a context by which handlers find the guard of their connection, if
// c has one; for [net/http.Server.ConnContext].
func WithConn(ctx context.Context, c net.Conn) context.Context {
	switch c := c.(type) {
	case *Conn:
		return context.WithValue(ctx, contextKey{}, &guarded{conn: c})
	case *secure:
		return context.WithValue(ctx, contextKey{}, &guarded{conn: c.Conn, state: &c.state})
	}
	return ctx
}

type guarded struct {
	conn  *Conn
	state *tls.ConnectionState
}

// Of returns the connection on whose context a request came, and its TLS state,
// which is nil if it has none. Both are nil where the connection is not guarded.
func Of(ctx context.Context) (*Conn, *tls.ConnectionState) {
	if g, ok := ctx.Value(contextKey{}).(*guarded); ok {
		return g.conn, g.state
	}
	return nil, nil
}

// Reached notes that a request has reached its handler: it was no flood.
func (c *Conn) Reached() { c.budget.earn(earnReached) }

// Answered notes that a request was answered, not given up by its client.
func (c *Conn) Answered() { c.budget.earn(earnAnswered) }

// Read reads what the client sends. Its error is a [Breach] if the client was cut off.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.ahead) == 0 {
		if c.failed != nil {
			return 0, c.failed
		}
		if len(p) >= bufferSize {
			return c.fetch(p)
		}
		n, err := c.fetch(c.buf[:])
		if n == 0 {
			return 0, err
		}
		c.ahead = c.buf[:n]
	}
	n := copy(p, c.ahead)
	c.ahead = c.ahead[n:]
	return n, nil
}

// fetch reads from the connection into p and follows the frames. An error that comes
// with bytes is kept for the next read.
func (c *Conn) fetch(p []byte) (int, error) {
	c.arm()
	n, err := c.Conn.Read(p)
	if b := c.scan(p[:n]); b != "" {
		return 0, c.cut(b)
	}
	if err == nil {
		return n, nil
	}
	if !c.armed.IsZero() && errors.Is(err, os.ErrDeadlineExceeded) {
		b := errSlow
		if !c.began {
			b = errBegin
		}
		return 0, c.cut(b)
	}
	c.failed = err
	if n > 0 {
		err = nil
	}
	return n, err
}

// arm sets the deadline of the next read, if what is under way has one.
func (c *Conn) arm() {
	var want time.Time
	if c.limits.Time > 0 && !c.since.IsZero() {
		want = c.since.Add(c.limits.Time)
	}
	if !want.Equal(c.armed) {
		_ = c.Conn.SetReadDeadline(want) // on a connection that has failed the read says so
		c.armed = want
	}
}

// scan follows the frames in p.
func (c *Conn) scan(p []byte) Breach {
	for len(p) > 0 || c.in.open {
		var s step
		p, s = c.in.next(p)
		switch s {
		case begun:
			if b := c.admit(&c.in.frame); b != "" {
				return b
			}
		case ended:
			c.began = true
			if !c.inBlock {
				c.since = time.Time{}
			}
		case inside:
			c.pause()
			return ""
		}
	}
	c.pause()
	return ""
}

// pause notes since when what is under way is awaited: whatever is not DATA. How long
// a body may pause is for others to say.
func (c *Conn) pause() {
	awaited := !c.began || c.inBlock || c.in.partial() && (!c.in.open || c.in.typ != frameData)
	if awaited && c.since.IsZero() {
		c.since = time.Now()
	}
}

// admit charges a frame of the client.
func (c *Conn) admit(f *frame) Breach {
	switch f.typ {
	case frameHeaders:
		c.top = max(c.top, f.stream)
		c.block, c.inBlock = int(f.length), f.flags&flagEndHeaders == 0
	case frameContinuation:
		c.block += int(f.length)
		c.inBlock = f.flags&flagEndHeaders == 0
	}
	if c.block > 2*c.limits.Head+slack {
		return errLarge
	}
	spent, earned := cost(f)
	if earned > 0 {
		c.budget.earn(earned)
	}
	if !c.budget.spend(spent) { // asked of free ones too: the client may have provoked what was charged meanwhile
		return Breach("too many frames that ask for nothing; the last was " + f.name())
	}
	return ""
}

// cut says goodbye, if the client listens, and has the connection closed soon. Nothing
// more is read from it.
func (c *Conn) cut(b Breach) error {
	c.failed = b
	c.deadlines.Lock()
	c.leaving = true
	_ = c.Conn.SetWriteDeadline(time.Now().Add(farewell)) // also for a write that is under way
	c.deadlines.Unlock()
	c.part(b)
	below := c.Conn
	if t, ok := below.(*tls.Conn); ok {
		below = t.NetConn() // without the goodbye of TLS, which could take seconds
	}
	if half, ok := below.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	time.AfterFunc(linger, func() { _ = below.Close() })
	if c.report != nil {
		c.report(b)
	}
	return b
}

// Close closes the connection; one that was cut off, when its client has had the time
// to read why.
func (c *Conn) Close() error {
	c.deadlines.Lock()
	leaving := c.leaving
	c.deadlines.Unlock()
	if leaving {
		return nil
	}
	err := c.Conn.Close() // which ends a write that is under way
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end()
	return err
}

// goAway is a GOAWAY frame with ENHANCE_YOUR_CALM.
func goAway(last uint32, reason string) []byte {
	n := uint32(8 + len(reason)) //nolint:gosec // a line
	f := make([]byte, 0, headSize+n)
	f = binary.BigEndian.AppendUint32(f, n<<8|frameGoAway)
	f = append(f, 0, 0, 0, 0, 0) // no flags, stream 0
	f = binary.BigEndian.AppendUint32(f, last)
	f = binary.BigEndian.AppendUint32(f, codeCalm)
	return append(f, reason...)
}

// SetReadDeadline does nothing: the guard bounds reading.
func (c *Conn) SetReadDeadline(time.Time) error { return nil }

// SetDeadline sets the deadline of writing only.
func (c *Conn) SetDeadline(t time.Time) error { return c.SetWriteDeadline(t) }

// SetWriteDeadline bounds writing.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	if c.leaving {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}
