package http1

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// request parses the head of a request at the beginning of b as an engine does, and
// returns its length; 0 if it has not come whole. B stays as it is.
func request(b []byte) (*Head, int, error) { return parse(b, (*Head).ParseRequest) }

// answer is request for answers.
func answer(b []byte) (*Head, int, error) { return parse(b, (*Head).ParseResponse) }

func parse(b []byte, how func(*Head, []byte) error) (*Head, int, error) {
	var s Scan
	h := new(Head)
	h.Reset()
	n, err := s.End(b)
	if n == 0 || err != nil {
		return h, 0, err
	}
	return h, n, how(h, slices.Clone(b[:n]))
}

// exported compares what a user of Head can see.
var exported = cmpopts.IgnoreUnexported(Head{})

var requests = []struct {
	name, text string
	want       Head
}{
	{"the shortest", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", Head{
		Method: "GET", Target: "/", Minor: 1, Host: "a", Fields: 1, Length: -1,
	}},
	{"names become canonical", "PUT /b?c HTTP/1.1\r\nhOST: a:1\r\nx-FOO-bar_baZ.q: 1\r\nx-foo-Bar_Baz.Q:2\r\nETAG: x\r\n\r\n", Head{
		Method: "PUT", Target: "/b?c", Minor: 1, Host: "a:1", Fields: 4, Length: -1,
		Header: http.Header{"X-Foo-Bar_baz.q": {"1", "2"}, "Etag": {"x"}},
	}},
	{"any byte of a token", "GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~09azAZ: x\r\n\r\n", Head{
		Method: "GET", Target: "/", Minor: 1, Host: "a", Fields: 2, Length: -1,
		Header: http.Header{"!#$%&'*+-.^_`|~09azaz": {"x"}},
	}},
	{"white space around a value", "GET / HTTP/1.1\r\nHost: \t a \t\r\nA:b\r\nB:\t\r\nC: d\te  f \r\nD:\r\n\r\n", Head{
		Method: "GET", Target: "/", Minor: 1, Host: "a", Fields: 5, Length: -1,
		Header: http.Header{"A": {"b"}, "B": {""}, "C": {"d\te  f"}, "D": {""}},
	}},
	{"values of bytes above ASCII", "GET / HTTP/1.1\r\nHost: a\r\nA: \x80\xff ä long enough for words\r\n\r\n", Head{
		Method: "GET", Target: "/", Minor: 1, Host: "a", Fields: 2, Length: -1,
		Header: http.Header{"A": {"\x80\xff ä long enough for words"}},
	}},
	{"a method of its own", "M-SEARCH * HTTP/1.1\r\nHost:\r\n\r\n", Head{
		Method: "M-SEARCH", Target: "*", Minor: 1, Fields: 1, Length: -1,
	}},
	{"methods have case", "get / HTTP/1.1\r\nHost: a\r\n\r\n", Head{
		Method: "get", Target: "/", Minor: 1, Host: "a", Fields: 1, Length: -1,
	}},
	{"an authority", "CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n", Head{
		Method: "CONNECT", Target: "b:443", Minor: 1, Host: "b:443", Fields: 1, Length: -1,
	}},
	{"a length", "POST / HTTP/1.1\r\nHost: a\r\ncontent-length:  123456789012345678 \r\n\r\nbody", Head{
		Method: "POST", Target: "/", Minor: 1, Host: "a", Fields: 2, Length: 123456789012345678,
		Header: http.Header{"Content-Length": {"123456789012345678"}},
	}},
	{"leading zeros", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0010\r\n\r\n", Head{
		Method: "POST", Target: "/", Minor: 1, Host: "a", Fields: 2, Length: 10,
		Header: http.Header{"Content-Length": {"0010"}},
	}},
	{"chunked", "POST / HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING: Chunked\r\nTrailer: A\r\n\r\n", Head{
		Method: "POST", Target: "/", Minor: 1, Host: "a", Fields: 3, Length: -1, Chunked: true, HopByHop: true,
		Header: http.Header{"Transfer-Encoding": {"Chunked"}, "Trailer": {"A"}},
	}},
	{"close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: foo , CLOSE\r\n\r\n", Head{
		Method: "GET", Target: "/", Minor: 1, Host: "a", Fields: 2, Length: -1, Close: true, Connection: true,
		Header: http.Header{"Connection": {"foo , CLOSE"}},
	}},
	{"close and keep-alive", "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", Head{
		Method: "GET", Target: "/", Minor: 1, Host: "a", Fields: 3, Length: -1, Close: true, Connection: true,
		Header: http.Header{"Connection": {"keep-alive", "close"}},
	}},
	{"not quite close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: closed, xclose, clo\u017fe, \"close\"\r\n\r\n", Head{
		Method: "GET", Target: "/", Minor: 1, Host: "a", Fields: 2, Length: -1, Connection: true,
		Header: http.Header{"Connection": {"closed, xclose, clo\u017fe, \"close\""}},
	}},
	{"1.0", "GET / HTTP/1.0\r\n\r\n", Head{Method: "GET", Target: "/", Length: -1, Close: true}},
	{"1.0 kept", "GET / HTTP/1.0\r\nConnection: x,\tKeep-Alive\r\n\r\n", Head{
		Method: "GET", Target: "/", Fields: 1, Length: -1, Connection: true,
		Header: http.Header{"Connection": {"x,\tKeep-Alive"}},
	}},
	{"1.0 not kept by a letter of Unicode", "GET / HTTP/1.0\r\nConnection: \u212aeep-alive\r\n\r\n", Head{
		Method: "GET", Target: "/", Fields: 1, Length: -1, Connection: true, Close: true,
		Header: http.Header{"Connection": {"\u212aeep-alive"}},
	}},
	{"upgrade", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", Head{
		Method: "GET", Target: "/", Minor: 1, Host: "a", Fields: 3, Length: -1, Upgrade: true, Connection: true, HopByHop: true,
		Header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}},
	}},
	{"100-continue", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n", Head{
		Method: "PUT", Target: "/", Minor: 1, Host: "a", Fields: 2, Length: -1, Expects: true, Continue: true,
		Header: http.Header{"Expect": {"100-Continue"}},
	}},
	{"another expectation", "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", Head{
		Method: "PUT", Target: "/", Minor: 1, Host: "a", Fields: 2, Length: -1, Expects: true,
		Header: http.Header{"Expect": {"200-ok"}},
	}},
	{"a trailer that is not announced for chunks", "GET / HTTP/1.1\r\nHost: a\r\nTrailer: Content-Length\r\n\r\n", Head{
		Method: "GET", Target: "/", Minor: 1, Host: "a", Fields: 2, Length: -1, HopByHop: true,
		Header: http.Header{"Trailer": {"Content-Length"}},
	}},
}

