package expr

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"pgregory.net/rapid"

	"github.com/airside-gateway/airside"
)

// quick are expressions that are run without CEL, where the exchange allows it.
var quick = map[Kind][]string{
	Bool: {
		`"bench" in caller.claims.roles`, `caller.id in caller.claims["roles"]`, `!("a" in caller.claims.roles)`,
		`caller.claims.tenant == "a"`, `"a" != caller.claims.tenant`, `caller.claims.tenant == caller.claims.roles`,
		`caller.id == "a"`, `call.target != "a"`, `request.method in ["GET", "a", "b"]`, `caller.claims.tenant in ["a", ""]`, `caller.id in []`,
		`request.path.startsWith("/a")`, `request.host.endsWith(".a")`, `call.operation.contains("a")`, `caller.claims.tenant.startsWith("a")`,
		`has(caller.claims.tenant)`, `has(request.headers.cookie)`, `"tenant" in caller.claims`, `"X-A" in request.headers`, `"cookie" in request.headers`,
		`request.headers["X-A"] == "a"`, `request.headers.cookie == "a; b"`, `request.headers["x-a"].contains(",")`,
		`has(caller.claims.tenant) && caller.claims.tenant == "a"`, `caller.claims.tenant == "a" && has(caller.claims.tenant)`,
		`caller.claims.tenant == "a" || caller.id == "a" || "a" in caller.claims.roles`, `!has(caller.claims.tenant) || caller.claims.tenant == "b"`,
		`caller.claims[?"tenant"].orValue("b") == "b"`, `request.headers[?"x-a"].orValue(caller.id) == "a"`, `true`, `call.id == "a" && request.scheme == "https" && request.remote == "::1"`,
	},
	String: {
		`caller.id`, `"a"`, `caller.claims.tenant`, `caller.claims["a b"]`, `request.headers["x-a"]`, `request.headers.cookie`,
		`caller.claims[?"tenant"].orValue("none")`, `request.headers[?"x-a"].orValue("none")`, `request.headers[?"x-a"].orValue(caller.claims.tenant)`,
		`request.method`, `request.path`, `request.host`, `request.scheme`, `request.remote`, `call.operation`, `call.target`, `call.id`,
	},
}

// word draws text that often is the same, and sometimes no UTF-8.
func word() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{"a", "b", "", "bench", "/a/b", "x.a", "A.a:80", "[::1]:8080", "GET", "https", "::1", "\xff", "none"})
}

// claim draws what a token or a key can say, and what no token says.
func claim() *rapid.Generator[any] {
	scalar := rapid.OneOf(rapid.Map(word(), func(s string) any { return s }), rapid.SampledFrom([]any{
		nil, true, 1, int64(2), 1.5, []byte("a"), airside.Secret("a"), map[string]any{"a": "b"}, struct{ A string }{"a"}, uint8(1),
	}))
	return rapid.OneOf(scalar,
		rapid.Map(rapid.SliceOfN(scalar, 0, 4), func(l []any) any { return l }),
		rapid.Map(rapid.SliceOfN(word(), 0, 4), func(l []string) any { return l }))
}

func drawExchange(t *rapid.T) *airside.Exchange {
	x := &airside.Exchange{Request: &http.Request{
		Method: word().Draw(t, "method"), Host: word().Draw(t, "host"), URL: &url.URL{Path: word().Draw(t, "path")}, Header: http.Header{},
	}}
	x.Client = airside.Client{Addr: word().Draw(t, "remote"), Scheme: word().Draw(t, "scheme")}
	x.Call = airside.Call{Operation: word().Draw(t, "operation"), Target: word().Draw(t, "target"), ID: word().Draw(t, "call")}
	x.Caller.ID = word().Draw(t, "caller")
	if rapid.Bool().Draw(t, "claims") {
		x.Caller.Claims = rapid.MapOfN(rapid.SampledFrom([]string{"tenant", "roles", "a b"}), claim(), 0, 3).Draw(t, "claim")
	}
	for _, name := range []string{"X-A", "Cookie"} {
		if lines := rapid.SliceOfN(word(), 0, 3).Draw(t, name); len(lines) > 0 || rapid.Bool().Draw(t, "empty") {
			x.Request.Header[name] = lines
		}
	}
	return x
}

// TestQuickIsCEL proves that what is run without CEL comes to what CEL says, failures
// and their words too.
func TestQuickIsCEL(t *testing.T) {
	for kind, sources := range quick {
		for _, src := range sources {
			p, err := Compile(src, kind)
			if err != nil {
				t.Fatalf("%s: %v", src, err)
			}
			if kind == Bool && p.truth == nil || kind == String && p.text == nil {
				t.Errorf("%s is not run without CEL", src)
			}
			slow := *p
			slow.text, slow.truth = nil, nil
			rapid.Check(t, func(t *rapid.T) {
				x := drawExchange(t)
				got, want := outcome(p, kind, x), outcome(&slow, kind, x)
				if got != want {
					t.Fatalf("%s: got %s, want %s, with claims %#v and headers %q", src, got, want, x.Caller.Claims, x.Request.Header)
				}
			})
		}
	}
}

func outcome(p *Program, kind Kind, x *airside.Exchange) string {
	if kind == Bool {
		v, err := p.Bool(x)
		return fmt.Sprint(v, err)
	}
	v, err := p.Text(x)
	return fmt.Sprintf("%q %v", v, err)
}

// TestNotQuick proves that what only CEL can tell is left to it.
func TestNotQuick(t *testing.T) {
	for _, src := range []string{
		`["a"].exists(caller, caller == "a")`, `request.query.a == "a"`, `caller.claims.n == 1`, `caller.claims.a.b == "c"`, `size(caller.id) > 1`,
		`caller.id.matches("a+")`, `"a" in caller.claims.a.b`, `caller.claims == caller.claims`, `["a"] == ["b"]`, `has(caller.id)`, `has(caller.claims.a.b)`,
		`caller.id in request.headers`, `caller.id in [?caller.claims[?"a"]]`, `caller.id in [call.id]`, `"a" < "b"`, `b"a" == b"a"`,
	} {
		p, err := Compile(src, Bool)
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		if p.truth != nil || p.text != nil {
			t.Errorf("%s is run without CEL", src)
		}
	}
}

// TestQuickAllocatesNothing proves what the usual rules cost.
func TestQuickAllocatesNothing(t *testing.T) {
	rule, err := Compile(`"bench" in caller.claims.roles && request.headers["x-a"] == "a"`, Bool)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Compile(`caller.claims[?"tenant"].orValue("none")`, String)
	if err != nil {
		t.Fatal(err)
	}
	x := &airside.Exchange{Request: &http.Request{Header: http.Header{"X-A": {"a"}}}}
	x.Caller.Claims = map[string]any{"roles": []any{"doctor", "bench"}}
	n := testing.AllocsPerRun(100, func() {
		if ok, err := rule.Bool(x); !ok || err != nil {
			t.Errorf("got %v, %v", ok, err)
		}
		if s, err := text.Text(x); s != "none" || err != nil {
			t.Errorf("got %q, %v", s, err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkQuickRule(b *testing.B) {
	rule, err := Compile(`"bench" in caller.claims.roles`, Bool)
	if err != nil {
		b.Fatal(err)
	}
	x := &airside.Exchange{Request: &http.Request{}, Caller: airside.Caller{Claims: map[string]any{"roles": []any{"bench"}}}}
	b.ReportAllocs()
	for b.Loop() {
		if ok, _ := rule.Bool(x); !ok {
			b.Fatal("refused")
		}
	}
}
