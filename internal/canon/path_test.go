package canon

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/airside-gateway/airside"
	"pgregory.net/rapid"
)

// Canonical paths pass; equivalent spellings become one.
func TestPathAccepted(t *testing.T) {
	for _, tt := range []struct{ in, path, rawpath string }{
		{"/", "/", ""},
		{"/a/b", "/a/b", ""},
		{"/a/b/", "/a/b/", ""},
		{"/A/b", "/A/b", ""},
		{"/%61", "/a", ""},
		{"/%7euser", "/~user", ""},
		{"/a%2Db%5f", "/a-b_", ""},
		{"/a%20b", "/a b", ""},
		{"/%c3%a9", "/é", ""},
		{"/%e2%82%ac/%E2%82%AC", "/€/€", ""},
		{"/a%3fb", "/a?b", ""},
		{"/a%23b", "/a#b", ""},
		{"/100%25", "/100%", ""},
		{"/%25zz", "/%zz", ""},
		{"/%25%25", "/%%", ""},
		{"/a:b@c$&+,=", "/a:b@c$&+,=", ""},
		{"/a!b", "/a!b", "/a!b"},
		{"/(a)*'", "/(a)*'", "/(a)*'"},
		{"/a%21b", "/a!b", ""},
		{"/a%2ab/!", "/a*b/!", "/a%2Ab/!"},
		{"/a%40b", "/a@b", "/a%40b"},
		{"/...", "/...", ""},
		{"/..a/.b/c.", "/..a/.b/c.", ""},
		{"/.well-known/agent-card.json", "/.well-known/agent-card.json", ""},
		{"/v1/models/gemini:streamGenerateContent", "/v1/models/gemini:streamGenerateContent", ""},
	} {
		p, raw, err := Path(tt.in)
		if err != nil || p != tt.path || raw != tt.rawpath {
			t.Errorf("Path(%q): got %q, %q, %v, want %q, %q", tt.in, p, raw, err, tt.path, tt.rawpath)
		}
		checkPath(t, tt.in)
	}
}

