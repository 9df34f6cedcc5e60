package http1

import (
	"bytes"
	"net/http"
)

// Chunks takes the chunked framing (RFC 9112 section 7.1) off a body. The zero Chunks
// is at the beginning of one.
type Chunks struct {
	Trailer http.Header // what came; nil if nothing did
	Done    bool        // the body has ended, trailers included
	Discard bool        // fields that may not be trailers are left out, not refused (RFC 9110 section 6.5.1)

	state state
	left  int64 // of the data of this chunk
	extra int   // bytes of framing in excess of what data would excuse
	from  int   // what of the trailers was taken
	lines int   // trailers
}

type state uint8

const (
	inSize state = iota
	inData
	inEnd // CR LF after data
	inTrailers
)

// maxSizeLine bounds a chunk size with its extensions and line end.
const maxSizeLine = 256

// maxExtra bounds the bytes of framing that data does not excuse.
const maxExtra = 16 << 10

// Next takes what it can off the beginning of b: n bytes, of which data, if not empty,
// is body; it lies in b. Without data it may have taken framing only. With n == 0, and
// neither Done nor an error, it needs more bytes behind those of b.
func (c *Chunks) Next(b []byte) (data []byte, n int, err error) {
	for !c.Done {
		if c.state == inData {
			k := int(min(c.left, int64(len(b)-n)))
			if c.left -= int64(k); c.left == 0 {
				c.state = inEnd
			}
			return b[n : n+k], n + k, nil
		}
		k, err := c.framing(b[n:])
		if k == 0 || err != nil {
			return nil, n, err
		}
		n += k
	}
	return nil, n, nil
}

// Unread gives back the last n bytes of the data that Next has returned: they were not
// taken. The server engine uses it where a reader has less room than there is data.
func (c *Chunks) Unread(n int) {
	if n > 0 {
		c.left += int64(n)
		c.state = inData
	}
}

// framing reads what stands where no data is: 0 if it has not come whole.
func (c *Chunks) framing(b []byte) (int, error) {
	switch c.state {
	case inSize:
		return c.size(b)
	case inTrailers:
		return c.trailers(b)
	}
	switch {
	case len(b) > 0 && b[0] != '\r', len(b) > 1 && b[1] != '\n':
		return 0, ErrChunk
	case len(b) < 2:
		return 0, nil
	}
	c.state = inSize
	return 2, nil
}

// size reads the line before a chunk; 0 if it has not come whole.
func (c *Chunks) size(b []byte) (int, error) {
	i, size := 0, int64(0)
	long := len(b) >= maxSizeLine
	if long {
		b = b[:maxSizeLine] // the same error, however the bytes come
	}
	for ; i < len(b); i++ {
		d := unhex(b[i])
		if d > 15 {
			break
		}
		if i == 15 {
			return 0, ErrChunk
		}
		size = size<<4 | int64(d)
	}
	if i == len(b) {
		return 0, nil
	}
	if i == 0 {
		return 0, ErrChunk
	}
	k, err := extensions(b[i:])
	switch {
	case err != nil:
		return 0, err
	case k == 0 && long:
		return 0, ErrOverhead
	case k == 0:
		return 0, nil
	}
	// A chunk excuses its size and a short line; what is more than that adds up.
	if c.extra = max(0, c.extra+i+k-16-int(min(size, maxExtra))); c.extra > maxExtra {
		return 0, ErrOverhead
	}
	if size == 0 {
		c.state = inTrailers
	} else {
		c.state, c.left = inData, size
	}
	return i + k, nil
}

// extensions reads the rest of the line after a chunk size, CR LF included:
//
//	*( ";" token [ "=" ( token / quoted-string ) ] )
//
// White space, which RFC 9112 calls bad there, is not taken.
func extensions(b []byte) (int, error) {
	i := 0
	for i < len(b) {
		switch b[i] {
		case '\r':
			if i+1 == len(b) {
				return 0, nil
			}
			if b[i+1] != '\n' {
				return 0, ErrChunk
			}
			return i + 2, nil
		case ';':
			k, err := extension(b[i+1:])
			if k == 0 || err != nil {
				return 0, err
			}
			i += 1 + k
		default:
			return 0, ErrChunk
		}
	}
	return 0, nil
}

// extension reads one: 0 if b ends in it.
func extension(b []byte) (int, error) {
	i := tokenLen(b)
	if i == len(b) {
		return 0, nil
	}
	if i == 0 {
		return 0, ErrChunk
	}
	if b[i] != '=' {
		return i, nil
	}
	i++
	if i == len(b) {
		return 0, nil
	}
	if b[i] == '"' {
		k, err := quoted(b[i+1:])
		if k == 0 || err != nil {
			return 0, err
		}
		return i + 1 + k, nil
	}
	k := tokenLen(b[i:])
	if i+k == len(b) {
		return 0, nil
	}
	if k == 0 {
		return 0, ErrChunk
	}
	return i + k, nil
}

// quoted reads a quoted string after its first quote: 0 if b ends in it.
func quoted(b []byte) (int, error) {
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1, nil
		case c == '\\':
			i++
			if i < len(b) && (b[i] < ' ' && b[i] != '\t' || b[i] == 0x7f) {
				return 0, ErrChunk
			}
		case c < ' ' && c != '\t' || c == 0x7f:
			return 0, ErrChunk
		}
	}
	return 0, nil
}

// trailers reads what follows the last chunk: 0 if it has not come whole.
func (c *Chunks) trailers(b []byte) (int, error) {
	b = b[:min(len(b), MaxTrailers)] // the same error, however the bytes come
	for {
		i := bytes.IndexByte(b[c.from:], '\n')
		if i < 0 {
			if len(b) == MaxTrailers {
				return 0, ErrLarge
			}
			return 0, nil
		}
		next := c.from + i + 1
		if i == 0 || b[next-2] != '\r' {
			return 0, ErrTrailer
		}
		if i == 1 {
			c.Done = true
			return next, nil
		}
		if err := c.trailer(b[:next], c.from); err != nil {
			return 0, err
		}
		c.from = next
	}
}

func (c *Chunks) trailer(b []byte, at int) error {
	var s span
	if _, err := field(b, at, &s); err != nil {
		return ErrTrailer
	}
	name := string(b[s.name:s.colon])
	switch kindOf(name) {
	case host, contentLength, transferEncoding, connection, expect, trailer, hopByHop:
		if c.Discard {
			return nil
		}
		return ErrTrailer // RFC 9110 section 6.5.1
	}
	if c.lines++; c.lines > MaxFields {
		return ErrMany
	}
	if c.Trailer == nil {
		c.Trailer = http.Header{}
	}
	c.Trailer[name] = append(c.Trailer[name], string(b[s.value:s.end]))
	return nil
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
