package web

import (
	"net/http"
	"net/textproto"
	"strings"
)

// SetHeader sets name to value and removes every other spelling of the name that
// an upstream may take for it: agents written as CGI, WSGI or Rack programs see
// X_User, X.User and X-User as one variable. Use it for whatever the gateway vouches
// for.
func SetHeader(h http.Header, name, value string) { SetLine(h, name, []string{value}) }

// SetLine is [SetHeader] for who has the one line already.
func SetLine(h http.Header, name string, line []string) {
	name = textproto.CanonicalMIMEHeaderKey(name)
	for k := range h {
		if len(k) == len(name) && k != name && Alias(k, name) {
			delete(h, k)
		}
	}
	h[name] = line
}

// DelHeader removes name and every alias of it; see [Alias].
func DelHeader(h http.Header, name string) {
	for k := range h {
		if len(k) == len(name) && Alias(k, name) {
			delete(h, k)
		}
	}
}

// Alias reports whether a and b are one name to an agent that folds case and takes
// punctuation for a hyphen: CGI (RFC 3875 section 4.1.18) and its heirs make a
// variable of a name by replacing what a variable cannot have.
func Alias(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] && fold(a[i]) != fold(b[i]) {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	}
	return '-'
}

// EventStream reports whether h announces server-sent events.
func EventStream(h http.Header) bool {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(media), "text/event-stream")
}

// JSON reports whether h announces a JSON document: application/json, or a type
// with the suffix +json (RFC 6839).
func JSON(h http.Header) bool {
	media, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "application/json" || strings.HasSuffix(media, "+json")
}

// Token reports whether s is a token, RFC 9110 section 5.6.2: what names of headers
// and methods are made of.
func Token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// FieldValue reports whether a header can hold s without changing the message that
// it stands in: no control characters but tabs (RFC 9110 section 5.5).
func FieldValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// Framing reports whether name is that of a header that belongs to one connection,
// or says where a message ends (RFC 9110 section 7.6.1, RFC 9112 section 6),
// whatever its spelling. No policy may write these.
func Framing(name string) bool {
	for _, n := range framing {
		if Alias(n, name) {
			return true
		}
	}
	return false
}

var framing = [...]string{"Connection", "Content-Length", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}
