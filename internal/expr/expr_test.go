package expr

import (
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

// exchange is a request with everything that an expression can look at.
func exchange(target string) *airside.Exchange {
	r := httptest.NewRequest("POST", target, nil)
	r.Header.Set("X-Tenant", "blue")
	r.Header.Add("Accept", "a/b")
	r.Header.Add("Accept", "c/d")
	r.Header.Add("Cookie", "a=1")
	r.Header.Add("Cookie", "b=2")
	x := airside.NewExchange(r, slog.New(slog.DiscardHandler))
	x.Client = airside.Client{Addr: "10.1.2.3", Scheme: "https"}
	x.Call = airside.Call{Operation: "tools/call", Target: "search", ID: "7"}
	x.Caller = airside.Caller{ID: "alice", Claims: map[string]any{
		"roles": []any{"doctor", "admin"}, "level": 3.0, "ratio": 0.5, "strict": []string{"a"},
		"deep": map[string]any{"a": map[string]any{"b": "c"}}, "none": nil, "active": true,
		"when": time.Unix(0, 0).UTC(), "strange": make(chan int),
	}}
	return x
}

const target = "https://Agents.example:8443/a%20b/c?q=1&name=a%26b+c&twice=1&twice=2"

// TestBool proves what the variables and functions mean.
func TestBool(t *testing.T) {
	tests := []string{
		`request.method == "POST"`,
		`request.path == "/a b/c"`,
		`request.host == "agents.example"`,
		`request.scheme == "https" && request.remote == "10.1.2.3"`,
		`request.headers["x-tenant"] == "blue"`,
		`request.headers["X-TENANT"] == "blue" && "X-Tenant" in request.headers`,
		`request.headers.accept == "a/b, c/d"`,
		`request.headers.cookie == "a=1; b=2"`,
		`!has(request.headers.missing) && !("missing" in request.headers)`,
		`request.headers[?"missing"].orValue("none") == "none"`,
		`request.headers.exists(k, k == "x-tenant" && request.headers[k] == "blue")`,
		`size(request.headers) == 3`,
		`request.headers == {"x-tenant": "blue", "accept": "a/b, c/d", "cookie": "a=1; b=2"}`,
		`request.query.q == "1" && request.query["name"] == "a&b c"`,
		`!has(request.query.other)`,
		`call.operation == "tools/call" && call.target == "search" && call.id == "7"`,
		`caller.id == "alice" && has(caller.id) && has(caller.claims)`,
		`"doctor" in caller.claims.roles`,
		`caller.claims.roles.exists(r, r.startsWith("doc"))`,
		`sets.contains(caller.claims.roles, ["admin"])`,
		`"a" in caller.claims.strict`,
		`caller.claims.level > 2 && caller.claims.level == 3`,
		`caller.claims.deep.a.b == "c"`,
		`caller.claims.none == null`,
		`caller.claims.active`,
		`caller.claims.when < timestamp("2020-01-01T00:00:00Z")`,
		`cidr("10.0.0.0/8").containsIP(request.remote)`,
		`request.path.matches("^/a.b/") && request.path.split("/").size() == 3`,
		`"a-b".replace("-", "+") == "a+b" && "aaa".replace("a", "b", 2) == "bba" && "aaa".replace("a", "b", 0) == "aaa" && "aaa".replace("a", "b", -1) == "bbb"`,
		`["a", "b"].join("-") == "a-b" && [].join("-") == "" && ["", ""].join(",") == ","`,
		`dyn(caller).id == "alice" && dyn(request).headers["x-tenant"] == "blue" && has(dyn(call).id)`,
		`caller == caller && caller != dyn(call)`,
		`type(caller) == type(caller)`,
	}
	for _, src := range tests {
		p, err := Compile(src, Bool)
		if err != nil {
			t.Errorf("Compile(%s): %v", src, err)
			continue
		}
		if got, err := p.Bool(exchange(target)); err != nil || !got {
			t.Errorf("%s = %v, %v; want true", src, got, err)
		}
	}
}

// TestCompileErrors proves that what is wrong is said in one line.
func TestCompileErrors(t *testing.T) {
	tests := []struct {
		src  string
		kind Kind
		want string
	}{
		{`request.methd == "GET"`, Bool, `column 8: request has no field "methd" (did you mean "method"?)`},
		{`true &&` + "\n" + ` call.x == "GET"`, Bool, `line 2, column 6: call has no field "x": there are operation, target, id`},
		{`requst.method == "GET"`, Bool, `column 1: "requst" is not known (did you mean "request"?)`},
		{`event.data.x == 1`, Bool, `column 1: "event" is not known: there are request, call, caller`},
		{`request.method = "GET"`, Bool, `column 16: syntax error: two values are compared with ==`},
		{`request.method == 1`, Bool, `column 16: == does not work with (string, int)`},
		{`true ? "a" : false`, Any, `column 6: ? : does not work with (bool, string, bool)`},
		{`caller.id ==`, Bool, `column 13: syntax error: unexpected end of the expression`},
		{``, Bool, `the expression is empty`},
		{`request.path.upper() == "a"`, Bool, `column 19: there is no function "upper"`},
		{`request.path.matches("(")`, Bool, `column 22: the pattern is no regular expression (RE2), or is too large`},
		{`request.path.matches("(a{1000}){1000}")`, Bool, `column 22: the pattern is no regular expression (RE2), or is too large`},
		{`request.path`, Bool, `the expression is a string, where a condition (true or false) is needed`},
		{`request.headers`, String, `the expression is a map, where text is needed`},
		{`[1]`, String, `the expression is a list, where text is needed`},
		{`null`, String, `the expression is null, where text is needed`},
		{`caller.claims[?"a"]`, String, `the expression is an optional value without .orValue(...), where text is needed`},
		{`caller`, Any, `the expression is the whole of caller and not one of its fields, where a value is needed`},
		{strings.Repeat(" ", MaxSource) + "true", Bool, `the expression has 4100 bytes, of which 4096 are allowed`},
	}
	for _, tt := range tests {
		_, err := Compile(tt.src, tt.kind)
		if err == nil {
			t.Errorf("Compile(%s) succeeded; want %s", tt.src, tt.want)
			continue
		}
		if got := err.Error(); got != tt.want {
			t.Errorf("Compile(%s)\n got %s\nwant %s", tt.src, got, tt.want)
		}
	}
}

// TestOnly proves that a variable that is not there cannot be used, be it in a
// corner.
func TestOnly(t *testing.T) {
	for _, src := range []string{`caller.id == ""`, `true || has(caller.claims.a)`, `[1].all(i, dyn(caller).id == "")`} {
		_, err := Compile(src, Bool, Only("request", "call"))
		if err == nil || err.Error() != "caller is not known here" {
			t.Errorf("Compile(%s): %v; want caller is not known here", src, err)
		}
	}
	p, err := Compile(`request.path == "/"`, Bool, Only("request", "call"))
	if err != nil {
		t.Fatal(err)
	}
	if !p.Uses("request") || p.Uses("call") || p.Uses("caller") {
		t.Errorf("uses %v; want request", p.uses)
	}
	if got, want := p.String(), `request.path == "/"`; got != want {
		t.Errorf("String() = %s; want %s", got, want)
	}
}

// TestRunErrors proves that what cannot be evaluated is an error and never true.
func TestRunErrors(t *testing.T) {
	for _, src := range []string{
		`request.headers.missing == ""`, `request.headers["missing"] == ""`, `request.query.missing == ""`,
		`caller.claims.missing`, `caller.claims.level`, `caller.claims.strange == 1`, `caller.claims.none.x == 1`,
		`dyn(caller).foo == 1`, `dyn(caller)[1] == 1`, `string(caller.claims.level) == dyn(1) || caller.claims.missing`,
		`airside.Request{method: "GET"}.method == "GET"`,
		`request.path.replace("", request.path.replace("", "x").replace("x", "` + strings.Repeat("y", 2000) + `")).size() > 0 &&
		 "` + strings.Repeat("a", 1000) + `".replace("a", "` + strings.Repeat("b", 100) + `") == ""`,
		`"` + strings.Repeat("a", 1000) + `".split("").join("` + strings.Repeat("b", 100) + `") == ""`,
	} {
		p, err := Compile(src, Bool)
		if err != nil {
			t.Errorf("Compile(%s): %v", src, err)
			continue
		}
		if got, err := p.Bool(exchange(target)); err == nil || got {
			t.Errorf("%s = %v, %v; want false and an error", src, got, err)
		}
	}
}

// TestQuery proves that an ambiguous query fails even an expression that does
// not mind, and that one nobody looks at does no harm.
func TestQuery(t *testing.T) {
	tests := []struct {
		query, src string
		want       bool
		code       airside.Code
	}{
		{"a=%zz", `request.query.a == "1" || true`, false, airside.Invalid},
		{"a=1;b=2", `request.query.a == "1" || true`, false, airside.Invalid},
		{"a=%zz", `request.method == "POST"`, true, ""},
		{"a=1&a=1", `request.query.a == "1"`, false, airside.Invalid},
		{"a=1&%61=2", `has(request.query.a)`, false, airside.Invalid},
		{"a=1&b=1&b=2", `request.query.a == "1"`, true, ""},
		{"a=1&b=1&b=2", `request.query.all(k, request.query[k] == "1")`, false, airside.Invalid},
		{"&&a=1&", `request.query == {"a": "1"}`, true, ""},
		{"a", `request.query.a == ""`, true, ""},
		{"", `!has(request.query)`, true, ""},
	}
	for _, tt := range tests {
		p, err := Compile(tt.src, Bool)
		if err != nil {
			t.Fatalf("Compile(%s): %v", tt.src, err)
		}
		got, err := p.Bool(exchange("http://a.example/?" + tt.query))
		var code airside.Code
		if e, ok := errors.AsType[*airside.Error](err); ok {
			code = e.Code
		}
		if got != tt.want || code != tt.code || err != nil && code == "" {
			t.Errorf("%s with ?%s = %v, %v; want %v, code %q", tt.src, tt.query, got, err, tt.want, tt.code)
		}
	}
}

// TestText proves how scalars are written.
func TestText(t *testing.T) {
	tests := []struct{ src, want string }{
		{`caller.id + "/" + call.target`, "alice/search"},
		{`caller.claims.level`, "3"},
		{`caller.claims.ratio`, "0.5"},
		{`caller.claims.active`, "true"},
		{`size(caller.id)`, "5"},
		{`7u`, "7"},
	}
	for _, tt := range tests {
		p, err := Compile(tt.src, String)
		if err != nil {
			t.Fatalf("Compile(%s): %v", tt.src, err)
		}
		if got, err := p.Text(exchange(target)); err != nil || got != tt.want {
			t.Errorf("%s = %q, %v; want %q", tt.src, got, err, tt.want)
		}
	}
	for _, src := range []string{`caller.claims.roles`, `caller.claims.none`, `caller.claims.missing`, `0.0 / 0.0`} {
		p, err := Compile(src, String)
		if err != nil {
			t.Fatalf("Compile(%s): %v", src, err)
		}
		if got, err := p.Text(exchange(target)); err == nil {
			t.Errorf("%s = %q; want an error", src, got)
		}
	}
}

// TestValue proves what values become, and that those that JSON cannot say are
// errors.
func TestValue(t *testing.T) {
	p, err := Compile(`{"a": [1, 2u, 1.5, "s", true, null, b"x"], "m": {1: duration("90s"), "t": timestamp("2020-01-01T00:00:00Z")},
		"claims": caller.claims.deep, "headers": request.headers}`, Any)
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Value(exchange(target))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"a":       []any{int64(1), uint64(2), 1.5, "s", true, nil, "eA=="},
		"m":       map[string]any{"1": "90s", "t": "2020-01-01T00:00:00Z"},
		"claims":  map[string]any{"a": map[string]any{"b": "c"}},
		"headers": map[string]any{"x-tenant": "blue", "accept": "a/b, c/d", "cookie": "a=1; b=2"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, src := range []string{`[caller]`, `{"a": [request]}`, `caller.claims.strange`, `request.query`, `type(1) == type(1) ? dyn(type(1)) : 1`} {
		p, err := Compile(src, Any)
		if err != nil {
			t.Fatalf("Compile(%s): %v", src, err)
		}
		if got, err := p.Value(exchange(target)); err == nil {
			t.Errorf("%s = %v; want an error", src, got)
		}
	}
}

// TestNobody proves that a caller that is nobody panics nowhere.
func TestNobody(t *testing.T) {
	x := airside.NewExchange(httptest.NewRequest("GET", "/", nil), slog.New(slog.DiscardHandler))
	for src, want := range map[string]bool{
		`has(caller.claims.roles) && "doctor" in caller.claims.roles`: false,
		`has(caller.id) || has(caller.claims)`:                        false,
		`caller.id == "" && caller.claims == {}`:                      true,
	} {
		p, err := Compile(src, Bool)
		if err != nil {
			t.Fatalf("Compile(%s): %v", src, err)
		}
		if got, err := p.Bool(x); err != nil || got != want {
			t.Errorf("%s = %v, %v; want %v", src, got, err, want)
		}
	}
}

// TestCost proves that an expression whose work grows with the request stops.
func TestCost(t *testing.T) {
	p, err := Compile(`caller.claims.l.all(a, caller.claims.l.all(b, caller.claims.l.all(c, a + b + c >= 0)))`, Bool)
	if err != nil {
		t.Fatal(err)
	}
	x := exchange(target)
	list := make([]any, 1000)
	for i := range list {
		list[i] = int64(i)
	}
	x.Caller.Claims = map[string]any{"l": list}
	if got, err := p.Bool(x); err == nil || got || !strings.Contains(err.Error(), "cost limit") {
		t.Errorf("= %v, %v; want the cost limit", got, err)
	}
	many := strings.TrimSuffix(strings.Repeat("0,", 60), ",")
	_, err = Compile(`[`+many+`].map(a, [`+many+`].map(b, [`+many+`].map(c, a + b + c))) != []`, Bool)
	if !errors.Is(err, errCost) {
		t.Errorf("Compile of 216,000 steps: %v; want %v", err, errCost)
	}
}

// TestConcurrent proves, with the race detector, that a program can be shared.
func TestConcurrent(t *testing.T) {
	p, err := Compile(`request.query.q == "1" && request.headers.exists(k, k == "x-tenant") && caller.claims.roles.all(r, caller.claims.roles.all(s, r != ""))`, Bool)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if got, err := p.Bool(exchange(target)); err != nil || !got {
					t.Errorf("= %v, %v; want true", got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// FuzzCompile proves that no source and no query panics.
func FuzzCompile(f *testing.F) {
	f.Add(`request.method == "GET"`, "a=1")
	f.Add(`request.query.a.matches("a+") ? [1].map(x, x) : caller.claims[?"a"].orValue([])`, "a=%41")
	f.Add("\"\\x00\xff\" in request.query.\n a", "%zz;")
	f.Fuzz(func(t *testing.T, src, query string) {
		p, err := Compile(src, Any)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %v", err)
			}
			return
		}
		x := exchange(target)
		x.Request.URL.RawQuery = query
		_, _ = p.Value(x)
		_, _ = p.Bool(x)
	})
}

func bench(b *testing.B, src string) {
	p, err := Compile(src, Bool)
	if err != nil {
		b.Fatal(err)
	}
	x := exchange(target)
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := p.Bool(x); err != nil || !ok {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkSimple(b *testing.B) { bench(b, `call.target != "dispense"`) }
func BenchmarkRole(b *testing.B)   { bench(b, `"doctor" in caller.claims.roles`) }
func BenchmarkHeader(b *testing.B) { bench(b, `request.headers["x-tenant"] == "blue"`) }
func BenchmarkQuery(b *testing.B)  { bench(b, `request.query.q == "1"`) }
