package server

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
)

// A block is what is gathered before it is sent.
type block [32 << 10]byte

var blocks = sync.Pool{New: func() any { return new(block) }}

const (
	// enough is how much is sent without waiting for more.
	enough = 16 << 10
	// tooMuch is how much of control frames a client may have to read.
	tooMuch = 256 << 10
	// turns is how many times in a row the one who sends does so for others.
	turns = 4
)

var (
	errReset   = errors.New("h2: the client has reset the stream")
	errBacklog = errors.New("h2: the client does not read what it has provoked")
)

// space is what has been gathered, to be appended to. Lock held, as in all below.
func (c *conn) space() []byte {
	if c.block == nil && c.out == nil {
		c.block, _ = blocks.Get().(*block) // the pool holds nothing else
		c.out = c.block[:0]
	}
	return c.out
}

// room is space for what must not wait for more.
func (c *conn) room() []byte {
	c.urgent = true
	if len(c.out) > tooMuch && c.broken == nil {
		c.broken = errBacklog
		_ = c.raw.Close() // the reader sees it
	}
	return c.space()
}

// gathered takes what has been gathered.
func (c *conn) gathered() ([]byte, *block) {
	out, b := c.out, c.block
	c.out, c.block, c.urgent = nil, nil, false
	c.batch++
	return out, b
}

// send has somebody send what was gathered, without waiting for it.
func (c *conn) send() {
	if len(c.out) == 0 || c.writing || c.dead {
		return
	}
	c.writing = true
	c.jobs.Add(1)
	c.server.crew.start(job{conn: c})
}

// sending is what send has a worker do.
func (c *conn) sending() {
	defer c.jobs.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pump()
}

// flush sends what was gathered, unless somebody is doing so. Meanwhile the lock is not
// held.
func (c *conn) flush() {
	if !c.writing && len(c.out) > 0 {
		c.writing = true
		c.pump()
	}
}

// pump is for the one who has set writing.
func (c *conn) pump() {
	if c.running > 1 { // the answers of those that can go on now may go with it
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	for turn := 0; len(c.out) > 0 && c.broken == nil && turn < turns; turn++ {
		b, own := c.gathered()
		c.mu.Unlock()
		c.writeBy.Store(c.server.clock.After(c.server.WriteTimeout, c.server.tick))
		_, err := c.nc.Write(b)
		c.writeBy.Store(0)
		if own != nil {
			blocks.Put(own)
		}
		c.mu.Lock()
		if err != nil && c.broken == nil {
			c.broken = err
			_ = c.raw.Close() // the reader sees it
		}
		c.wakeAll()
	}
	c.writing = false
	if c.sent != nil {
		close(c.sent)
		c.sent = nil
		return // who waits goes on
	}
	if c.broken == nil {
		c.send() // the rest
	}
}

// wakeAll wakes those that wait to write.
func (c *conn) wakeAll() {
	for _, st := range c.waiting {
		st.wakeWriter()
	}
}

// failed says why nothing can be written to the stream.
func (st *stream) failed() error {
	switch {
	case st.err != nil:
		return st.err
	case st.conn.broken != nil:
		return st.conn.broken
	case st.late:
		return os.ErrDeadlineExceeded
	}
	return nil
}

// write appends p to the output, as far as the client lets it, and waits with the
// rest.
func (st *stream) write(p []byte) error {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(p) > 0 {
		if err := st.failed(); err != nil {
			st.unwait()
			return err
		}
		n := min(len(p), maxFrame, int(min(st.window, c.window)))
		if n <= 0 || len(c.out) >= enough {
			st.pause()
			continue
		}
		st.frame(p[:n])
		p = p[n:]
	}
	st.unwait()
	if len(c.out) >= enough {
		c.flush()
	}
	return nil
}

// admit waits until there is room for a head: what a client does not read must not
// grow with what it asks for.
func (st *stream) admit() error {
	defer st.unwait()
	for {
		if err := st.failed(); err != nil || len(st.conn.out) < enough {
			return err
		}
		st.pause()
	}
}

// frame appends a DATA frame.
func (st *stream) frame(p []byte) {
	c := st.conn
	st.window -= int64(len(p))
	c.window -= int64(len(p))
	b := c.space()
	st.batch, st.at = c.batch, len(b)
	b = appendHead(b, len(p), frameData, 0, st.id)
	c.out = append(b, p...)
}

// endStream says that nothing more comes: in the last frame, if it was not sent yet.
func (st *stream) endStream() {
	c := st.conn
	b := c.space()
	if st.batch == c.batch && st.at >= 0 && st.at < len(b) {
		b[st.at+4] |= flagEndStream
		return
	}
	c.out = appendHead(b, 0, frameData, flagEndStream, st.id)
}

// pause makes room by sending, or waits until something has changed.
func (st *stream) pause() {
	c := st.conn
	if len(c.out) > 0 && !c.writing {
		c.flush()
		return
	}
	if st.writeBy == 0 {
		st.writeBy = c.server.clock.After(c.server.WriteTimeout, c.server.tick)
	}
	if !st.waits {
		st.waits = true
		c.waiting = append(c.waiting, st)
	}
	c.mu.Unlock()
	<-st.wake
	c.mu.Lock()
}

// unwait ends a write that may have waited.
func (st *stream) unwait() {
	st.writeBy = 0
	if !st.waits {
		return
	}
	st.waits = false
	c := st.conn
	if i := slices.Index(c.waiting, st); i >= 0 {
		c.waiting = slices.Delete(c.waiting, i, i+1)
	}
}
