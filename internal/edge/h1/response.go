package h1

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside/internal/http1"
)

var noDeadline time.Time

// A response is the [http.ResponseWriter] of an exchange. It gathers the head and what
// follows, up to the size of its buffer, and sends both in one system call; between
// flushes it holds no memory.
type response struct {
	x      *exchange
	header http.Header
	status int // 0 before the head

	block *block
	out   []byte // not sent yet; in block, or grown beyond it

	left   int64 // of an announced length
	sized  bool  // a length was announced
	coded  bool  // chunked
	bodied bool  // the answer has a body
	close  bool  // the connection is closed after the answer
	done   bool
	moved  bool  // a deadline was set
	err    error // of a write

	trailers http.Header // see Trailers
	written  int64

	asking atomic.Int32 // whether the client waits to be asked for its body
	askMu  sync.Mutex   // held while a 100 (Continue) is written, and the head
}

// blockSize is what is gathered before it is sent.
const blockSize = 8 << 10

type block [blockSize]byte

var blocks = sync.Pool{New: func() any { return new(block) }}

// Whether the client waits for a 100 (Continue).
const (
	notAsked int32 = iota // it does not
	awaits                // it does
	asked                 // it has been told to go on
)

func (w *response) reset(x *exchange) {
	w.x, w.status = x, 0 // forget has seen to the header
	w.block, w.out = nil, nil
	w.left, w.sized, w.coded, w.bodied, w.close, w.done, w.moved, w.err, w.written = 0, false, false, false, false, false, false, nil, 0
	w.trailers = nil
	w.asking.Store(notAsked)
}

// forget lets go of what belongs to the request.
func (w *response) forget() {
	w.drop()
	clear(w.header)
	w.x, w.trailers = nil, nil
}

// Header returns the header, to be filled before the head is written.
func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

// room makes sure that there is a buffer.
func (w *response) room() {
	if w.block == nil {
		w.block, _ = blocks.Get().(*block) // the pool holds nothing else
		w.out = w.block[:0]
	}
}

func (w *response) drop() {
	if w.block != nil {
		blocks.Put(w.block)
		w.block, w.out = nil, nil
	}
}

// WriteHeader writes the head. An interim one (1xx) is sent at once.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic("h1: invalid status " + strconv.Itoa(status))
	}
	if w.status != 0 || w.x == nil {
		return
	}
	if status < 200 {
		w.interim(status)
		return
	}
	if w.x.head.Continue {
		w.asking.CompareAndSwap(awaits, notAsked)
		w.askMu.Lock() // one that is being written
		defer w.askMu.Unlock()
	}
	w.status = status
	w.room()
	w.out = http1.AppendStatus(w.out, status, "")
	w.framing()
	w.fields()
	w.out = append(w.out, "\r\n"...)
}

