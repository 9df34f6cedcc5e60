package jq

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/itchyny/gojq"
)

func compile(t testing.TB, src string, vars ...string) *Query {
	t.Helper()
	q, err := Compile(src, vars...)
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	return q
}

// apply runs src on a JSON text and returns the result as one.
func apply(t testing.TB, src, in string) (string, error) {
	t.Helper()
	v, err := Decode([]byte(in))
	if err != nil {
		t.Fatalf("%s: %v", in, err)
	}
	out, err := compile(t, src).One(t.Context(), v)
	if err != nil {
		return "", err
	}
	b, err := Encode(out)
	return string(b), err
}

func TestOne(t *testing.T) {
	tests := []struct{ src, in, want string }{
		{".", `{"b":[1,true,null,"x"],"a":{}}`, `{"a":{},"b":[1,true,null,"x"]}`},
		{".a.b", `{"a":{"b":1}}`, `1`},
		{"{model, n: (.messages | length)}", `{"model":"m","messages":[1,2]}`, `{"model":"m","n":2}`},
		{"$ENV, env | length", `1`, ``},
		{"[$ENV, env] | map(length)", `1`, `[0,0]`},
		{"now | type", `1`, `"number"`},
		{`.a |= . + 1 | .b[2] = 3 | del(.c)`, `{"a":1,"c":2}`, `{"a":2,"b":[null,null,3]}`},
		{`.[.k]`, `{"k":"v","v":5}`, `5`},
		{`.a[.i]`, `{"a":[1,2],"i":-1}`, `2`},
		{`.a[.i] = 9`, `{"a":[1,2],"i":1}`, `{"a":[1,9],"i":1}`},
		{`path(getpath(["a","b"]))`, `{}`, `["a","b"]`},
		{`getpath(["a",0]) |= . + 1`, `{"a":[1]}`, `{"a":[2]}`},
		{`setpath(["a",1]; 2)`, `{}`, `{"a":[null,2]}`},
		{`nth(1) = 5`, `[1]`, `[1,5]`},
		{`[(1,2) * (3,4)]`, `null`, `[3,6,4,8]`},
		{`[(.[0],.[1]) * (.[2],.[3])]`, `[1,2,3,4]`, `[3,6,4,8]`},
		{`[(.[0],.[1]) - (.[2],.[3])]`, `[1,2,3,4]`, `[-2,-1,-3,-2]`},
		{`.a *= .b | .b -= .a`, `{"a":2,"b":3}`, `{"a":6,"b":-3}`},
		{`.a * .b`, `{"a":{"x":{"y":1}},"b":{"x":{"z":2}}}`, `{"x":{"y":1,"z":2}}`},
		{`.a - .b`, `{"a":[1,2,3],"b":[2]}`, `[1,3]`},
		{`.a * .b`, `{"a":"ab","b":2}`, `"abab"`},
		{`def f(x): x * x; f(.a)`, `{"a":3}`, `9`},
		{`def contains(x): "mine"; contains(1)`, `1`, `"mine"`},
		{`contains({a:["b"]}), inside({}) | select(. == true)`, `{"a":["bc"]}`, `true`},
		{`[index("b"), rindex("b"), indices("b")]`, `"abéb"`, `[1,3,[1,3]]`},
		{`[index("x"), rindex("x"), indices("x"), index(""), indices("")]`, `"ab"`, `[null,null,[],null,[]]`},
		{`indices("éé")`, `"aéééa"`, `[1,2]`},
		{`[index(1), rindex([2,1]), indices([1])]`, `[2,1,2,1]`, `[1,2,[1,3]]`},
		{`index("a")`, `null`, `null`},
		{`[join(","), (transpose? // 0)]`, `["a","b"]`, `["a,b",0]`},
		{`transpose`, `[[1,2],[3]]`, `[[1,3],[2,null]]`},
		{`map(tonumber)`, `["1","1.50",2]`, `[1,1.5,2]`},
		{`fromjson | tojson | fromjson`, `"{\"a\": [1.0, 9007199254740993]}"`, `{"a":[1.0,9007199254740993]}`},
		{`try error("no") catch .`, `1`, `"no"`},
		{`try error({a: 1}) catch .a`, `1`, `1`},
		{`.[1:.n]`, `{"n":1}`, ``},
		{`"\(.a)-\(.b)"`, `{"a":1,"b":[2]}`, `"1-[2]"`},
	}
	for _, tt := range tests {
		got, err := apply(t, tt.src, tt.in)
		if tt.want == "" && err != nil {
			continue
		}
		if err != nil || got != tt.want {
			t.Errorf("%s on %s: got %s, %v; want %s", tt.src, tt.in, got, err, tt.want)
		}
	}
}

