package h1

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside/internal/http1"
)

const (
	continueWait = time.Second           // until a body is sent without a 100 (Continue)
	lastWait     = 50 * time.Millisecond // for the last write of a body whose answer is complete
)

// An upload is a request body that a goroutine sends while the answer is awaited or
// read. The goroutine is left to itself when the exchange is over: it may be waiting
// for a client.
type upload struct {
	conn    net.Conn
	body    io.Reader
	left    int64 // -1: in chunks
	trailer http.Header

	wrote atomic.Int64
	last  atomic.Bool   // the last piece is being written
	over  atomic.Bool   // nobody wants it any more; set with mu held
	done  chan struct{} // closed when the goroutine has ended

	mu   sync.Mutex    // guards what follows
	wait chan struct{} // closed when there is no more to wait for; nil if nothing is
	open bool          // wait is not closed
	good bool          // everything was sent
	bad  error         // what reading the body ended with
}

var pieces = sync.Pool{New: func() any { return new([outSize]byte) }}

// upload begins to send the rest of the body.
func (k *conn) upload(o *outgoing) {
	u := &upload{
		conn: k.sock.Conn, body: o.body, left: o.left, trailer: k.req.Trailer,
		done: make(chan struct{}),
	}
	if k.req.Length < 0 {
		u.left = -1
	}
	if k.req.Expect {
		u.wait, u.open = make(chan struct{}), true
	}
	o.gone = true
	k.up = u
	k.client.settings.Go(u.run)
}

// proceed lets a body go that waits for 100 (Continue).
func (u *upload) proceed() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.proceedLocked()
}

func (u *upload) proceedLocked() {
	if u.open {
		u.open = false
		close(u.wait)
	}
}

// answered ends a body that waits for 100 (Continue), since the answer is another.
func (u *upload) answered() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.open {
		u.over.Store(true)
		u.proceedLocked()
	}
}

// stop ends the upload as far as it can be ended, and returns what was sent. The
// connection must have been closed. The body is not closed from then on.
func (u *upload) stop() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.over.Store(true)
	u.proceedLocked()
	return int(u.wrote.Load())
}

// fault is what was wrong with the body.
func (u *upload) fault() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.bad
}

// complete reports whether the whole body was sent. The agent may have seen the end of
// it before we know.
func (u *upload) complete() bool {
	if u.last.Load() {
		timer := time.NewTimer(lastWait)
		defer timer.Stop()
		select {
		case <-u.done:
		case <-timer.C:
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.good
}

func (u *upload) run() {
	defer close(u.done)
	if u.wait != nil {
		timer := time.NewTimer(continueWait)
		select {
		case <-u.wait:
		case <-timer.C:
			u.proceed()
		}
		timer.Stop()
	}
	if u.over.Load() {
		return
	}
	read, write := u.copy()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.good, u.bad = read == nil && write == nil, read
	if u.over.Load() {
		return // somebody else may have begun to read it
	}
	shut(u.body)
	if read != nil {
		_ = u.conn.SetDeadline(past) // what was begun cannot be finished
	}
}

// copy sends the body, and returns what reading or writing it ended with.
func (u *upload) copy() (read, write error) {
	buf := pieces.Get().(*[outSize]byte) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	defer pieces.Put(buf)
	if u.left < 0 {
		return u.chunked(buf)
	}
	for {
		n, err := u.body.Read(buf[:])
		u.left -= int64(n)
		if u.left < 0 {
			return errLonger, nil
		}
		if n > 0 {
			u.last.Store(u.left == 0)
			if err := u.write(buf[:n]); err != nil {
				return nil, err
			}
		}
		switch {
		case errors.Is(err, io.EOF) && u.left > 0:
			return io.ErrUnexpectedEOF, nil
		case errors.Is(err, io.EOF):
			return nil, nil
		case err != nil:
			return err, nil
		}
	}
}

func (u *upload) write(b []byte) error {
	if u.over.Load() {
		return errOver
	}
	n, err := u.conn.Write(b)
	u.wrote.Add(int64(n))
	return err
}

// chunked sends each piece as a chunk, framed where it lies.
func (u *upload) chunked(buf *[outSize]byte) (read, write error) {
	const before, after = 8, 2 // the longest size here with CR LF, and CR LF
	for {
		n, err := u.body.Read(buf[before : outSize-after])
		b := buf[before:before]
		if n > 0 {
			var room [before]byte
			size := append(strconv.AppendInt(room[:0], int64(n), 16), '\r', '\n')
			begin := before - len(size)
			copy(buf[begin:], size)
			copy(buf[before+n:], "\r\n")
			b = buf[begin : before+n+after]
		}
		ended := errors.Is(err, io.EOF)
		if ended {
			b = http1.AppendLastChunk(b, u.trailer)
			u.last.Store(true)
		}
		if len(b) > 0 {
			if err := u.write(b); err != nil {
				return nil, err
			}
		}
		if ended {
			return nil, nil
		}
		if err != nil {
			return err, nil
		}
	}
}
