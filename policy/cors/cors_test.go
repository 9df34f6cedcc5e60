package cors

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

func with(change func(*Config)) Config {
	var c Config
	c.Defaults()
	change(&c)
	return c
}

func origins(list ...string) Config { return with(func(c *Config) { c.AllowOrigins = list }) }

func build(t testing.TB, c Config) airside.Middleware {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	m, err := New(nil, c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func exchange(method string, headers ...string) *airside.Exchange {
	r := httptest.NewRequest(method, "/", nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return airside.NewExchange(r, slog.New(slog.DiscardHandler))
}

// TestOrigins proves which origins are allowed, by whether they may read.
func TestOrigins(t *testing.T) {
	tests := []struct {
		pattern string
		allowed []string
		refused []string
	}{
		{
			"https://app.example",
			[]string{"https://app.example"},
			[]string{
				"http://app.example", "https://app.example:8443", "https://app.example:443", "https://app.example.evil.example", "https://evilapp.example",
				"https://APP.example", "https://app.example/", "https://app.example.", "https://user@app.example", "null", "app.example", "https://", "https://app.example https://app.example",
			},
		},
		{"HTTPS://App.Example:443", []string{"https://app.example"}, []string{"https://app.example:443"}},
		{"http://[::1]:3000", []string{"http://[::1]:3000"}, []string{"http://[::1]", "http://[::1]:03000"}},
		{
			"https://*.app.example",
			[]string{"https://a.app.example", "https://a.b.app.example"},
			[]string{"https://app.example", "https://aapp.example", "https://.app.example", "https://a..app.example", "https://evil.example/.app.example", "https://evil.example#.app.example", "https://a.app.example:1", "null"},
		},
		{"http://localhost:*", []string{"http://localhost", "http://localhost:3000"}, []string{"http://localhost:", "http://localhost:99999", "http://localhost:a", "https://localhost:1", "http://localhost.evil.example:1"}},
		{"http://*.localhost:*", []string{"http://a.localhost:1"}, []string{"http://localhost:1"}},
		{"*", []string{"https://a.example", "chrome-extension://abcdef"}, []string{"null", "a", "https://a.example/b"}},
		{"null", []string{"null"}, []string{"https://a.example", "https://null", ""}},
	}
	for _, tt := range tests {
		m := build(t, origins("https://other.example", tt.pattern))
		h := m(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
		}))
		check := func(origin string, want bool) {
			resp, err := h.Handle(exchange("GET", "Origin", origin))
			if err != nil {
				t.Fatal(err)
			}
			allow := resp.Header.Get("Access-Control-Allow-Origin")
			wanted := ""
			if want {
				wanted = origin
			}
			if want && tt.pattern == "*" {
				wanted = "*"
			}
			if allow != wanted {
				t.Errorf("%s of %s: Access-Control-Allow-Origin %q; want %q", origin, tt.pattern, allow, wanted)
			}
			if got := resp.Header.Get("Vary"); got != "Origin" {
				t.Errorf("%s of %s: Vary %q; want Origin", origin, tt.pattern, got)
			}
		}
		for _, o := range tt.allowed {
			check(o, true)
		}
		for _, o := range tt.refused {
			check(o, false)
		}
	}
}

// TestPreflight proves what a browser is told, and that no agent is asked.
func TestPreflight(t *testing.T) {
	usual := http.Header{
		"Vary":                         {"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"},
		"Access-Control-Allow-Origin":  {"https://a.example"},
		"Access-Control-Allow-Methods": {"GET, HEAD, POST, PUT, PATCH, DELETE"},
		"Access-Control-Max-Age":       {"600"},
	}
	plus := func(pairs ...string) http.Header {
		h := usual.Clone()
		for i := 0; i+1 < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	tests := []struct {
		name   string
		config Config
		asked  []string
		want   http.Header
	}{
		{"plain", origins("https://a.example"), nil, usual},
		{
			"any header", origins("https://a.example"),
			[]string{"Access-Control-Request-Headers", "authorization,x-a"},
			plus("Access-Control-Allow-Headers", "authorization,x-a"),
		},
		{"no header", origins("https://a.example"), []string{"Access-Control-Request-Headers", "a b\x01"}, usual},
		{"long header", origins("https://a.example"), []string{"Access-Control-Request-Headers", strings.Repeat("a", maxNames+1)}, usual},
		{
			"listed headers", with(func(c *Config) {
				c.AllowOrigins, c.AllowHeaders = []string{"https://a.example"}, []string{"X-A", "X-B"}
			}),
			[]string{"Access-Control-Request-Headers", "x-c"},
			plus("Access-Control-Allow-Headers", "X-A, X-B"),
		},
		{
			"credentials", with(func(c *Config) { c.AllowOrigins, c.AllowCredentials = []string{"https://a.example"}, true }),
			nil, plus("Access-Control-Allow-Credentials", "true"),
		},
		{
			"methods and age",
			with(func(c *Config) {
				c.AllowOrigins, c.AllowMethods, c.MaxAge = []string{"https://a.example"}, []string{"QUERY"}, time.Hour
			}),
			nil, plus("Access-Control-Allow-Methods", "QUERY", "Access-Control-Max-Age", "3600"),
		},
		{"private network unasked", with(func(c *Config) { c.AllowOrigins, c.AllowPrivateNetwork = []string{"https://a.example"}, true }), nil, usual},
		{
			"private network", with(func(c *Config) { c.AllowOrigins, c.AllowPrivateNetwork = []string{"https://a.example"}, true }),
			[]string{"Access-Control-Request-Private-Network", "true"},
			plus("Access-Control-Allow-Private-Network", "true"),
		},
		{"private network refused", origins("https://a.example"), []string{"Access-Control-Request-Private-Network", "true"}, usual},
		{"any origin", origins("*"), nil, plus("Access-Control-Allow-Origin", "*")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := build(t, tt.config)(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
				return nil, errors.New("the agent was asked")
			}))
			resp, err := h.Handle(exchange("OPTIONS", append(tt.asked, "Origin", "https://a.example", "Access-Control-Request-Method", "PUT")...))
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != http.StatusNoContent {
				t.Errorf("status %d; want 204", resp.StatusCode)
			}
			if diff := cmp.Diff(tt.want, resp.Header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRefused proves that a preflight and a WebSocket of another origin are
// refused, and nothing else is.
func TestRefused(t *testing.T) {
	tests := []struct {
		method  string
		headers []string
		passes  bool
	}{
		{"OPTIONS", []string{"Origin", "https://b.example", "Access-Control-Request-Method", "PUT"}, false},
		{"GET", []string{"Origin", "https://b.example", "Upgrade", "websocket"}, false},
		{"CONNECT", []string{"Origin", "https://b.example"}, false},
		{"GET", []string{"Origin", "https://a.example", "Upgrade", "websocket"}, true},
		{"GET", []string{"Upgrade", "websocket"}, true},
		{"OPTIONS", []string{"Access-Control-Request-Method", "PUT"}, true},
		{"OPTIONS", []string{"Origin", "https://b.example"}, true},
		{"POST", []string{"Origin", "https://b.example"}, true},
	}
	for _, tt := range tests {
		passed := false
		_, err := build(t, origins("https://a.example"))(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
			passed = true
			return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
		})).Handle(exchange(tt.method, tt.headers...))
		if passed != tt.passes {
			t.Errorf("%s %v: passes %v, want %v", tt.method, tt.headers, passed, tt.passes)
		}
		if tt.passes {
			continue
		}
		e, ok := errors.AsType[*airside.Error](err)
		if !ok || e.Code != airside.Denied || e.Header.Get("Vary") != "Origin" || e.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %v: %v; want code %s with Vary", tt.method, tt.headers, err, airside.Denied)
		}
	}
}

// TestAnswer proves that what the agent says about CORS is replaced, that Vary is
// kept, and that a refusal can be read by the page.
func TestAnswer(t *testing.T) {
	m := build(t, with(func(c *Config) {
		c.AllowOrigins, c.AllowCredentials, c.ExposeHeaders = []string{"https://a.example"}, true, []string{"X-A", "X-B"}
	}))
	agent := http.Header{
		"Access-Control-Allow-Origin": {"*"}, "access_control_allow_methods": {"EVIL"}, "Access-Control-Allow-Credentials": {"true"},
		"Vary": {"Accept-Encoding, Cookie"}, "X-A": {"1"},
	}
	h := m(airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
		if x.Request.Method == "DELETE" {
			return nil, shared
		}
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: agent.Clone()}, nil
	}))
	ours := http.Header{
		"Access-Control-Allow-Origin": {"https://a.example"}, "Access-Control-Allow-Credentials": {"true"}, "Access-Control-Expose-Headers": {"X-A, X-B"},
		"Vary": {"Accept-Encoding, Cookie", "Origin"}, "X-A": {"1"},
	}
	resp, err := h.Handle(exchange("GET", "Origin", "https://a.example"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ours, resp.Header); diff != "" {
		t.Errorf("allowed (-want +got):\n%s", diff)
	}
	for _, origin := range []string{"https://b.example", ""} {
		resp, err = h.Handle(exchange("GET", "Origin", origin))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(http.Header{"Vary": {"Accept-Encoding, Cookie", "Origin"}, "X-A": {"1"}}, resp.Header); diff != "" {
			t.Errorf("origin %q (-want +got):\n%s", origin, diff)
		}
	}
	for range 2 {
		_, err = h.Handle(exchange("DELETE", "Origin", "https://a.example"))
		e, ok := errors.AsType[*airside.Error](err)
		if !ok || e.Code != airside.RateLimited {
			t.Fatalf("got %v; want the agent's error", err)
		}
		want := http.Header{
			"Access-Control-Allow-Origin": {"https://a.example"}, "Access-Control-Allow-Credentials": {"true"}, "Access-Control-Expose-Headers": {"X-A, X-B"},
			"Vary": {"Origin"}, "X-B": {"2"},
		}
		if diff := cmp.Diff(want, e.Header); diff != "" {
			t.Errorf("error (-want +got):\n%s", diff)
		}
	}
	if len(shared.Header) != 1 {
		t.Errorf("the error itself has changed: %v", shared.Header)
	}
	for _, vary := range []string{"*", "Accept, origin"} {
		agent = http.Header{"Vary": {vary}}
		if resp, err = h.Handle(exchange("GET")); err != nil || len(resp.Header["Vary"]) != 1 {
			t.Errorf("Vary: %s has become %v, %v", vary, resp.Header["Vary"], err)
		}
	}
}

