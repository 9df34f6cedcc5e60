package airside

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const (
	traceHex = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanHex  = "00f067aa0ba902b7"
	parent   = "00-" + traceHex + "-" + spanHex + "-01"
)

// TestTraceparent proves which traceparents are understood: those of the examples and the
// rules of W3C Trace Context, section 3.2.
func TestTraceparent(t *testing.T) {
	tests := []struct {
		name  string
		lines []string
		flags int // -1: not understood
	}{
		{"sampled", []string{parent}, 1},
		{"not sampled", []string{"00-" + traceHex + "-" + spanHex + "-00"}, 0},
		{"random", []string{"00-" + traceHex + "-" + spanHex + "-03"}, 3},
		{"unknown flags", []string{"00-" + traceHex + "-" + spanHex + "-fd"}, 1},
		{"later version", []string{"cc-" + traceHex + "-" + spanHex + "-01"}, 1},
		{"later version with more", []string{"cc-" + traceHex + "-" + spanHex + "-01-what-comes"}, 1},
		{"later version with more of the flags", []string{"cc-" + traceHex + "-" + spanHex + "-01.what"}, -1},
		{"later version, too long", []string{"cc-" + traceHex + "-" + spanHex + "-01-" + strings.Repeat("x", 500)}, -1},
		{"none", nil, -1},
		{"empty", []string{""}, -1},
		{"two", []string{parent, parent}, -1},
		{"version ff", []string{"ff" + parent[2:]}, -1},
		{"version in upper case", []string{"CC" + parent[2:]}, -1},
		{"more after version 00", []string{parent + "-what"}, -1},
		{"short", []string{parent[:54]}, -1},
		{"upper case", []string{strings.ToUpper(parent)}, -1},
		{"not hexadecimal", []string{strings.Replace(parent, "f", "g", 1)}, -1},
		{"no trace", []string{"00-" + strings.Repeat("0", 32) + "-" + spanHex + "-01"}, -1},
		{"no span", []string{"00-" + traceHex + "-" + strings.Repeat("0", 16) + "-01"}, -1},
		{"dots", []string{strings.ReplaceAll(parent, "-", ".")}, -1},
		{"flags", []string{parent[:53] + "x1"}, -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, ok := ReadTraceContext(http.Header{"Traceparent": tt.lines, "Tracestate": {"a=1"}})
			if ok != (tt.flags >= 0) {
				t.Fatalf("understood: %t", ok)
			}
			if !ok {
				if c != (TraceContext{}) {
					t.Errorf("it is left with %v", c)
				}
				return
			}
			if c.Trace.String() != traceHex || c.Span.String() != spanHex || int(c.Flags) != tt.flags || c.State != "a=1" {
				t.Errorf("got %s %s %x %q", c.Trace, c.Span, c.Flags, c.State)
			}
		})
	}
}

// TestTracestate proves what of a tracestate goes on, section 3.3.
func TestTracestate(t *testing.T) {
	member := func(i, length int) string {
		key := fmt.Sprintf("k%d=", i)
		return key + strings.Repeat("v", length-len(key))
	}
	list := func(n, length int) string {
		var m []string
		for i := range n {
			m = append(m, member(i, length))
		}
		return strings.Join(m, ",")
	}
	tests := []struct {
		name  string
		lines []string
		want  string
	}{
		{"one", []string{"rojo=00f067aa0ba902b7"}, "rojo=00f067aa0ba902b7"},
		{"with spaces and gaps", []string{"a=1 ,, b=2"}, "a=1 ,, b=2"},
		{"lines", []string{"a=1", "b=2"}, "a=1,b=2"},
		{"all characters", []string{"a_-*/1=!v~ x"}, "a_-*/1=!v~ x"},
		{"tenant", []string{"1t@system=v"}, "1t@system=v"},
		{"empty", []string{""}, ""},
		{"only gaps", []string{", ,"}, ""},
		{"32 members", []string{list(32, 6)}, list(32, 6)},
		{"33 members", []string{list(33, 6)}, ""},
		{"no value", []string{"a="}, ""},
		{"no equals", []string{"a"}, ""},
		{"two equals", []string{"a=b=c"}, ""},
		{"upper case key", []string{"A=1"}, ""},
		{"key begins with a sign", []string{"@a=1"}, ""},
		{"the same key", []string{"a=1,b=2,a=3"}, ""},
		{"control character", []string{"a=1\t2"}, ""},
		{"not ASCII", []string{"a=ü"}, ""},
		{"long key", []string{strings.Repeat("k", 257) + "=1"}, ""},
		{"long value", []string{"a=" + strings.Repeat("v", 257)}, ""},
		{"longest value", []string{"a=" + strings.Repeat("v", 256)}, "a=" + strings.Repeat("v", 256)},
		{"too long: the last go", []string{list(6, 100)}, list(5, 100)},
		{"too long: the long ones go first", []string{member(9, 200) + "," + list(4, 100)}, list(4, 100)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := ReadTraceContext(http.Header{"Traceparent": {parent}, "Tracestate": tt.lines})
			if c.State != tt.want {
				t.Errorf("got %q, want %q", c.State, tt.want)
			}
		})
	}
}

// FuzzTraceContext proves that what is read can be sent on, within the bounds, and is read
// as the same then.
func FuzzTraceContext(f *testing.F) {
	f.Add(parent, "a=1,b=2")
	f.Add("cc-"+traceHex+"-"+spanHex+"-01-x", strings.Repeat("a=1,", 40))
	f.Add("00-"+traceHex+"-"+spanHex+"-fe", "k@t="+strings.Repeat("v", 256)+",b="+strings.Repeat("v", 256))
	f.Fuzz(func(t *testing.T, parent, state string) {
		c, ok := ReadTraceContext(http.Header{"Traceparent": {parent}, "Tracestate": {state}})
		if !ok {
			return
		}
		again, ok := ReadTraceContext(http.Header{"Traceparent": {string(appendTraceparent(nil, c.Trace, c.Span, c.Flags))}, "Tracestate": {c.State}})
		if !ok || again != c {
			t.Errorf("read %+v, and read again %+v", c, again)
		}
		if len(c.State) > maxStateBytes || strings.ContainsAny(c.State, "\r\n\x00") {
			t.Errorf("the state is %q", c.State)
		}
	})
}
