package headers

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

func text(s string) Value { return Value{Text: s} }
func cel(s string) Value  { return Value{CEL: s} }

func validate(c *Config) error {
	return errors.Join(c.Request.Validate(), c.Response.Validate(), c.Validate())
}

func build(t testing.TB, c Config) airside.Middleware {
	t.Helper()
	if err := validate(&c); err != nil {
		t.Fatal(err)
	}
	m, err := New(&airside.Env{}, c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func exchange(h http.Header) *airside.Exchange {
	r := httptest.NewRequest("GET", "/p?a=1&b=1&b=2", nil)
	r.Header = h
	x := airside.NewExchange(r, slog.New(slog.DiscardHandler))
	x.Caller = airside.Caller{ID: "alice", Claims: map[string]any{"tenant": "blue", "evil": "a\r\nX-B: c", "long": strings.Repeat("x", maxValue+1), "padded": " x\t"}}
	return x
}

// TestChanges proves what becomes of headers, in both directions.
func TestChanges(t *testing.T) {
	tests := []struct {
		name    string
		changes Changes
		in      http.Header
		want    http.Header
	}{
		{
			"remove sees every spelling",
			Changes{Remove: []string{"x-user", "Y_Z"}},
			http.Header{"X-User": {"a"}, "X_User": {"b"}, "x_uSER": {"c"}, "Y-Z": {"d"}, "X-User-Id": {"e"}},
			http.Header{"X-User-Id": {"e"}},
		},
		{
			"remove all that begin so",
			Changes{Remove: []string{"X-Debug-*", "Content-*"}},
			http.Header{"X-Debug-A": {"a"}, "X_debug_B": {"b"}, "X-Debug-": {"c"}, "X-Debug": {"d"}, "Content-Length": {"5"}, "Content-Type": {"a/b"}},
			http.Header{"X-Debug": {"d"}, "Content-Length": {"5"}},
		},
		{
			"rename moves every line",
			Changes{Rename: map[string]string{"old": "new", "none": "kept"}},
			http.Header{"Old": {"a", "b"}, "New": {"c"}, "NEW": {"d"}, "Kept": {"e"}},
			http.Header{"New": {"a", "b"}, "Kept": {"e"}},
		},
		{
			"default only where there is none",
			Changes{Default: map[string]Value{"a": text("1"), "b": text("2"), "c": cel(`""`), "d": cel(`caller.id`)}},
			http.Header{"A": {"0"}},
			http.Header{"A": {"0"}, "B": {"2"}, "D": {"alice"}},
		},
		{
			"set replaces every spelling",
			Changes{Set: map[string]Value{"X-User": cel("caller.id"), "x-empty": text(""), "x-gone": cel(`""`), "x-padded": cel("caller.claims.padded")}},
			http.Header{"X-User": {"mallory", "eve"}, "X_user": {"eve"}, "X-Gone": {"a"}, "X_gone": {"b"}},
			http.Header{"X-User": {"alice"}, "X-Empty": {""}, "X-Padded": {"x"}},
		},
		{
			"add leaves the others",
			Changes{Add: map[string]Value{"vary": text("B"), "c": cel(`""`), "d": cel(`caller.claims.tenant`)}},
			http.Header{"Vary": {"A"}},
			http.Header{"Vary": {"A", "B"}, "D": {"blue"}},
		},
		{
			"none sees what another did",
			Changes{
				Remove: []string{"a"}, Rename: map[string]string{"b": "a"},
				Set: map[string]Value{"b": cel(`request.headers.a`)}, Add: map[string]Value{"b": cel(`request.headers.b`)},
			},
			http.Header{"A": {"1"}, "B": {"2"}},
			http.Header{"A": {"2"}, "B": {"1", "2"}},
		},
	}
	for _, tt := range tests {
		t.Run("request/"+tt.name, func(t *testing.T) {
			x := exchange(tt.in.Clone())
			before := x.Request
			var got http.Header
			h := build(t, Config{Request: tt.changes})(airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
				got = x.Request.Header.Clone()
				return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
			}))
			for range 2 { // as a retry does
				if _, err := h.Handle(x); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("request (-want +got):\n%s", diff)
				}
				if x.Request != before {
					t.Error("the request is not what it was before")
				}
			}
			if diff := cmp.Diff(tt.in, x.Request.Header); diff != "" {
				t.Errorf("the request itself has changed (-want +got):\n%s", diff)
			}
		})
		t.Run("response/"+tt.name, func(t *testing.T) {
			h := build(t, Config{Response: tt.changes})(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: tt.in.Clone()}, nil
			}))
			resp, err := h.Handle(exchange(tt.in.Clone()))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, resp.Header); diff != "" {
				t.Errorf("response (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRefused proves that a value that cannot be sent refuses the request before
// the agent sees it, in both directions.
func TestRefused(t *testing.T) {
	for _, src := range []string{
		`caller.claims.evil`, `caller.claims.long`, `caller.claims.missing`, `request.headers.missing`, `request.query.b`, `"a\u007fb"`, `"\u0000"`,
	} {
		changes := Changes{Set: map[string]Value{"X-A": cel(src)}}
		for _, c := range []Config{{Request: changes}, {Response: changes}} {
			h := build(t, c)(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
				t.Errorf("%s: the agent was asked", src)
				return &http.Response{}, nil
			}))
			_, err := h.Handle(exchange(http.Header{}))
			e, ok := errors.AsType[*airside.Error](err)
			if !ok || e.Code != airside.Invalid || strings.Contains(e.Message, "X-B") {
				t.Errorf("%s: %v; want code %s", src, err, airside.Invalid)
			}
		}
	}
}

