package server

import (
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/airside-gateway/airside/internal/edge/h1"
)

// A response is the [http.ResponseWriter] of a stream. What is written is gathered with
// what other streams of the connection write.
type response struct {
	st     *stream
	header http.Header
	status int // 0 before the head

	left   int64 // of an announced length
	sized  bool  // a length was announced
	bodied bool  // the answer has a body
	done   bool
	err    error // of a write

	trailers http.Header // see Trailers
	timers   [2]*time.Timer
}

func (w *response) reset(st *stream) {
	if w.header == nil {
		w.header = make(http.Header, 16)
	}
	w.st = st
}

// stop stops the timers of deadlines.
func (w *response) stop() {
	for _, t := range w.timers {
		if t != nil {
			t.Stop()
		}
	}
}

// forget lets go of what belongs to the request.
func (w *response) forget() {
	w.stop()
	if len(w.header) > maxKept {
		w.header = nil
	}
	clear(w.header)
}

// Header returns the header, to be filled before the head is written.
func (w *response) Header() http.Header { return w.header }

// WriteHeader writes the head. An interim one (1xx) is sent at once.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic("h2: invalid status " + strconv.Itoa(status))
	}
	if w.status != 0 || w.st == nil {
		return
	}
	c := w.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := w.st.admit(); err != nil {
		w.status, w.err = status, err
		return
	}
	if slices.ContainsFunc(w.header["Connection"], func(v string) bool { return strings.EqualFold(v, "close") }) {
		c.dismiss()
	}
	at := c.openHead()
	c.out = appendStatus(c.out, status)
	if status < 200 {
		w.fields(false)
		c.closeHead(w.st, at)
		c.flush()
		return
	}
	w.status = status
	w.left, w.sized = length(w.header)
	w.begin()
	w.st.batch, w.st.at = c.batch, at
	w.fields(w.sized)
	c.closeHead(w.st, at)
}

// begin takes note of the final head, which lies at the end of the output.
func (w *response) begin() {
	st := w.st
	st.expects = false
	w.bodied = st.method != http.MethodHead && w.status != http.StatusNoContent && w.status != http.StatusNotModified
	w.sized = w.sized && w.status != http.StatusNoContent
}

// length is the Content-Length that h says.
func length(h http.Header) (int64, bool) {
	if cl := h["Content-Length"]; len(cl) == 1 {
		if n, err := strconv.ParseInt(cl[0], 10, 64); err == nil && n >= 0 {
			return n, true
		}
	}
	return 0, false
}

// fields appends the header.
func (w *response) fields(sized bool) {
	b, dated := w.st.conn.out, false
	for k, v := range w.header {
		switch {
		case aboutConnection(k):
		case k == "Content-Length":
		default:
			dated = dated || k == "Date"
			b = appendValues(b, k, v)
		}
	}
	if sized {
		b = appendLength(b, w.left)
	}
	if w.status != 0 && !dated {
		b = appendField(b, "Date", w.st.conn.server.clock.Date())
	}
	w.st.conn.out = b
}

const requestID = "X-Request-Id"

// Answer writes the head a, once, in the place of Header and WriteHeader.
func (w *response) Answer(a *h1.Answer) {
	if w.status != 0 || w.st == nil {
		return
	}
	w.status = a.Status
	c := w.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.err = w.st.admit(); w.err != nil {
		return
	}
	if a.Close {
		c.dismiss()
	}
	switch {
	case a.Whole:
		w.left, w.sized = length(a.Header)
	case a.Length >= 0 && len(a.Trailer) == 0:
		w.left, w.sized = a.Length, true
	}
	w.begin()
	if a.Whole && w.bodied && !w.sized {
		w.left, w.sized = 0, true
	}
	at := c.openHead()
	w.st.batch, w.st.at = c.batch, at
	c.out = appendStatus(c.out, a.Status)
	w.passOn(a)
	c.closeHead(w.st, at)
}

