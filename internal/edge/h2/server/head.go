package server

import (
	"encoding/binary"
	"net/http"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/airside-gateway/airside/internal/http1"
)

// A head is what a client sends before or behind a body, as it is being read.
type head struct {
	open   bool   // CONTINUATION follows
	id     uint32 //
	ends   bool   // the stream ends with it
	stream *stream
	opens  bool        // it opens stream, which is not among those of the connection yet
	fields http.Header // where they go: the header or the trailers; nil: nowhere
	reset  code        // what comes of it in the place of a request
	refuse *http1.Error

	left    int  // bytes that the fields may have
	large   bool // they have more
	regular bool // a field that is no pseudo-header has come
	bad     bool // it is malformed
}

// overhead is what each field counts beyond its bytes, RFC 9113 section 6.5.2.
const overhead = 32

// pseudo is what pseudo-headers count beyond the limit: they are no headers of
// HTTP/1.1, to which the limit applies too.
const pseudo = 10 * overhead

// headers takes HEADERS, RFC 9113 section 6.2.
func (c *conn) headers(f *frame) error {
	p := f.payload
	pad := 0
	if f.has(flagPadded) {
		if len(p) == 0 {
			return fail(codeFrameSize, "HEADERS without the length of its padding")
		}
		pad, p = int(p[0]), p[1:]
	}
	own := false
	if f.has(flagPriority) {
		if len(p) < 5 {
			return fail(codeFrameSize, "HEADERS without its priority")
		}
		own = binary.BigEndian.Uint32(p)&streamMask == f.stream
		p = p[5:]
	}
	if pad > len(p) {
		return fail(codeProtocol, "the padding is longer than its frame")
	}
	if err := c.begin(f); err != nil {
		return err
	}
	if own {
		c.head.reset = codeProtocol
	}
	return c.fragment(p[:len(p)-pad], f.has(flagEndHeaders))
}

// continuation takes CONTINUATION, RFC 9113 section 6.10.
func (c *conn) continuation(f *frame) error {
	if !c.head.open {
		return fail(codeProtocol, "CONTINUATION of nothing")
	}
	return c.fragment(f.payload, f.has(flagEndHeaders))
}

