package jq

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// repeated is a JSON list of about size bytes that holds element again and again.
func repeated(element string, size int) string {
	n := max(size/(len(element)+1), 1)
	return "[" + strings.Repeat(element+",", n-1) + element + "]"
}

// small are values that take much more memory than text.
var small = []string{
	`1`, `-1`, `1000000`, `1.5`, `1e9`, `12345678901234567890`, `true`, `null`, `""`, `"a"`, `"\u0041"`,
	`[]`, `{}`, `[[]]`, `[1]`, `[1,1]`, `{"":1}`, `{"a":{}}`, `{"":{"":{"":{}}}}`, `{"a":1,"b":2,"c":"d"}`,
	`{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9}`,
}

// wide is an object of n members.
func wide(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"%x":0`, i)
	}
	return "{" + b.String()[1:] + "}"
}

// TestMeasureMemory proves that the decoded values of a text take no more than was
// measured, whatever they are, and that the measure is not far off.
func TestMeasureMemory(t *testing.T) {
	texts := map[string]string{
		"text":    `{"a":"` + strings.Repeat("x", 1<<18) + `"}`,
		"escapes": `["` + strings.Repeat(`\n\u00e9`, 1<<14) + `"]`,
		"deep":    repeated(strings.Repeat("[", 100)+strings.Repeat("]", 100), 1<<18),
		"names":   repeated(`{"`+strings.Repeat("n", 1000)+`":1}`, 1<<18),
	}
	for _, element := range small {
		texts["many "+element] = repeated(element, 1<<18)
	}
	for _, n := range []int{1, 7, 8, 9, 14, 15, 28, 29, 100, 1000, 1793, 20000} {
		texts[fmt.Sprint("wide ", n)] = repeated(wide(n), 1<<18)
	}
	for name, text := range texts {
		m := Measured([]byte(text))
		got := held(t, text)
		if got > m.Memory() {
			t.Errorf("%s: the values take %d bytes, measured were %d", name, got, m.Memory())
		}
		if m.Memory() > 8*got+64<<10 {
			t.Errorf("%s: measured were %d bytes, the values take %d", name, m.Memory(), got)
		}
		if int(m.Size()) != len(text) {
			t.Errorf("%s: %d bytes were measured, want %d", name, m.Size(), len(text))
		}
	}
}

// held is the memory that the decoded values of text take, in bytes, the text left
// out.
func held(t *testing.T, text string) int64 {
	t.Helper()
	b := []byte(text)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	v, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(v)
	runtime.KeepAlive(b)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

// TestMeasureValues proves that the values are counted, and not the names, in whatever
// pieces the text comes.
func TestMeasureValues(t *testing.T) {
	for _, tt := range []struct {
		text   string
		values int
		length int // of strings and names
	}{
		{`1`, 1, 0},
		{` "a\"b" `, 1, 4},
		{`[]`, 1, 0},
		{`[1, -2.5e3 ,true,null,"x"]`, 6, 1},
		{`{"a":1,"b":[{"c":"d"}]}`, 5, 4},
		{`{"a":"}]\\","b":{}}`, 3, 6},
		{strings.Repeat("[", MaxDepth+2), MaxDepth + 1, 0}, // no more is decoded
		{`a b c d`, 2, 0},                                  // nor after the first value
	} {
		for size := 1; size <= len(tt.text); size++ {
			m := &Measure{}
			for i := 0; i < len(tt.text); i += size {
				_, _ = m.Write([]byte(tt.text[i:min(i+size, len(tt.text))]))
			}
			if m.Values() != tt.values || int(m.Text()) != tt.length {
				t.Fatalf("%s in pieces of %d: got %d values and %d bytes of text, want %d and %d", tt.text, size, m.Values(), m.Text(), tt.values, tt.length)
			}
			if whole := Measured([]byte(tt.text)); m.Memory() != whole.Memory() {
				t.Fatalf("%s in pieces of %d: got %d bytes, in one %d", tt.text, size, m.Memory(), whole.Memory())
			}
		}
	}
}

// counted is how many values v is made of.
func counted(v any) int {
	n := 1
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			n += counted(e)
		}
	case map[string]any:
		for _, e := range v {
			n += counted(e)
		}
	}
	return n
}

// FuzzMeasure proves that what is decoded was counted.
func FuzzMeasure(f *testing.F) {
	for _, element := range small {
		f.Add(repeated(element, 50))
	}
	f.Add(wide(20))
	f.Fuzz(func(t *testing.T, text string) {
		m := Measured([]byte(text))
		v, err := Decode([]byte(text))
		if err != nil {
			return
		}
		if got := counted(v); got != m.Values() {
			t.Errorf("%q: measured were %d values, there are %d", text, m.Values(), got)
		}
	})
}

// TestFromJSONBound proves that fromjson does not make much memory of a short string.
func TestFromJSONBound(t *testing.T) {
	q := compile(t, "fromjson | length")
	if !q.Decodes() || compile(t, "tojson").Decodes() {
		t.Error("Decodes does not say which filter calls fromjson")
	}
	deep := `{"":{"":{"":{"":1}}}}`
	for _, tt := range []struct {
		text string
		ok   bool
	}{{repeated(deep, 900), true}, {repeated(deep, 1<<16), false}, {repeated(`{"a":"a text","b":12}`, 1<<16), true}} {
		if _, err := q.One(t.Context(), tt.text); (err == nil) != tt.ok {
			t.Errorf("%d bytes of %.20s: got %v", len(tt.text), tt.text, err)
		}
	}
}

func BenchmarkMeasure(b *testing.B) {
	text := []byte(repeated(`{"role":"user","content":"what is the dose for a child of 20 kg?","n":12.5}`, 64<<10))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		Measured(text)
	}
}
