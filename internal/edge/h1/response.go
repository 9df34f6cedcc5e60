package h1

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/airside-gateway/airside/internal/http1"
)

// A response is the [http.ResponseWriter] of an exchange. It gathers the head and what
// follows, up to the size of its buffer, and sends both in one system call; between
// flushes it holds no memory.
type response struct {
	x      *exchange
	header http.Header
	status int // 0 before the head

	block *block
	out   []byte // not sent yet; in block, or grown beyond it

	left   int64 // of an announced length
	sized  bool  // a length was announced
	coded  bool  // chunked
	bodied bool  // the answer has a body
	close  bool  // the connection is closed after the answer
	empty  bool  // the handler wrote nothing at all
	done   bool
	moved  bool  // a deadline was set
	err    error // of a write

	trailers http.Header // see Trailers

	asking atomic.Int32 // whether the client waits to be asked for its body
	askMu  sync.Mutex   // held while a 100 (Continue) is written, and the head
}

// blockSize is what is gathered before it is sent.
const blockSize = 8 << 10

type block [blockSize]byte

var blocks = sync.Pool{New: func() any { return new(block) }}

// Whether the client waits for a 100 (Continue).
const (
	notAsked int32 = iota // it does not
	awaits                // it does
	asked                 // it has been told to go on
)

func (w *response) reset(x *exchange) {
	w.x, w.status = x, 0 // forget has seen to the header
	w.block, w.out = nil, nil
	w.left, w.sized, w.coded, w.bodied, w.close, w.empty, w.done, w.moved, w.err = 0, false, false, false, false, false, false, false, nil
	w.trailers = nil
	w.asking.Store(notAsked)
}

// forget lets go of what belongs to the request.
func (w *response) forget() {
	w.drop()
	clear(w.header)
	w.x, w.trailers = nil, nil
}

// Header returns the header, to be filled before the head is written.
func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

// room makes sure that there is a buffer.
func (w *response) room() {
	if w.block == nil {
		w.block, _ = blocks.Get().(*block) // the pool holds nothing else
		w.out = w.block[:0]
	}
}

func (w *response) drop() {
	if w.block != nil {
		blocks.Put(w.block)
		w.block, w.out = nil, nil
	}
}

// Write writes a piece of the body. It is sent when the buffer is full, by Flush, or
// when the request has been answered.
func (w *response) Write(p []byte) (int, error) {
	if w.x == nil || w.done {
		return 0, w.gone()
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.err != nil:
		return 0, w.err
	case len(p) == 0:
		return 0, nil
	case !w.bodied && w.x.head.Method == http.MethodHead:
		return len(p), nil
	case !w.bodied:
		return 0, http.ErrBodyNotAllowed
	case w.sized && int64(len(p)) > w.left:
		return 0, http.ErrContentLength
	}
	w.left -= int64(len(p))
	w.room()
	if w.coded {
		w.out = http1.AppendChunkSize(w.out, len(p))
	}
	if len(w.out)+len(p)+2 <= blockSize {
		w.out = append(w.out, p...)
		w.endChunk()
		return len(p), nil
	}
	if err := w.send(p); err != nil {
		return 0, err
	}
	w.endChunk()
	return len(p), nil
}

func (w *response) endChunk() {
	if w.coded {
		w.room()
		w.out = append(w.out, "\r\n"...)
	}
}

// send sends what was gathered, and p behind it.
func (w *response) send(p []byte) error {
	if w.err == nil {
		w.err = w.x.conn.write(w.out, p)
	}
	w.drop()
	return w.err
}

func (w *response) flush() error {
	if len(w.out) == 0 {
		return w.err
	}
	return w.send(nil)
}

// FlushError sends what was written.
func (w *response) FlushError() error {
	if w.x == nil || w.done {
		return w.gone()
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.flush()
}

// Flush sends what was written.
func (w *response) Flush() { _ = w.FlushError() } // the next write says it

var errShort = errors.New("h1: the answer is shorter than was announced")

// gone is why nothing can be written any more.
func (w *response) gone() error {
	if w.err != nil {
		return w.err
	}
	return errGone
}

// finish sends the rest of the answer.
func (w *response) finish() error {
	if w.status == 0 {
		w.empty = true
		w.WriteHeader(http.StatusOK)
	}
	w.done = true
	if w.sized && w.bodied && w.left > 0 {
		_ = w.flush() // the error is that it is short
		return errShort
	}
	if w.coded {
		w.room()
		w.out = http1.AppendLastChunk(w.out, w.trailer())
	}
	return w.flush()
}
