package http1

import (
	"encoding/binary"
	"math/bits"
)

// A kind tells the fields that the framing depends on from all others.
type kind uint8

const (
	plain kind = iota
	host
	contentLength
	transferEncoding
	connection
	expect
	trailer
	hopByHop
)

// kindOf sorts a canonical name.
func kindOf(name string) kind {
	switch name {
	case "Host":
		return host
	case "Content-Length":
		return contentLength
	case "Transfer-Encoding":
		return transferEncoding
	case "Connection":
		return connection
	case "Expect":
		return expect
	case "Trailer":
		return trailer
	case "Keep-Alive", "Proxy-Connection", "Upgrade", "Te",
		"Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization":
		return hopByHop
	}
	return plain
}

// An alphabet says what becomes of a byte in a name: 0 is not part of one (RFC 9110
// section 5.6.2).
type alphabet [256]byte

// The two forms of letters, as [http.CanonicalHeaderKey] has them.
var (
	upperBytes = newAlphabet('A')
	lowerBytes = newAlphabet('a')
)

func newAlphabet(a byte) (t alphabet) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789") {
		t[c] = c
	}
	for i := range byte(26) {
		t['a'+i], t['A'+i] = a+i, a+i
	}
	return t
}

func isToken(b []byte) bool { return len(b) > 0 && tokenLen(b) == len(b) }

// tokenLen is how many bytes at the beginning of b are of a token.
func tokenLen(b []byte) int {
	for i, c := range b {
		if lowerBytes[c] == 0 {
			return i
		}
	}
	return len(b)
}

// canonical changes the name at the beginning of b to the form of
// [http.CanonicalHeaderKey] and returns where its colon is; -1 if there is no name.
func canonical(b []byte) int {
	t := &upperBytes
	for i, c := range b {
		d := t[c]
		if d == 0 {
			if c != ':' || i == 0 {
				return -1
			}
			return i
		}
		b[i] = d
		t = &lowerBytes
		if c == '-' {
			t = &upperBytes
		}
	}
	return -1
}

// A span is the parts of a field line, as offsets into the head.
type span struct{ name, colon, value, end int }

// field finds the parts of the line at b[at:], makes its name canonical, and returns
// where the next line begins.
func field(b []byte, at int, s *span) (next int, err error) {
	if c := b[at]; c == ' ' || c == '\t' {
		return 0, ErrFold
	}
	c := canonical(b[at:])
	if c < 0 {
		return 0, ErrName
	}
	v := at + c + 1
	for v < len(b) && (b[v] == ' ' || b[v] == '\t') {
		v++
	}
	e := v + control(b[v:])
	switch {
	case e == len(b), b[e] == '\n', b[e] == '\r' && e+1 == len(b):
		return 0, ErrLineEnd
	case b[e] != '\r' || b[e+1] != '\n':
		return 0, ErrValue
	}
	next = e + 2
	for e > v && (b[e-1] == ' ' || b[e-1] == '\t') {
		e--
	}
	s.name, s.colon, s.value, s.end = at, at+c, v, e
	return next, nil
}

const ones, high = 0x0101010101010101, 0x8080808080808080

// control is how many bytes of b come before the first control character but HTAB. It
// looks at eight bytes at a time.
func control(b []byte) int {
	i := 0
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		// The high bit of bytes below 0x20, and of 0x7f. It may be wrong above a byte
		// that is below 0x20, or 0xff.
		m := ((x - ones*0x20) | (x + ones)) &^ x & high
		if m == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(m) / 8
		if c := b[i]; c < ' ' && c != '\t' || c == 0x7f {
			return i
		}
		i++
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < ' ' && c != '\t' || c == 0x7f {
			break
		}
	}
	return i
}

// isTarget reports whether b holds no space, no control character, and no "#".
func isTarget(b []byte) bool {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		y, z := x^ones*0x7f, x^ones*'#'
		if ((x-ones*0x21)&^x|(y-ones)&^y|(z-ones)&^z)&high != 0 {
			return false
		}
	}
	for _, c := range b[i:] {
		if c <= ' ' || c == 0x7f || c == '#' {
			return false
		}
	}
	return true
}

// fold reports whether s is the given word in any case of its ASCII letters. Unicode
// has more letters that fold to these, which [strings.EqualFold] would take.
func fold(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