func (w *response) interim(status int) {
	w.room()
	w.out = http1.AppendStatus(w.out, status, "")
	var room [32]string
	for _, k := range http1.Names(room[:0], w.header) {
		if k != "Content-Length" && k != "Transfer-Encoding" {
			w.field(k, w.header[k])
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
	Whole   bool        // there is no body: Content-Length is sent as Header has it
	Close   bool        // the connection is closed after the answer
	Trailer http.Header // the trailers that are announced; then Length is not sent
}

// Answer writes the head a, once, in the place of Header and WriteHeader.
func (w *response) Answer(a *Answer) {
	if w.status != 0 || w.x == nil {
		return
	}
	if w.x.head.Continue {
		w.asking.CompareAndSwap(awaits, notAsked)
		w.askMu.Lock() // one that is being written
		defer w.askMu.Unlock()
	}
	w.status = a.Status
	w.close = w.close || a.Close || w.x.head.Close || w.x.conn.server.draining.Load()
	h := a.Header
	if len(a.Trailer) > 0 {
		h = maps.Clone(h)
		delete(h, "Trailer")
		for k := range a.Trailer {
			h["Trailer"] = append(h["Trailer"], k)
		}
		slices.Sort(h["Trailer"])
	}
	w.bodied = w.x.req.Method != http.MethodHead && !bodiless(a.Status)
	switch {
	case a.Whole:
		w.left, w.sized = length(h)
		w.sized = w.sized && a.Status != http.StatusNoContent
		if w.bodied && !w.sized {
			w.left, w.sized = 0, true
		}
	case a.Length >= 0 && len(a.Trailer) == 0:
		w.left, w.sized = a.Length, true
	case w.bodied:
		w.coded = w.x.head.Minor > 0
		w.close = w.close || !w.coded
	}
	w.room()
	w.out = http1.AppendStatus(w.out, a.Status, "")
	w.passOn(h, a.ID, len(a.Trailer) > 0)
	w.out = append(w.out, "\r\n"...)
}

func bodiless(status int) bool {
	return status == http.StatusNoContent || status == http.StatusNotModified
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
	var room [32]string
	for _, k := range http1.Names(room[:0], h) {
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
		w.field(k, h[k])
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

// Trailers sets what follows the body, in the place of all other ways.
func (w *response) Trailers(t http.Header) { w.trailers = t }

// framing decides how the end of the answer is told.
func (w *response) framing() {
	x := w.x
	w.close = w.close || x.head.Close || x.conn.server.draining.Load() || hasClose(w.header["Connection"])
	w.left, w.sized = length(w.header)
	w.bodied = x.req.Method != http.MethodHead && !bodiless(w.status)
	w.sized = w.sized && w.status != http.StatusNoContent
	if w.bodied && !w.sized {
		w.coded = x.head.Minor > 0
		w.close = w.close || !w.coded
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
	var room [32]string
	for _, k := range http1.Names(room[:0], w.header) {
		switch k {
		case "Connection", "Transfer-Encoding":
			continue
		case "Content-Length":
			if w.sized {
				w.out = http1.AppendLength(w.out, w.left)
			}
			continue
		case "Date":
			dated = true
		}
		w.field(k, w.header[k])
	}
	w.tail(dated)
}

// tail appends what is about this connection.
func (w *response) tail(dated bool) {
	if !dated {
		w.out = append(w.out, w.x.conn.server.clock.date()...)
	}
	if w.close {
		w.out = append(w.out, "Connection: close\r\n"...)
	}
	if w.coded {
		w.out = append(w.out, "Transfer-Encoding: chunked\r\n"...)
	}
}

// field appends lines. What would break out of them is made harmless.
func (w *response) field(name string, values []string) {
	if !http1.ValidName(name) { // http.TrailerPrefix is none either
		return
	}
	for _, v := range values {
		if !http1.ValidValue(v) {
			v = harmless(v)
		}
		w.out = http1.AppendField(w.out, name, v)
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

// Write writes a piece of the body. It is sent when the buffer is full, by Flush, or
// when the request has been answered.
func (w *response) Write(p []byte) (int, error) {
	if w.x == nil || w.done {
		return 0, errGone
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.err != nil:
		return 0, w.err
	case len(p) == 0:
		return 0, nil
	case !w.bodied && w.x.req.Method == http.MethodHead:
		return len(p), nil
	case !w.bodied:
		return 0, http.ErrBodyNotAllowed
	case w.sized && int64(len(p)) > w.left:
		return 0, http.ErrContentLength
	}
	w.left -= int64(len(p))
	w.written += int64(len(p))
	w.room()
	if w.coded {
		w.out = http1.AppendChunkSize(w.out, len(p))
	}
	if len(w.out)+len(p)+2 <= blockSize {
		w.out = append(w.out, p...)
		w.endChunk()
		return len(p), nil
	}
	if err := w.send(p); err != nil {
		return 0, err
	}
	w.endChunk()
	return len(p), nil
}

func (w *response) endChunk() {
	if w.coded {
		w.room()
		w.out = append(w.out, "\r\n"...)
	}
}

// send sends what was gathered, and p behind it.
func (w *response) send(p []byte) error {
	if w.err == nil {
		w.err = w.x.conn.write(w.out, p)
	}
	w.drop()
	return w.err
}

func (w *response) flush() error {
	if len(w.out) == 0 {
		return w.err
	}
	return w.send(nil)
}

// FlushError sends what was written.
func (w *response) FlushError() error {
	if w.x == nil || w.done {
		return errGone
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.flush()
}

// Flush sends what was written.
func (w *response) Flush() { _ = w.FlushError() } // the next write says it

var errShort = errors.New("h1: the answer is shorter than was announced")

// finish sends the rest of the answer.
func (w *response) finish() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.done = true
	if w.sized && w.bodied && w.left > 0 {
		_ = w.flush() // the error is that it is short
		return errShort
	}
	if w.coded {
		w.room()
		w.out = http1.AppendLastChunk(w.out, w.trailer())
	}
	return w.flush()
}

// trailer collects what was announced in the header Trailer, and what has the prefix.
func (w *response) trailer() http.Header {
	var t http.Header
	put := func(k string, v []string) {
		if len(v) == 0 || !http1.ValidName(k) {
			return
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

// askOn tells a client that waits for it to send its body.
func (w *response) askOn() error {
	if w.asking.Load() != awaits {
		return nil
	}
	w.askMu.Lock()
	defer w.askMu.Unlock()
	if !w.asking.CompareAndSwap(awaits, asked) {
		return nil
	}
	_, err := io.WriteString(w.x.conn.bare, "HTTP/1.1 100 Continue\r\n\r\n")
	return err
}

// SetReadDeadline is that of the connection, until the request has been answered.
func (w *response) SetReadDeadline(t time.Time) error {
	return w.setDeadline(t, net.Conn.SetReadDeadline)
}

// SetWriteDeadline is that of the connection, until the request has been answered.
func (w *response) SetWriteDeadline(t time.Time) error {
	return w.setDeadline(t, net.Conn.SetWriteDeadline)
}

func (w *response) setDeadline(t time.Time, set func(net.Conn, time.Time) error) error {
	if w.x == nil {
		return errGone
	}
	c := w.x.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	w.moved = true
	if c.server.cutting.Load() {
		return nil
	}
	return set(c.nc, t)
}

// Peer is the address of the client's end of the connection, and as it is written.
func (w *response) Peer() (addr netip.Addr, text string) { return w.x.conn.peer, w.x.conn.addr }

// EnableFullDuplex does nothing: it is.
func (*response) EnableFullDuplex() error { return nil }

// Hijack hands the connection over: what was read ahead lies in the reader. Only a
// request that asks for an upgrade has one to give.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.x == nil || !w.x.head.Upgrade || w.status != 0 {
		return nil, nil, errHijack
	}
	c := w.x.conn
	if c.watched {
		c.server.Watch.Remove(c.watch)
		c.watched = false
	}
	c.stolen = true
	ahead := append([]byte(nil), c.in.Bytes()...)
	c.in.Release()
	r := bufio.NewReaderSize(&prefixed{Reader: c.bare, ahead: ahead}, max(len(ahead), 512))
	if len(ahead) > 0 {
		_, _ = r.Peek(len(ahead)) // it is there
	}
	_ = c.nc.SetDeadline(noDeadline) // fails as what follows
	return c.nc, bufio.NewReadWriter(r, bufio.NewWriterSize(c.nc, 1<<10)), nil
}

// prefixed reads ahead before the rest.
type prefixed struct {
	io.Reader
	ahead []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.ahead) > 0 {
		n := copy(b, p.ahead)
		p.ahead = p.ahead[n:]
		return n, nil
	}
	return p.Reader.Read(b)
}
