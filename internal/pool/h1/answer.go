package h1

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/airside-gateway/airside/internal/http1"
)

// An Answer is the head of an answer, and its body as [http.Response.Body]. The header
// is valid until [Answer.Recycle]; all its strings may be kept.
//
// The body ends in [io.EOF] only if it was complete, and otherwise in an [Error] of the
// kind Cut. It is an [io.WriterTo]. The body of a 101 (Switching Protocols) is an
// [io.ReadWriteCloser] with a method CloseWrite.
type Answer struct {
	http.Response

	// HopByHop says that the header holds fields that are about the connection, or
	// Connection, which may name others.
	HopByHop bool

	body body
}

// Watch makes w be told when the agent is awaited while the body is read.
func (a *Answer) Watch(w Watch) { a.body.watch = w }

// Recycle lets the memory of the header be used again: nothing of the answer may be
// used any more. Its body must have been closed, or be [http.NoBody].
func (a *Answer) Recycle() {
	h := a.body.head
	if h == nil {
		return
	}
	a.body.head, a.Header = nil, nil
	if !a.body.poisons {
		heads.Put(h)
		return
	}
	for _, values := range h.Header {
		for i := range values {
			values[i] = poison
		}
	}
	clear(h.Header)
	h.Header[poison] = []string{poison}
}

// poison is what stands where something was that may not be used any more.
const poison = "Poison"

// answer puts the head into a, and makes the body.
func (k *conn) answer(a *Answer) {
	h := k.head
	a.Response = http.Response{
		Status: status(h), StatusCode: h.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: h.Minor,
		Header: h.Header, ContentLength: h.Length, Close: h.Close,
	}
	if h.Minor == 0 {
		a.Proto = "HTTP/1.0"
	}
	if h.Host != "" {
		h.Header["Host"] = []string{h.Host}
	}
	a.HopByHop = h.HopByHop || h.Connection
	if h.Chunked {
		delete(h.Header, "Transfer-Encoding")
		a.ContentLength = -1
	}
	b := &a.body
	*b = body{conn: k, resp: &a.Response, head: h, closes: h.Close, poisons: k.client.settings.Poison}
	a.Body = b
	k.head, k.body = nil, b
	switch {
	case h.Status == http.StatusSwitchingProtocols:
		a.ContentLength = 0
		a.Body = &tunnel{conn: k}
		return
	case k.req.Method == http.MethodHead:
	case h.Status == http.StatusNoContent || h.Status == http.StatusNotModified:
		a.ContentLength = 0
	case h.Chunked:
		announce(&a.Response)
		b.mode, b.chunks.Discard = chunked, true
		return
	case h.Length > 0:
		b.mode, b.left = sized, h.Length
		return
	case h.Length < 0:
		b.mode = untilClose
		return
	}
	a.Body = http.NoBody
	b.finish(nil)
}

// status is as [http.Response.Status] wants it.
func status(h *http1.Head) string {
	if h.Status == http.StatusOK && h.Reason == "OK" {
		return "200 OK"
	}
	return strconv.Itoa(h.Status) + " " + h.Reason
}

// announce puts the names of trailers where net/http does.
func announce(r *http.Response) {
	names, ok := r.Header["Trailer"]
	if !ok {
		return
	}
	delete(r.Header, "Trailer")
	r.Trailer = http.Header{}
	for _, list := range names {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); http1.ValidName(name) {
				r.Trailer[http.CanonicalHeaderKey(name)] = nil
			}
		}
	}
}
