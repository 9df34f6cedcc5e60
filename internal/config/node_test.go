package config

import "testing"

// Scalars are those of the core schema of YAML 1.2.
func TestKindOf(t *testing.T) {
	for _, x := range []struct {
		kind kind
		in   []string
	}{
		{null, []string{"", "~", "null", "Null", "NULL"}},
		{boolean, []string{"true", "True", "TRUE", "false", "False", "FALSE"}},
		{whole, []string{"0", "7", "-7", "+7", "0777", "0o17", "0x1F"}},
		{float, []string{"1.", ".5", "-1.5", "1e3", "1.5E-3", ".inf", "-.INF", ".nan"}},
		{text, []string{
			"no", "yes", "on", "off", "y", "n", "tRUE", "nULL", "1_000", "1:30", "2024-01-01", "0b11", "0x", "0o8", ".", "-", "+", "..",
			"1.2.3", "1e", "inf", "NaN", "é", "-true", "1 2", "10.0.0.1", ".infinity",
		}},
	} {
		for _, s := range x.in {
			if got := kindOf(s); got != x.kind {
				t.Errorf("%q is of kind %d, want %d", s, got, x.kind)
			}
		}
	}
}

func TestNearest(t *testing.T) {
	possible := []string{"path", "host", "to", "use", "timeout", "header_timeout", "ratelimit", "k"}
	for _, x := range []struct{ word, want string }{
		{"pth", "path"},
		{"paht", "path"},
		{"PATH", "path"},
		{"hots", "host"},
		{"too", "to"},
		{"tp", "to"},
		{"xy", ""},
		{"x", ""},
		{"", ""},
		{"K", "k"},
		{"rate-limit", "ratelimit"},
		{"ratelimits", "ratelimit"},
		{"headerTimeout", "header_timeout"},
		{"tiemout", "timeout"},
		{"backend", "to"},
		{"middle-wares", "use"},
		{"banana", ""},
		{"pathpathpathpathpathpathpathpathpathpathpathpathpathpathpathpathpath", ""},
	} {
		d := &decoder{}
		if got := d.nearest(x.word, possible); got != x.want {
			t.Errorf("%q is guessed to be %q, want %q", x.word, got, x.want)
		}
	}
	if got := (&decoder{guesses: maxGuesses}).nearest("pth", possible); got != "" {
		t.Errorf("%q is guessed beyond the bound", got)
	}
}

func TestDistance(t *testing.T) {
	for _, x := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"a", "", 1},
		{"", "ab", 2},
		{"abc", "abc", 0},
		{"abc", "abd", 1},
		{"abc", "acb", 1},
		{"abcd", "badc", 2},
		{"kitten", "sitting", 3},
	} {
		if got := distance(x.a, x.b, 10); got != x.want {
			t.Errorf("from %q to %q are %d slips, want %d", x.a, x.b, got, x.want)
		}
	}
	if got := distance("a", "abcdef", 3); got != 3 {
		t.Errorf("distance %d, want the bound", got)
	}
}
