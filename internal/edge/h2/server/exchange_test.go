package server

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
)

// text is a header in order.
func text(h http.Header) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(h)) {
		if k != "Date" && k != "User-Agent" && k != "Accept-Encoding" {
			fmt.Fprintf(&b, "%s=%q ", k, h[k])
		}
	}
	return b.String()
}

// begin sends the head of an answer in a way that leaves net/http nothing to guess: for
// a short body it finds out type and length, which ours does not.
func begin(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/x")
	w.(http.Flusher).Flush()
}

// describe answers with what it sees.
func describe(w http.ResponseWriter, r *http.Request) {
	announced := slices.Sorted(maps.Keys(r.Trailer))
	b, err := io.ReadAll(r.Body)
	begin(w)
	fmt.Fprintf(w, "%s %s %s %s length=%d\n%s\n%d %x %v\n%s -> %s\n", r.Method, r.RequestURI, r.Proto, r.Host,
		r.ContentLength, text(r.Header), len(b), b[:min(len(b), 64)], err, announced, text(r.Trailer))
}

// comparisons are exchanges that must be the same with net/http's server.
var comparisons = []struct {
	name    string
	handler http.HandlerFunc
	method  string
	header  http.Header
	body    func() io.Reader
	trailer http.Header
}{
	{name: "GET", handler: describe, method: "GET", header: http.Header{"A": {"b"}, "X-Many": {"1", "2"}}},
	{name: "cookies", handler: describe, method: "GET", header: http.Header{"Cookie": {"a=b; c=d", "e=f"}}},
	{name: "POST with a length", handler: describe, method: "POST", body: func() io.Reader { return strings.NewReader("hello") }},
	{name: "POST without", handler: describe, method: "POST", body: func() io.Reader { return io.MultiReader(strings.NewReader("hello")) }},
	{name: "POST of nothing", handler: describe, method: "POST", body: func() io.Reader { return http.NoBody }},
	{name: "3 MiB up", handler: describe, method: "PUT", body: func() io.Reader { return bytes.NewReader(make([]byte, 3<<20)) }},
	{name: "trailers up", handler: describe, method: "POST", body: func() io.Reader { return strings.NewReader("x") }, trailer: http.Header{"X-Sum": {"7"}}},
	{name: "expect", handler: describe, method: "POST", header: http.Header{"Expect": {"100-continue"}}, body: func() io.Reader { return strings.NewReader("hello") }},
	{name: "HEAD", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/x")
		w.Header().Set("Content-Length", "12")
		io.WriteString(w, "hello, world")
	}, method: "HEAD"},
	{name: "204", handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, method: "GET"},
	{name: "304", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Etag", `"a"`)
		w.WriteHeader(304)
	}, method: "GET"},
	{name: "418", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(418)
	}, method: "GET"},
	{name: "a length", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/x")
		w.Header().Set("Content-Length", "5")
		io.WriteString(w, "hello")
	}, method: "GET"},
	{name: "hop by hop", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/x")
		w.Header().Set("Content-Length", "0")
		w.Header().Set("Transfer-Encoding", "chunked")
	}, method: "GET"},
	{name: "3 MiB down", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/x")
		for range 48 {
			w.Write(make([]byte, 64<<10))
		}
	}, method: "GET"},
	{name: "trailers down", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		begin(w)
		io.WriteString(w, "hello")
		w.Header().Set("X-Sum", "7")
		w.Header().Set(http.TrailerPrefix+"X-Late", "8")
	}, method: "GET"},
	{name: "early hints", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(103)
		w.Header().Del("Link")
		begin(w)
		io.WriteString(w, "hello")
	}, method: "GET"},
	{name: "cut", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/x")
		io.WriteString(w, "hello")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}, method: "GET"},
	{name: "short", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/x")
		w.Header().Set("Content-Length", "6")
		io.WriteString(w, "hello")
	}, method: "GET"},
	{name: "a head of 40 KiB", handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("A", strings.Repeat("b", 40<<10))
		begin(w)
		io.WriteString(w, "hello")
	}, method: "GET"},
}