// passOn appends the header of a, but for what is about a connection, with the id.
func (w *response) passOn(a *h1.Answer) {
	c := w.st.conn
	b, dated := c.out, false
	for k, v := range a.Header {
		switch k {
		case requestID, "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Te", "Trailer", "Content-Length":
			continue
		case "Date":
			dated = true
		}
		b = appendValues(b, k, v)
	}
	if w.sized {
		b = appendLength(b, w.left)
	}
	b = appendField(b, requestID, a.ID)
	if !dated {
		b = appendField(b, "Date", c.server.clock.Date())
	}
	for k := range a.Trailer {
		b = appendValues(b, "Trailer", []string{k})
	}
	c.out = b
}

// Trailers sets what follows the body, in the place of all other ways.
func (w *response) Trailers(t http.Header) { w.trailers = t }

// Write writes a piece of the body. It is sent when enough has been gathered, by
// Flush, or when the request has been answered.
func (w *response) Write(p []byte) (int, error) {
	if w.st == nil || w.done {
		return 0, errAnswered
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.err != nil:
		return 0, w.err
	case len(p) == 0:
		return 0, nil
	case !w.bodied && w.st.method == http.MethodHead:
		return len(p), nil
	case !w.bodied:
		return 0, http.ErrBodyNotAllowed
	case w.sized && int64(len(p)) > w.left:
		return 0, http.ErrContentLength
	}
	w.left -= int64(len(p))
	if w.err = w.st.write(p); w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// FlushError sends what was written.
func (w *response) FlushError() error {
	if w.st == nil || w.done {
		return errAnswered
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	c := w.st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
	return w.st.failed()
}

// Flush sends what was written.
func (w *response) Flush() { _ = w.FlushError() } // the next write says it

var errShort = errors.New("h2: the answer is shorter than was announced")

// finish ends the answer.
func (w *response) finish() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.done = true
	switch {
	case w.err != nil:
		return w.err
	case w.sized && w.bodied && w.left > 0:
		return errShort
	}
	t := w.trailer()
	st := w.st
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := st.admit(); err != nil {
		return err
	}
	if len(t) == 0 || !w.bodied {
		st.endStream()
		return nil
	}
	at := c.openHead()
	c.out = appendTrailers(c.out, t)
	c.closeHead(st, at)
	c.out[at+4] |= flagEndStream
	return nil
}

// trailer collects what was announced in the header Trailer, and what has the prefix.
func (w *response) trailer() http.Header {
	if len(w.header) == 0 {
		return w.trailers
	}
	t := http.Header{}
	for k, v := range w.trailers {
		t[k] = append(t[k], v...)
	}
	for _, line := range w.header["Trailer"] {
		for name := range strings.SplitSeq(line, ",") {
			k := http.CanonicalHeaderKey(strings.Trim(name, " \t"))
			t[k] = append(t[k], w.header[k]...)
		}
	}
	for k, v := range w.header {
		if name, ok := strings.CutPrefix(k, http.TrailerPrefix); ok {
			k = http.CanonicalHeaderKey(name)
			t[k] = append(t[k], v...)
		}
	}
	for k, v := range t {
		if len(v) == 0 {
			delete(t, k)
		}
	}
	return t
}

// Peer is the address of the client's end of the connection, and as it is written.
func (w *response) Peer() (addr netip.Addr, text string) { return w.st.conn.peer, w.st.conn.addr }

// EnableFullDuplex does nothing: it is.
func (*response) EnableFullDuplex() error { return nil }

// SetReadDeadline is that of reading the body.
func (w *response) SetReadDeadline(t time.Time) error {
	return w.deadline(0, t, func(st *stream, late bool) {
		st.slow = late
		st.wakeReader()
	})
}

// SetWriteDeadline is that of writing the answer.
func (w *response) SetWriteDeadline(t time.Time) error {
	return w.deadline(1, t, func(st *stream, late bool) {
		st.late = late
		st.wakeWriter()
	})
}

func (w *response) deadline(which int, t time.Time, set func(st *stream, late bool)) error {
	st := w.st
	if st == nil {
		return errAnswered
	}
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := w.timers[which]; old != nil {
		old.Stop()
		w.timers[which] = nil
	}
	left := time.Until(t)
	set(st, !t.IsZero() && left <= 0)
	if t.IsZero() || left <= 0 {
		return nil
	}
	id := st.id
	w.timers[which] = time.AfterFunc(left, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.streams[id] == st {
			set(st, true)
		}
	})
	return nil
}
