package smuggle

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A downgrade is a request of HTTP/2 that the agent gets as HTTP/1.1.
type downgrade struct {
	name    string
	fields  []string // "name: value" instead of, or besides, those of a GET; see head
	drop    string   // a pseudo-header that is left out
	data    string
	trailer []string
	open    bool   // the request is not ended
	want    string // as that of an attack, or "refused": reset, or answered 400
	seen    field
}

var downgrades = []downgrade{
	{name: "a GET", want: `200 GET /a ""`},
	{name: "a body with its length", fields: []string{":method: POST", "content-length: 5"}, data: "hello", want: `200 POST /a "hello"`},
	{name: "a body without a length", fields: []string{":method: POST"}, data: "hello", want: `200 POST /a "hello"`},
	{name: "a body that looks like a request", fields: []string{":method: POST"}, data: smuggled, want: `200 POST /a "GET /smuggled HTTP/1.1\r\nHost: clinic.example\r\n\r\n"`},
	{name: "a body that looks like the end of chunks", fields: []string{":method: POST"}, data: "0\r\n\r\n" + smuggled, want: `200 POST /a "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: clinic.example\r\n\r\n"`},
	{name: "cookies in crumbs", fields: []string{"cookie: a=b", "cookie: c=d"}, want: `200 GET /a ""`, seen: field{"Cookie", "a=b; c=d"}},
	{name: "te: trailers", fields: []string{"te: trailers"}, want: `200 GET /a ""`},
	{name: "a trailer", fields: []string{":method: POST", "trailer: x-sum"}, data: "hello", trailer: []string{"x-sum: 7"}, want: `200 POST /a "hello"`, seen: field{"X-Sum", "7"}},

	{name: "a length too long", fields: []string{":method: POST", "content-length: 6"}, data: "hello", want: "refused"},
	{name: "a length too short", fields: []string{":method: POST", "content-length: 4"}, data: "hello", want: "refused"},
	{name: "a length of 0 and a body", fields: []string{":method: POST", "content-length: 0"}, data: smuggled, want: "refused"},
	{name: "a length and no body", fields: []string{":method: POST", "content-length: 5"}, want: "refused"},
	{name: "two unequal lengths", fields: []string{":method: POST", "content-length: 5", "content-length: 6"}, data: "hello", want: "refused"},
	{name: "a list of lengths", fields: []string{":method: POST", "content-length: 5, 5"}, data: "hello", want: "refused"},
	{name: "a length with a plus", fields: []string{":method: POST", "content-length: +5"}, data: "hello", want: "refused"},
	{name: "a negative length", fields: []string{":method: POST", "content-length: -5"}, data: "hello", want: "refused"},
	{name: "a length that is no number", fields: []string{":method: POST", "content-length: x"}, data: "hello", want: "refused"},
	{name: "a length that is empty", fields: []string{":method: POST", "content-length: "}, data: "hello", want: `refused or 200 POST /a "hello"`},
	{name: "a length beyond 64 bits", fields: []string{":method: POST", "content-length: 18446744073709551621"}, data: "hello", want: "refused"},
	{name: "content_length", fields: []string{":method: POST", "content_length: 1"}, data: "hello", want: "refused"},

	{name: "transfer-encoding", fields: []string{":method: POST", "transfer-encoding: chunked"}, data: "0\r\n\r\n" + smuggled, want: "refused"},
	{name: "transfer-encoding and a length", fields: []string{":method: POST", "content-length: 5", "transfer-encoding: chunked"}, data: "0\r\n\r\n", want: "refused"},
	{name: "transfer_encoding", fields: []string{":method: POST", "transfer_encoding: chunked"}, data: "0\r\n\r\n", want: "refused"},
	{name: "connection", fields: []string{"connection: close"}, want: "refused"},
	{name: "connection that names a length", fields: []string{":method: POST", "connection: content-length", "content-length: 5"}, data: "hello", want: "refused"},
	{name: "keep-alive", fields: []string{"keep-alive: timeout=5"}, want: "refused"},
	{name: "proxy-connection", fields: []string{"proxy-connection: keep-alive"}, want: "refused"},
	{name: "upgrade", fields: []string{"upgrade: h2c"}, want: "refused"},
	{name: "te that is not trailers", fields: []string{"te: chunked"}, want: "refused"},
	{name: "http2-settings", fields: []string{"http2-settings: AAMAAABkAAQCAAAAAAIAAAAA"}, want: `refused or 200 GET /a ""`},

	{name: "a space in the path", fields: []string{":path: /a b"}, want: "refused"},
	{name: "a request line in the path", fields: []string{":path: /a HTTP/1.1\r\nHost: evil.example\r\n\r\n"}, want: "refused"},
	{name: "a tab in the path", fields: []string{":path: /a\tb"}, want: "refused"},
	{name: "NUL in the path", fields: []string{":path: /a\x00"}, want: "refused"},
	{name: "a bare LF in the path", fields: []string{":path: /a\nX-A: b"}, want: "refused"},
	{name: "a fragment in the path", fields: []string{":path: /a#b"}, want: "refused"},
	{name: "8-bit bytes in the path", fields: []string{":path: /\xc3\xa9"}, want: "refused"},
	{name: "an empty path", fields: []string{":path: "}, want: "refused"},
	{name: "a path without a slash", fields: []string{":path: a"}, want: "refused"},
	{name: "an asterisk for the path", fields: []string{":path: *"}, want: "refused"},
	{name: "a URL for the path", fields: []string{":path: http://evil.example/a"}, want: "refused"},
	{name: "two slashes", fields: []string{":path: //evil.example/a"}, want: "refused"},

	{name: "a user in the authority", fields: []string{":authority: user@clinic.example"}, want: "refused"},
	{name: "a space in the authority", fields: []string{":authority: clinic.example evil.example"}, want: "refused"},
	{name: "a line end in the authority", fields: []string{":authority: clinic.example\r\nX-A: b"}, want: "refused"},
	{name: "a path in the authority", fields: []string{":authority: clinic.example/a"}, want: "refused"},
	{name: "a list in the authority", fields: []string{":authority: clinic.example,evil.example"}, want: "refused"},
	{name: "an empty authority", fields: []string{":authority: "}, want: "refused"},
	{name: "no authority", drop: ":authority", want: "refused"},
	{name: "host for the authority", drop: ":authority", fields: []string{"host: clinic.example"}, want: `200 GET /a ""`, seen: field{"X-Forwarded-Host", "clinic.example"}},
	{name: "host besides the authority", fields: []string{"host: clinic.example"}, want: `200 GET /a ""`},
	{name: "host that differs from the authority", fields: []string{"host: evil.example"}, want: "refused"},
	{name: "two hosts", drop: ":authority", fields: []string{"host: clinic.example", "host: evil.example"}, want: "refused"},

	{name: "a space in the method", fields: []string{":method: GET /smuggled HTTP/1.1"}, want: "refused"},
	{name: "a line end in the method", fields: []string{":method: GET\r\n"}, want: "refused"},
	{name: "an empty method", fields: []string{":method: "}, want: "refused"},
	{name: "no method", drop: ":method", want: "refused"},
	{name: "no path", drop: ":path", want: "refused"},
	{name: "no scheme", drop: ":scheme", want: "refused"},
	{name: "another scheme", fields: []string{":scheme: ftp"}, want: `refused or 200 GET /a ""`},
	{name: "a line end in the scheme", fields: []string{":scheme: http\r\nX-A: b"}, want: `refused or 200 GET /a ""`},
	{name: "a tunnel", fields: []string{":method: CONNECT", ":authority: clinic.example:443"}, want: "refused"},
	{name: "two methods", fields: []string{":method: GET", ":method: POST"}, want: "refused"},
	{name: "two paths", fields: []string{":path: /a", ":path: /b"}, want: "refused"},
	{name: "two authorities", fields: []string{":authority: clinic.example", ":authority: evil.example"}, want: "refused"},
	{name: "a status", fields: []string{":status: 200"}, want: "refused"},
	{name: "a pseudo-header that nobody knows", fields: []string{":a: b"}, want: "refused"},
	{name: "a pseudo-header after a header", fields: []string{"x-a: b", ":path: /b"}, want: "refused"},

	{name: "CR LF in a value", fields: []string{"x-a: b\r\nX-B: c"}, want: "refused"},
	{name: "a whole request in a value", fields: []string{"x-a: b\r\n\r\n" + smuggled}, want: "refused"},
	{name: "a bare CR in a value", fields: []string{"x-a: b\rc"}, want: "refused"},
	{name: "a bare LF in a value", fields: []string{"x-a: b\nc"}, want: "refused"},
	{name: "NUL in a value", fields: []string{"x-a: b\x00c"}, want: "refused"},
	{name: "a length after a line end", fields: []string{":method: POST", "x-a: b\r\nContent-Length: 0"}, data: smuggled, want: "refused"},
	{name: "capitals in a name", fields: []string{"X-A: b"}, want: "refused"},
	{name: "a colon in a name", fields: []string{"x-a:b: c"}, want: "refused"},
	{name: "a space in a name", fields: []string{"x a: b"}, want: "refused"},
	{name: "a line end in a name", fields: []string{"x-a\r\nx-b: c"}, want: "refused"},
	{name: "NUL in a name", fields: []string{"x\x00a: b"}, want: "refused"},
	{name: "8-bit bytes in a name", fields: []string{"x\xe9: b"}, want: "refused"},
	{name: "an empty name", fields: []string{": b"}, want: "refused"},
	{name: "a space before a value", fields: []string{"x-a:  b"}, want: `refused or 200 GET /a ""`},
	{name: "x_forwarded_for", fields: []string{"x_forwarded_for: 1.2.3.4"}, want: "refused"},

	{name: "a trailer for the path", fields: []string{":method: POST"}, data: "hello", trailer: []string{":path: /b"}, want: "refused"},
	{name: "a trailer for the length", fields: []string{":method: POST", "trailer: content-length"}, data: "hello", trailer: []string{"content-length: 1"}, want: `refused or 200 POST /a "hello"`},
	{name: "a trailer with a line end", fields: []string{":method: POST", "trailer: x-sum"}, data: "hello", trailer: []string{"x-sum: 7\r\nX-B: c"}, want: `refused or 200 POST /a "hello"`},
	{name: "a trailer in capitals", fields: []string{":method: POST"}, data: "hello", trailer: []string{"X-Sum: 7"}, want: `refused or 200 POST /a "hello"`},
	{name: "a trailer for the coding", fields: []string{":method: POST"}, data: "hello", trailer: []string{"transfer-encoding: chunked"}, want: `refused or 200 POST /a "hello"`},
	{name: "a body that does not end", fields: []string{":method: POST", "content-length: 10"}, data: "hello", open: true, want: "reset"},
}

