package h1

import (
	"net/http"
	"strings"

	"github.com/airside-gateway/airside/internal/http1"
)

// Trailers sets what follows the body, in the place of all other ways.
func (w *response) Trailers(t http.Header) { w.trailers = t }

// trailer collects what was announced in the header Trailer, and what has the prefix.
func (w *response) trailer() http.Header {
	var t http.Header
	put := func(k string, v []string) {
		if len(v) == 0 || !http1.ValidName(k) || k == "Content-Length" || k == "Transfer-Encoding" || k == "Trailer" {
			return // RFC 9110 section 6.5.1
		}
		if t == nil {
			t = http.Header{}
		}
		for _, s := range v {
			t[k] = append(t[k], harmless(s))
		}
	}
	for k, v := range w.trailers {
		put(k, v)
	}
	for _, line := range w.header["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			k := http.CanonicalHeaderKey(strings.Trim(name, " \t"))
			put(k, w.header[k])
		}
	}
	for k, v := range w.header {
		if name, ok := strings.CutPrefix(k, http.TrailerPrefix); ok {
			put(name, v)
		}
	}
	return t
}
