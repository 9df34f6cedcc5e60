package server

import (
	"net/http"
	"strconv"

	"github.com/airside-gateway/airside/internal/http1"
)

// Heads are written without a dynamic table and without Huffman codes, RFC 7541: what
// that would save on the line costs more than it is worth, and a table of one side
// would be memory that clients make us hold.

// openHead makes room for the head of a frame of HEADERS and returns where it begins.
func (c *conn) openHead() int {
	b := c.space()
	at := len(b)
	b = appendHead(b, 0, frameHeaders, flagEndHeaders, 0)
	if !c.resized {
		c.resized = true
		b = append(b, 0x20) // the table has no room, RFC 7541 section 6.3: no setting of the client can make it smaller
	}
	c.out = b
	return at
}

// closeHead makes frames of what was appended since openHead.
func (c *conn) closeHead(st *stream, at int) {
	n := len(c.out) - at - headSize
	if n <= maxFrame {
		appendHead(c.out[:at], n, frameHeaders, flagEndHeaders, st.id)
		return
	}
	rest := append([]byte(nil), c.out[at+headSize+maxFrame:]...)
	appendHead(c.out[:at], maxFrame, frameHeaders, 0, st.id)
	b := c.out[:at+headSize+maxFrame]
	for len(rest) > 0 {
		k, flags := len(rest), byte(flagEndHeaders)
		if k > maxFrame {
			k, flags = maxFrame, 0
		}
		b = append(appendHead(b, k, frameContinuation, flags, st.id), rest[:k]...)
		rest = rest[k:]
	}
	c.out = b
}

// appendStatus appends the pseudo-header :status.
func appendStatus(b []byte, status int) []byte {
	switch status { // RFC 7541 appendix A
	case 200:
		return append(b, 0x80|8)
	case 204:
		return append(b, 0x80|9)
	case 206:
		return append(b, 0x80|10)
	case 304:
		return append(b, 0x80|11)
	case 400:
		return append(b, 0x80|12)
	case 404:
		return append(b, 0x80|13)
	case 500:
		return append(b, 0x80|14)
	}
	b = append(b, 8, 3)
	return strconv.AppendInt(b, int64(status), 10)
}

// appendField appends a field with a canonical name. It must be valid.
func appendField(b []byte, name, value string) []byte {
	b = appendName(b, name)
	b = appendInt(b, 7, len(value))
	return append(b, value...)
}

// appendName appends the name of a literal field that goes into no table.
func appendName(b []byte, name string) []byte {
	if i := indexOf(name); i > 0 {
		return appendInt(b, 4, i)
	}
	b = append(b, 0)
	b = appendInt(b, 7, len(name))
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		b = append(b, c)
	}
	return b
}

// appendLength appends a Content-Length.
func appendLength(b []byte, n int64) []byte {
	b = appendInt(b, 4, indexOf("Content-Length"))
	at := len(b)
	b = strconv.AppendInt(append(b, 0), n, 10)
	b[at] = byte(len(b) - at - 1) //nolint:gosec // 20 at most
	return b
}

// appendInt appends n with a prefix of some bits, of which the rest is 0, RFC 7541
// section 5.1.
func appendInt(b []byte, bits, n int) []byte {
	full := 1<<bits - 1
	if n < full {
		return append(b, byte(n)) //nolint:gosec // less than 256
	}
	b = append(b, byte(full)) //nolint:gosec // less than 256
	for n -= full; n >= 128; n >>= 7 {
		b = append(b, byte(n&0x7f|0x80)) //nolint:gosec // less than 256
	}
	return append(b, byte(n)) //nolint:gosec // less than 128
}

// indexOf is where the static table has a name that answers use, RFC 7541 appendix A;
// 0 if it has not.
func indexOf(name string) int {
	switch name {
	case "Accept-Ranges":
		return 18
	case "Access-Control-Allow-Origin":
		return 20
	case "Age":
		return 21
	case "Allow":
		return 22
	case "Cache-Control":
		return 24
	case "Content-Disposition":
		return 25
	case "Content-Encoding":
		return 26
	case "Content-Language":
		return 27
	case "Content-Length":
		return 28
	case "Content-Location":
		return 29
	case "Content-Range":
		return 30
	case "Content-Type":
		return 31
	case "Date":
		return 33
	case "Etag":
		return 34
	case "Expires":
		return 36
	case "Last-Modified":
		return 44
	case "Link":
		return 45
	case "Location":
		return 46
	case "Proxy-Authenticate":
		return 48
	case "Retry-After":
		return 53
	case "Server":
		return 54
	case "Set-Cookie":
		return 55
	case "Strict-Transport-Security":
		return 56
	case "Vary":
		return 59
	case "Via":
		return 60
	case "Www-Authenticate":
		return 61
	}
	return 0
}

// appendValues appends one field for each of the values. What is not valid is made
// harmless; a name that is not valid is left out, and so is [http.TrailerPrefix].
func appendValues(b []byte, name string, values []string) []byte {
	if !http1.ValidName(name) {
		return b
	}
	for _, v := range values {
		if !http1.ValidValue(v) {
			v = harmless(v)
		}
		b = appendField(b, name, v)
	}
	return b
}

func harmless(v string) string {
	b := []byte(v)
	for i, c := range b {
		if c < 0x20 && c != '\t' || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}

// aboutConnection reports whether a header is about a connection of HTTP/1.1, and so
// may not be in HTTP/2, RFC 9113 section 8.2.2.
func aboutConnection(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Te":
		return true
	}
	return false
}

// appendTrailers appends t.
func appendTrailers(b []byte, t http.Header) []byte {
	for k, v := range t {
		if !aboutConnection(k) && k != "Content-Length" && k != "Trailer" {
			b = appendValues(b, k, v)
		}
	}
	return b
}