// TestErrorsPass proves that failures are left alone, and that an answer without
// headers is no trouble.
func TestErrorsPass(t *testing.T) {
	m := build(t, Config{Response: Changes{Set: map[string]Value{"A": text("b")}}})
	want := errors.New("agent")
	_, err := m(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) { return nil, want })).Handle(exchange(http.Header{}))
	if !errors.Is(err, want) {
		t.Errorf("got %v; want %v", err, want)
	}
	resp, err := m(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	})).Handle(exchange(http.Header{}))
	if err != nil || resp.Header.Get("A") != "b" {
		t.Errorf("got %v, %v; want A: b", resp, err)
	}
}

// TestValidate proves what is refused when the configuration is read.
func TestValidate(t *testing.T) {
	set := func(name string, v Value) Config {
		return Config{Request: Changes{Set: map[string]Value{name: v}}}
	}
	many := map[string]Value{}
	for i := range maxChanges + 1 {
		many["a"+strings.Repeat("b", i)] = text("")
	}
	tests := []struct {
		config Config
		want   string
	}{
		{Config{}, "nothing is changed: give request or response"},
		{set("a b", text("")), `set.a b: "a b" is not the name of a header`},
		{set("", text("")), `set.: "" is not the name of a header`},
		{set("A\r\nB", text("")), `set.A` + "\r\n" + `B: "A\r\nB" is not the name of a header`},
		{set("hosT", text("")), `set.hosT: the host is changed by the policy rewrite, or by the upstream`},
		{set("Transfer_Encoding", text("")), `set.Transfer_Encoding: Transfer_Encoding belongs to the connection, and the gateway sets it`},
		{set("A", text("a\nb")), `set.A: a header holds no control characters`},
		{set("A", Value{Text: "a", CEL: "b"}), `set.A: give text or cel, not both`},
		{Config{Response: Changes{Set: many}}, `101 changes are too many: at most 100 are allowed`},
		{Config{Request: Changes{Set: map[string]Value{"A-B": {}, "a_b": {}}}}, `set.a_b: is the same header as A-B`},
		{Config{Request: Changes{Set: map[string]Value{"A": {}}, Default: map[string]Value{"a": {}}}}, `default.a: is set too`},
		{Config{Request: Changes{Remove: []string{"a", "*"}}}, `remove[1]: write the beginning of a name before the *, such as X-Debug-*`},
		{Config{Request: Changes{Remove: []string{"Connection"}}}, `remove[0]: Connection belongs to the connection, and the gateway sets it`},
		{Config{Request: Changes{Rename: map[string]string{"a": "A"}}}, `rename.a: is the same header`},
		{Config{Request: Changes{Rename: map[string]string{"a": "te"}}}, `rename.a: te belongs to the connection, and the gateway sets it`},
	}
	for _, tt := range tests {
		if err := validate(&tt.config); err == nil || err.Error() != tt.want {
			t.Errorf("got %v; want %s", err, tt.want)
		}
	}
	_, err := New(&airside.Env{}, Config{Request: Changes{Set: map[string]Value{"A": cel("caller.name")}}, Response: Changes{Add: map[string]Value{"B": cel("1 +")}}})
	want := `request.set.A.cel: column 7: caller has no field "name": there are id, claims` + "\n" +
		`response.add.B.cel: column 4: syntax error: unexpected end of the expression`
	if err == nil || err.Error() != want {
		t.Errorf("New: %v; want %s", err, want)
	}
	var v Value
	if err := v.UnmarshalText([]byte("plain")); err != nil || v != text("plain") {
		t.Errorf("UnmarshalText: %v, %v", v, err)
	}
}

func BenchmarkHeaders(b *testing.B) {
	h := build(b, Config{
		Request:  Changes{Remove: []string{"Cookie"}, Set: map[string]Value{"X-User": cel("caller.id")}},
		Response: Changes{Remove: []string{"Server"}},
	})(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Header: http.Header{}}, nil
	}))
	x := exchange(http.Header{"Accept": {"*/*"}, "User-Agent": {"bench"}, "Cookie": {"a=b"}, "Content-Type": {"a/b"}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Handle(x); err != nil {
			b.Fatal(err)
		}
	}
}
