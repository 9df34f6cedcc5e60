package airside

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
)

// NoLimit as the bound of a request body means that there is none.
const NoLimit = -1

var (
	errNotReplayable = errors.New("airside: the request body was read and not kept")
	errViewClosed    = errors.New("airside: the request body was closed, or rewound for another try")
)

// NewExchange returns an exchange for r, whose body it takes over: policies and
// upstreams read it by x.Request.Body or the methods below, in any order and, if
// it was kept, more than once. Only the edge, and tests, call it.
func NewExchange(r *http.Request, log *slog.Logger) *Exchange {
	x := new(Exchange)
	x.Open(r, log)
	return x
}

// Open makes x, which must be zero, an exchange for r; see [NewExchange].
func (x *Exchange) Open(r *http.Request, log *slog.Logger) {
	x.Request, x.Log = r, log
	if r.Body == nil || r.Body == http.NoBody {
		return
	}
	x.body = &x.first
	x.first.src, x.first.length, x.first.limit = r.Body, r.ContentLength, NoLimit
	x.view.r = x.body
	x.first.view = &x.view
	r.Body = &x.view
}

// LimitBody bounds the request body to n bytes, or lifts the bound (NoLimit).
// The last bound set is in force. A body beyond it fails with [TooLarge].
func (x *Exchange) LimitBody(n int64) {
	if x.body == nil {
		return
	}
	x.body.mu.Lock()
	defer x.body.mu.Unlock()
	x.body.limit = n
}

// CheckBody fails with [TooLarge] if the request announces a body that is beyond
// the bound. An upstream asks before it sends anything.
func (x *Exchange) CheckBody() error {
	if x.body == nil {
		return nil
	}
	x.body.mu.Lock()
	defer x.body.mu.Unlock()
	return x.body.check(x.body.length)
}

// BodyErr is what went wrong while the client's body was read: nil, or an error
// that is the client's fault or a bound's. An upstream whose request failed asks
// it first, so that a client's fault is never an agent's.
func (x *Exchange) BodyErr() error {
	if x.body == nil {
		return nil
	}
	x.body.mu.Lock()
	defer x.body.mu.Unlock()
	if errors.Is(x.body.end, io.EOF) {
		return nil
	}
	return x.body.end
}

// ReadBody reads the whole request body, at most n bytes of it, and keeps it:
// x.Request.Body can be read as if nothing had happened. It may be called again
// at no cost. The bytes are shared and must not be changed. It fails with
// [TooLarge], with what is wrong with the client, or with the cause of the end of
// the exchange's context, such as a time-out.
func (x *Exchange) ReadBody(n int64) ([]byte, error) {
	if x.body == nil {
		return nil, nil
	}
	b, err := x.body.whole(x.Context(), n)
	if err != nil {
		return nil, err
	}
	x.body.open(x.Request)
	x.Request.ContentLength = int64(len(b))
	x.Request.TransferEncoding = nil
	return b, nil
}

// SetBody makes b the request body; the client's, as far as it was not read, is
// left aside. It sets the Content-Length.
func (x *Exchange) SetBody(b []byte) {
	x.body = &replay{rec: b, keep: len(b), length: int64(len(b)), limit: NoLimit, end: io.EOF}
	x.Request.ContentLength = int64(len(b))
	x.Request.TransferEncoding = nil
	x.Request.Header.Set("Content-Length", strconv.Itoa(len(b)))
	if len(b) == 0 {
		x.Request.Body = http.NoBody
		return
	}
	x.body.open(x.Request)
}

// KeepBody asks for the first n bytes of the request body to be kept as they are
// read, so that [Exchange.Rewind] works as long as no more than n were. The body
// still streams. It has no effect once reading has begun.
func (x *Exchange) KeepBody(n int) {
	if x.body == nil {
		return
	}
	x.body.mu.Lock()
	defer x.body.mu.Unlock()
	if x.body.read == 0 && !x.body.busy {
		x.body.keep = max(x.body.keep, n)
	}
}

