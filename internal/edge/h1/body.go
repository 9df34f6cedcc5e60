package h1

import (
	"errors"
	"io"
	"maps"
	"net/http"

	"github.com/airside-gateway/airside/internal/http1"
)

// A body is that of a request, as it comes.
type body struct {
	x      *exchange
	left   int64 // of a body of known length
	coded  bool  // chunked
	chunks http1.Chunks
	ended  bool
	err    error // how reading has failed
}

// open begins with what the head says.
func (b *body) open(x *exchange) {
	*b = body{x: x, left: max(x.head.Length, 0), coded: x.head.Chunked}
	b.ended = !b.coded && b.left == 0
}

// whole reports whether nothing more of the connection is needed to read the body.
func (b *body) whole() bool {
	return b.ended || !b.coded && b.left <= int64(b.x.conn.in.Len())
}

// Buffered is how many bytes Read gives without waiting.
func (b *body) Buffered() int {
	if b.coded || b.x == nil {
		return 0
	}
	return int(min(b.left, int64(b.x.conn.in.Len())))
}

var errGone = errors.New("h1: the body was read after its request was answered")

// Read reads the body. It ends in io.EOF once it has come whole.
func (b *body) Read(p []byte) (int, error) {
	switch {
	case b.x == nil:
		return 0, errGone
	case b.ended:
		return 0, io.EOF
	case b.err != nil:
		return 0, b.err
	case len(p) == 0:
		return 0, nil
	}
	if err := b.x.out.askOn(); err != nil {
		return 0, err
	}
	read := b.readLength
	if b.coded {
		read = b.readChunks
	}
	n, err := read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// Close does nothing: what is left unread is dealt with when the request has been
// answered.
func (*body) Close() error { return nil }

// direct is from which size on bytes are read past the buffer.
const direct = 4 << 10

func (b *body) readLength(p []byte) (int, error) {
	c := b.x.conn
	p = p[:min(int64(len(p)), b.left)]
	var n int
	switch {
	case c.in.Len() > 0:
		n = copy(p, c.in.Bytes())
		c.in.Take(n)
	case len(p) >= direct:
		var err error
		if n, err = c.bare.Read(p); n == 0 && err != nil {
			return 0, unexpected(err)
		}
	default:
		if err := c.read(http1.BufferSize); err != nil {
			return 0, unexpected(err)
		}
		n = copy(p, c.in.Bytes())
		c.in.Take(n)
	}
	if b.left -= int64(n); b.left == 0 {
		b.finish(nil)
		return n, io.EOF
	}
	return n, nil
}

func (b *body) readChunks(p []byte) (int, error) {
	c := b.x.conn
	n := 0
	for n < len(p) {
		data, k, err := b.chunks.Next(c.in.Bytes())
		if err != nil {
			return n, err
		}
		if over := len(data) - (len(p) - n); over > 0 {
			b.chunks.Unread(over)
			data, k = data[:len(data)-over], k-over
		}
		n += copy(p[n:], data)
		c.in.Take(k)
		switch {
		case b.chunks.Done:
			b.finish(b.chunks.Trailer)
			return n, io.EOF
		case k > 0:
			continue
		case n > 0:
			return n, nil
		}
		if err := c.read(http1.MaxTrailers); err != nil {
			return n, unexpected(err)
		}
	}
	return n, nil
}

// finish takes note of the end, and of the trailers. The answer may take long: it does
// not need the buffer.
func (b *body) finish(trailer http.Header) {
	b.ended = true
	if c := b.x.conn; c.in.Len() == 0 {
		c.in.Release()
	}
	if len(trailer) == 0 {
		return
	}
	r := b.x.req
	if r.Trailer == nil {
		r.Trailer = http.Header{}
	}
	maps.Copy(r.Trailer, trailer)
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