// The functions on regular expressions, which are ours, do as those of gojq.
func TestRegularExpressions(t *testing.T) {
	filters := []string{
		`[match("a")]`, `[match("a"; "g")]`, `[match("A"; "gi")]`, `[match(["a", "g"])]`, `[match(""; "g")]`, `[match("a*"; "g")]`,
		`[match("(?<x>b)(?<y>z)?"; "g")]`, `[match("\\bé?"; "g")]`, `[match("b|$"; "g")]`,
		`test("b")`, `test("Q")`, `test("B"; "i")`, `test(["B", "gi"])`, `test(".\n."; "m")`,
		`capture("(?<x>a)(?<y>z)?")`, `[capture("(?<x>[ab])"; "g")]`, `[capture(["(?<x>[ab])", "g"])]`,
		`[scan("[ab]")]`, `[scan("([ab])(.)")]`, `[scan("B"; "i")]`,
		`[splits("[, ]+")]`, `[splits("B"; "i")]`, `split("[, ]+"; null)`, `split("b*"; "")`, `split(",")`,
		`sub("a"; "x")`, `sub("(?<l>[ab])"; "<\(.l)>")`, `sub("Q"; "x")`, `sub("b"; "x"; "g")`, `sub("^"; ">")`, `sub("$"; "<")`,
		`gsub("a"; "")`, `gsub("(?<l>[ab])"; .l + .l)`, `gsub("\\s+"; " ")`, `gsub(""; "-")`, `gsub("a*"; "-")`, `gsub("B"; "x"; "i")`, `gsub("é"; "e")`,
		`[sub("(?<l>a)"; "1\(.l)", "2\(.l)")]`, `[gsub("a"; "x", "y")]`, `gsub("(?<x>z)?b"; "\(.x)")`,
	}
	texts := []string{"", "abc", "b, a b,é ab", "aaé\naab", "日本 a b", "zbb"}
	for _, src := range filters {
		q := compile(t, src)
		parsed, err := gojq.Parse(src)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range texts {
			got, err := q.One(t.Context(), text)
			want, some := parsed.Run(text).Next()
			if wantErr, failed := want.(error); failed || !some {
				if err == nil {
					t.Errorf("%s on %q: got %v, want an error as %v", src, text, got, wantErr)
				}
				continue
			}
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%s on %q: %v (-gojq +got):\n%s", src, text, err, diff)
			}
		}
	}
}

