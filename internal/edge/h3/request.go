package h3

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// serveHTTP makes of a request and its answer what net/http would, and has the handler
// serve them.
func (c *conn) serveHTTP(w http.ResponseWriter, r *http.Request) {
	c.begin()
	defer c.end()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	out := newWriter(c, w, r)
	c.server.config.Handler.ServeHTTP(out, c.request(ctx, cancel, out, r))
	out.finish()
}

// request returns r as net/http would make it.
func (c *conn) request(ctx context.Context, left func(), w *writer, r *http.Request) *http.Request {
	in := r.WithContext(ctx)
	delete(in.Header, "Host") // is what :authority says; net/http keeps it in one place only
	for name := range in.Trailer {
		if !trailing(name) {
			delete(in.Trailer, name)
		}
	}
	b := &body{rc: r.Body, from: r, to: in, left: left}
	if len(in.Trailer) == 0 {
		b.to = nil // nobody asks for what was not announced
	}
	if strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		b.ask = w.proceed
	}
	if r.ContentLength < 0 && usuallyBare(r.Method) || r.ContentLength == 0 { // who says that there is nothing may be wrong
		c.peek(w, b)
	}
	if b.empty() {
		in.Body, in.ContentLength = http.NoBody, 0
		return in
	}
	in.Body = b
	return in
}

// usuallyBare reports whether requests of the method have no body as a rule.
func usuallyBare(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodDelete, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// trailing reports whether name may be that of a trailer. net/http forgets the others.
func trailing(name string) bool {
	switch name {
	case "", "Transfer-Encoding", "Trailer", "Content-Length":
		return false
	}
	return strings.IndexFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) }) < 0
}

// peek waits for the first byte of a body, or its end: quic-go does not say whether
// there is one. The end comes with the head, as a rule.
func (c *conn) peek(w *writer, b *body) {
	if c.limits.Body > 0 {
		_ = w.ctl.SetReadDeadline(time.Now().Add(c.limits.Body)) // a stream has deadlines
		defer func() { _ = w.ctl.SetReadDeadline(time.Time{}) }()
	}
	ask := b.ask
	b.ask = nil // this is no reading of it
	n, err := 0, error(nil)
	for n == 0 && err == nil && ask == nil {
		n, err = b.Read(b.first[:])
	}
	b.ask, b.ahead, b.err = ask, n, err
}

// A body is the body of a request.
type body struct {
	rc    io.ReadCloser
	from  *http.Request // gets the trailers
	to    *http.Request // is to have those that were announced; nil if none were
	left  func()        // tells that the client has left
	ask   func()        // asks the client to send, once; nil if it sends unasked
	first [1]byte
	ahead int   // bytes in first
	err   error // of reading first
}

// empty reports whether the body is known to be empty.
func (b *body) empty() bool { return b.ahead == 0 && b.to == nil && errors.Is(b.err, io.EOF) }

// Read reads what the client sends.
func (b *body) Read(p []byte) (int, error) {
	if b.ask != nil {
		b.ask()
		b.ask = nil
	}
	if b.ahead > 0 && len(p) > 0 {
		b.ahead = 0
		return copy(p, b.first[:]), b.err
	}
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.rc.Read(p)
	if errors.Is(err, io.EOF) && b.to != nil {
		b.to.Trailer = b.from.Trailer
	}
	if e, ok := errors.AsType[*http3.Error](err); ok && e.Remote {
		b.left()
	}
	return n, err
}

// Close ends the reading. What the client still sends is thrown away.
func (b *body) Close() error { return b.rc.Close() }
