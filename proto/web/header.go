package web

import (
	"net/http"
	"net/textproto"
	"strings"
)

// SetHeader sets name to value and removes every other spelling of the name that
// an upstream may take for it: agents written as CGI, WSGI or Rack programs see
// X_User and X-User as one variable. Use it for whatever the gateway vouches for.
func SetHeader(h http.Header, name, value string) {
	DelHeader(h, name)
	h[textproto.CanonicalMIMEHeaderKey(name)] = []string{value}
}

// DelHeader removes name and every alias of it, whatever the case and whether
// written with hyphens or underscores.
func DelHeader(h http.Header, name string) {
	delete(h, textproto.CanonicalMIMEHeaderKey(name))
	for k := range h {
		if len(k) == len(name) && Alias(k, name) {
			delete(h, k)
		}
	}
}

// Alias reports whether a and b are one name to an agent that folds case and
// takes an underscore for a hyphen.
func Alias(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if fold(a[i]) != fold(b[i]) {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	switch {
	case c == '_':
		return '-'
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	}
	return c
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
