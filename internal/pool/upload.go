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
	try     *try
	body    io.ReadCloser
	left    int64 // as announced; -1 unknown
	trailer http.Header
	came    func() http.Header // the trailers that the client sent; nil: none were announced
	read    atomic.Bool
	closed  atomic.Bool
}

// upload makes a body that sends that of the exchange on, and puts what came of its
// trailers into trailer.
func (t *try) upload(length int64, trailer http.Header) *upload {
	u := &upload{}
	u.init(t, length, trailer)
	return u
}

func (u *upload) init(t *try, length int64, trailer http.Header) {
	u.try, u.body, u.left, u.trailer = t, t.x.Request.Body, length, trailer
	if len(trailer) > 0 {
		u.came = t.x.Trailers()
	}
}

// forget makes u ready for another init.
func (u *upload) forget() {
	u.try, u.body, u.trailer, u.came = nil, nil, nil, nil
	u.read.Store(false)
	u.closed.Store(false)
}

// touched reports whether anything was read.
func (u *upload) touched() bool { return u.read.Load() }

// Buffered is how much can be read without waiting.
func (u *upload) Buffered() int {
	if b, ok := u.body.(interface{ Buffered() int }); ok {
		return b.Buffered()
	}
	return 0
}

// Read reads what the client sends. A body that is not as long as was announced is
// the client's fault.
func (u *upload) Read(p []byte) (int, error) {
	if u.closed.Load() || u.try.over.Load() {
		return 0, errOver
	}
	u.read.Store(true)
	u.try.watch.sending()
	n, err := u.body.Read(p)
	u.try.watch.sent()
	if u.left < 0 {
		if errors.Is(err, io.EOF) && u.came != nil {
			trailers(u.trailer, u.came())
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