var answers = []struct {
	name, text string
	want       Head
}{
	{"the shortest", "HTTP/1.1 200 OK\r\n\r\n", Head{Status: 200, Reason: "OK", Minor: 1, Length: -1}},
	{"no reason", "HTTP/1.1 204 \r\n\r\n", Head{Status: 204, Minor: 1, Length: -1}},
	{"no space before the reason", "HTTP/1.1 204\r\n\r\n", Head{Status: 204, Minor: 1, Length: -1}},
	{"a reason of its own", "HTTP/1.1 299 It  went\twell \xfc\r\n\r\n", Head{Status: 299, Reason: "It  went\twell \xfc", Minor: 1, Length: -1}},
	{"a status that nobody knows", "HTTP/1.1 999 x\r\n\r\n", Head{Status: 999, Reason: "x", Minor: 1, Length: -1}},
	{"1.0", "HTTP/1.0 404 Not Found\r\n\r\n", Head{Status: 404, Reason: "Not Found", Length: -1, Close: true}},
	{"1.0 kept", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", Head{
		Status: 200, Reason: "OK", Fields: 2, Connection: true,
		Header: http.Header{"Connection": {"keep-alive"}, "Content-Length": {"0"}},
	}},
	{"fields", "HTTP/1.1 200 OK\r\nset-cookie: a\r\nSet-Cookie: b\r\nKeep-Alive: timeout=5\r\nSET-COOKIE: c\r\n\r\n", Head{
		Status: 200, Reason: "OK", Minor: 1, Fields: 4, Length: -1, HopByHop: true,
		Header: http.Header{"Set-Cookie": {"a", "b", "c"}, "Keep-Alive": {"timeout=5"}},
	}},
	{"a Host is nobody's business", "HTTP/1.1 200 OK\r\nHost: a\r\n\r\n", Head{
		Status: 200, Reason: "OK", Minor: 1, Fields: 1, Length: -1, Host: "a",
	}},
	{"chunked and closed", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n", Head{
		Status: 200, Reason: "OK", Minor: 1, Fields: 2, Length: -1, Chunked: true, Close: true, Connection: true, HopByHop: true,
		Header: http.Header{"Transfer-Encoding": {"chunked"}, "Connection": {"close"}},
	}},
}

