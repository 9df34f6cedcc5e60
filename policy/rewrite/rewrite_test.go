package rewrite

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/canon"
)

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

// exchange asks for target; the route has {id}.
func exchange(target, id string) *airside.Exchange {
	r := httptest.NewRequest("GET", "http://agents.example"+target, nil)
	if id != "" {
		r.SetPathValue("id", id)
	}
	return airside.NewExchange(r, slog.New(slog.DiscardHandler))
}

func code(err error) airside.Code {
	if err == nil {
		return ""
	}
	return airside.AsError(err).Code
}

// TestRewrite proves what the agent is asked for, that it is the same for a
// retry, and that the request outside is not changed.
func TestRewrite(t *testing.T) {
	query := func(remove []string, set map[string]string) Config {
		return Config{Query: Query{Set: set, Remove: remove}}
	}
	prefix := func(from, to string) Config { return Config{Prefix: &Prefix{From: from, To: to}} }
	regex := func(match, replace string) Config { return Config{Regex: &Regex{Match: match, Replace: replace}} }
	path := func(p string) Config { return Config{Path: p} }
	tests := []struct {
		config   Config
		target   string
		id       string
		want     string // as the agent is asked
		wantCode airside.Code
	}{
		{prefix("/a", "/b"), "/a/x?q=1", "", "/b/x?q=1", ""},
		{prefix("/a", "/b"), "/a", "", "/b", ""},
		{prefix("/a", "/b"), "/a/", "", "/b/", ""},
		{prefix("/a", "/b"), "/ab/x", "", "/ab/x", ""},
		{prefix("/a/", "/b/"), "/a/x", "", "/b/x", ""},
		{prefix("/a", ""), "/a", "", "/", ""},
		{prefix("/a", ""), "/a/x", "", "/x", ""},
		{prefix("/a", "/"), "/a/x", "", "/x", ""},
		{prefix("/", "/api"), "/x", "", "/api/x", ""},
		{prefix("/a b", "/c d"), "/x", "", "", "bad"},
		{prefix("/a%20b", "/c%20d"), "/a%20b/e%20f", "", "/c%20d/e%20f", ""},

		{path("/records/{id}"), "/case/7?q=1", "7", "/records/7?q=1", ""},
		{path("/records/{id}.json"), "/case/7", "a b?#%", "/records/a%20b%3F%23%25.json", ""},
		{path("/records/{id}/{id}"), "/case/7", "a", "/records/a/a", ""},
		{path("/records/{id}"), "/case/7", "a/b", "", airside.Invalid},
		{path("/records/{id}"), "/case/7", "..", "", airside.Invalid},
		{path("/records/{id}"), "/case/7", "a\x00", "", airside.Invalid},
		{path("/records/{id}"), "/case/7", "", "", airside.Internal},
		{path("/records/{id}"), "/case/7", strings.Repeat("a", maxTarget), "", airside.Invalid},
		{path("/fixed"), "/case/7", "", "/fixed", ""},

		{regex(`^/(\d{4})/(\d\d)/`, "/archive/$1-${2}/"), "/2024/05/x", "", "/archive/2024-05/x", ""},
		{regex(`^/(\d{4})/`, "/$1/"), "/other", "", "/other", ""},
		{regex(`x`, ""), "/axbx", "", "/ab", ""},
		{regex(`a`, "$$"), "/a", "", "/$", ""},
		{regex(`a`, "//"), "/a", "", "", airside.Invalid},
		{regex(`^/`, ""), "/a", "", "", airside.Invalid},
		{regex(`a`, "?"), "/a", "", "", airside.Invalid},
		{regex(`a`, "/.."), "/a/a", "", "", airside.Invalid},
		{regex(``, strings.Repeat("a", maxReplace)), "/" + strings.Repeat("b", 1000), "", "", airside.Invalid},
		{regex(`a`, "b"), "/" + strings.Repeat("a", maxTarget), "", "", airside.Invalid},

		{query([]string{"a"}, nil), "/?a=1&b=2&%61=3&a&c=%20", "", "/?b=2&c=%20", ""},
		{query(nil, map[string]string{"a": "x y", "z": "{id}&"}), "/?b=1&a=1&a=2", "7/&", "/?b=1&a=x+y&z=7%2F%26%26", ""},
		{query(nil, map[string]string{"a": "{id}"}), "/", "", "", airside.Internal},
		{query(nil, map[string]string{"a": "{id}"}), "/", "a\x00b", "", airside.Invalid},
		{query(nil, map[string]string{"a": "{id}"}), "/", strings.Repeat("a", maxTarget), "", airside.Invalid},
		{query([]string{"a"}, nil), "/?a=1", "", "/", ""},
		{query([]string{"a"}, nil), "/?b=1;a=1", "", "", airside.Invalid},
		{query([]string{"a"}, nil), "/?%zz=1", "", "", airside.Invalid},
		{query([]string{"a"}, nil), "/?&&b=1&", "", "/?b=1", ""},
	}
	for _, tt := range tests {
		m, err := New(nil, tt.config)
		if tt.wantCode == "bad" {
			if err == nil {
				t.Errorf("New(%+v) succeeded", tt.config)
			}
			continue
		}
		if err != nil {
			t.Errorf("New(%+v): %v", tt.config, err)
			continue
		}
		x := exchange(tt.target, tt.id)
		for range 2 {
			got := ""
			_, err := m(airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
				got = x.Request.URL.RequestURI()
				return &http.Response{}, nil
			})).Handle(x)
			if got != tt.want || code(err) != tt.wantCode {
				t.Errorf("%+v of %.60s with {id} %.20q: %.60q, %v; want %q, code %q", tt.config, tt.target, tt.id, got, err, tt.want, tt.wantCode)
			}
			if x.Request.URL.RequestURI() != tt.target {
				t.Errorf("the request has become %s", x.Request.URL.RequestURI())
			}
		}
	}
}