// Integers are exact at every size, and numbers that are only moved keep their
// text.
func TestNumbers(t *testing.T) {
	tests := []struct{ src, in, want string }{
		{".", `9007199254740993`, `9007199254740993`},
		{". + 1", `9007199254740993`, `9007199254740994`},
		{". - 1 | . + 2", `9223372036854775807`, `9223372036854775808`},
		{". * .", `9007199254740993`, `81129638414606699710187514626049`},
		{".a.b[0]", `{"a":{"b":[123456789012345678901234567890]}}`, `123456789012345678901234567890`},
		{"{x: .} | tojson | fromjson | .x", `9007199254740993`, `9007199254740993`},
		{`"\(.)"`, `9007199254740993`, `"9007199254740993"`},
		{"tostring | tonumber", `9007199254740993`, `9007199254740993`},
		{"[.[] | . ]", `[1.0,1e2,-0,0.10,1E400,-1e-400]`, `[1.0,1e2,-0,0.10,1E400,-1e-400]`},
		{"sort", `[9007199254740993,9007199254740992,1.5]`, `[1.5,9007199254740992,9007199254740993]`},
		{".[0] == .[1]", `[9007199254740993,9007199254740992]`, `false`},
		{".[0] == .[1]", `[1.0,1]`, `true`},
		{"keys", `{"9007199254740993":1}`, `["9007199254740993"]`},
		{". + 0.5", `1`, `1.5`},
		{"6 / 3, 7 / 2 | select(. > 3)", `0`, `3.5`},
		{". * 10", `1e2`, `1000`},
		{"-.", `-0`, `0`},
		{". + 0", `1e25`, `1e+25`},
	}
	for _, tt := range tests {
		got, err := apply(t, tt.src, tt.in)
		if err != nil || got != tt.want {
			t.Errorf("%s on %s: got %s, %v; want %s", tt.src, tt.in, got, err, tt.want)
		}
	}
}

func TestOneErrors(t *testing.T) {
	tests := []struct {
		src, in string
		want    string
	}{
		{"empty", `1`, ErrNone.Error()},
		{".[]", `[1,2]`, ErrSeveral.Error()},
		{"1, error(\"x\")", `1`, "jq: the filter refuses: x"},
		{`error("no\nname")`, `1`, "jq: the filter refuses: no name"},
		{`error`, `{"a":1}`, `jq: the filter refuses: {"a":1}`},
		{`error("x" * 600)`, `1`, "jq: the filter refuses: " + strings.Repeat("x", 512) + "..."},
		{`(try 1 catch 2) | error("after")`, `1`, "jq: the filter refuses: after"},
		{".[]", `"secret"`, "jq: cannot iterate over: string"},
		{".a", `["secret"]`, "jq: expected an object but got: array"},
		{".a + .b", `{"a":"secret","b":7}`, "jq: cannot add: string"},
		{"tonumber", `"7secret"`, "jq: tonumber cannot be applied to"},
		{".a / .b", `{"a":77,"b":0}`, "jq: cannot divide number"},
		{"fromjson", `"{\"secret\":1,\"secret\":2}"`, "jq: fromjson: a name stands twice in an object, at byte 20"},
		{`test(.)`, `"(secret"`, "jq: a regular expression is not valid"},
		{`test("a"; "x")`, `""`, "jq: a regular expression has a flag other than g, i and m"},
		{`test("a")`, `7`, "jq: a regular expression, its flags and what it is applied to must be strings"},
		{`gsub("a"; 1)`, `"a"`, "jq: a text can only be replaced by a string"},
		{`[limit(-1; 1)]`, `1`, "jq: the filter refuses: limit doesn't support negative count"},
	}
	for _, tt := range tests {
		_, err := apply(t, tt.src, tt.in)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s on %s: got %v, want %s", tt.src, tt.in, err, tt.want)
		}
	}
	_, err := apply(t, `error("x")`, `1`)
	if raised, ok := errors.AsType[*Raised](err); !ok || raised.Message != "x" {
		t.Errorf("got %#v, want a Raised", err)
	}
}

func TestCompileErrors(t *testing.T) {
	tests := []struct{ src, want string }{
		{".a | ]", `jq: line 1, column 6: unexpected token "]"`},
		{".a |\n  {b:", `jq: line 2, column 6: unexpected EOF`},
		{`"a`, `jq: line 1, column 3: unterminated string literal`},
		{"$nope", `jq: variable not defined: $nope`},
		{"nope(1)", `jq: function not defined: nope/1`},
		{`include "x"; .`, `jq: import and include are not available here`},
		{`import "x" as $x; .`, `jq: import and include are not available here`},
		{"input", `jq: input is not available here`},
		{"[inputs]", `jq: inputs is not available here`},
		{"halt_error", `jq: halt_error is not available here`},
		{"debug", `jq: function not defined: debug/0`},
		{"stderr", `jq: function not defined: stderr/0`},
		{"input_filename", `jq: function not defined: input_filename/0`},
		{"", `jq: missing query (try ".")`},
		{strings.Repeat(" ", 16<<10) + ".", `jq: the filter is longer than 16384 bytes`},
	}
	for _, tt := range tests {
		_, err := Compile(tt.src)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%.20q: got %v, want %s", tt.src, err, tt.want)
		}
	}
}

