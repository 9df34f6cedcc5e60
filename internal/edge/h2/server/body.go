package server

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
)

// A body is that of a request, as it comes. All but the lent st is under the lock of
// the connection.
type body struct {
	st      *stream
	length  int64 // as announced; -1 unknown
	got     int64
	size    int // bytes that have come and were not read
	pieces  []piece
	trailer http.Header
	eof     bool
}

// A piece is a part of a body, in memory that is used again.
type piece struct {
	small    *brief
	large    *bulk
	from, to int
}

// Memory for pieces: a short body needs little, and a client that sends its body
// byte by byte should not make us hold much.
type (
	brief [2 << 10]byte
	bulk  [maxFrame]byte
)

var (
	briefs = sync.Pool{New: func() any { return new(brief) }}
	bulks  = sync.Pool{New: func() any { return new(bulk) }}
)

func (p *piece) buf() []byte {
	if p.large != nil {
		return p.large[:]
	}
	return p.small[:]
}

func (p *piece) free() {
	if p.large != nil {
		bulks.Put(p.large)
	} else {
		briefs.Put(p.small)
	}
	*p = piece{}
}

func (b *body) reset(st *stream) { b.st = st }

// expects reports whether n more bytes go with the announced length, and the end.
func (b *body) expects(n int, ends bool) bool {
	b.got += int64(n)
	return b.length < 0 || b.got <= b.length && (!ends || b.got == b.length)
}

// add takes p.
func (b *body) add(p []byte) {
	b.size += len(p)
	for len(p) > 0 {
		last := len(b.pieces) - 1
		if last < 0 || b.pieces[last].to == len(b.pieces[last].buf()) {
			var fresh piece
			if last < 0 && len(p) <= len(brief{}) {
				fresh.small, _ = briefs.Get().(*brief) // the pool holds nothing else
			} else {
				fresh.large, _ = bulks.Get().(*bulk) // as above
			}
			b.pieces = append(b.pieces, fresh)
			last++
		}
		at := &b.pieces[last]
		n := copy(at.buf()[at.to:], p)
		at.to += n
		p = p[n:]
	}
}

// drop forgets what was not read, and returns how much that was.
func (b *body) drop() int {
	for i := range b.pieces {
		b.pieces[i].free()
	}
	n := b.size
	b.pieces, b.size = b.pieces[:0], 0
	return n
}

// take moves bytes to p.
func (b *body) take(p []byte) int {
	n := 0
	for n < len(p) && len(b.pieces) > 0 {
		at := &b.pieces[0]
		k := copy(p[n:], at.buf()[at.from:at.to])
		at.from += k
		n += k
		if at.from < at.to {
			break
		}
		at.free()
		b.pieces = b.pieces[:copy(b.pieces, b.pieces[1:])]
	}
	b.size -= n
	return n
}

var errAnswered = errors.New("h2: the request has been answered")

// Buffered is how many bytes Read gives without waiting.
func (b *body) Buffered() int {
	if b.st == nil {
		return 0
	}
	c := b.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return b.size
}

// Read reads the body. It ends in io.EOF once it has come whole.
func (b *body) Read(p []byte) (int, error) {
	st := b.st
	if st == nil {
		return 0, errAnswered
	}
	if len(p) == 0 {
		return 0, nil
	}
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case b.eof:
			return 0, io.EOF
		case st.err != nil:
			return 0, st.err
		case b.size > 0:
			n := b.take(p)
			b.returned(n)
			if b.size == 0 && st.remote {
				b.finish()
				return n, io.EOF
			}
			return n, nil
		case st.remote:
			b.finish()
			return 0, io.EOF
		case c.broken != nil:
			return 0, c.broken
		case st.slow:
			return 0, os.ErrDeadlineExceeded
		}
		st.ask()
		c.mu.Unlock()
		<-st.more
		c.mu.Lock()
	}
}

// returned lets the client send n bytes more.
func (b *body) returned(n int) {
	c := b.st.conn
	c.give(n)
	b.st.giveOwn(n)
	if c.urgent {
		c.send()
	}
}

// giveOwn gives n bytes of the stream's window back.
func (st *stream) giveOwn(n int) {
	if st.remote || n == 0 {
		return
	}
	c := st.conn
	st.owed += n
	if st.owed >= c.server.StreamWindow/4 {
		c.out = appendWindow(c.room(), st.id, st.owed)
		st.left += st.owed
		st.owed = 0
	}
}

// finish takes note of the end, and of the trailers that were announced.
func (b *body) finish() {
	b.eof = true
	t := b.st.req.Trailer
	for k, v := range b.trailer {
		if _, ok := t[k]; ok {
			t[k] = v
		}
	}
}

// ask tells a client that waits for it to send its body.
func (st *stream) ask() {
	if !st.expects {
		return
	}
	st.expects = false
	c := st.conn
	at := c.openHead()
	c.out = appendStatus(c.out, http.StatusContinue)
	c.closeHead(st, at)
	c.urgent = true
	c.send()
}

// Close does nothing: what is left unread is dealt with when the request has been
// answered.
func (*body) Close() error { return nil }