// TestAsNetHTTP proves that handlers and clients see what they see with net/http.
func TestAsNetHTTP(t *testing.T) {
	for _, tt := range comparisons {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ours := serve(t, tt.handler)
			std := &http.Server{Handler: tt.handler, Protocols: new(http.Protocols)}
			std.Protocols.SetUnencryptedHTTP2(true)
			ln := listen(t)
			ended := make(chan struct{})
			go func() { defer close(ended); _ = std.Serve(ln) }()
			t.Cleanup(func() { std.Close(); <-ended })
			ask := func(addr string) string {
				var early string
				var body io.Reader
				if tt.body != nil {
					body = tt.body()
				}
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
					if code != 100 {
						early += fmt.Sprint(code, h)
					}
					return nil
				}})
				r, err := http.NewRequestWithContext(ctx, tt.method, "http://"+addr+"/a?b=c", body)
				if err != nil {
					t.Fatal(err)
				}
				r.Host = "host.example"
				maps.Copy(r.Header, tt.header)
				r.Trailer = tt.trailer
				resp, err := client(t).RoundTrip(r)
				if err != nil {
					return "failed"
				}
				defer resp.Body.Close()
				b, err := io.ReadAll(resp.Body)
				return fmt.Sprintf("%s%s length=%d\n%s\n%d %.300s\n%s failed=%t", early, resp.Status, resp.ContentLength, text(resp.Header), len(b), b, text(resp.Trailer), err != nil)
			}
			if d := cmp.Diff(ask(ln.Addr().String()), ask(ours.addr)); d != "" {
				t.Errorf("net/http (-), ours (+):\n%s", d)
			}
		})
	}
}

// TestManyStreams proves that many requests at a time on one connection get each its
// own answer, up and down, beyond all windows.
func TestManyStreams(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Id", r.Header.Get("Id"))
		io.Copy(w, r.Body)
	}, func(c *Config) { c.StreamWindow, c.ConnWindow = 64<<10, 128<<10 })
	tr := client(t)
	tr.HTTP2 = &http.HTTP2Config{StrictMaxConcurrentRequests: true}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			for j := range 5 {
				want := bytes.Repeat([]byte{byte(i), byte(j)}, 1+i*j*1000)
				r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+s.addr+"/", bytes.NewReader(want))
				if err != nil {
					t.Error(err)
					return
				}
				r.Header.Set("Id", fmt.Sprint(i, j))
				resp, err := tr.RoundTrip(r)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || !bytes.Equal(got, want) || resp.Header.Get("Id") != fmt.Sprint(i, j) {
					t.Errorf("%d %d: got %d bytes for %q, %v, want %d", i, j, len(got), resp.Header.Get("Id"), err, len(want))
				}
			}
		})
	}
	all.Wait()
}

// TestWholeBody proves that a body which has come whole with its head can be had
// without waiting when the handler starts, and that one which has not cannot.
func TestWholeBody(t *testing.T) {
	there := make(chan int, 2)
	s := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		there <- r.Body.(interface{ Buffered() int }).Buffered()
		io.Copy(io.Discard, r.Body)
	})
	p := s.dial()
	var b bytes.Buffer // one write, so that it is one read
	out := http2.NewFramer(&b, nil)
	out.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: p.block(post...)})
	out.WriteData(1, false, []byte("hello, "))
	out.WriteData(1, true, []byte("world"))
	p.conn.Write(b.Bytes())
	p.want(1, "")
	if n := <-there; n != len("hello, world") {
		t.Errorf("got %d bytes, want all", n)
	}
	p.open(3, false, post...)
	if n := <-there; n != 0 {
		t.Errorf("got %d bytes, want none", n)
	}
	p.WriteData(3, true, []byte("x"))
	p.want(3, "")
}

// TestContinue proves that a client which waits to be asked for its body is asked when
// the handler wants it, and not if it does not.
func TestContinue(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("A") == "read" {
			io.Copy(w, r.Body)
		}
	})
	p := s.dial()
	p.open(1, false, append(post, "expect: 100-continue", "a: read")...)
	if f, ok := p.next().(*http2.MetaHeadersFrame); !ok || f.PseudoValue("status") != "100" {
		t.Fatalf("got %v", f)
	}
	p.WriteData(1, true, []byte("hello"))
	p.want(1, "hello")
	p.open(3, false, append(post, "expect: 100-continue")...)
	p.want(3, "")
	if f, ok := p.next().(*http2.RSTStreamFrame); !ok || f.ErrCode != http2.ErrCodeNo {
		t.Errorf("got %v, want to be told that the body is not wanted", f)
	}
	p.WriteData(3, true, []byte("on its way")) // is ignored
	p.open(5, true, get...)
	p.want(5, "")
}
