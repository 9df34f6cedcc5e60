package pool

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/airside-gateway/airside"
)

// drainable is how long an answer may be that is read to its end when nobody wants
// it, so that its connection can be used again.
const drainable = 256 << 10

// A reply is the body of an answer on its way to the client.
type reply struct {
	try  *try
	body io.ReadCloser
	resp *http.Response
	err  error // how it ended
}

// Read reads what the agent sends. Its errors are io.EOF or an [airside.Error].
func (b *reply) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	b.try.watch.listening()
	n, err := b.body.Read(p)
	b.try.watch.heard()
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		b.err = io.EOF
		b.try.whole()
		dropTrailers(b.resp.Trailer)
	default:
		b.err = b.try.broken(err)
	}
	b.try.end()
	return n, b.err
}

// dropTrailers removes those that may not be trailers.
func dropTrailers(h http.Header) {
	for k, v := range h {
		if forbidden(k) || hasControl(strings.Join(v, "")) {
			delete(h, k)
		}
	}
}

// closedAnswer is what reading an answer ends with after it was closed.
func closedAnswer() error { return airside.Errorf(airside.Internal, "").Because(errOver) }

// Close gives the answer up if it has not ended. What is left of a short one is
// read by net/http, for the sake of the connection.
func (b *reply) Close() error {
	if b.err == nil {
		b.err = closedAnswer()
		if n := b.resp.ContentLength; n < 0 || n > drainable || b.resp.ProtoMajor != 1 {
			b.try.end()
		}
	}
	_ = b.body.Close() // if it was cut, that was on purpose
	b.try.end()
	return nil
}