var shared = &airside.Error{Code: airside.RateLimited, Header: http.Header{"X-B": {"2"}}}

// TestBuild proves what is refused when the configuration is read.
func TestBuild(t *testing.T) {
	form := func(s string) string {
		return `allow_origins[0]: "` + s + `" is not an origin such as https://app.example, https://*.app.example or http://localhost:*`
	}
	tests := []struct {
		config Config
		want   string
	}{
		{origins(), "allow_origins: name at least one origin"},
		{
			with(func(c *Config) { c.AllowOrigins, c.AllowCredentials = []string{"https://a.example", "*"}, true }),
			"allow_origins[1]: * with allow_credentials would let any page act for the user; name the origins",
		},
		{
			with(func(c *Config) { c.AllowOrigins, c.AllowCredentials = []string{"null"}, true }),
			"allow_origins[0]: null with allow_credentials would let any page act for the user; name the origins",
		},
		{with(func(c *Config) { c.AllowOrigins, c.MaxAge = []string{"*"}, -1 }), "max_age: must be from 0s to 24h"},
		{with(func(c *Config) { c.AllowOrigins, c.AllowMethods = []string{"*"}, []string{"*"} }), `allow_methods[0]: "*" cannot stand here: write a name`},
		{with(func(c *Config) { c.AllowOrigins, c.AllowHeaders = []string{"*"}, []string{"a b"} }), `allow_headers[0]: "a b" cannot stand here: write a name`},
		{
			with(func(c *Config) {
				c.AllowOrigins, c.ExposeHeaders, c.AllowCredentials = []string{"https://a.example"}, []string{"*"}, true
			}),
			`expose_headers[0]: "*" cannot stand here: write a name`,
		},
		{origins("app.example"), `allow_origins[0]: "app.example" is not an origin such as https://app.example: it has no scheme`},
		{origins("https://app.example/"), `allow_origins[0]: "https://app.example/" is not an origin such as https://app.example: it has a path`},
		{origins("https://*.com"), `allow_origins[0]: "https://*.com" is too wide: name at least two labels after the *`},
		{origins("https://*.10.0.0.1"), `allow_origins[0]: "https://*.10.0.0.1" is not an origin: an address has no names below it`},
		{origins("https://*"), form("https://*")},
		{origins("https://a.*.example"), form("https://a.*.example")},
		{origins("https://*.*.example"), form("https://*.*.example")},
		{origins("https://u@a.example"), form("https://u@a.example")},
		{origins("https://a.example:x"), form("https://a.example:x")},
		{origins("https://a.example?"), form("https://a.example?")},
		{origins(""), `allow_origins[0]: "" is not an origin such as https://app.example: it has no scheme`},
	}
	for _, tt := range tests {
		err := tt.config.Validate()
		if err == nil {
			_, err = New(nil, tt.config)
		}
		if err == nil || err.Error() != tt.want {
			t.Errorf("%v: %v; want %s", tt.config.AllowOrigins, err, tt.want)
		}
	}
}

