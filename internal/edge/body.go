package edge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside"
)

// A body is the request body as the client sends it. Unlike that of an engine, it can be
// read by a goroutine that outlives the exchange: after [body.detach] it only
// fails. That is what lets an agent answer before it has read everything.
type body struct {
	rc      io.ReadCloser // the engine's
	ahead   buffered      // rc, if it can tell
	came    bool          // all of it was there at the beginning
	gate    *gate
	ctx     context.Context // of the request: tells a client that left from one that sends nonsense
	silence alarm           // ends a read that takes too long
	limit   time.Duration   // of the silence; 0 none
	length  int64           // as announced; -1 unknown
	waits   bool            // the client sends nothing before it is asked to (100-continue)

	request   *http.Request // the engine's, which gets the trailers
	announced []string      // their names
	trailer   atomic.Pointer[http.Header]
	answered  atomic.Bool // the answer has begun: it goes on whatever becomes of the body

	mu       sync.Mutex // held while rc is read
	n        int64
	eof      bool
	detached bool
}

// A buffered body knows how much of it can be read without waiting.
type buffered interface{ Buffered() int }

var errDetached = errors.New("edge: the exchange is over")

// openBody puts a body in the place of the engine's, if the request has one.
func (e *exchange) openBody(r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	if r.ProtoMajor == 1 && e.fast == nil {
		_ = e.ctl.EnableFullDuplex() // an engine that cannot is full duplex anyway
	}
	e.body = &e.client
	e.body.rc, e.body.request, e.body.gate, e.body.ctx = r.Body, r, &e.gate, r.Context()
	e.body.length, e.body.waits = r.ContentLength, len(r.Header["Expect"]) > 0
	if e.body.ahead, _ = r.Body.(buffered); e.body.ahead != nil {
		e.body.came = r.ContentLength >= 0 && int64(e.body.ahead.Buffered()) >= r.ContentLength
	}
	e.body.limit = e.listener.Limits.BodyTimeout
	for k := range r.Trailer {
		e.body.announced = append(e.body.announced, k)
	}
	r.Body = e.body
}

// Read reads what the client sends. Its errors are the client's faults, phrased.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.detached {
		return 0, errDetached
	}
	if b.eof {
		return 0, io.EOF
	}
	n, err := b.read(p)
	b.n += int64(n)
	if errors.Is(err, io.EOF) {
		b.eof = true
		b.keepTrailer()
		return n, io.EOF
	}
	if err != nil {
		err = b.fault(err)
	}
	return n, err
}

// read reads of the client, and bounds its silence.
func (b *body) read(p []byte) (int, error) {
	if b.ahead != nil && b.ahead.Buffered() > 0 {
		return b.rc.Read(p)
	}
	b.silence.after = b.limit
	if b.silence.ring == nil {
		b.silence.ring = b.ring
	}
	b.silence.arm()
	defer b.silence.disarm()
	return b.rc.Read(p)
}

// Buffered is how many bytes Read gives without waiting.
func (b *body) Buffered() int {
	if b.ahead == nil || !b.mu.TryLock() {
		return 0
	}
	defer b.mu.Unlock()
	if b.detached || b.eof {
		return 0
	}
	return b.ahead.Buffered()
}

// ring is what happens when the client is silent for too long. It ends the read, and
// with net/http the connection; so an answer that has begun is not to be cut for it.
func (b *body) ring() {
	if !b.answered.Load() {
		b.Wake()
	}
}

// Wake ends a read that is under way.
func (b *body) Wake() { b.gate.endRead() }

// keepTrailer takes the trailers that were announced out of the engine's request, to
// which others may have been added.
func (b *body) keepTrailer() {
	if len(b.announced) == 0 {
		return
	}
	t := http.Header{}
	for _, k := range b.announced {
		if v := b.request.Trailer[k]; len(v) > 0 {
			t[k] = slices.Clone(v)
		}
	}
	b.trailer.Store(&t)
}

// Trailer returns the trailers that were announced and came; nil before the body has
// ended. It is not to be changed.
func (b *body) Trailer() http.Header {
	if t := b.trailer.Load(); t != nil {
		return *t
	}
	return nil
}

// fault says whose fault it is that the body cannot be read: always the client's.
func (b *body) fault(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return airside.Errorf(airside.RequestTimeout, "the request body stopped for longer than %s", b.limit).Because(err)
	case b.ctx.Err() != nil:
		return airside.Errorf(airside.Canceled, "the client left before its request was sent").Because(err)
	}
	return airside.Errorf(airside.Invalid, "the request body is broken: it ended early, or its chunks are malformed").Because(err)
}

// Close does nothing: the body lives as long as the exchange.
func (*body) Close() error { return nil }

// drainable is how much of an unread body is read so that the connection can be
// used again, and drainTime how long that may take.
const (
	drainable = 64 << 10
	drainTime = time.Second
)

// settle reports whether the whole body has been read, so that the connection can
// serve another request. A small body that nobody wanted is read and dropped.
func (b *body) settle() bool {
	if !b.mu.TryLock() {
		return false // somebody is reading it still
	}
	defer b.mu.Unlock()
	if b.eof || b.n > 0 || b.waits || b.length < 0 || b.length > drainable {
		return b.eof
	}
	limit := alarm{after: drainTime, ring: b.Wake}
	if b.came {
		limit.after = 0 // no read waits, and the alarm must not ring in another exchange
	}
	limit.arm()
	n, err := io.Copy(io.Discard, io.LimitReader(b.rc, drainable+1))
	limit.disarm()
	b.n += n
	b.eof = err == nil && n == b.length
	return b.eof
}

// ended reports whether the body was read to its end.
func (b *body) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.eof
}

// detach ends the reading of the body and returns how much of it was read.
func (b *body) detach() int64 {
	if !b.mu.TryLock() {
		b.Wake()
		b.mu.Lock()
	}
	defer b.mu.Unlock()
	b.detached = true
	return b.n
}
