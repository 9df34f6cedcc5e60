package pool

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/airside-gateway/airside/proto/web"
)

// peekSize is how much of an answer is read to see that it has begun.
const peekSize = 512

// peekable reports whether the first byte of an answer can be awaited before its head is
// passed on. A client that talks while it listens may be waiting for the head, as may
// one that listens to events.
func peekable(req *http.Request, resp *http.Response) bool {
	return req.ContentLength >= 0 && resp.StatusCode != http.StatusSwitchingProtocols &&
		resp.Body != nil && resp.Body != http.NoBody &&
		!web.EventStream(resp.Header) && !isGRPC(resp.Header)
}

// isGRPC reports whether a message is one of gRPC.
func isGRPC(h http.Header) bool {
	v := h["Content-Type"]
	return len(v) > 0 && strings.HasPrefix(v[0], "application/grpc")
}

// peek awaits the first byte of the body of resp, or its end. It fails if the body does,
// before that; the body is still to be closed.
func peek(resp *http.Response) error {
	if b, ok := resp.Body.(interface{ Buffered() int }); ok && b.Buffered() > 0 {
		return nil
	}
	room := make([]byte, peekSize)
	n, err := 0, error(nil)
	for n == 0 && err == nil {
		n, err = resp.Body.Read(room)
	}
	if n == 0 && !errors.Is(err, io.EOF) {
		return err
	}
	p := &peeked{body: resp.Body, first: room[:n], err: err}
	resp.Body = p
	if to, ok := p.body.(io.WriterTo); ok {
		resp.Body = &peekedTo{peeked: p, to: to}
	}
	return nil
}

// A peeked body is one of which the beginning has been read.
type peeked struct {
	body  io.ReadCloser
	first []byte
	err   error // what reading it ended with, if it did
}

// Read reads what was read already, and then the rest.
func (p *peeked) Read(b []byte) (int, error) {
	if len(p.first) > 0 {
		n := copy(b, p.first)
		p.first = p.first[n:]
		return n, nil
	}
	if p.err != nil {
		return 0, p.err
	}
	return p.body.Read(b)
}

// Buffered is how much can be read without waiting.
func (p *peeked) Buffered() int {
	n := len(p.first)
	if b, ok := p.body.(interface{ Buffered() int }); ok && p.err == nil {
		n += b.Buffered()
	}
	return n
}

// Close closes the body.
func (p *peeked) Close() error {
	p.first = nil
	if p.err == nil {
		p.err = closedAnswer()
	}
	return p.body.Close()
}

// A peekedTo is a peeked body that writes itself.
type peekedTo struct {
	*peeked
	to io.WriterTo
}

// WriteTo writes what was read already, and then the rest as it comes.
func (p *peekedTo) WriteTo(w io.Writer) (int64, error) {
	var written int64
	if len(p.first) > 0 {
		n, err := w.Write(p.first)
		p.first, written = p.first[n:], int64(n)
		if err != nil {
			return written, err
		}
	}
	if p.err != nil {
		return written, notEOF(p.err)
	}
	n, err := p.to.WriteTo(w)
	return written + n, err
}
