package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http/httpguts"
)

// The fuzz targets prove: what we accept, net/http accepts, in the same meaning, and it
// ends at the same byte; and where we wait for more, net/http has not got a whole
// message either. Where the two differ, and ours is meant, it stands here:
//
//   - The target is not parsed here. The engines refuse what net/url does, so that such
//     requests are left out (RFC 9112 section 3.2).
//   - With a target in absolute form, net/http takes the host of that, and drops Host.
//     The edge refuses a request in which they disagree (RFC 9112 section 3.2.2).
//   - net/http adds "Cache-Control: no-cache" to a message with "Pragma: no-cache",
//     which RFC 9111 section 5.4 asks of caches only.
//   - It takes Transfer-Encoding out of the header, and the Trailer of a chunked
//     message, and of an answer a Connection that says close. Ours leaves that to the
//     engines, which take out all fields of RFC 9110 section 7.6.1.

const largest = 64 << 10 // of what is tried; also what net/http may look ahead for trailers

// heads are seeds that the tables do not have.
var heads = []string{
	usualRequest, usualResponse,
	"GET http://b/c HTTP/1.1\r\nHost: a\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
	"CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
	get("Pragma: no-cache"),
	get("Pragma: no-cache", "Cache-Control: x"),
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: A, B\r\n\r\n3;a=\"b\"\r\nabc\r\n0\r\nA: b\r\nC: d\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
	"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
}

func seed(f *testing.F, kinds ...string) {
	f.Helper()
	for _, c := range refusals {
		if slices.Contains(kinds, c.kind) && len(c.text) < 4<<10 {
			f.Add([]byte(c.text))
		}
	}
	for _, c := range requests {
		f.Add([]byte(c.text))
	}
	for _, c := range answers {
		f.Add([]byte(c.text))
	}
	for _, text := range heads {
		f.Add([]byte(text))
	}
}

// A source is bytes that net/http reads, and how many it has used.
type source struct {
	*bufio.Reader
	rest *bytes.Reader
}

func newSource(b []byte) *source {
	r := bytes.NewReader(b)
	return &source{bufio.NewReaderSize(r, largest), r}
}

func (s *source) left() int { return s.Buffered() + s.rest.Len() }

// parsed is what net/url says of the target of a request, as the engines ask it.
func parsed(h *Head) bool {
	target := h.Target
	if h.Method == http.MethodConnect && !strings.HasPrefix(target, "/") {
		target = "http://" + target
	}
	_, err := url.ParseRequestURI(target)
	return err == nil
}

func FuzzRequestHead(f *testing.F) {
	seed(f, aRequest)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > largest {
			return
		}
		h, n, err := request(data)
		sameInPieces(t, data, n, err)
		if err != nil || n > 0 && !parsed(h) {
			return
		}
		src := newSource(data)
		r, err := http.ReadRequest(src.Reader)
		if n == 0 {
			if err == nil {
				t.Fatalf("%q: we wait for more, net/http has a request", data)
			}
			return
		}
		if err != nil {
			t.Fatalf("%q: we accept it, net/http says %v", data[:n], err)
		}
		if got := len(data) - src.left(); got != n {
			t.Fatalf("%q: we take %d bytes, net/http %d", data, n, got)
		}
		sameRequest(t, h, r)
		sameAgain(t, data[:n], h, (*Head).ParseRequest)
	})
}

// sameInPieces holds Scan to what it said when the bytes came at once.
func sameInPieces(t *testing.T, data []byte, n int, err error) {
	t.Helper()
	var whole, pieces Scan
	want, wantErr := whole.End(data)
	if n != want || err == nil && wantErr != nil {
		t.Fatalf("%q: got %d, %v, Scan says %d, %v", data, n, err, want, wantErr)
	}
	var got int
	var gotErr error
	step := 1 + len(data)/200
	for i := 0; i <= len(data) && got == 0 && gotErr == nil; i += step {
		got, gotErr = pieces.End(data[:i])
	}
	if got == 0 && gotErr == nil {
		got, gotErr = pieces.End(data)
	}
	if got != want || gotErr != wantErr {
		t.Fatalf("%q in pieces of %d: got %d, %v, want %d, %v", data, step, got, gotErr, want, wantErr)
	}
}