// What two readers could read differently is refused, with words that say why.
func TestPathRefused(t *testing.T) {
	for _, tt := range []struct{ in, says string }{
		{"", "begin with a slash"},
		{"a", "begin with a slash"},
		{"*", "begin with a slash"},
		{"admin/x", "begin with a slash"},
		{"http://evil/x", "begin with a slash"},
		{"//", "empty segment"},
		{"//evil/x", "empty segment (//) before segment 2"},
		{"/a//b", "empty segment (//) before segment 3"},
		{"/a//", "empty segment"},
		{"/.", "dot segment"},
		{"/..", "dot segment"},
		{"/a/./b", "segment 2 of the path is a dot segment"},
		{"/a/../b", "dot segment"},
		{"/a/..", "dot segment"},
		{"/a/%2e%2e/b", "dot segment"},
		{"/a/.%2E/b", "dot segment"},
		{"/a/%2e", "dot segment"},
		{"/a/..;/b", "semicolon"},
		{"/a/..;x=1/b", "semicolon"},
		{"/a/.;/b", "semicolon"},
		{"/a/%2e%2e%3b/b", "semicolon"},
		{"/a/..%3Bx", "semicolon"},
		{"/a/;x/b", "semicolon"},
		{"/;x", "semicolon at byte 1"},
		{"/a;v=1/b", "semicolon at byte 2"},
		{"/admin%3Bx/b", "semicolon at byte 6"},
		{"/a;", "semicolon"},
		{"/%3bx", "semicolon"},
		{"/a%2fb", "encoded '/' at byte 2"},
		{"/a%2Fb", "encoded '/'"},
		{"/a%5cb", `encoded '\\'`},
		{"/a%5Cb", `encoded '\\'`},
		{`/a\b`, "backslash at byte 2"},
		{"/a%00b", "control character"},
		{"/a%0d%0ab", "control character"},
		{"/a%7f", "control character"},
		{"/a%c2%85", "control character"},
		{"/a\x00", "control character at byte 2"},
		{"/a\n", "control character"},
		{"/a\x7f", "control character"},
		{"/a b", "' ' at byte 2"},
		{"/a#b", "fragment"},
		{"/é", "beyond ASCII"},
		{"/a%", "no two hexadecimal digits"},
		{"/a%2", "no two hexadecimal digits"},
		{"/a%zz", "no two hexadecimal digits"},
		{"/a%u002f", "no two hexadecimal digits"},
		{"/a%c0%af", "not UTF-8"},
		{"/a%c0%ae%c0%ae/", "not UTF-8"},
		{"/a%ed%a0%80", "not UTF-8"},
		{"/a%ff", "not UTF-8"},
		{"/a%252fb", "encoded twice"},
		{"/a%252e%252e", "encoded twice"},
		{"/a%2500", "encoded twice"},
		{"/a%25%32%66", "encoded twice"},
		{"/a%2525", "encoded twice"},
		{"/a?b", `'?' at byte 2`},
	} {
		_, _, err := Path(tt.in)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("Path(%q): got error %v, want %q", tt.in, err, tt.says)
		}
		if e := airside.AsError(err); e.Code != airside.Invalid || e.Message != err.Error() {
			t.Errorf("Path(%q): got %v, want the code %s and the message %q", tt.in, e, airside.Invalid, err)
		}
	}
	for _, c := range "\"<>^`{|}[]" {
		if _, _, err := Path("/a" + string(c)); err == nil {
			t.Errorf("Path accepts a raw %q", c)
		}
	}
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkPath holds for every input: what Path accepts is canonical.
func checkPath(t failer, in string) (decoded string, ok bool) {
	t.Helper()
	p, raw, err := Path(in)
	if err != nil {
		if p != "" || raw != "" {
			t.Fatalf("Path(%q): got %q, %q with the error %v", in, p, raw, err)
		}
		return "", false
	}
	u := url.URL{Path: p, RawPath: raw}
	escaped := u.EscapedPath()
	if raw != "" && escaped != raw {
		t.Fatalf("Path(%q): rawpath %q is sent as %q", in, raw, escaped)
	}
	if raw == (&url.URL{Path: p}).EscapedPath() {
		t.Fatalf("Path(%q): rawpath %q is the default and not empty", in, raw)
	}
	if back, err := url.PathUnescape(escaped); err != nil || back != p {
		t.Fatalf("Path(%q): %q decodes to %q (%v), want %q", in, escaped, back, err, p)
	}
	if orig, err := url.PathUnescape(in); err != nil || orig != p {
		t.Fatalf("Path(%q): got %q, but it decodes to %q (%v)", in, p, orig, err)
	}
	if p2, raw2, err := Path(escaped); err != nil || p2 != p || raw2 != raw {
		t.Fatalf("Path(%q): again gives %q, %q, %v, want %q, %q", escaped, p2, raw2, err, p, raw)
	}
	if c := path.Clean(p); c != p && c+"/" != p {
		t.Fatalf("Path(%q): got %q, which path.Clean changes to %q", in, p, c)
	}
	return p, true
}

