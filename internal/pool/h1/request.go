package h1

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/airside-gateway/airside/internal/http1"
)

// A Request is what is sent. It is only read, and not after the exchange.
type Request struct {
	Method, Host string

	// The target is Prefix, Path (or "/" if both are empty) and, if HasQuery, a question
	// mark and Query. All are escaped already.
	Prefix, Path, Query string
	HasQuery            bool

	// Header is what is sent but for the names that Drop drops, which must be those that
	// are about the connection or the framing.
	Header http.Header
	Drop   func(name string) bool

	// Lines are further lines of the head, as they are sent, each with its end. What they
	// name must be dropped.
	Lines []byte

	Upgrade  string // the protocols asked for instead of HTTP; empty none
	Trailers bool   // TE: trailers

	// Body is the body; nil none. Length is how long it is; -1 says that it is sent in
	// chunks, with what Trailer holds when Body has ended. If Body also tells how much
	// of it can be had without waiting, by a method Buffered() int, a short one is sent
	// together with the head. If it is an [io.Closer], it is closed when it is not read
	// any more. It may be read after Do has returned, until the answer has ended.
	Body    io.Reader
	Length  int64
	Trailer http.Header // announced by its names
	Expect  bool        // the header has Expect: 100-continue: the body waits for that

	// Repeatable says that the request may be sent twice, and Replay gives the body from
	// its beginning then, if it can.
	Repeatable bool
	Replay     func() (io.Reader, bool)

	// Inform is called for interim answers but 100; its error ends the exchange. It must
	// not keep the header.
	Inform func(status int, h http.Header) error
}

// ShortBody is how long a body may be, in bytes, that is sent together with the head.
const ShortBody = 8 << 10

const outSize = 16 << 10 // bytes that are sent in one go

// An outgoing is a request as it is sent first: the head, and the body if it is short
// and at hand.
type outgoing struct {
	room [outSize]byte
	one  [1]byte // where nothing is to come
	b    []byte
	head int       // of b, the head
	left int64     // of a body of known length what is not in b
	body io.Reader // the rest of it; nil if b is all
	gone bool      // a goroutine has begun to send the rest
}

var outgoings = sync.Pool{New: func() any { return new(outgoing) }}

func (o *outgoing) release() {
	if o == nil {
		return
	}
	o.b, o.body, o.gone = nil, nil, false
	outgoings.Put(o)
}

// prepare writes the head.
func prepare(r *Request) (*outgoing, *Error) {
	o := outgoings.Get().(*outgoing) //nolint:errcheck,forcetypeassert // the pool holds nothing else
	b, err := appendHead(o.room[:0], r)
	if err != nil {
		o.release()
		return nil, &Error{Kind: Invalid, Err: err}
	}
	o.b, o.head, o.body, o.left, o.gone = b, len(b), r.Body, r.Length, false
	return o, nil
}

// begin reads what of the body is at hand.
func (o *outgoing) begin(r *Request) *Error {
	n := atHand(r)
	if n == 0 {
		return nil
	}
	o.b = slices.Grow(o.b, n)[:o.head+n]
	if err := o.fill(r, o.b[o.head:]); err != nil {
		return &Error{Kind: Body, Err: err}
	}
	return nil
}

// atHand is how much of the body is sent with the head.
func atHand(r *Request) int {
	if r.Body == nil || r.Expect || r.Length < 0 {
		return 0
	}
	b, ok := r.Body.(interface{ Buffered() int })
	if !ok {
		return 0
	}
	return int(min(int64(b.Buffered()), r.Length, ShortBody))
}

// fill reads what is at hand of the body, and sees that it ends where it should.
func (o *outgoing) fill(r *Request, p []byte) error {
	for len(p) > 0 {
		n, err := r.Body.Read(p)
		p = p[n:]
		o.left -= int64(n)
		if err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) {
			return err
		}
		if o.left > 0 {
			return io.ErrUnexpectedEOF
		}
		return o.ended(r)
	}
	if o.left > 0 {
		return nil
	}
	if err := readEnd(r.Body, o.one[:]); err != nil {
		return err
	}
	return o.ended(r)
}

