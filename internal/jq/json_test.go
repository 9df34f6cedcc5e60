package jq

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDecode(t *testing.T) {
	tests := []struct {
		in   string
		want any
	}{
		{` {"a" : [1, -2, 1.5, true, false, null, "é\u00e9\n"]} `, map[string]any{
			"a": []any{1, -2, json.Number("1.5"), true, false, nil, "éé\n"},
		}},
		{`[]`, []any{}},
		{`{}`, map[string]any{}},
		{`9223372036854775807`, 9223372036854775807},
		{`9223372036854775808`, json.Number("9223372036854775808")},
		{`-0`, json.Number("-0")},
		{`0.0`, json.Number("0.0")},
		{`{"":{"":1}}`, map[string]any{"": map[string]any{"": 1}}},
		{strings.Repeat("[", MaxDepth-1) + strings.Repeat("]", MaxDepth-1), nest(MaxDepth - 1)},
	}
	for _, tt := range tests {
		got, err := Decode([]byte(tt.in))
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
		}
		if !reflect.DeepEqual(got, tt.want) { // cmp takes for ever on what nests deep
			t.Errorf("%s: got %v, want %v", tt.in, got, tt.want)
		}
	}
}

func nest(n int) any {
	v := []any{}
	for range n - 1 {
		v = []any{v}
	}
	return v
}

func TestDecodeErrors(t *testing.T) {
	tests := []struct {
		in      string
		want    string
		refused bool
	}{
		{``, "it ends too early, at byte 0", false},
		{`  `, "it ends too early, at byte 2", false},
		{`{"a":[1`, "it ends too early, at byte 7", false},
		{`[DONE]`, "it is not valid JSON, at byte 1", false},
		{`{"a":secret}`, "it is not valid JSON, at byte 5", false},
		{`{"a":1,}`, "it is not valid JSON, at byte 6", false},
		{`[1,]`, "it is not valid JSON, at byte 2", false},
		{`{'a':1}`, "it is not valid JSON, at byte 1", false},
		{`NaN`, "it is not valid JSON, at byte 0", false},
		{`01`, "something follows the JSON value, at byte 1", false},
		{"\"a\nb\"", "it is not valid JSON, at byte 2", false},
		{`{} {}`, "something follows the JSON value, at byte 2", false},
		{`{"a":1}x`, "something follows the JSON value, at byte 7", false},
		{`{"a":1,"b":{"c":1,"c":2}}`, "a name stands twice in an object, at byte 21", true},
		{`{"a":1,"\u0061":2}`, "a name stands twice in an object, at byte 15", true},
		{"\"a\xffb\"", "it holds text that is not Unicode, at byte 2", true},
		{`"\ud800"`, "it holds text that is not Unicode, at byte 1", true},
		{strings.Repeat("[", 5000), "it nests too deep, at byte 129", true},
		{strings.Repeat(`{"a":`, 5_000_000), "it nests too deep, at byte 641", true},
		{"[" + strings.Repeat("1", 1025) + "]", "a number is too long, at byte 1026", true},
	}
	for _, tt := range tests {
		_, err := Decode([]byte(tt.in))
		e, ok := errors.AsType[*SyntaxError](err)
		if !ok || e.Error() != tt.want || e.Refused != tt.refused {
			t.Errorf("%.40q: got %#v, want %s, refused %v", tt.in, err, tt.want, tt.refused)
		}
	}
	if _, err := DecodeDepth([]byte("[[[]]]"), 2); err == nil {
		t.Error("a depth of 3 was taken for one of 2")
	}
}

func TestEncode(t *testing.T) {
	big30, _ := new(big.Int).SetString(strings.Repeat("9", 30), 10)
	tests := []struct {
		in   any
		want string
	}{
		{map[string]any{"b": 1, "a": nil, "B": true}, `{"B":true,"a":null,"b":1}`},
		{[]any{1.0, 0.1, 1e21, 1e-7, math.MaxFloat64, -0.5}, `[1,0.1,1e+21,1e-7,1.7976931348623157e+308,-0.5]`},
		{[]any{big30, json.Number("1.50"), math.MinInt}, `[` + strings.Repeat("9", 30) + `,1.50,-9223372036854775808]`},
		{"<a>&\u2028\"\\\n\x01é", "\"<a>&\u2028\\\"\\\\\\n\\u0001é\""},
		{[]any{}, `[]`},
		{map[string]any{}, `{}`},
	}
	for _, tt := range tests {
		got, err := Encode(tt.in)
		if err != nil || string(got) != tt.want {
			t.Errorf("got %s, %v; want %s", got, err, tt.want)
		}
	}
}

