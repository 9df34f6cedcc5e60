package compress

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/airside-gateway/airside"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func settings(change func(*Config)) Config {
	var c Config
	c.Defaults()
	if change != nil {
		change(&c)
	}
	return c
}

func build(t testing.TB, change func(*Config)) airside.Middleware {
	t.Helper()
	c := settings(change)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	m, err := New(nil, c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func exchange(method string, h http.Header) *airside.Exchange {
	r := httptest.NewRequest(method, "/", nil)
	r.Header = h.Clone()
	if r.Header == nil {
		r.Header = http.Header{}
	}
	return airside.NewExchange(r, slog.New(slog.DiscardHandler))
}

// headers makes a header of "Name: value" lines.
func headers(lines ...string) http.Header {
	h := http.Header{}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.Add(name, value)
	}
	return h
}

// counted is a body that counts how often it is closed.
type counted struct {
	io.Reader
	closed int
}

func (c *counted) Close() error { c.closed++; return nil }

func respond(status int, h http.Header, length int64, body io.ReadCloser) airside.Handler {
	return airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: h.Clone(), ContentLength: length, Body: body}, nil
	})
}

func unzip(t testing.TB, b []byte) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatalf("after %q: %v", plain, err)
	}
	return string(plain)
}

// TestCompress proves which answers are compressed, and what is said of each.
func TestCompress(t *testing.T) {
	text := strings.Repeat("all work and no play ", 100)
	gz := headers("Accept-Encoding: gzip")
	html := headers("Content-Type: text/html; charset=utf-8", "Content-Length: 2100")
	plus := func(h http.Header, lines ...string) http.Header {
		h = h.Clone()
		maps.Copy(h, headers(lines...))
		return h
	}
	none := http.Header{}
	done := headers("Content-Type: text/html; charset=utf-8", "Content-Encoding: gzip", "Vary: Accept-Encoding")
	varies := plus(html, "Vary: Accept-Encoding")
	tests := []struct {
		name    string
		change  func(*Config)
		method  string
		request http.Header
		status  int
		header  http.Header
		body    string
		want    http.Header
	}{
		{"text", nil, "GET", gz, 200, html, text, done},
		{"an error", nil, "POST", gz, 503, html, text, done},
		{"json", nil, "GET", gz, 200, headers("Content-Type: application/JSON"), text, headers("Content-Type: application/JSON", "Content-Encoding: gzip", "Vary: Accept-Encoding")},
		{"suffix", nil, "GET", gz, 200, headers("Content-Type: application/a2a+json"), text, headers("Content-Type: application/a2a+json", "Content-Encoding: gzip", "Vary: Accept-Encoding")},
		{"identity", nil, "GET", gz, 200, plus(html, "Content-Encoding: identity"), text, done},
		{"vary", nil, "GET", gz, 200, plus(html, "Vary: Origin"), text, plus(done, "Vary: Origin", "Vary: Accept-Encoding")},
		{"vary already", nil, "GET", gz, 200, plus(html, "Vary: Origin, accept-encoding"), text, plus(done, "Vary: Origin, accept-encoding")},
		{"vary on all", nil, "GET", gz, 200, plus(html, "Vary: *"), text, plus(done, "Vary: *")},
		{
			"validators", nil, "GET", gz, 200, plus(html, `Etag: "a"`, "Content-Md5: x", "Digest: x", "Content-Digest: x", "Repr-Digest: x", "Accept-Ranges: bytes", "Last-Modified: x"),
			text, plus(done, `Etag: W/"a"`, "Last-Modified: x"),
		},
		{"weak already", nil, "GET", gz, 200, plus(html, `Etag: W/"a"`), text, plus(done, `Etag: W/"a"`)},
		{"short, but nothing else is taken", nil, "GET", headers("Accept-Encoding: gzip, *;q=0"), 200, headers("Content-Type: image/png", "Content-Length: 5"), "short", headers("Content-Type: image/png", "Content-Encoding: gzip", "Vary: Accept-Encoding")},
		{"events", func(c *Config) { c.Events = true }, "GET", gz, 200, headers("Content-Type: text/event-stream"), text, headers("Content-Type: text/event-stream", "Content-Encoding: gzip", "Vary: Accept-Encoding")},

		{"not asked for", nil, "GET", none, 200, html, text, varies},
		{"refused", nil, "GET", headers("Accept-Encoding: gzip;q=0"), 200, html, text, varies},
		{"head", nil, "HEAD", gz, 200, html, "", varies},
		{"events are not", nil, "GET", gz, 200, headers("Content-Type: text/event-stream"), text, headers("Content-Type: text/event-stream")},
		{"short", nil, "GET", gz, 200, headers("Content-Type: text/html", "Content-Length: 5"), "short", headers("Content-Type: text/html", "Content-Length: 5")},
		{"another type", nil, "GET", gz, 200, headers("Content-Type: image/png"), text, headers("Content-Type: image/png")},
		{"no type", nil, "GET", gz, 200, none, text, none},
		{"only a suffix", nil, "GET", gz, 200, headers("Content-Type: +json"), text, headers("Content-Type: +json")},
		{"grpc", nil, "GET", headers("Accept-Encoding: gzip, *;q=0"), 200, headers("Content-Type: application/grpc+json"), text, headers("Content-Type: application/grpc+json")},
		{"encoded", nil, "GET", gz, 200, plus(html, "Content-Encoding: br"), text, plus(html, "Content-Encoding: br")},
		{"no-transform", nil, "GET", gz, 200, plus(html, "Cache-Control: private, No-Transform"), text, plus(html, "Cache-Control: private, No-Transform")},
		{"no-transform of the client", nil, "GET", plus(gz, "Cache-Control: no-transform"), 200, html, text, html},
		{"206", nil, "GET", gz, 206, html, text, html},
		{"a part", nil, "GET", gz, 200, plus(html, "Content-Range: bytes 0-9/99"), text, plus(html, "Content-Range: bytes 0-9/99")},
		{"204", nil, "GET", gz, 204, html, "", html},
		{"304", nil, "GET", gz, 304, plus(html, `Etag: "a"`), "", plus(html, `Etag: "a"`)},
		{"101", nil, "GET", gz, 101, html, "", html},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			length := int64(-1)
			if n := tt.header.Get("Content-Length"); n != "" {
				length, _ = strconv.ParseInt(n, 10, 64)
			}
			src := &counted{Reader: strings.NewReader(tt.body)}
			resp, err := build(t, tt.change)(respond(tt.status, tt.header, length, src)).Handle(exchange(tt.method, tt.request))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, resp.Header); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Header.Get("Content-Encoding") == "gzip" {
				got = []byte(unzip(t, got))
				length = -1
			}
			if string(got) != tt.body || resp.ContentLength != length {
				t.Errorf("got %d bytes, length %d; want %d, %d", len(got), resp.ContentLength, len(tt.body), length)
			}
			if err := errors.Join(resp.Body.Close(), resp.Body.Close()); err != nil {
				t.Fatal(err)
			}
			if resp.Header.Get("Content-Encoding") == "gzip" && src.closed != 1 {
				t.Errorf("closed %d times, want once", src.closed)
			}
		})
	}
}

