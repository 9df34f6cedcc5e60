package http1

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A message is a request with its body, as FuzzStream compares them.
type message struct {
	head    Head
	body    string
	trailer http.Header
	end     int // offset in the stream
}

// errWaits is how a stream ends that could go on.
var errWaits = errors.New("the stream may go on")

// A reading reads requests of a stream that comes in pieces, as an engine does: one
// Buffer, one Scan, one Head.
type reading struct {
	in    []byte
	piece int
	buf   Buffer
	taken int
}

// more reads the next piece.
func (c *reading) more(limit int) error {
	space := c.buf.Space(limit)
	if space == nil {
		return ErrLarge
	}
	n := copy(space[:min(len(space), c.piece)], c.in)
	if n == 0 {
		return errWaits
	}
	c.buf.Wrote(n)
	c.in = c.in[n:]
	return nil
}

func (c *reading) take(n int) {
	c.buf.Take(n)
	c.taken += n
}

// next reads a request, into h.
func (c *reading) next(h *Head) (*message, error) {
	var s Scan
	for {
		n, err := s.End(c.buf.Bytes())
		if err != nil {
			return nil, err
		}
		if n > 0 {
			h.Reset()
			if err := h.ParseRequest(c.buf.Bytes()[:n]); err != nil {
				return nil, err
			}
			if !parsed(h) {
				return nil, ErrTarget // as the engines refuse it
			}
			c.take(n)
			break
		}
		if err := c.more(largest); err != nil {
			return nil, err
		}
	}
	m := &message{head: *h}
	m.head.Header = h.Header.Clone()
	var body strings.Builder
	var err error
	if h.Chunked {
		m.trailer, err = c.chunks(&body)
	} else {
		err = c.fixed(&body, h.Length)
	}
	m.body, m.end = body.String(), c.taken
	return m, err
}

func (c *reading) fixed(w io.Writer, left int64) error {
	for left > 0 {
		n := int(min(left, int64(c.buf.Len())))
		if n == 0 {
			if err := c.more(BufferSize); err != nil {
				return err
			}
			continue
		}
		w.Write(c.buf.Bytes()[:n])
		c.take(n)
		left -= int64(n)
	}
	return nil
}

func (c *reading) chunks(w io.Writer) (http.Header, error) {
	var k Chunks
	for !k.Done {
		data, n, err := k.Next(c.buf.Bytes())
		w.Write(data)
		if err != nil {
			return nil, err
		}
		c.take(n)
		if n == 0 && !k.Done {
			if err := c.more(MaxTrailers + BufferSize); err != nil {
				return nil, err
			}
		}
	}
	return k.Trailer, nil
}

// read returns the requests of a stream, and how it ended: nil after one that closes.
func read(data []byte, piece int) (all []*message, err error) {
	c := &reading{in: data, piece: piece}
	defer c.buf.Release()
	var h Head
	for {
		m, err := c.next(&h)
		if err != nil {
			return all, err
		}
		all = append(all, m)
		if m.head.Close {
			return all, nil
		}
	}
}

func FuzzStream(f *testing.F) {
	for i, c := range requests {
		f.Add([]byte(usualRequest+strings.Repeat("x", 1024)+c.text+usualRequest), uint8(i*5))
	}
	for i, c := range refusals {
		if len(c.text) > 4<<10 {
			continue
		}
		text := c.text
		if c.kind == aBody {
			text = "PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + text
		}
		f.Add([]byte(requests[0].text+text), uint8(i))
	}
	for _, c := range bodies {
		one := "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n" + c.text
		f.Add([]byte(one+"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"+one), uint8(7))
	}
	for _, text := range heads {
		f.Add([]byte(text+text), uint8(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		if len(data) > largest {
			return
		}
		ours, end := read(data, 1+int(piece)*16)
		src := newSource(data)
		for i, m := range ours {
			sameMessage(t, i, m, src, len(data))
		}
		if end != errWaits {
			return
		}
		r, err := http.ReadRequest(src.Reader)
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
		}
		if err == nil {
			t.Fatalf("%q: after %d requests we wait for more, net/http has one", data, len(ours))
		}
	})
}

// sameMessage reads a request from src and compares it.
func sameMessage(t *testing.T, i int, m *message, src *source, total int) {
	t.Helper()
	r, err := http.ReadRequest(src.Reader)
	if err != nil {
		t.Fatalf("request %d: we accept it, net/http says %v", i, err)
	}
	sameRequest(t, &m.head, r)
	body, err := io.ReadAll(r.Body)
	if err != nil || string(body) != m.body {
		t.Fatalf("request %d: our body is %q, that of net/http %q, %v", i, m.body, body, err)
	}
	for name, values := range r.Trailer {
		if values == nil {
			delete(r.Trailer, name) // announced, and did not come
		}
	}
	if len(m.trailer)+len(r.Trailer) > 0 && !cmp.Equal(m.trailer, r.Trailer) {
		t.Fatalf("request %d: our trailers are %v, those of net/http %v", i, m.trailer, r.Trailer)
	}
	if got := total - src.left(); got != m.end {
		t.Fatalf("request %d: it ends at %d for us, at %d for net/http", i, m.end, got)
	}
}
