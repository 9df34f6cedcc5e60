package h2

import (
	"net"
	"sync"
	"time"
)

// headDelay is how long the head of an answer waits for what comes after it.
const headDelay = time.Millisecond

// heldSize is how much can be written as one: a head, and a piece of the body that
// net/http has buffered.
const heldSize = 6 << 10

type heldBuffer [heldSize]byte

var heldBuffers = sync.Pool{New: func() any { return new(heldBuffer) }}

// held is what was written and not yet sent: the head of an answer, which net/http
// sends as soon as it has it. The first piece of the body follows at once, nearly
// always; together they are one system call, and one record of TLS.
type held struct {
	buf   *heldBuffer
	n     int
	timer *time.Timer
}

// add takes p, or reports that it has no room.
func (h *held) add(p []byte) bool {
	if h.n+len(p) > heldSize {
		return false
	}
	if h.buf == nil {
		h.buf, _ = heldBuffers.Get().(*heldBuffer)
	}
	h.n += copy(h.buf[h.n:], p)
	return true
}

// drop forgets what is held.
func (h *held) drop() {
	if h.timer != nil {
		h.timer.Stop()
	}
	if h.buf != nil {
		heldBuffers.Put(h.buf)
		h.buf, h.n = nil, 0
	}
}

// Write writes frames of the server, in pieces of any size. The head of an answer
// waits a moment for its body, unless [Limits] say otherwise; an error of writing it comes with what is next.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return 0, net.ErrClosed
	}
	c.sent(p)
	if c.last == nil && !c.limits.Prompt && c.out.headOnly() && c.held.add(p) {
		c.soon()
		return len(p), nil
	}
	n, err := c.write(p)
	if err != nil {
		c.end()
	}
	c.goodbye()
	return n, err
}

// write sends what is held, and p.
func (c *Conn) write(p []byte) (int, error) {
	before := c.held.n
	if before == 0 {
		return c.Conn.Write(p)
	}
	defer c.held.drop()
	if c.held.add(p) {
		n, err := c.Conn.Write(c.held.buf[:c.held.n])
		return max(0, n-before), err
	}
	if _, err := c.Conn.Write(c.held.buf[:before]); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// part says goodbye, between two frames: if one is under way, the server has a moment
// to end it. It returns when nothing can be written any more.
func (c *Conn) part(b Breach) {
	c.mu.Lock()
	c.last = goAway(c.top, string(b))
	c.goodbye()
	c.mu.Unlock()
	late := time.NewTimer(farewell)
	defer late.Stop()
	select {
	case <-c.said:
	case <-late.C:
		c.mu.Lock()
		defer c.mu.Unlock()
		c.end()
	}
}

// goodbye writes the GOAWAY, if there is one, and no frame is under way.
func (c *Conn) goodbye() {
	if c.last == nil || c.gone || c.out.partial() {
		return
	}
	_, _ = c.write(c.last) // of a client that does not listen nothing is expected
	c.end()
}

// end has nothing written any more.
func (c *Conn) end() {
	c.held.drop()
	if !c.gone {
		c.gone = true
		close(c.said)
	}
}

// soon has what is held sent if nothing comes after it.
func (c *Conn) soon() {
	if c.held.timer != nil {
		c.held.timer.Reset(headDelay)
		return
	}
	c.held.timer = time.AfterFunc(headDelay, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.held.n > 0 && !c.gone {
			_, _ = c.Conn.Write(c.held.buf[:c.held.n]) // a connection that has failed fails again
			c.held.drop()
		}
	})
}

// sent follows the frames of the server.
func (c *Conn) sent(p []byte) {
	for len(p) > 0 || c.out.open && c.out.left == 0 {
		var s step
		if p, s = c.out.next(p); s != begun {
			continue
		}
		if n := worth(&c.out.frame); n >= 0 {
			c.budget.earn(n)
		} else {
			c.budget.charge(-n)
		}
	}
}

// headOnly reports whether the last frame was the head of an answer with a body, and
// is whole.
func (w *walker) headOnly() bool {
	return !w.partial() && w.typ == frameHeaders && w.flags&(flagEndHeaders|flagEndStream) == flagEndHeaders
}