// TestNothingToCompress proves that answers without a body, and errors, pass.
func TestNothingToCompress(t *testing.T) {
	m, gz := build(t, nil), headers("Accept-Encoding: gzip, identity;q=0")
	for _, body := range []io.ReadCloser{nil, http.NoBody} {
		resp, err := m(respond(200, headers("Content-Type: text/html"), -1, body)).Handle(exchange("GET", gz))
		if err != nil || resp.Body != body || resp.Header.Get("Content-Encoding") != "" {
			t.Errorf("got %v, %v", resp, err)
		}
	}
	broken := errors.New("broken")
	_, err := m(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) { return nil, broken })).Handle(exchange("GET", gz))
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

func TestNegotiate(t *testing.T) {
	tests := []struct {
		in   string
		want answer
	}{
		{"", plain},
		{"gzip", packed},
		{"GZip", packed},
		{"x-gzip", packed},
		{"br, gzip", packed},
		{"gzip;q=0.001", packed},
		{"gzip ; Q=0.5", packed},
		{"gzip;q=1.000", packed},
		{"*", packed},
		{"br, *;q=0.1", packed},
		{"gzip, identity", packed},
		{"gzip;q=0.5, identity;q=0.5", packed},
		{"gzip;q=0.5, identity;q=0.2, *;q=0", packed},
		{"identity;q=0, gzip;q=0.1", packedOnly},
		{"gzip, *;q=0", packedOnly},
		{"*;q=0.5, identity;q=0", packedOnly},
		{"gzip;q=0", plain},
		{"gzip;q=0.0, *", plain},
		{"gzip;q=0, gzip", plain},
		{"br, deflate", plain},
		{"identity", plain},
		{"identity;q=0", plain},
		{"*;q=0", plain},
		{"gzip;q=0.4, identity;q=0.5", plain},
		{"gzip;q=0.4, *;q=0.5", plain},
		{"gzip;q=2", plain},
		{"gzip;q=1.001", plain},
		{"gzip;q=0.1234", plain},
		{"gzip;q=", plain},
		{"gzip;q=-1", plain},
		{"gzip;q=0.+1", plain},
		{"gzip;level=9", plain},
		{"gzip;q=1;q=0", plain},
		{";q=1", plain},
		{"gzipped", plain},
		{",, ,gzip,", packed},
	}
	for _, tt := range tests {
		if got := negotiate(headers("Accept-Encoding: " + tt.in)); got != tt.want {
			t.Errorf("%q: got %v, want %v", tt.in, got, tt.want)
		}
	}
	if got := negotiate(headers("Accept-Encoding: br", "Accept-Encoding: gzip")); got != packed {
		t.Errorf("two lines: got %v, want %v", got, packed)
	}
	if got := negotiate(nil); got != plain {
		t.Errorf("no header: got %v, want %v", got, plain)
	}
}