func TestVariables(t *testing.T) {
	q := compile(t, `{a: $request.path, b: $caller, c: .}`, "request", "caller", "call")
	got, err := q.One(t.Context(), 1, map[string]any{"path": "/x"}, "me", nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]any{"a": "/x", "b": "me", "c": 1}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, want := range map[string]bool{"request": true, "caller": true, "call": false} {
		if got := q.Uses(name); got != want {
			t.Errorf("Uses(%s): got %v, want %v", name, got, want)
		}
	}
	if _, err := q.One(t.Context(), 1, nil); err == nil {
		t.Error("too few variables were taken")
	}
}

func TestMembers(t *testing.T) {
	tests := []struct {
		src  string
		want []string
		only bool
	}{
		{`.`, nil, true},
		{`$v.a + $v["b"] + $v."c" + "\($v.d.e)"`, []string{"a", "b", "c", "d"}, true},
		{`. as {a: $x} | $v.a | $v.b`, []string{"a", "b"}, true},
		{`$v.a | ($v | keys)`, []string{"a"}, false},
		{`$v[.x]`, nil, false},
		{`$v["a\(.)"]`, nil, false},
		{`$v[]`, nil, false},
	}
	for _, tt := range tests {
		got, only := compile(t, tt.src, "v").Members("v")
		if diff := cmp.Diff(tt.want, got); diff != "" || only != tt.only {
			t.Errorf("%s: only %v, want %v (-want +got):\n%s", tt.src, only, tt.only, diff)
		}
	}
}

