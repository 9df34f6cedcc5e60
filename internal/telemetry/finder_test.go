package telemetry

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestFinder proves that a word is found wherever it stands, however it is escaped, and
// that others are not.
func TestFinder(t *testing.T) {
	f := newFinder([]string{"canary-1", `quo"ted\`, "é\n€", strings.Repeat("long", 100)})
	for s, want := range map[string]bool{
		"":                                   false,
		"canary-":                            false,
		"canary-2 anary-1":                   false,
		"canary-1":                           true,
		"a canary-1b":                        true,
		`a quo"ted\`:                         true,
		`quo\"ted\\`:                         false,
		"\xe2é\n€\xe2":                       true,
		"é\n":                                false,
		strings.Repeat("long", 99) + "lon":   false,
		"x" + strings.Repeat("long", 101):    true,
		strings.Repeat("c", 300):             false,
		strings.Repeat("c", 300) + "anary-1": true,
	} {
		if got := f.in(append(appendEscaped([]byte(`{"a":"`), s), `"}`...)); got != want {
			t.Errorf("%q: got %v", s, got)
		}
	}
	for _, words := range [][]string{{""}, {"a"}, {"canary", "\xff\xfe\xfd"}} {
		if newFinder(words) != nil {
			t.Errorf("%q: there is a finder, which can miss a word", words)
		}
	}
}

// TestFinderMissesNothing proves that a word in a text is always found in the line.
func TestFinderMissesNothing(t *testing.T) {
	letters := rapid.SampledFrom([]string{"a", "b", "c", `"`, `\`, "\n", "\x01", "é", "\u2028", "€", "\U0001F600"})
	word := rapid.Map(rapid.SliceOfN(letters, 2, 6), func(l []string) string { return strings.Join(l, "") })
	junk := rapid.Map(rapid.SliceOfN(rapid.OneOf(letters, rapid.SampledFrom([]string{"\xff", "\xe2", "\x80"})), 0, 20), func(l []string) string { return strings.Join(l, "") })
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(word, 1, 5).Draw(t, "words")
		f := newFinder(words)
		text := junk.Draw(t, "before") + rapid.SampledFrom(words).Draw(t, "word") + junk.Draw(t, "after")
		if !f.in(appendEscaped(nil, text)) {
			t.Fatalf("of %q none is found in %q", words, text)
		}
		other, found := junk.Draw(t, "other"), false
		for _, w := range words {
			found = found || strings.Contains(string(appendEscaped(nil, other)), string(appendEscaped(nil, w)))
		}
		if got := f.in(appendEscaped(nil, other)); got != found {
			t.Fatalf("%q in %q: got %v, want %v", words, other, got, found)
		}
	})
}