// head is the head of the request: a GET, with its own pseudo-headers in the place of
// the usual ones.
func (d *downgrade) head() []hpack.HeaderField {
	out := []hpack.HeaderField{}
	for _, f := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "clinic.example"}, {Name: ":path", Value: "/a"}} {
		own := slices.ContainsFunc(d.fields, func(s string) bool { return strings.HasPrefix(s, f.Name+": ") })
		if f.Name != d.drop && (!own || d.name == "a pseudo-header after a header") {
			out = append(out, f)
		}
	}
	return append(out, parts(d.fields)...)
}

func parts(lines []string) []hpack.HeaderField {
	var out []hpack.HeaderField
	for _, s := range lines {
		name, value, _ := strings.Cut(s[min(1, len(s)):], ": ") // a pseudo-header begins with a colon
		out = append(out, hpack.HeaderField{Name: s[:1] + name, Value: value})
	}
	for i, f := range out {
		if f.Name == ":" || f.Name == ": b" { // the empty name
			out[i] = hpack.HeaderField{Name: "", Value: "b"}
		}
	}
	return out
}

// What HTTP/2 carries and HTTP/1.1 cannot is refused on its way to an agent that
// speaks HTTP/1.1, and the stream after it is answered for itself.
func TestDowngrades(t *testing.T) {
	each(t, func(t *testing.T, _ engine, gateway string, a *agent) {
		var from addresses
		for _, d := range downgrades {
			t.Run(d.name, func(t *testing.T) { d.run(t, gateway, a, from.next()) })
		}
		for _, s := range a.strays() {
			t.Errorf("nobody sent this: %s", s)
		}
	})
}