// Rewind makes x.Request.Body start from its beginning, for another try, and
// reports whether it could. Whoever still reads the body of the earlier try gets
// an error.
func (x *Exchange) Rewind() bool {
	if x.body == nil {
		return true
	}
	return x.body.rewind(x.Request)
}

// Save remembers the request as it is now, for another try. The function that it
// returns puts it back, whatever was done to x.Request and to its body meanwhile,
// with the body at its beginning, and reports whether that could be done: see
// [Exchange.KeepBody]. The headers are not copied: who changes them in place changes
// them for good.
func (x *Exchange) Save() (restore func() bool) {
	saved, body := x.Request, x.body
	working := *saved
	x.Request = &working
	return func() bool {
		again := *saved
		x.Request, x.body = &again, body
		return x.Rewind()
	}
}

// Spare says that whoever answers has no use for the body of the request once he has.
// Only then is the memory of an exchange with a body used again: an upstream that says
// nothing may have a goroutine that still sends it.
func (x *Exchange) Spare() { x.spared = true }

// Hold says that somebody may still use the body of the request when the exchange is
// finished, whoever says [Exchange.Spare].
func (x *Exchange) Hold() { x.held = true }

// Held reports whether somebody may still use the body. Only the edge asks.
func (x *Exchange) Held() bool { return x.held || !x.spared }

// Awaiting returns a function that says whether somebody is waiting for the client
// to send more of the request body. It may be called from any goroutine.
func (x *Exchange) Awaiting() func() bool {
	r := x.body
	if r == nil {
		return func() bool { return false }
	}
	x.Hold()
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.busy
	}
}

// Trailers returns a function that gives the trailers of the request that were
// announced and came, once the body as it is now has been read to its end. The names
// alone are in x.Request.Trailer from the beginning. What it returns is not to be
// changed.
func (x *Exchange) Trailers() func() http.Header {
	if x.body != nil {
		if t, ok := x.body.src.(interface{ Trailer() http.Header }); ok {
			return t.Trailer
		}
	}
	trailer := x.Request.Trailer
	return func() http.Header { return trailer }
}

// A waker is a source whose reading can be ended from without: then it fails.
type waker interface{ Wake() }

// A replay is the body of a request with the memory that retries need. Readers
// see it through views, of which only the newest is alive.
type replay struct {
	reading sync.Mutex // held while src is read
	src     io.Reader

	mu     sync.Mutex // guards what follows
	rec    []byte     // the beginning of the body, if it is kept
	keep   int        // how much to keep
	read   int64      // bytes read from src
	busy   bool       // src is being read
	lost   bool       // read more than was kept
	end    error      // what src ended with
	length int64      // as announced; -1 unknown
	limit  int64
	view   *view
}

func (r *replay) open(req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.openLocked(req)
}

func (r *replay) openLocked(req *http.Request) {
	if r.view != nil {
		r.view.closed = true
	}
	r.view = &view{r: r}
	req.Body = r.view
}

func (r *replay) rewind(req *http.Request) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost || r.keep == 0 && (r.read > 0 || r.busy) || r.end != nil && !errors.Is(r.end, io.EOF) {
		return false
	}
	if r.view.off > 0 || r.view.closed || r.busy {
		r.openLocked(req)
	} else {
		req.Body = r.view
	}
	return true
}