// FuzzOrigin proves that what is allowed by a pattern is under its host, whatever
// is sent.
func FuzzOrigin(f *testing.F) {
	f.Add("https://*.app.example", "https://a.app.example")
	f.Add("http://localhost:*", "http://localhost:3000")
	f.Add("https://[::1]", "https://[::1]:443")
	f.Fuzz(func(t *testing.T, written, sent string) {
		p, err := parsePattern(written)
		if err != nil {
			return
		}
		o, ok := parseOrigin(sent)
		if !ok || !p.matches(o) || p.any {
			return
		}
		if sent == "null" {
			if written != "null" {
				t.Errorf("%q allows null", written)
			}
			return
		}
		host := strings.TrimSuffix(strings.TrimPrefix(strings.ToLower(written), o.scheme+"://"), ":*")
		host = strings.TrimPrefix(strings.TrimSuffix(host, ":"+o.port), "*.")
		if !strings.HasSuffix(o.host, strings.TrimSuffix(host, ":"+defaultPort(o.scheme))) || strings.ContainsAny(sent, "\r\n /@?#") && !strings.HasPrefix(sent, o.scheme+"://"+o.host) {
			t.Errorf("%q allows %q", written, sent)
		}
	})
}

func BenchmarkCors(b *testing.B) {
	resp := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}
	h := build(b, origins("https://*.app.example", "https://a.example"))(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
		resp.Header = http.Header{}
		return resp, nil
	}))
	x := exchange("GET", "Origin", "https://a.example")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Handle(x); err != nil {
			b.Fatal(err)
		}
	}
}