func TestEncodeErrors(t *testing.T) {
	shared := any([]any{})
	for range 60 {
		shared = []any{shared, shared}
	}
	tests := []struct {
		name string
		in   any
		most int
		want error
	}{
		{"NaN", math.NaN(), 100, ErrNumber},
		{"infinite", []any{math.Inf(-1)}, 100, ErrNumber},
		{"not UTF-8", map[string]any{"a": "\xff"}, 100, ErrUnicode},
		{"a name that is not UTF-8", map[string]any{"\xff": 1}, 100, ErrUnicode},
		{"deep", nest(257), 1000, ErrDeep},
		{"large", []any{"12345678"}, 11, ErrOutput},
		{"a large text", strings.Repeat("x", 100), 50, ErrOutput},
		{"shared without end", shared, 1 << 20, ErrOutput},
	}
	for _, tt := range tests {
		if got, err := EncodeMax(tt.in, tt.most); !errors.Is(err, tt.want) || got != nil {
			t.Errorf("%s: got %s, %v; want %v", tt.name, got, err, tt.want)
		}
	}
	if _, err := EncodeMax([]any{"12345678"}, 12); err != nil {
		t.Errorf("at the bound: %v", err)
	}
	if _, err := Encode(struct{}{}); err == nil {
		t.Error("a struct was encoded")
	}
}

func TestValue(t *testing.T) {
	tests := []struct {
		in   any
		want any
	}{
		{map[string]any{"roles": []string{"a"}, "n": int64(5), "f": 1.5, "u": uint64(math.MaxUint64)}, map[string]any{
			"roles": []any{"a"}, "n": 5, "f": 1.5, "u": json.Number("18446744073709551615"),
		}},
		{map[string]string{"a": "b"}, map[string]any{"a": "b"}},
		{json.Number("9007199254740993"), 9007199254740993},
		{[]any{nil, true, "x"}, []any{nil, true, "x"}},
	}
	for _, tt := range tests {
		got, err := Value(tt.in)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	for _, in := range []any{math.NaN(), "\xff", func() {}, nest(200), []any{math.Inf(1)}, map[string]any{"a": "\xff"}} {
		if got, err := Value(in); err == nil {
			t.Errorf("got %v, want an error", got)
		}
	}
}

// What Decode takes is JSON to others too, Encode writes it back with the same
// meaning, and nothing that it takes makes a filter panic.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.50,"x",null,true]}`, `[DONE]`, `"\ud800"`, `{"a":1,"a":2}`, `[[[[1e999]]]]`, "\"\xff\"", `-0`} {
		f.Add([]byte(s))
	}
	q := compile(f, `[.. | numbers | . * 2 - 1], [.. | strings | gsub("(?<x>.)"; .x)], (.. |= .), tojson, (.[0]? * .[1]?) | tostring`)
	f.Fuzz(func(t *testing.T, in []byte) {
		v, err := Decode(in)
		if err != nil {
			e, ok := errors.AsType[*SyntaxError](err)
			if !ok || e.Offset < 0 || e.Offset > int64(len(in)) {
				t.Fatalf("%q: %#v", in, err)
			}
			return
		}
		if !json.Valid(in) {
			t.Fatalf("%q is not JSON", in)
		}
		b, err := Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(b)
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if !reflect.DeepEqual(again, v) {
			t.Fatalf("%q: got %v, want %v", b, again, v)
		}
		if second, _ := Encode(again); !bytes.Equal(b, second) {
			t.Fatalf("got %q, then %q", b, second)
		}
		_, _ = q.One(t.Context(), v)
	})
}

// Whatever is written as a filter is compiled or refused, in one line, and runs
// or fails without a panic.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{`.a[.b] * .c - 1`, `def f(x): x; f(.[1:2]?)`, `. as {a: $x, b: [$y]} | "\($x)" | gsub("a"; $y)`, `reduce .[] as $x (0; . -= $x)`, `@base64 "x\(.)"`, `.[-1]`, `label $f | 1, break $f`, `.. |= (try error catch .)`} {
		f.Add(s)
	}
	in := map[string]any{"a": []any{1, 2}, "b": "x", "c": json.Number("1.0")}
	f.Fuzz(func(t *testing.T, src string) {
		q, err := Compile(src)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("more than a line: %v", err)
			}
			return
		}
		v, err := q.One(t.Context(), in)
		if err == nil {
			_, _ = EncodeMax(v, 1<<20)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	in := []byte(`{"model":"m","messages":[{"role":"user","content":"hello, how are you today?"},{"role":"assistant","content":"hi"}],"temperature":0.5,"n":4,"stream":true}`)
	large := fmt.Appendf(nil, "[%s]", bytes.TrimSuffix(bytes.Repeat(append(in, ','), 1000), []byte(",")))
	for _, in := range [][]byte{in, large} {
		b.Run(fmt.Sprint(len(in)), func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	v, err := Decode([]byte(`{"model":"m","messages":[{"role":"user","content":"hello, how are you today?"},{"role":"assistant","content":"hi"}],"temperature":0.5,"n":4,"stream":true}`))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Encode(v); err != nil {
			b.Fatal(err)
		}
	}
}