// TestHost proves that the host is set in canonical form.
func TestHost(t *testing.T) {
	m := build(t, Config{Host: "Agents.Internal:8080"})
	x := exchange("/a?b", "")
	_, err := m(airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
		if got, want := x.Request.Host+x.Request.URL.RequestURI(), "agents.internal:8080/a?b"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		return nil, errors.New("agent")
	})).Handle(x)
	if err == nil || x.Request.Host != "agents.example" {
		t.Errorf("err %v, host outside %s; want the agent's error, and agents.example", err, x.Request.Host)
	}
}

// TestBuild proves what is refused when the configuration is read.
func TestBuild(t *testing.T) {
	tests := []struct {
		config Config
		want   string
	}{
		{Config{}, "nothing is changed: give path, prefix, regex, query or host"},
		{Config{Path: "/", Prefix: &Prefix{From: "/"}}, "give one of path, prefix and regex"},
		{Config{Path: "a"}, "path: the path must begin with a slash"},
		{Config{Path: "/{a"}, `path: "/{a" has a { without a }`},
		{Config{Path: "/a}"}, `path: "/a}" has a } without a {`},
		{Config{Path: "/{a/b}"}, `path: {a/b} is not a parameter of a path, such as {id}`},
		{Config{Path: "/{}"}, `path: {} is not a parameter of a path, such as {id}`},
		{Config{Prefix: &Prefix{From: "/a/*"}}, `prefix.from: write the prefix without the *: it is one of whole segments anyway`},
		{Config{Prefix: &Prefix{From: "/a", To: "b"}}, `prefix.to: the path must begin with a slash`},
		{Config{Regex: &Regex{Match: "("}}, "regex.match: error parsing regexp: missing closing ): `(`"},
		{Config{Regex: &Regex{Match: "(a)", Replace: "$2"}}, `regex.replace: the expression has no group "2" (write ${1}x for group 1 and an x)`},
		{Config{Regex: &Regex{Match: "(a)", Replace: "$1x"}}, `regex.replace: the expression has no group "1x" (write ${1}x for group 1 and an x)`},
		{Config{Regex: &Regex{Match: "(a)", Replace: "a$"}}, `regex.replace: write $$ for a dollar sign, $1 or ${name} for a group`},
		{Config{Regex: &Regex{Match: strings.Repeat("a", maxMatch+1)}}, `regex.match: is longer than 1024 bytes`},
		{Config{Regex: &Regex{Match: "a", Replace: strings.Repeat("a", maxReplace+1)}}, `regex.replace: is longer than 256 bytes`},
		{Config{Query: Query{Set: map[string]string{"a": "{"}}}, `query.set.a: "{" has a { without a }`},
		{Config{Query: Query{Set: map[string]string{"a": ""}, Remove: []string{"a"}}}, `query.remove[0]: "a" is set, which removes what was there`},
		{Config{Query: Query{Remove: make([]string, maxParameters+1)}}, `query: changes more than 100 parameters`},
	}
	for _, tt := range tests {
		err := tt.config.Validate()
		if err == nil {
			_, err = New(nil, tt.config)
		}
		if err == nil || err.Error() != tt.want {
			t.Errorf("%+v: %v; want %s", tt.config, err, tt.want)
		}
	}
	if _, err := New(nil, Config{Host: "a b"}); err == nil || !strings.HasPrefix(err.Error(), "host: ") {
		t.Errorf("host: %v; want an error of the field host", err)
	}
	if _, err := New(nil, Config{Regex: &Regex{Match: "(?P<y>a)", Replace: "${y}$y"}}); err != nil {
		t.Errorf("named groups: %v", err)
	}
}

// FuzzPath proves that the agent is never asked for a path that is not canonical,
// and that nobody's input panics.
func FuzzPath(f *testing.F) {
	f.Add("/a/{id}", "x", "/p", "a", "/")
	f.Add("/{id}/..", "..", "/a/b", "^/", "$0%2f")
	f.Add("/{", "%2f", "/%41", "(.)", "${1}//")
	f.Fuzz(func(t *testing.T, template, id, target, match, replace string) {
		path, raw, err := canon.Path(target)
		if err != nil {
			return
		}
		for _, c := range []Config{
			{Path: template},
			{Prefix: &Prefix{From: target, To: template}},
			{Regex: &Regex{Match: match, Replace: replace}},
			{Query: Query{Set: map[string]string{match: template}, Remove: []string{replace}}},
		} {
			m, err := New(nil, c)
			if err != nil {
				continue
			}
			x := exchange("/?a=1&b=%20", id)
			x.Request.URL.Path, x.Request.URL.RawPath = path, raw
			_, _ = m(airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
				u := x.Request.URL
				p, r, err := canon.Path(u.EscapedPath())
				if err != nil || p != u.Path || r != u.RawPath {
					t.Errorf("%+v of %q: path %q (%q) is not canonical: %v", c, target, u.Path, u.RawPath, err)
				}
				if _, err := url.ParseQuery(u.RawQuery); err != nil || canon.Query(u.RawQuery) != nil {
					t.Errorf("%+v: query %q: %v", c, u.RawQuery, err)
				}
				return &http.Response{}, nil
			})).Handle(x)
		}
	})
}

func BenchmarkPrefix(b *testing.B) {
	h := build(b, Config{Prefix: &Prefix{From: "/agent1", To: "/api/v2"}})(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
		return nil, nil
	}))
	x := exchange("/agent1/x/y", "")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Handle(x); err != nil {
			b.Fatal(err)
		}
	}
}