func (d *downgrade) run(t *testing.T, gateway string, a *agent, from net.IP) {
	a.open(from.String())
	cl, err := dial(t, gateway, from)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.close()
	h := newMultiplexed(t, cl)
	h.send(1, d.head(), d.data, parts(d.trailer), d.open)
	if d.open {
		if err := h.WriteRSTStream(1, http2.ErrCodeCancel); err != nil {
			t.Fatal(err)
		}
		h.over[1] = true
	}
	h.send(3, (&downgrade{fields: []string{":path: /next"}}).head(), "", nil, false)
	h.read(t)
	p := a.read(from.String())
	got := h.outcome(1, &p)
	if !slices.Contains(strings.Split(d.want, " or "), got) && !(strings.HasPrefix(d.want, "refused") && (got == "reset" || got == "400" || got == "405" || got == "501")) {
		t.Errorf("got %s, want %s", got, d.want)
	}
	if next := h.outcome(3, &p); next != `200 GET /next ""` && !(next == "reset" && h.gone) {
		t.Errorf("the stream after it got %s", next)
	}
	for _, s := range p.dirty {
		t.Error(s)
	}
	for _, m := range p.seen {
		if m.target != "/next" && strings.HasPrefix(d.want, "refused") && !strings.Contains(d.want, " or ") {
			t.Errorf("the agent saw %v", m)
		}
		if whole := (&message{fields: slices.Concat(m.fields, m.trailer)}); m.target == "/a" && d.seen.name != "" && whole.value(strings.ToLower(d.seen.name)) != d.seen.value {
			t.Errorf("the agent saw %v, want %v", whole.fields, d.seen)
		}
	}
}

