package web

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEdit proves what each change does, and that all of them together are taken back.
func TestEdit(t *testing.T) {
	first := func() http.Header {
		return http.Header{
			"Authorization": {"a"}, "authorization": {"b"}, "X_key": {"c"}, "X-Key": {"d", "e"},
			"X-Other": {"f"}, "Empty": {}, "X-A-1": {"1"}, "X-A-2": {"2"},
		}
	}
	for _, c := range []struct {
		name string
		edit func(*Edit)
		want func(http.Header)
	}{
		{
			"one pass removes every spelling of each name and no other", func(e *Edit) { e.Del("Authorization", "X-Key", "Missing") },
			func(h http.Header) { drop(h, "Authorization", "authorization", "X_key", "X-Key") },
		},
		{
			"set removes the aliases", func(e *Edit) { e.Set("x-key", []string{"new"}) },
			func(h http.Header) { drop(h, "X_key"); h["X-Key"] = []string{"new"} },
		},
		{
			"put does not", func(e *Edit) { e.Put("X-Key", []string{"new"}) },
			func(h http.Header) { h["X-Key"] = []string{"new"} },
		},
		{
			"a new header", func(e *Edit) { e.Set("New", []string{"new"}) },
			func(h http.Header) { h["New"] = []string{"new"} },
		},
		{
			"a header without lines", func(e *Edit) { e.Set("Empty", []string{"x"}) },
			func(h http.Header) { h["Empty"] = []string{"x"} },
		},
		{
			"by rule", func(e *Edit) { e.DelFunc(func(name string) bool { return strings.HasPrefix(name, "X-A-") }) },
			func(h http.Header) { drop(h, "X-A-1", "X-A-2") },
		},
		{"one after the other", func(e *Edit) {
			e.Set("X-Key", []string{"1"})
			e.Set("X-Key", []string{"2"})
			e.Del("X-Key")
			e.Set("X-Key", []string{"3"})
		}, func(h http.Header) { drop(h, "X_key"); h["X-Key"] = []string{"3"} }},
		{"more than usual", func(e *Edit) {
			for i := range 10 {
				e.Set("X-A-1", []string{string(rune('a' + i))})
				e.Del("X-A-2")
				e.Put("X-A-2", []string{"x"})
			}
		}, func(h http.Header) { h["X-A-1"], h["X-A-2"] = []string{"j"}, []string{"x"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, want := first(), first()
			e := Edit{Header: h}
			c.edit(&e)
			c.want(want)
			if diff := cmp.Diff(want, h); diff != "" {
				t.Errorf("changed (-want +got):\n%s", diff)
			}
			e.Undo()
			if diff := cmp.Diff(first(), h); diff != "" {
				t.Errorf("taken back (-want +got):\n%s", diff)
			}
		})
	}
}

func drop(h http.Header, names ...string) {
	maps.DeleteFunc(h, func(k string, _ []string) bool { return slices.Contains(names, k) })
}

// TestEditAllocates proves that an edit of the usual length costs no memory.
func TestEditAllocates(t *testing.T) {
	h := http.Header{"Authorization": {"a"}, "X-Key": {"b"}}
	line := []string{"v"}
	got := testing.AllocsPerRun(100, func() {
		e := Edit{Header: h}
		e.Del("Authorization")
		e.Set("X-Key", line)
		e.Undo()
	})
	if got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
}