// What a client refuses is never sent, and what it takes alone is not refused.
func FuzzNegotiate(f *testing.F) {
	for _, s := range []string{"gzip;q=0.5, *;q=0", "identity;q=0", "gzip;q=0,gzip", "*;q=0.001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := negotiate(http.Header{"Accept-Encoding": {s}})
		if low := strings.ToLower(s); got != plain && !strings.Contains(low, "gzip") && !strings.Contains(s, "*") {
			t.Errorf("%q: gzip was not asked for", s)
		}
		if first := negotiate(http.Header{"Accept-Encoding": {"gzip;q=0", s}}); first != plain {
			t.Errorf("%q: gzip was refused", s)
		}
		if first := negotiate(http.Header{"Accept-Encoding": {"gzip, identity;q=0", s}}); first != packedOnly {
			t.Errorf("%q: gzip is all that is taken", s)
		}
	})
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"defaults", nil, ""},
		{"events only", func(c *Config) { c.Types, c.Events = nil, true }, ""},
		{"types", func(c *Config) { c.Types = []string{"text/css", "text/*", "+json", "application/vnd.x+y"} }, ""},
		{"no types", func(c *Config) { c.Types = nil }, "types: must not be empty, unless events is set"},
		{"level", func(c *Config) { c.Level = 10 }, "level: must be from 1 to 9"},
		{"no level", func(c *Config) { c.Level = 0 }, "level: must be from 1 to 9"},
		{"concurrent", func(c *Config) { c.Concurrent = 0 }, "concurrent: must be from 1 to 10000"},
	}
	for _, tt := range tests {
		c := settings(tt.change)
		got := ""
		if err := c.Validate(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	for _, typ := range []string{"", "json", "*/*", "text/", "/x", "text/a*", "+", "te xt/a", "text/a;q=1", "*"} {
		c := settings(func(c *Config) { c.Types = []string{"text/css", typ} })
		err := c.Validate()
		if e, ok := errors.AsType[*airside.FieldError](err); !ok || e.Field != "types[1]" {
			t.Errorf("%q: got %v", typ, err)
		}
	}
	if _, err := New(nil, settings(func(c *Config) { c.Level = 99 })); err == nil {
		t.Error("New takes a level that there is not")
	}
}
