package static

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

func with(change func(*Config)) Config {
	var c Config
	c.Defaults()
	change(&c)
	return c
}

// TestAnswer proves what is answered, and that nothing behind is asked.
func TestAnswer(t *testing.T) {
	tests := []struct {
		name   string
		method string
		config Config
		status int
		header http.Header
		body   string
		length int64
	}{
		{
			"nothing", "GET", with(func(*Config) {}), 200,
			http.Header{"Content-Length": {"0"}},
			"", 0,
		},
		{
			"text", "GET", with(func(c *Config) { c.Body = "ok\n" }), 200,
			http.Header{"Content-Length": {"3"}, "Content-Type": {"text/plain; charset=utf-8"}},
			"ok\n", 3,
		},
		{
			"html", "GET", with(func(c *Config) { c.Body = "<html></html>" }), 200,
			http.Header{"Content-Length": {"13"}, "Content-Type": {"text/html; charset=utf-8"}},
			"<html></html>", 13,
		},
		{
			"json text", "GET", with(func(c *Config) { c.Body = `{"a":1}` }), 200,
			http.Header{"Content-Length": {"7"}, "Content-Type": {"application/json"}},
			`{"a":1}`, 7,
		},
		{
			"almost json", "GET", with(func(c *Config) { c.Body = `{"a":1` }), 200,
			http.Header{"Content-Length": {"6"}, "Content-Type": {"text/plain; charset=utf-8"}},
			`{"a":1`, 6,
		},
		{
			"json", "POST", with(func(c *Config) { c.Status, c.JSON = 503, map[string]any{"b": []any{1, "x"}, "a": nil} }), 503,
			http.Header{"Content-Length": {"23"}, "Content-Type": {"application/json"}},
			`{"a":null,"b":[1,"x"]}` + "\n", 23,
		},
		{
			"own type", "GET", with(func(c *Config) { c.Body, c.Headers = "a,b", map[string]string{"content-type": "text/csv"} }), 200,
			http.Header{"Content-Length": {"3"}, "Content-Type": {"text/csv"}},
			"a,b", 3,
		},
		{
			"head", "HEAD", with(func(c *Config) { c.Body = "ok\n" }), 200,
			http.Header{"Content-Length": {"3"}, "Content-Type": {"text/plain; charset=utf-8"}},
			"", 3,
		},
		{
			"redirect", "GET", with(func(c *Config) { c.Status, c.Headers = 308, map[string]string{"Location": "/b"} }), 308,
			http.Header{"Content-Length": {"0"}, "Location": {"/b"}},
			"", 0,
		},
		{"no content", "GET", with(func(c *Config) { c.Status = 204 }), 204, http.Header{}, "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.config.Validate(); err != nil {
				t.Fatal(err)
			}
			m, err := New(nil, tt.config)
			if err != nil {
				t.Fatal(err)
			}
			h := m(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
				return nil, errors.New("next was called")
			}))
			for range 2 { // what was sent once is not changed by what becomes of it
				resp, err := h.Handle(airside.NewExchange(httptest.NewRequest(tt.method, "/", nil), slog.Default()))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				if resp.StatusCode != tt.status || string(body) != tt.body || resp.ContentLength != tt.length {
					t.Errorf("status %d, body %q, length %d; want %d, %q, %d", resp.StatusCode, body, resp.ContentLength, tt.status, tt.body, tt.length)
				}
				if diff := cmp.Diff(tt.header, resp.Header); diff != "" {
					t.Errorf("header (-want +got):\n%s", diff)
				}
				resp.Header.Set("Content-Type", "changed")
			}
		})
	}
}

// TestValidate proves what is refused, and where it is pointed at.
func TestValidate(t *testing.T) {
	tests := []struct {
		config Config
		want   string
	}{
		{with(func(c *Config) { c.Status = 101 }), "status: must be from 200 to 599"},
		{with(func(c *Config) { c.Status = 600 }), "status: must be from 200 to 599"},
		{with(func(c *Config) { c.Status, c.Body = 204, "x" }), "status: an answer with status 204 has no body"},
		{with(func(c *Config) { c.Body, c.JSON = "x", 1 }), "json: give body or json, not both"},
		{with(func(c *Config) { c.Body = strings.Repeat("x", maxBody+1) }), "body: is larger than 1MiB"},
		{with(func(c *Config) { c.Headers = map[string]string{"a b": ""} }), `headers.a b: "a b" is not the name of a header`},
		{with(func(c *Config) { c.Headers = map[string]string{"": ""} }), `headers.: "" is not the name of a header`},
		{with(func(c *Config) { c.Headers = map[string]string{"content_length": "1"} }), "headers.content_length: content_length is set by the gateway"},
		{with(func(c *Config) { c.Headers = map[string]string{"A": "x\r\nB: y"} }), "headers.A: a header holds no control characters"},
		{with(func(c *Config) { c.Headers = map[string]string{"X-A": "", "x_a": ""} }), "headers.x_a: is the same header as X-A"},
	}
	for _, tt := range tests {
		err := tt.config.Validate()
		if err == nil || err.Error() != tt.want {
			t.Errorf("Validate() = %v; want %s", err, tt.want)
		}
	}
	if _, err := New(nil, with(func(c *Config) { c.JSON = strings.Repeat("x", maxBody) })); err == nil {
		t.Error("New took a JSON body that is too large")
	}
	if _, err := New(nil, with(func(c *Config) { c.JSON = make(chan int) })); err == nil {
		t.Error("New took a channel for JSON")
	}
}

func BenchmarkStatic(b *testing.B) {
	m, err := New(nil, with(func(c *Config) { c.Body = "ok\n" }))
	if err != nil {
		b.Fatal(err)
	}
	h, x := m(nil), airside.NewExchange(httptest.NewRequest("GET", "/", nil), slog.Default())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Handle(x); err != nil {
			b.Fatal(err)
		}
	}
}
