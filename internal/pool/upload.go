package pool

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// An upload is the body of a request on its way to the agent. It may be read by a
// goroutine that outlives the exchange, and tells the watch when it is the client
// that is awaited.
type upload struct {
	try    *try
	body   io.ReadCloser
	left   int64  // as announced; -1 unknown
	ended  func() // called when the body has ended well
	closed atomic.Bool
}

// upload makes the body of r, which sends that of the exchange on, and its trailers.
func (t *try) upload(r *http.Request) *upload {
	came := t.x.Trailers()
	return &upload{try: t, body: t.x.Request.Body, left: r.ContentLength, ended: func() { trailers(r.Trailer, came()) }}
}

// Read reads what the client sends. A body that is not as long as was announced is
// the client's fault.
func (u *upload) Read(p []byte) (int, error) {
	if u.closed.Load() || u.try.over.Load() {
		return 0, errOver
	}
	u.try.watch.sending()
	n, err := u.body.Read(p)
	u.try.watch.sent()
	if u.left < 0 {
		if errors.Is(err, io.EOF) {
			u.ended()
		}
		return n, err
	}
	u.left -= int64(n)
	if u.left < 0 || u.left > 0 && errors.Is(err, io.EOF) {
		u.try.misfit.Store(true)
		u.left = 0
		return max(n, 0), io.ErrUnexpectedEOF
	}
	return n, err
}

// Close says that no more is read.
func (u *upload) Close() error {
	u.closed.Store(true)
	return u.body.Close()
}