// A multiplexed is the client's side of a connection of HTTP/2.
type multiplexed struct {
	*http2.Framer
	head   bytes.Buffer
	enc    *hpack.Encoder
	status map[uint32]string
	saw    map[uint32]string
	over   map[uint32]bool
	gone   bool // the gateway has ended the connection
}

func newMultiplexed(t *testing.T, cl *client) *multiplexed {
	h := &multiplexed{Framer: http2.NewFramer(cl.conn, cl.conn), status: map[uint32]string{}, saw: map[uint32]string{}, over: map[uint32]bool{}}
	h.enc = hpack.NewEncoder(&h.head)
	h.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h.AllowIllegalWrites = true
	if _, err := io.WriteString(cl.conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := h.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return h
}

// send sends a request. What fails shows in what is read.
func (h *multiplexed) send(id uint32, fields []hpack.HeaderField, data string, trailer []hpack.HeaderField, open bool) {
	ends := !open
	h.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: h.block(fields), EndHeaders: true, EndStream: ends && data == ""})
	if data != "" {
		h.WriteData(id, ends && len(trailer) == 0, []byte(data))
	}
	if len(trailer) > 0 {
		h.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: h.block(trailer), EndHeaders: true, EndStream: true})
	}
}

func (h *multiplexed) block(fields []hpack.HeaderField) []byte {
	h.head.Reset()
	for _, f := range fields {
		h.enc.WriteField(f)
	}
	return bytes.Clone(h.head.Bytes())
}

// read reads until both streams are over, or the connection is.
func (h *multiplexed) read(t *testing.T) {
	t.Helper()
	for !h.over[1] || !h.over[3] {
		f, err := h.ReadFrame()
		if timedOut(err) {
			t.Error("a hang: the streams do not end")
		}
		if se, ok := errors.AsType[http2.StreamError](err); ok {
			t.Errorf("an answer that is no HTTP/2: %v", se)
			return
		}
		if err != nil {
			h.gone = true
			return
		}
		h.frame(f)
	}
}

func (h *multiplexed) frame(f http2.Frame) {
	id := f.Header().StreamID
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			h.WriteSettingsAck()
		}
	case *http2.MetaHeadersFrame:
		if h.status[id] == "" || h.status[id][0] == '1' {
			h.status[id] = f.PseudoValue("status")
		}
		for _, g := range f.RegularFields() {
			if g.Name == "x-saw" {
				h.saw[id] = g.Value
			}
		}
		h.over[id] = h.over[id] || f.StreamEnded()
	case *http2.DataFrame:
		h.over[id] = h.over[id] || f.StreamEnded()
	case *http2.RSTStreamFrame:
		if !h.over[id] {
			h.status[id] = "reset"
		}
		h.over[id] = true
	case *http2.GoAwayFrame:
		h.gone = h.gone || f.ErrCode != http2.ErrCodeNo
	}
}

// outcome says what became of a stream: a status, with the request that the agent saw
// if it was the agent who answered; or a reset.
func (h *multiplexed) outcome(id uint32, p *page) string {
	if h.saw[id] == "" {
		if h.status[id] == "" {
			return "reset"
		}
		return h.status[id]
	}
	for _, m := range p.seen {
		if m.value("x-request-id") == h.saw[id] {
			return fmt.Sprintf("%s %s %s %q", h.status[id], m.method, m.target, m.body)
		}
	}
	return "an answer to no request"
}
