package h3

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// A writer writes an answer, in the ways of net/http.
type writer struct {
	conn   *conn
	w      http.ResponseWriter // quic-go's
	ctl    *http.ResponseController
	r      *http.Request
	header http.Header // the handler's; that of w is touched with mu held only

	mu    sync.Mutex
	begun bool // the head has been given
}

func newWriter(c *conn, w http.ResponseWriter, r *http.Request) *writer {
	return &writer{conn: c, w: w, ctl: http.NewResponseController(w), r: r, header: http.Header{}}
}

// Header returns the header of the answer, and afterwards its trailers.
func (w *writer) Header() http.Header { return w.header }

// Unwrap gives a [http.ResponseController] the deadlines of the stream.
func (w *writer) Unwrap() http.ResponseWriter { return w.w }

// connection are the headers that HTTP/3 does not have, RFC 9114 section 4.2.
var connection = [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"}

// WriteHeader gives the head of the answer, or sends an interim one. As with HTTP/2 of
// net/http, a Connection that says close asks the client to leave.
func (w *writer) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.begun {
		return
	}
	w.copyHeader()
	h := w.w.Header()
	if strings.EqualFold(h.Get("Connection"), "close") {
		w.conn.leave()
	}
	for _, k := range connection {
		delete(h, k)
	}
	if status < http.StatusOK {
		delete(h, "Content-Length") // RFC 9110 section 8.6
	} else {
		w.begun = true
	}
	w.w.WriteHeader(status)
}

// copyHeader is called with w.mu held. Quic-go may write the head of an answer without a
// body when its handler has returned, and what it says is used again: so the values are
// copied too. It leaves out fields that Trailer names, though one may be both; so that
// header is not shown to it by its usual name.
func (w *writer) copyHeader() {
	h := w.w.Header()
	clear(h)
	for k, v := range w.header {
		h[k] = slices.Clone(v)
	}
	if t, ok := h["Trailer"]; ok {
		delete(h, "Trailer")
		h["trailer"] = t
	}
}

// proceed asks the client for the body (100 Continue), if there is no answer yet. It is
// called by whoever reads the body.
func (w *writer) proceed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begun {
		clear(w.w.Header())
		w.w.WriteHeader(http.StatusContinue)
	}
}

// Write writes a piece of the body.
func (w *writer) Write(p []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	return w.w.Write(p)
}

// FlushError sends what was written, the head at least.
func (w *writer) FlushError() error {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	return w.ctl.Flush()
}

// Flush is FlushError.
func (w *writer) Flush() { _ = w.FlushError() }

// finish readies what quic-go still sends after the handler: what is left of the
// answer, and trailers. The client has a limited time to take it.
func (w *writer) finish() {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	limit := w.conn.limits.Write
	if limit > 0 {
		_ = w.ctl.SetWriteDeadline(time.Now().Add(limit)) // a stream has deadlines
	}
	_, long := w.header["Content-Length"]
	if w.r.Method == http.MethodHead && !long {
		_ = w.ctl.Flush() // or quic-go takes the answer to a GET to be empty
	}
	if !w.trailers() || limit <= 0 {
		return
	}
	// An answer whose trailers cannot be sent must not look whole, and there is no hold on
	// the stream any more once quic-go sends them: so the connection ends.
	_ = w.ctl.SetWriteDeadline(time.Time{})
	t := time.AfterFunc(limit, func() { w.conn.close(http3.ErrCodeInternalError) })
	context.AfterFunc(w.r.Context(), func() { t.Stop() }) // the answer has ended
}

// trailers hands the trailers over, and reports whether there are any.
func (w *writer) trailers() bool {
	found := false
	h := w.w.Header()
	for k, v := range w.header {
		if strings.HasPrefix(k, http.TrailerPrefix) {
			h[k], found = v, true
		}
	}
	for _, list := range w.header["Trailer"] {
		for name := range strings.SplitSeq(list, ",") {
			name = http.CanonicalHeaderKey(strings.TrimSpace(name))
			if v, ok := w.header[name]; ok {
				h[http.TrailerPrefix+name], found = v, true
			}
		}
	}
	return found
}