// pieces are what generated targets are made of.
var pieces = []string{
	"/", "/", "/", "//", "/./", "/../", "..;/", "/.;x/", "/;x/", ";v=1", "%2f", "%2F", "%5c", `\`, "%00", "%0a", "%25", "%252e", "%252f", "%2e", ".", "..",
	"%3b", "%3f", "%23", "%20", "%c3%a9", "%c0%af", "%e2%80%a6", "%", "%4", "%41", "admin", "Admin", "a", "b", "~", "!", "(", "*", "@", ":", "=", "#", "?", " ", "é",
	"http://host/", "*", "%u002f", "%ef%bc%8f",
}

func target(r interface{ IntN(int) int }) string {
	var b strings.Builder
	if r.IntN(10) > 0 {
		b.WriteByte('/')
	}
	for range r.IntN(8) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// readers are how agents, proxies and file systems read a path.
var readers = []struct {
	name string
	read func(escaped string) string
}{
	{"one that cuts parameters", func(s string) string {
		segments := strings.Split(s, "/")
		for i, seg := range segments {
			segments[i], _, _ = strings.Cut(seg, ";")
		}
		return clean(unescape(strings.Join(segments, "/")))
	}},
	{"one that cuts parameters after decoding", func(s string) string {
		segments := strings.Split(unescape(s), "/")
		for i, seg := range segments {
			segments[i], _, _ = strings.Cut(seg, ";")
		}
		return clean(strings.Join(segments, "/"))
	}},
	{"one that decodes and cleans", func(s string) string { return clean(unescape(s)) }},
	{"one that cleans and decodes", func(s string) string { return unescape(clean(s)) }},
	{"one that decodes twice", func(s string) string { return clean(unescape(unescape(s))) }},
	{"one that takes backslashes for slashes", func(s string) string {
		return clean(strings.ReplaceAll(unescape(s), `\`, "/"))
	}},
	{"one that stops at NUL", func(s string) string {
		s, _, _ = strings.Cut(unescape(s), "\x00")
		return clean(s)
	}},
}

func unescape(s string) string {
	if u, err := url.PathUnescape(s); err == nil {
		return u
	}
	return s
}

func clean(s string) string {
	c := path.Clean(s)
	if strings.HasSuffix(s, "/") && c != "/" {
		c += "/"
	}
	return c
}

// Class 1 of the bars: of 10,000 generated targets, those that are accepted mean
// the same to every reader: authorised == matched == forwarded.
func TestPathReadTwice(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for range 10_000 {
		in := target(r)
		p, ok := checkPath(t, in)
		if !ok {
			continue
		}
		accepted++
		_, raw, _ := Path(in)
		sent := (&url.URL{Path: p, RawPath: raw}).EscapedPath()
		for _, reader := range readers {
			if got := reader.read(sent); got != p {
				t.Errorf("%q is forwarded as %q and read as %q by %s, want %q", in, sent, got, reader.name, p)
			}
		}
	}
	if accepted < 500 {
		t.Errorf("got %d accepted targets of 10,000, too few to prove anything", accepted)
	}
}

func TestPathProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		checkPath(t, "/"+rapid.OneOf(
			rapid.StringMatching(`[a-z./;%0-9A-F!(]*`),
			rapid.StringN(0, 20, 60),
			rapid.Custom(func(t *rapid.T) string { return url.PathEscape(rapid.String().Draw(t, "segment")) }),
		).Draw(t, "path"))
	})
}

func FuzzPath(f *testing.F) {
	for _, p := range pieces {
		f.Add("/" + p + "/x")
	}
	f.Fuzz(func(t *testing.T, in string) {
		p, ok := checkPath(t, in)
		if ok && strings.ContainsAny(p, "\x00\n\r\\") {
			t.Fatalf("Path(%q) accepts %q", in, p)
		}
	})
}

const plainPath = "/v1/models/gpt-4o/chat/completions/abcde"

func TestPathDoesNotAllocate(t *testing.T) {
	for _, in := range []string{"/", plainPath, "/a!(b)"} {
		if n := testing.AllocsPerRun(100, func() { _, _, _ = Path(in) }); n != 0 {
			t.Errorf("Path(%q): got %v allocations, want 0", in, n)
		}
	}
}

func BenchmarkPath(b *testing.B) {
	for _, in := range []string{plainPath, "/a%20b/%c3%a9"} {
		b.Run(fmt.Sprintf("%d", len(in)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, _ = Path(in)
			}
		})
	}
}

func TestQuery(t *testing.T) {
	for _, tt := range []struct{ in, says string }{
		{"", ""},
		{"a=1&b=%20&c", ""},
		{"a[]=1&b={x|y}&c=\"'`^\\", ""},
		{"a=%0d%0A&b=%ff;c", ""},
		{"%2500", ""},
		{"a=%", "byte 2"},
		{"a=%2", "no two hexadecimal digits"},
		{"a=%zz", "no two hexadecimal digits"},
		{"a=%41%4", "byte 5"},
		{"a=%00", "NUL at byte 2"},
		{"a b", "' ' at byte 1"},
		{"a#b", "fragment"},
		{"é", "beyond ASCII"},
		{"a=\r\n", "control character at byte 2"},
		{"a\x00", "control character"},
		{"a\x7f", "control character"},
	} {
		err := Query(tt.in)
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("Query(%q): got %v, want %q", tt.in, err, tt.says)
		}
	}
}

func FuzzQuery(f *testing.F) {
	f.Add("a=%41&b=%zz")
	f.Fuzz(func(t *testing.T, in string) {
		if Query(in) != nil {
			return
		}
		if s, err := url.QueryUnescape(in); err != nil || strings.Contains(s, "\x00") {
			t.Fatalf("Query accepts %q, which decodes to %q, %v", in, s, err)
		}
	})
}
