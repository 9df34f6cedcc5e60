package h1

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/airside-gateway/airside/internal/http1"
)

// WriteHeader writes the head. An interim one (1xx) is sent at once.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic("h1: invalid status " + strconv.Itoa(status))
	}
	if w.status != 0 || w.x == nil || w.done {
		return
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.interim(status)
		return
	}
	if w.x.head.Continue {
		w.askMu.Lock() // a 100 may be on its way
		defer w.askMu.Unlock()
		w.close = w.close || w.asking.Swap(notAsked) == awaits // the body will not come, or it comes unasked
	}
	w.status = status
	w.room()
	w.out = http1.AppendStatus(w.out, status, "")
	w.framing()
	w.fields()
	w.out = append(w.out, "\r\n"...)
}

// interim sends a 1xx answer. HTTP/1.0 knows none (RFC 9110 section 15.2).
func (w *response) interim(status int) {
	if w.x.head.Minor == 0 {
		return
	}
	if w.x.head.Continue {
		w.askMu.Lock()
		defer w.askMu.Unlock()
		if status == http.StatusContinue {
			w.asking.CompareAndSwap(awaits, asked)
		}
	}
	w.room()
	w.out = http1.AppendStatus(w.out, status, "")
	var room [24]http1.Line
	lines := http1.Lines(room[:0], w.header)
	for i := range lines {
		k := lines[i].Name
		if k != "Content-Length" && k != "Transfer-Encoding" {
			w.field(&lines[i])
		}
	}
	w.out = append(w.out, "\r\n"...)
	_ = w.flush() // what comes next fails too
}

// An Answer is the head of an answer, as it came from an agent or was made, with what
// the edge says about it. It is not changed.
type Answer struct {
	Status  int
	Header  http.Header // what is about a connection in it is not sent
	ID      string      // of the exchange, sent as X-Request-Id
	Length  int64       // of the body; -1 if it is not known
	Whole   bool        // there is no body: where an answer could have one, its length is 0
	Close   bool        // the connection is closed after the answer
	Trailer http.Header // the trailers that are announced; then Length is not sent
}

// Answer writes the head a, once, in the place of Header and WriteHeader.
func (w *response) Answer(a *Answer) {
	if a.Status < 200 || a.Status > 999 {
		panic("h1: invalid status " + strconv.Itoa(a.Status))
	}
	if w.status != 0 || w.x == nil || w.done {
		return
	}
	if w.x.head.Continue {
		w.askMu.Lock() // a 100 may be on its way
		defer w.askMu.Unlock()
		w.close = w.close || w.asking.Swap(notAsked) == awaits // the body will not come, or it comes unasked
	}
	w.status = a.Status
	w.closes(a.Close)
	h := a.Header
	if len(a.Trailer) > 0 {
		h = announcing(h, a.Trailer)
	}
	w.bodied = w.mayHaveBody()
	switch {
	case a.Whole && !w.bodied: // the length is that of another answer
		w.left, w.sized = length(h)
		w.sized = w.sized && a.Status != http.StatusNoContent
	case a.Whole:
		w.sized = true
	case a.Length >= 0 && len(a.Trailer) == 0:
		w.left, w.sized = a.Length, true
	case w.bodied:
		w.delimit()
	}
	w.room()
	w.out = http1.AppendStatus(w.out, a.Status, "")
	w.passOn(h, a.ID, len(a.Trailer) > 0)
	w.out = append(w.out, "\r\n"...)
}

// announcing is h with a Trailer that names those of t.
func announcing(h, t http.Header) http.Header {
	h = maps.Clone(h)
	if h == nil {
		h = http.Header{}
	}
	h["Trailer"] = slices.Sorted(maps.Keys(t))
	return h
}

// mayHaveBody reports whether the answer has a body (RFC 9112 section 6.3). The method
// is that of the head: who answers may have changed the request.
func (w *response) mayHaveBody() bool {
	return w.x.head.Method != http.MethodHead && w.status >= 200 && w.status != http.StatusNoContent && w.status != http.StatusNotModified
}

// closes decides whether the connection is closed after the answer.
func (w *response) closes(asked bool) {
	h := &w.x.head
	w.close = w.close || asked || h.Close || h.Minor == 0 || w.status < 200 || w.x.conn.server.draining.Load()
}

// delimit sees to it that the end of an answer without a length can be told.
func (w *response) delimit() {
	w.coded = w.x.head.Minor > 0
	w.close = w.close || !w.coded
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

// passOn appends h, but for what is about a connection, with the id in its place.
func (w *response) passOn(h http.Header, id string, announced bool) {
	dated, sized, named := false, false, false
	var room [24]http1.Line
	lines := http1.Lines(room[:0], h)
	for i := range lines {
		k := lines[i].Name
		if !named && k >= requestID {
			named = true
			w.out = http1.AppendField(w.out, requestID, id)
		}
		switch k {
		case requestID, "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Te":
			continue
		case "Trailer":
			if !announced {
				continue
			}
		case "Content-Length":
			if sized = true; w.sized {
				w.out = http1.AppendLength(w.out, w.left)
			}
			continue
		case "Date":
			dated = true
		}
		w.field(&lines[i])
	}
	if !named {
		w.out = http1.AppendField(w.out, requestID, id)
	}
	if w.sized && !sized {
		w.out = http1.AppendLength(w.out, w.left)
	}
	w.tail(dated)
}

const requestID = "X-Request-Id"

// framing decides how the end of the answer is told.
func (w *response) framing() {
	w.closes(hasClose(w.header["Connection"]))
	w.left, w.sized = length(w.header)
	w.bodied = w.mayHaveBody()
	w.sized = w.sized && w.status >= 200 && w.status != http.StatusNoContent
	switch {
	case !w.bodied || w.sized:
	case w.empty:
		w.sized = true
	default:
		w.delimit()
	}
}

func hasClose(values []string) bool {
	for _, v := range values {
		for o := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.Trim(o, " \t"), "close") {
				return true
			}
		}
	}
	return false
}

// fields appends the header, with what framing has decided.
func (w *response) fields() {
	dated := false
	var room [24]http1.Line
	lines := http1.Lines(room[:0], w.header)
	for i := range lines {
		k := lines[i].Name
		switch k {
		case "Connection", "Transfer-Encoding":
			continue
		case "Content-Length":
			continue
		case "Date":
			dated = true
		}
		w.field(&lines[i])
	}
	if w.sized {
		w.out = http1.AppendLength(w.out, w.left)
	}
	w.tail(dated)
}

// tail appends what is about this connection.
func (w *response) tail(dated bool) {
	if !dated {
		w.out = http1.AppendField(w.out, "Date", w.x.conn.server.clock.Date())
	}
	if w.close {
		w.out = append(w.out, "Connection: close\r\n"...)
	}
	if w.coded {
		w.out = append(w.out, "Transfer-Encoding: chunked\r\n"...)
	}
}

// field appends lines. What would break out of them is made harmless.
func (w *response) field(l *http1.Line) {
	var ok bool
	if w.out, ok = http1.AppendLine(w.out, l); ok || !http1.ValidName(l.Name) { // http.TrailerPrefix is none either
		return
	}
	for _, v := range l.Values {
		w.out = http1.AppendField(w.out, l.Name, harmless(v))
	}
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