func (o *outgoing) ended(r *Request) error {
	o.body = nil
	shut(r.Body)
	return nil
}

// again makes the request ready to be sent once more, and reports whether it could.
func (o *outgoing) again(r *Request) bool {
	if !o.gone {
		return true
	}
	body, ok := r.Replay()
	if !ok {
		return false
	}
	o.b, o.body, o.left, o.gone = o.b[:o.head], body, r.Length, false
	return true
}

// readEnd reads the end of a body whose length has been read.
func readEnd(body io.Reader, one []byte) error {
	for {
		n, err := body.Read(one)
		switch {
		case n > 0:
			return errLonger
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func shut(body io.Reader) {
	if c, ok := body.(io.Closer); ok {
		_ = c.Close() // it was only read
	}
}

// whole reports whether nothing is to be sent but b.
func (o *outgoing) whole() bool { return o.body == nil }

// appendHead writes the head down.
func appendHead(b []byte, r *Request) ([]byte, error) {
	if !http1.ValidName(r.Method) {
		return nil, errMethod
	}
	if !visible(r.Prefix) || !visible(r.Path) || !visible(r.Query) || !visible(r.Host) {
		return nil, errTarget
	}
	b = append(append(b, r.Method...), ' ')
	b = append(append(b, r.Prefix...), r.Path...)
	if r.Prefix == "" && r.Path == "" {
		b = append(b, '/')
	}
	if r.HasQuery {
		b = append(append(b, '?'), r.Query...)
	}
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(append(b, r.Host...), "\r\n"...)
	var err error
	if b, err = appendFields(b, r.Header, r.Drop); err != nil {
		return nil, err
	}
	b = append(b, r.Lines...)
	if r.Trailers {
		b = append(b, "Te: trailers\r\n"...)
	}
	switch {
	case r.Upgrade != "" && !http1.ValidValue(r.Upgrade):
		return nil, errField
	case r.Upgrade != "":
		b = append(b, "Connection: Upgrade\r\n"...)
		b = http1.AppendField(b, "Upgrade", r.Upgrade)
	case r.Trailers:
		b = append(b, "Connection: TE\r\n"...) // RFC 9110 section 10.1.4
	}
	if b, err = appendFraming(b, r); err != nil {
		return nil, err
	}
	return append(b, "\r\n"...), nil
}

func appendFields(b []byte, h http.Header, drop func(string) bool) ([]byte, error) {
	var room [24]http1.Line
	lines := http1.Lines(room[:0], h)
	for i := range lines {
		if drop(lines[i].Name) {
			continue
		}
		var ok bool
		if b, ok = http1.AppendLine(b, &lines[i]); !ok {
			return nil, errField
		}
	}
	return b, nil
}

func appendFraming(b []byte, r *Request) ([]byte, error) {
	switch {
	case r.Body != nil && r.Length >= 0:
		return http1.AppendLength(b, r.Length), nil
	case r.Body == nil && (r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch):
		return append(b, "Content-Length: 0\r\n"...), nil // RFC 9110 section 8.6
	case r.Body == nil:
		return b, nil
	}
	b = append(b, "Transfer-Encoding: chunked\r\n"...)
	if len(r.Trailer) == 0 {
		return b, nil
	}
	names := slices.Sorted(maps.Keys(r.Trailer))
	if !slices.ContainsFunc(names, invalid) {
		return http1.AppendField(b, "Trailer", strings.Join(names, ", ")), nil
	}
	return nil, errField
}

func invalid(name string) bool { return !http1.ValidName(name) }

// visible reports whether s holds neither spaces nor control characters.
func visible(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == 0x7f {
			return false
		}
	}
	return true
}