// whole reads to the end, at most n bytes, and keeps everything.
func (r *replay) whole(ctx context.Context, n int64) ([]byte, error) {
	r.mu.Lock()
	if r.lost || r.keep == 0 && r.read > 0 {
		r.mu.Unlock()
		return nil, errNotReplayable
	}
	if err := r.check(r.length); err != nil {
		r.mu.Unlock()
		return nil, err
	}
	if r.length > n {
		r.mu.Unlock()
		return nil, tooLarge(n)
	}
	r.keep = int(min(n, 1<<40)) + 1
	all := &view{r: r, off: len(r.rec)}
	if r.length > 0 && r.rec == nil {
		r.rec = make([]byte, 0, min(r.length, 1<<20))
	}
	come := r.comeLocked()
	r.mu.Unlock()
	if w, ok := r.src.(waker); ok && !come {
		defer context.AfterFunc(ctx, w.Wake)()
	}
	var chunk [4 << 10]byte
	for {
		_, err := all.Read(chunk[:])
		if err != nil && !errors.Is(err, io.EOF) && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if int64(all.off) > n {
			return nil, tooLarge(n)
		}
		if errors.Is(err, io.EOF) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.rec, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// comeLocked reports whether all of the body has come, so that no read of it waits: there
// is nobody to wake, now or after the exchange. It is called with mu held.
func (r *replay) comeLocked() bool {
	if r.end != nil {
		return true
	}
	b, ok := r.src.(interface{ Buffered() int })
	return ok && r.length >= 0 && r.read+int64(b.Buffered()) >= r.length
}

func tooLarge(n int64) error {
	return Errorf(TooLarge, "the request body is larger than the %s allowed here", Size(n))
}

// check is called with mu held.
func (r *replay) check(n int64) error {
	if r.limit >= 0 && n > r.limit {
		return tooLarge(r.limit)
	}
	return nil
}

// A view is one reading of a replay. It is an [io.ReadCloser]. Its Buffered says how
// many bytes Read gives without waiting.
type view struct {
	r      *replay
	off    int
	closed bool // guarded by r.mu
}

func (v *view) Close() error {
	v.r.mu.Lock()
	defer v.r.mu.Unlock()
	v.closed = true
	return nil
}

// Buffered is how many bytes can be read without waiting for the client, as far as is
// known.
func (v *view) Buffered() int {
	r := v.r
	r.mu.Lock()
	defer r.mu.Unlock()
	switch ahead := len(r.rec) - v.off; {
	case v.closed || r.busy || int64(v.off) < r.read && ahead <= 0:
		return 0
	case ahead > 0 || r.end != nil:
		return max(ahead, 0)
	}
	if b, ok := r.src.(interface{ Buffered() int }); ok {
		return b.Buffered()
	}
	return 0
}

func (v *view) Read(p []byte) (int, error) {
	if n, ok, err := v.recorded(p); ok {
		return n, err
	}
	r := v.r
	r.reading.Lock()
	defer r.reading.Unlock()
	if n, ok, err := v.recorded(p); ok { // another reading went on meanwhile
		return n, err
	}
	r.mu.Lock()
	r.busy = true
	r.mu.Unlock()
	n, err := r.src.Read(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy = false
	return v.took(p, n, err)
}

// recorded serves what was read before, or the end.
func (v *view) recorded(p []byte) (n int, ok bool, err error) {
	r := v.r
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case v.closed:
		return 0, true, errViewClosed
	case v.off < len(r.rec):
		n = copy(p, r.rec[v.off:])
		v.off += n
		return n, true, nil
	case int64(v.off) < r.read:
		return 0, true, errNotReplayable
	case r.end != nil:
		return 0, true, r.end
	}
	if err := r.check(r.length); err != nil {
		r.end = err
		return 0, true, err
	}
	return 0, len(p) == 0, nil
}

// took accounts for what src gave. It is called with r.mu held.
func (v *view) took(p []byte, n int, err error) (int, error) {
	r := v.r
	r.read += int64(n)
	if r.limit >= 0 && r.read > r.limit {
		r.end = tooLarge(r.limit)
		return 0, r.end
	}
	switch {
	case r.lost || r.keep == 0:
	case len(r.rec)+n > r.keep:
		r.lost, r.rec = true, nil
	default:
		r.rec = append(r.rec, p[:n]...)
	}
	v.off += n
	if err != nil {
		r.end = err
	}
	return n, err
}

// BodyReader returns a reader of b, for responses that a policy makes.
func BodyReader(b []byte) io.ReadCloser {
	if len(b) == 0 {
		return http.NoBody
	}
	return io.NopCloser(bytes.NewReader(b))
}