func TestRequests(t *testing.T) {
	for _, c := range requests {
		t.Run(c.name, func(t *testing.T) { accepted(t, c.text, c.want, (*Head).ParseRequest) })
	}
}

func TestAnswers(t *testing.T) {
	for _, c := range answers {
		t.Run(c.name, func(t *testing.T) { accepted(t, c.text, c.want, (*Head).ParseResponse) })
	}
}

// Methods are understood as they stand, those that everybody uses and any other token.
func TestMethods(t *testing.T) {
	for _, m := range []string{"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "QUERY", "Get", "!#$%&'*+-.^_`|~09azAZ"} {
		h, _, err := request([]byte(m + " / HTTP/1.1\r\nHost: a\r\n\r\n"))
		if err != nil || h.Method != m {
			t.Errorf("got %q, error %v, want %q", h.Method, err, m)
		}
	}
}

// accepted proves that the head is understood as want, whatever comes behind it.
func accepted(t *testing.T, text string, want Head, how func(*Head, []byte) error) {
	t.Helper()
	if want.Header == nil {
		want.Header = http.Header{}
	}
	for _, behind := range []string{"", "\r\n", "\n", "GET / HTTP/1.1\r\n\r\n"} {
		got, n, err := parse([]byte(text+behind), how)
		if wantLen := strings.Index(text, "\r\n\r\n") + 4; err != nil || n != wantLen {
			t.Fatalf("%q before %q: got %d bytes, error %v, want %d bytes", text, behind, n, err, wantLen)
		}
		if d := cmp.Diff(*got, want, exported); d != "" {
			t.Errorf("%q: got (-), want (+)\n%s", text, d)
		}
	}
}

// However the bytes come, the end of the head and the errors are the same.
func TestScanSplit(t *testing.T) {
	texts := []string{usualRequest, usualResponse}
	for _, c := range requests {
		texts = append(texts, c.text)
	}
	for _, c := range refusals {
		if c.kind != aBody && len(c.text) < 4<<10 {
			texts = append(texts, c.text)
		}
	}
	for _, text := range texts {
		b := []byte(text)
		var whole Scan
		want, wantErr := whole.End(b)
		for i := range len(b) + 1 {
			var s Scan
			n, err := s.End(b[:i])
			if n == 0 && err == nil {
				n, err = s.End(b)
			}
			if n != want || err != wantErr {
				t.Fatalf("%.60q split at %d: got %d, %v, want %d, %v", text, i, n, err, want, wantErr)
			}
		}
		var s Scan
		n, err := 0, error(nil)
		for i := 1; i <= len(b) && n == 0 && err == nil; i++ {
			n, err = s.End(b[:i])
			if n == 0 && err == nil && s.at != i {
				t.Fatalf("%.60q: after %d bytes it would look again from %d on", text, i, s.at)
			}
		}
		if n != want || err != wantErr {
			t.Errorf("%.60q byte by byte: got %d, %v, want %d, %v", text, n, err, want, wantErr)
		}
	}
}

func TestScanBegun(t *testing.T) {
	var s Scan
	for _, c := range []struct {
		text string
		want bool
	}{{"", false}, {"GET / HT", false}, {"GET / HTTP/1.1\r", false}, {"GET / HTTP/1.1\r\n", true}, {"GET / HTTP/1.1\r\nHo", true}} {
		if _, err := s.End([]byte(c.text)); err != nil || s.Begun() != c.want {
			t.Errorf("after %q: got begun %t, error %v, want %t", c.text, s.Begun(), err, c.want)
		}
	}
}

// As many fields as may be, of one name and of many.
func TestMostFields(t *testing.T) {
	same, different := []string{}, []string{}
	for i := range MaxFields {
		same = append(same, "A: b")
		different = append(different, "A"+strings.Repeat("b", i)+": c")
	}
	for _, fields := range [][]string{same, different} {
		h, _, err := answer([]byte(ok(fields...)))
		values := 0
		for _, v := range h.Header {
			values += len(v)
		}
		if err != nil || h.Fields != MaxFields || values != MaxFields {
			t.Errorf("got %d fields, %d values, error %v, want %d", h.Fields, values, err, MaxFields)
		}
	}
}

