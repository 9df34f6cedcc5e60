package h1

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// play is the handler that both servers have: what it does is in the target.
func play(w http.ResponseWriter, r *http.Request) {
	name, arg, _ := strings.Cut(strings.TrimPrefix(r.RequestURI, "/"), "?")
	h := w.Header()
	h["Content-Type"] = []string{"text/plain"} // or net/http guesses
	switch name {
	case "echo":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "the body is broken", http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s %s %q %v %d %q %v", r.Method, r.RequestURI, r.Host, r.TransferEncoding, r.ContentLength, body, r.Trailer)
	case "headers":
		names := make([]string, 0, len(r.Header))
		for k := range r.Header {
			names = append(names, k)
		}
		slices.Sort(names)
		for _, k := range names {
			fmt.Fprintf(w, "%s=%q\n", k, r.Header[k])
		}
	case "ignore":
		_, _ = io.WriteString(w, "not read")
	case "length":
		h.Set("Content-Length", "5")
		_, _ = io.WriteString(w, arg)
	case "status":
		var code int
		_, _ = fmt.Sscan(arg, &code)
		w.WriteHeader(code)
		w.WriteHeader(http.StatusTeapot) // is too late
		if _, err := io.WriteString(w, "body"); err != nil && !errors.Is(err, http.ErrBodyNotAllowed) {
			panic(err)
		}
	case "nothing":
	case "flush":
		for i := range 3 {
			fmt.Fprintf(w, "piece %d;", i)
			w.(http.Flusher).Flush()
		}
	case "large":
		for range 100 {
			_, _ = io.WriteString(w, strings.Repeat("0123456789", 100))
		}
	case "interim":
		h.Set("Link", "</a>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		h.Del("Link")
		_, _ = io.WriteString(w, "then")
	case "trailers":
		h.Set("Trailer", "A")
		_, _ = io.WriteString(w, "with")
		h.Set("A", "one")
		h.Set(http.TrailerPrefix+"B", "two")
	case "close":
		h.Set("Connection", "close")
		_, _ = io.WriteString(w, "last")
	case "abort":
		_, _ = io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	case "abort-early":
		panic(http.ErrAbortHandler)
	case "smuggle":
		h["A"] = []string{"b\r\nC: d"}
		h["bad name"] = []string{"x"}
		_, _ = io.WriteString(w, "safe")
	case "hijack":
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		defer c.Close()
		if _, err := w.Write([]byte("x")); !errors.Is(err, http.ErrHijacked) {
			return
		}
		_, _ = io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: up\r\n\r\n")
		var b [5]byte
		if _, err := io.ReadFull(rw, b[:]); err == nil {
			fmt.Fprintf(rw, "got %s", b[:])
		}
		_ = rw.Flush()
	}
}

// A wire is an exchange of bytes.
type wire struct {
	name, send string
	methods    []string // of the requests that are answered; nil for one GET

	why  string         // we do otherwise than net/http
	ours func(*outcome) // changes what net/http does to that
}

// closes, refuses and ends are differences.
func closes(o *outcome) { o.Fate = "closed" }

func refuses(status int) func(*outcome) {
	return func(o *outcome) { o.Answers, o.Fate = []answered{{Status: status}}, "closed" }
}

// ends is an answer whose head comes, and not all of its body.
func ends(o *outcome) { o.Answers = []answered{{Status: 200, Err: "ended"}} }

const post = "POST /echo HTTP/1.1\r\nHost: a\r\n"

var wires = []wire{
	{name: "get", send: "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "head", send: "HEAD /echo HTTP/1.1\r\nHost: a\r\n\r\n", methods: []string{"HEAD"}},
	{name: "head with a length", send: "HEAD /length?12345 HTTP/1.1\r\nHost: a\r\n\r\n", methods: []string{"HEAD"}},
	{name: "options", send: "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "headers", send: "GET /headers HTTP/1.1\r\nhOST: a\r\nx-a: 1\r\nX-A:2\r\nX-b:  c \t\r\nX-Empty:\r\n\r\n"},
	{name: "post", send: post + "Content-Length: 5\r\n\r\n12345"},
	{name: "post nothing", send: post + "Content-Length: 0\r\n\r\n"},
	{name: "post large", send: post + "Content-Length: 20000\r\n\r\n" + strings.Repeat("0123456789", 2000)},
	{name: "chunked", send: post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"},
	{name: "chunked large", send: post + "Transfer-Encoding: chunked\r\n\r\n4000\r\n" + strings.Repeat("x", 0x4000) + "\r\n0\r\n\r\n"},
	{name: "chunked with trailers", send: post + "Transfer-Encoding: chunked\r\nTrailer: A\r\n\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n"},
	{name: "bad chunk", send: post + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n"},
	{name: "pipelined", send: "GET /echo?1 HTTP/1.1\r\nHost: a\r\n\r\n" + post + "Content-Length: 3\r\n\r\nabcGET /flush HTTP/1.1\r\nHost: a\r\n\r\n" + post + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nHEAD /echo HTTP/1.1\r\nHost: a\r\n\r\nGET /echo?last HTTP/1.1\r\nHost: a\r\n\r\n", methods: []string{"GET", "POST", "GET", "POST", "HEAD", "GET"}},
	{name: "pipelined behind a close", send: "GET /close HTTP/1.1\r\nHost: a\r\n\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "close by the client", send: "GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"},
	{name: "close by the handler", send: "GET /close HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "1.0", send: "GET /echo HTTP/1.0\r\n\r\n"},
	{name: "1.0 keep-alive", send: "GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", why: "HTTP/1.0 may have come through a proxy that does not know what it passes on (RFC 9112 section 9.3)", ours: func(o *outcome) {
		o.Answers[0].Header.Del("Connection")
		o.Answers[0].Close = true
		o.Fate = "closed"
	}},
	{name: "1.0 large", send: "GET /large HTTP/1.0\r\n\r\n"},
	{name: "1.0 flushed", send: "GET /flush HTTP/1.0\r\n\r\n"},
	{name: "1.0 expects", send: "POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab"},
	{name: "1.0 interim", send: "GET /interim HTTP/1.0\r\n\r\n", ours: func(o *outcome) { o.Interim = nil }, why: "RFC 9110 section 15.2"},
	{name: "interim", send: "GET /interim HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "expects", send: post + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab"},
	{name: "expects, chunked", send: post + "Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"},
	{name: "expects, without a body", send: post + "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n"},
	{name: "expects, not read", send: "POST /ignore HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"},
	{name: "expects the impossible", send: post + "Expect: magic\r\nContent-Length: 2\r\n\r\nab"},
	{name: "not read", send: "POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", ours: closes, why: "what a handler leaves unread is not read in its place"},
	{name: "length kept", send: "GET /length?12345 HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "shorter than announced", send: "GET /length?123 HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "longer than announced", send: "GET /length?1234567 HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "200", send: "GET /status?200 HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "204", send: "GET /status?204 HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "304", send: "GET /status?304 HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "404", send: "GET /status?404 HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "599", send: "GET /status?599 HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "nothing", send: "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "flushed", send: "GET /flush HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "large", send: "GET /large HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "trailers", send: "GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n"},
	{name: "aborted", send: "GET /abort HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "aborted, 1.0", send: "GET /abort HTTP/1.0\r\n\r\n", ours: ends, why: "nothing but a reset tells the end of the connection from that of the answer"},
	{name: "aborted before anything", send: "GET /abort-early HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "harmless", send: "GET /smuggle HTTP/1.1\r\nHost: a\r\n\r\n"},
	{name: "hijacked", send: "GET /hijack HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: up\r\n\r\n12345"},
	{name: "no host", send: "GET /echo HTTP/1.1\r\n\r\n"},
	{name: "two hosts", send: "GET /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"},
	{name: "no request", send: "nonsense\r\n\r\n"},
	{name: "bad name", send: "GET / HTTP/1.1\r\nHost: a\r\nb c: d\r\n\r\n"},
	{name: "bad value", send: "GET / HTTP/1.1\r\nHost: a\r\nb: c\x01\r\n\r\n"},
	{name: "bad length", send: post + "Content-Length: +5\r\n\r\n12345"},
	{name: "two lengths", send: post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345"},
	{name: "other coding", send: post + "Transfer-Encoding: gzip\r\n\r\n"},
	{name: "other version", send: "GET / HTTP/3.0\r\nHost: a\r\n\r\n"},
	{name: "folded", send: "GET /echo HTTP/1.1\r\nHost: a\r\nB: c\r\n d\r\n\r\n", ours: refuses(400), why: "two readers may understand it differently"},
	{name: "bare LF", send: "GET /echo HTTP/1.1\nHost: a\n\n", ours: refuses(400), why: "two readers may understand it differently"},
	{name: "both lengths", send: post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ours: refuses(400), why: "two readers may understand it differently"},
	{name: "head too large", send: "GET / HTTP/1.1\r\nHost: a\r\nB: " + strings.Repeat("c", 40<<10) + "\r\n\r\n"},
	{name: "target too long", send: "GET /" + strings.Repeat("c", 40<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", ours: refuses(414), why: "RFC 9110 section 15.5.15"},
}

// An outcome is what a client sees of a wire.
type outcome struct {
	Answers []answered
	Interim []int
	Fate    string
}

// run sends pieces, one after the other, and says what came of it.
func (wi *wire) run(c *client, pieces []string) outcome {
	for i, p := range pieces {
		if i > 0 {
			<-time.After(500 * time.Microsecond) // so that they do not arrive as one; if they do, nothing is lost
		}
		if _, err := io.WriteString(c, p); err != nil {
			break // refused already
		}
	}
	var o outcome
	methods := wi.methods
	if methods == nil {
		method, _, _ := strings.Cut(wi.send, " ")
		methods = []string{method}
	}
	for _, m := range methods {
		a, interim := c.hear(m)
		for _, k := range []string{"Date", "Content-Type", "X-Content-Type-Options", "Transfer-Encoding", "Content-Length"} { // the length is that of the body
			a.Header.Del(k)
		}
		if len(a.Trailer) == 0 {
			a.Trailer = nil
		}
		if a.Status >= 400 && a.Status != 404 && a.Status != 599 { // refused: the words are ours
			a.Body, a.Header, a.Close = "", nil, false
		}
		if a.Err != "" {
			a.Body, a.Header, a.Trailer, a.Close = "", nil, nil, false // how much of it comes before the end is a matter of buffers
		}
		o.Answers, o.Interim = append(o.Answers, a), append(o.Interim, interim...)
	}
	if o.Answers[0].Status == http.StatusSwitchingProtocols {
		rest, _ := io.ReadAll(c.br)
		o.Fate = string(rest)
		return o
	}
	_, _ = io.WriteString(c, "GET /echo?probe HTTP/1.1\r\nHost: probe\r\n\r\n") // the answer says it
	o.Fate = "closed"
	if a, _ := c.hear("GET"); a.Status > 0 {
		o.Fate = "open"
	}
	return o
}

// splits are ways to cut a text into pieces: whole, in two at the places that matter,
// and in many.
func splits(text string) [][]string {
	out := [][]string{{text}}
	places := map[int]bool{1: true, len(text) - 1: true}
	for i, c := range text {
		if (c == '\r' || c == '\n' || c == ' ' || c == ':') && len(places) < 24 {
			places[i], places[i+1] = true, true
		}
	}
	for i := range places {
		if i > 0 && i < len(text) {
			out = append(out, []string{text[:i], text[i:]})
		}
	}
	var many []string
	for rest := text; rest != ""; {
		n := min(len(rest), 1+len(text)/16)
		many = append(many, rest[:n])
		rest = rest[n:]
	}
	return append(out, many)
}

// expect is what wi must come to: what net/http makes of it, but for what we do
// otherwise.
func (wi *wire) expect(t *testing.T) outcome {
	ln := listen(t)
	std := &http.Server{Handler: http.HandlerFunc(play), DisableGeneralOptionsHandler: true, MaxHeaderBytes: 28 << 10, ReadHeaderTimeout: patience}
	end := make(chan error, 1)
	go func() { end <- std.Serve(ln) }()
	t.Cleanup(func() {
		_ = std.Close()
		<-end
	})
	o := wi.run(dial(t, plain, ln.Addr().String()), []string{wi.send})
	if wi.ours != nil {
		before := fmt.Sprint(o)
		if wi.ours(&o); fmt.Sprint(o) == before {
			t.Error("net/http does the same")
		}
	}
	return o
}

// TestWire proves that a client sees the same of us as of net/http, but for what the
// table says, however its bytes come, and by every way.
func TestWire(t *testing.T) {
	servers := map[way]*served{}
	for _, w := range ways {
		servers[w] = serve(t, w, play)
	}
	for _, wi := range wires {
		t.Run(wi.name, func(t *testing.T) {
			if (wi.ours == nil) != (wi.why == "") {
				t.Fatal("a difference has a reason")
			}
			want := wi.expect(t)
			for w, s := range servers {
				pieces := splits(wi.send)
				switch { // those that are driven are told apart by when their bytes come
				case w == crumbs:
					pieces = pieces[:1]
				case w != plain:
					pieces = [][]string{pieces[0], pieces[len(pieces)-1]}
				}
				for i, p := range pieces {
					c := dial(t, w, s.addr)
					got := wi.run(c, p)
					if d := cmp.Diff(want, got); d != "" {
						t.Fatalf("%s, split %d (%q...): (-want +got)\n%s", w, i, p[0][:min(len(p[0]), 200)], d)
					}
					_ = c.Close()
				}
			}
		})
	}
}