// begin finds out what a head is for.
func (c *conn) begin(f *frame) error {
	h := &c.head
	*h = head{open: true, id: f.stream, ends: f.has(flagEndStream), left: c.server.MaxHead + pseudo}
	if f.stream%2 == 0 {
		return fail(codeProtocol, "HEADERS on a stream that a client cannot open")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.stream > c.top {
		return c.opening()
	}
	h.stream = c.streams[f.stream]
	switch {
	case h.stream == nil && c.ended.has(f.stream):
	case h.stream == nil:
		return fail(codeClosed, "HEADERS on a stream that has ended")
	case h.stream.remote:
		h.reset = codeClosed
	case !h.ends:
		h.reset = codeProtocol
	default:
		h.fields = http.Header{}
	}
	return nil
}

// opening begins the head of a new stream.
func (c *conn) opening() error {
	h := &c.head
	if c.over {
		return nil // the client knows, or will, that it was not taken
	}
	c.top = h.id
	if len(c.streams) >= c.server.Streams || c.running >= 2*c.server.Streams { // streams that were reset end soon
		h.reset = codeRefused
		return nil
	}
	h.opens = true
	h.stream = c.newStream(h.id)
	h.fields = h.stream.header
	return nil
}

// fragment takes a piece of a head.
func (c *conn) fragment(p []byte, last bool) error {
	h := &c.head
	c.decoder.SetEmitEnabled(h.fields != nil && !h.large && !h.bad)
	_, err := c.decoder.Write(p)
	if err == nil && last {
		err = c.decoder.Close()
	}
	if err != nil {
		return fail(codeCompression, "a head cannot be decompressed")
	}
	if !last {
		return nil
	}
	h.open = false
	switch {
	case h.opens:
		c.opened()
	case h.reset != codeNo, h.bad, h.large:
		c.mu.Lock()
		defer c.mu.Unlock()
		if h.reset == codeNo {
			h.reset = codeProtocol
		}
		c.reset(c.streams[h.id], h.id, h.reset)
	case h.fields != nil:
		c.trail()
	}
	h.stream, h.fields = nil, nil
	return nil
}

// field takes one field, as it was decompressed.
func (c *conn) field(f hpack.HeaderField) {
	h := &c.head
	if h.left -= len(f.Name) + len(f.Value) + overhead; h.left < 0 {
		h.large = true
		c.decoder.SetEmitEnabled(false)
		return
	}
	switch {
	case len(f.Name) == 0 || !validValue(f.Value):
		h.bad = true
	case f.Name[0] == ':':
		h.bad = h.bad || h.regular || !h.opens || !h.stream.pseudo(f.Name, f.Value)
	default:
		h.regular = true
		c.plain(f)
	}
}

// plain takes a field that is no pseudo-header.
func (c *conn) plain(f hpack.HeaderField) {
	h := &c.head
	name, ok := c.canonical(f.Name)
	if !ok {
		h.bad = true
		return
	}
	if !h.opens {
		h.fields[name] = append(h.fields[name], f.Value)
		return
	}
	switch name {
	case "Connection", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Keep-Alive":
		h.refuse = errConnection
	case "Te":
		if f.Value != "trailers" {
			h.refuse = errTE
		}
	case "Cookie":
		h.stream.cookies = append(h.stream.cookies, f.Value)
		return
	}
	h.stream.put(name, f.Value)
}

// What is malformed in a way that is told to the client in words.
var (
	errConnection = &http1.Error{Status: http.StatusBadRequest, Reason: "the request has a header that is about a connection, which HTTP/2 does not allow"}
	errTE         = &http1.Error{Status: http.StatusBadRequest, Reason: "the header TE says something other than trailers"}
	errMethod     = &http1.Error{Status: http.StatusBadRequest, Reason: "the method is malformed"}
	errAnnounced  = &http1.Error{Status: http.StatusBadRequest, Reason: "the request announces a trailer that may not be one"}
	errLarge      = &http1.Error{Status: http.StatusRequestHeaderFieldsTooLarge, Reason: "the head is too large"}
)

// maxNames is how many names a connection remembers.
const maxNames = 64

// canonical returns the form of [http.CanonicalHeaderKey] for a name that is valid in
// HTTP/2: a token in lower case.
func (c *conn) canonical(name string) (string, bool) {
	if k, ok := c.names[name]; ok {
		return k, true
	}
	if !http1.ValidName(name) {
		return "", false
	}
	for i := range len(name) {
		if b := name[i]; b >= 'A' && b <= 'Z' {
			return "", false
		}
	}
	k := http.CanonicalHeaderKey(name)
	if len(c.names) < maxNames && len(name) <= 64 {
		c.names[strings.Clone(name)] = k
	}
	return k, true
}

// validValue reports whether v can be the value of a field, RFC 9113 section 8.2.1.
func validValue(v string) bool {
	if n := len(v); n > 0 && (blank(v[0]) || blank(v[n-1])) {
		return false
	}
	return http1.ValidValue(v)
}

func blank(b byte) bool { return b == ' ' || b == '\t' }

// opened takes a stream whose head has come whole.
func (c *conn) opened() {
	h, st := &c.head, c.head.stream
	st.refusal = h.refuse
	if h.large {
		st.refusal = errLarge
	}
	if h.reset == codeNo && (h.bad || !st.prepare(h.ends)) {
		h.reset = codeProtocol
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.reset != codeNo {
		c.reset(nil, h.id, h.reset)
		c.scrap(st)
		return
	}
	st.remote = h.ends
	c.streams[h.id] = st
	c.ready = append(c.ready, st)
}

// trail takes the trailers of a body.
func (c *conn) trail() {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, st := &c.head, c.streams[c.head.id]
	switch {
	case st == nil:
	case !st.body.expects(0, true):
		c.reset(st, h.id, codeProtocol)
	default:
		st.body.trailer = h.fields
		st.remote = true
		st.wakeReader()
	}
}