// sameAgain parses b with a head that held another before.
func sameAgain(t *testing.T, b []byte, want *Head, how func(*Head, []byte) error) {
	t.Helper()
	var h Head
	h.Reset()
	for _, text := range []string{requests[len(requests)-2].text, usualRequest} {
		_ = h.ParseRequest([]byte(text)) // leaves something behind
		h.Reset()
	}
	if err := how(&h, bytes.Clone(b)); err != nil {
		t.Fatalf("%q: the second time: %v", b, err)
	}
	if d := cmp.Diff(&h, want, exported); d != "" {
		t.Fatalf("%q: the second time (-), the first (+)\n%s", b, d)
	}
}

// sameRequest compares what we understand with what net/http does.
func sameRequest(t *testing.T, h *Head, r *http.Request) {
	t.Helper()
	length := h.Length
	if length < 0 && !h.Chunked {
		length = 0
	}
	host := h.Host
	if r.URL.Host != "" {
		host = r.URL.Host
	}
	got := []any{h.Method, h.Target, h.Minor, 1, host, length, h.Chunked, h.Close}
	want := []any{r.Method, r.RequestURI, r.ProtoMinor, r.ProtoMajor, r.Host, r.ContentLength, slices.Equal(r.TransferEncoding, []string{"chunked"}), r.Close}
	if d := cmp.Diff(got, want); d != "" {
		t.Fatalf("ours (-), net/http (+)\n%s", d)
	}
	sameHeader(t, h, r.Header)
}

func sameHeader(t *testing.T, h *Head, want http.Header) {
	t.Helper()
	got := h.Header.Clone()
	announced := len(got["Trailer"]) > 0
	got.Del("Transfer-Encoding")
	if h.Chunked {
		got.Del("Trailer")
	}
	if _, has := got["Cache-Control"]; !has && len(got["Pragma"]) > 0 && got["Pragma"][0] == "no-cache" {
		got.Set("Cache-Control", "no-cache")
	}
	if d := cmp.Diff(got, want); d != "" {
		t.Fatalf("the header, ours (-), net/http (+)\n%s", d)
	}
	tells := func(name, token string) bool { return httpguts.HeaderValuesContainsToken(h.Header[name], token) }
	if h.Upgrade != tells("Connection", "upgrade") || h.Connection != (len(h.Header["Connection"]) > 0) {
		t.Fatalf("%q: got upgrade %t, connection %t", h.Header["Connection"], h.Upgrade, h.Connection)
	}
	if e := h.Header["Expect"]; h.Expects != (len(e) > 0) || h.Continue && !tells("Expect", "100-continue") {
		t.Fatalf("%q: got expects %t, continue %t", e, h.Expects, h.Continue)
	}
	for _, name := range []string{"Keep-Alive", "Proxy-Connection", "Upgrade", "Te", "Transfer-Encoding"} {
		announced = announced || len(h.Header[name]) > 0
	}
	if announced && !h.HopByHop {
		t.Fatalf("%v: got no sign of fields about the connection", h.Header)
	}
}

func FuzzResponseHead(f *testing.F) {
	seed(f, anAnswer)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > largest {
			return
		}
		h, n, err := answer(data)
		sameInPieces(t, data, n, err)
		if err != nil {
			return
		}
		src := newSource(data)
		r, err := http.ReadResponse(src.Reader, nil)
		if n == 0 {
			if err == nil {
				t.Fatalf("%q: we wait for more, net/http has an answer", data)
			}
			return
		}
		if err != nil {
			t.Fatalf("%q: we accept it, net/http says %v", data[:n], err)
		}
		if got := len(data) - src.left(); got != n {
			t.Fatalf("%q: we take %d bytes, net/http %d", data, n, got)
		}
		sameResponse(t, h, r)
		sameAgain(t, data[:n], h, (*Head).ParseResponse)
	})
}