func TestContext(t *testing.T) {
	q := compile(t, "def f: f; f")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.One(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := q.One(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	if _, err := q.One(t.Context(), 1); !errors.Is(err, ErrBudget) {
		t.Errorf("got %v, want %v", err, ErrBudget)
	}
}

// Whatever the data, a filter that is sensible ends soon and in little memory.
func TestHostileData(t *testing.T) {
	const mib = 1 << 20
	digits := strings.Repeat("7", mib)
	numbers := "[" + strings.Repeat("1,", mib/2-2) + "2]"
	rows := "[[" + strings.Repeat("1,", mib/4) + "1]" + strings.Repeat(",[]", mib/6) + "]"
	quote := func(s string) string { return `"` + s + `"` }
	tests := []struct{ name, src, in string }{
		{"spaces", `gsub("\\s+"; " ")`, quote(strings.Repeat("a ", mib/2))},
		{"matches", `[match("a"; "g")] | length`, quote(strings.Repeat("a", mib))},
		{"many pieces", `[splits(" ")] | length`, quote(strings.Repeat("a ", mib/2))},
		{"pattern of data", `.t | test($p)`, ""},
		{"repeat", `"x" * .`, `2000000000`},
		{"repeat the other way", `. * "x"`, `2000000000`},
		{"repeat and assign", `{a: "xx", n: .} | .a *= .n`, `1e9`},
		{"index", `. as $i | [] | .[$i] = 1`, `500000000`},
		{"index of a text", `. as $i | [] | .[$i | tonumber] = 1`, `"500000000"`},
		{"index by setpath", `. as $i | null | setpath([$i]; 1)`, `500000000`},
		{"index by getpath", `. as $i | null | getpath([$i]) = 1`, `500000000`},
		{"index by nth", `. as $i | null | nth($i) = 1`, `500000000`},
		{"range", `[range(.)] | length`, `1e12`},
		{"join", `[.[0][], .[1]] | join(.[-1])`, "[" + numbers + "," + quote(strings.Repeat("x", mib)) + "]"},
		{"transpose", `transpose`, rows},
		{"difference", `.[0] - .[1]`, "[" + numbers + "," + strings.ReplaceAll(numbers, "1", "3") + "]"},
		{"assigned difference", `.[0] -= .[1]`, "[" + numbers + "," + strings.ReplaceAll(numbers, "1", "3") + "]"},
		{"contains", `.[0] | contains([4])`, "[" + numbers + "]"},
		{"contains each", `.[1] as $x | .[0] | contains($x)`, "[" + numbers + "," + strings.ReplaceAll(numbers, "1", "3") + "]"},
		{"indices", `indices("` + strings.Repeat("a", 8000) + `")`, quote(strings.Repeat("a", mib))},
		{"tonumber", `tonumber + 1`, quote(digits)},
		{"fromjson", `fromjson + 1`, quote(digits)},
		{"walk", `walk(.)`, numbers},
		{"append in a loop", `reduce .[] as $x (""; . + "x")`, numbers},
		{"deep", `reduce .[] as $x (null; [.])`, numbers},
		{"shared", `reduce range(60) as $i ([]; [., .])`, `1`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src, in := tt.src, tt.in
			var names []string
			var vars []any
			if tt.name == "pattern of data" {
				in = fmt.Sprintf(`{"t":%q}`, strings.Repeat("a", mib))
				names, vars = []string{"p"}, []any{strings.Repeat("(a?){1000}", 20)}
			}
			q := compile(t, src, names...)
			v, err := Decode([]byte(in))
			if err != nil {
				t.Fatal(err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			out, err := q.One(t.Context(), v, vars...)
			if err == nil {
				_, err = EncodeMax(out, 2*mib)
			}
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			t.Logf("%v, %d MiB: %v", took, (after.TotalAlloc-before.TotalAlloc)>>20, err)
			if took > 5*time.Second { // a second is the bound; machines differ, and the race detector
				t.Errorf("took %v", took)
			}
		})
	}
}

// A query is for many goroutines, and patterns made of data do not pile up.
func TestPatternsAreBounded(t *testing.T) {
	re := &patterns{}
	for i := range 10 * maxPatterns {
		if v := re.test("a", fmt.Sprint("a", i), nil); v != false {
			t.Fatalf("got %v", v)
		}
	}
	if got := len(re.known); got > maxPatterns {
		t.Errorf("keeps %d patterns, want at most %d", got, maxPatterns)
	}
}

func TestConcurrentUse(t *testing.T) {
	q := compile(t, `.a |= . + 1 | .s |= gsub("(?<x>[a-z])"; "\(.x).") | .b[.a] = $v`, "v")
	in := map[string]any{"a": 1, "s": "ab", "b": []any{1, 2, 3}}
	shared := map[string]any{"x": []any{1}}
	errs := make(chan error)
	for range 8 {
		go func() {
			var err error
			for range 50 {
				var v any
				if v, err = q.One(t.Context(), in, shared); err != nil {
					break
				}
				b, _ := Encode(v)
				if want := `{"a":2,"b":[1,2,{"x":[1]}],"s":"a.b."}`; string(b) != want {
					err = fmt.Errorf("got %s, want %s", b, want)
					break
				}
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(map[string]any{"a": 1, "s": "ab", "b": []any{1, 2, 3}}, in); diff != "" {
		t.Errorf("the input was changed (-want +got):\n%s", diff)
	}
}

func BenchmarkOne(b *testing.B) {
	in, err := Decode([]byte(`{"model":"m","messages":[{"role":"user","content":"hello"},{"role":"assistant","content":"hi"}],"n":4}`))
	if err != nil {
		b.Fatal(err)
	}
	for _, src := range []string{`.`, `.n |= 2`, `.messages |= map(select(.role != "system"))`, `.messages[0].content |= gsub("l"; "L")`} {
		b.Run(src, func(b *testing.B) {
			q := compile(b, src)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := q.One(context.Background(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