// What the parser is given without a Scan before it is refused, and never read beyond.
func TestParseOfAnyBytes(t *testing.T) {
	for _, text := range []string{usualRequest, usualResponse} {
		for i := range len(text) {
			for _, behind := range []string{"", "\r", "\n", "\r\n", "x", " ", ":", "\r\n\r\n\r\n"} {
				for _, how := range []func(*Head, []byte) error{(*Head).ParseRequest, (*Head).ParseResponse} {
					var h Head
					h.Reset()
					var want *Error
					if err := how(&h, []byte(text[:i]+behind)); err != nil && !errors.As(err, &want) {
						t.Fatalf("%q: got error %v", text[:i]+behind, err)
					}
				}
			}
		}
		var h Head
		h.Reset()
		if err := h.ParseRequest([]byte(text[:len(text)-2])); err == nil {
			t.Errorf("%q without its end: got no error", text)
		}
	}
}

// A head that is used again keeps nothing of what it held, and what was taken from it
// before stays as it was.
func TestReset(t *testing.T) {
	full := "DELETE /first HTTP/1.0\r\nHost: first\r\nConnection: close, upgrade, keep-alive\r\nExpect: 100-continue\r\n" +
		"Upgrade: x\r\nTrailer: Content-Length\r\nContent-Length: 7\r\nA: 1\r\nA: 2\r\nB: 3\r\n\r\n"
	first, _, err := request([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	var h Head
	h.Reset()
	in := []byte(full)
	if err := h.ParseRequest(in); err != nil {
		t.Fatal(err)
	}
	kept := h
	kept.Header = h.Header.Clone()
	for _, c := range requests {
		want := c.want
		if want.Header == nil {
			want.Header = http.Header{}
		}
		end := strings.Index(c.text, "\r\n\r\n") + 4
		in = append(in[:0], c.text[:end]...) // over the bytes of the one before
		h.Reset()
		if err := h.ParseRequest(in); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(h, want, exported); d != "" {
			t.Errorf("%s: got (-), want (+)\n%s", c.name, d)
		}
	}
	h.Reset()
	for _, v := range h.values[:cap(h.values)] {
		if v != "" {
			t.Errorf("a head that waits holds %q, and all of its message", v)
		}
	}
	if d := cmp.Diff(kept, *first, exported); d != "" {
		t.Errorf("the strings of the first: got (-), want (+)\n%s", d)
	}
}

// A head that was refused half-way is as good as new after Reset.
func TestResetAfterRefusal(t *testing.T) {
	var h Head
	for _, c := range refusals {
		if c.kind != aRequest || !strings.HasSuffix(c.text, "\r\n\r\n") {
			continue
		}
		h.Reset()
		_ = h.ParseRequest([]byte(c.text)) // whatever it says
		h.Reset()
		if err := h.ParseRequest([]byte(requests[0].text)); err != nil {
			t.Fatalf("after %.60q: %v", c.text, err)
		}
		want := requests[0].want
		want.Header = http.Header{}
		if d := cmp.Diff(h, want, exported); d != "" {
			t.Errorf("after %.60q: got (-), want (+)\n%s", c.text, d)
		}
	}
}

// Who appends to a value of the header does not write over another's.
func TestValuesHaveNoRoom(t *testing.T) {
	h, _, err := request([]byte(get("A: 1", "B: 2", "C: 3")))
	if err != nil {
		t.Fatal(err)
	}
	h.Header.Add("A", "added")
	h.Header.Add("B", "added")
	want := http.Header{"A": {"1", "added"}, "B": {"2", "added"}, "C": {"3"}}
	if d := cmp.Diff(h.Header, want); d != "" {
		t.Errorf("got (-), want (+)\n%s", d)
	}
}

// A usual head costs the string of its bytes, and nothing else.
func TestAllocations(t *testing.T) {
	for _, c := range []struct {
		text string
		how  func(*Head, []byte) error
	}{{usualRequest, (*Head).ParseRequest}, {usualResponse, (*Head).ParseResponse}} {
		var h Head
		in := make([]byte, len(c.text))
		run := func() {
			copy(in, c.text)
			h.Reset()
			if err := c.how(&h, in); err != nil {
				t.Error(err)
			}
		}
		run()
		if got := testing.AllocsPerRun(100, run); got != 1 {
			t.Errorf("%.20q: got %v allocations, want 1", c.text, got)
		}
	}
}