func sameResponse(t *testing.T, h *Head, r *http.Response) {
	t.Helper()
	length, closes := h.Length, h.Close
	bodiless := h.Status < 200 || h.Status == 204 || h.Status == 304
	switch {
	case bodiless:
		length = 0
	case length < 0 && !h.Chunked:
		closes = true // the body ends with the connection
	}
	status := fmt.Sprintf("%d %s", h.Status, h.Reason)
	if h.Reason == "" {
		status = strings.TrimRight(status, " ")
		r.Status = strings.TrimRight(r.Status, " ")
	}
	got := []any{h.Status, status, h.Minor, 1, length, h.Chunked, closes}
	want := []any{r.StatusCode, r.Status, r.ProtoMinor, r.ProtoMajor, r.ContentLength, slices.Equal(r.TransferEncoding, []string{"chunked"}), r.Close}
	if d := cmp.Diff(got, want); d != "" {
		t.Fatalf("ours (-), net/http (+)\n%s", d)
	}
	if c := h.Header["Connection"]; len(c) > 0 && httpguts.HeaderValuesContainsToken(c, "close") {
		r.Header["Connection"] = c
	}
	if h.hasHost {
		if !slices.Equal(r.Header["Host"], []string{h.Host}) {
			t.Fatalf("got host %q, net/http %q", h.Host, r.Header["Host"])
		}
		r.Header.Del("Host")
	}
	sameHeader(t, h, r.Header)
}

func FuzzChunks(f *testing.F) {
	for _, c := range refusals {
		if c.kind == aBody {
			f.Add([]byte(c.text), uint16(3))
		}
	}
	for i, c := range bodies {
		f.Add([]byte(c.text+"GET / HTTP/1.1\r\n\r\n"), uint16(i))
		f.Add([]byte(c.text[:len(c.text)-1]), uint16(len(c.text)/2))
	}
	f.Fuzz(func(t *testing.T, data []byte, cut uint16) {
		if len(data) > largest {
			return
		}
		ours := feed(data)
		for _, cuts := range [][]int{{min(int(cut), len(data))}, every(len(data))} {
			got := feed(data, cuts...)
			if ours.err != nil {
				got.trailer = ours.trailer // as far as it was right
			}
			if d := cmp.Diff(got, ours, cmp.AllowUnexported(fed{}), cmp.Comparer(func(a, b error) bool { return a == b })); d != "" {
				t.Fatalf("%q in pieces %.20v (-), whole (+)\n%s", data, cuts, d)
			}
		}
		if ours.err == nil {
			sameBody(t, data, ours)
		}
	})
}

// sameBody compares what we make of a chunked body with what net/http does.
func sameBody(t *testing.T, data []byte, ours fed) {
	t.Helper()
	src := newSource(append([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), data...))
	r, err := http.ReadRequest(src.Reader)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	plain, plainErr := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(data)))
	switch {
	case !ours.done:
		if err == nil || !bytes.HasPrefix(plain, []byte(ours.data)) {
			t.Fatalf("%q: we wait for more after %q, net/http: %q, %v", data, ours.data, body, err)
		}
		return
	case err != nil || plainErr != nil:
		t.Fatalf("%q: we accept it, net/http says %v, %v", data, err, plainErr)
	}
	if string(body) != ours.data || string(plain) != ours.data || len(data)-src.left() != ours.used {
		t.Fatalf("%q: we read %q of %d bytes, net/http %q of %d", data, ours.data, ours.used, body, len(data)-src.left())
	}
	if d := cmp.Diff(ours.trailer, r.Trailer); d != "" {
		t.Fatalf("%q: the trailers, ours (-), net/http (+)\n%s", data, d)
	}
}
