package config

import (
	"strings"
	"testing"
)

// shownFile uses references wherever a name may be made of them.
const shownFile = `upstreams:
  a: { http: { url: "http://${env:HOST}:${env:PORT}" } }
  b: { http: { url: "http://b.example/${env:KEY}" } }
routes:
  - { name: "${env:UPSTREAM}", path: "/x/${env:KEY}/*", headers: { A: "${env:ON}" }, to: [a, "http://${file:secret.txt}.example/y", b, "http://u:${env:NONE:-barracuda}@c"] }
  - { path: "/plain", to: "http://127.0.0.1:9/${env:EMPTY:-nothing at all}" }
`

// TestShown proves that a value which holds a reference is shown as it is written,
// without defaults, and every other value as it is.
func TestShown(t *testing.T) {
	c, err := Parse(testFile, []byte(shownFile), testLookup(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &c.Routes[0]
	for _, tt := range []struct{ value, want string }{
		{r.Name, "${env:UPSTREAM}"},
		{r.Path, "/x/${env:KEY}/*"},
		{r.To.Targets[1].Name, "http://${file:secret.txt}.example/y"},
		{r.To.Targets[3].Name, "http://u:${env:NONE}@c"},
		{c.Routes[1].To.Targets[0].Name, "http://127.0.0.1:9/${env:EMPTY}"},
		{c.Routes[1].Path, "/plain"},
		{"a", "a"},
		{"http://u:password@d", "http://u:***@d"},
		{"", ""},
	} {
		if got := c.Shown(tt.value); got != tt.want {
			t.Errorf("%q is shown as %q, want %q", tt.value, got, tt.want)
		}
	}
	if got := (&Config{}).Shown("x"); got != "x" {
		t.Errorf("without a file x is shown as %q", got)
	}
}

// TestMasks proves what of a line is replaced: values of references, and the parts of
// URLs that are made of them, but no short words, and no default, which stands in the file.
func TestMasks(t *testing.T) {
	c, err := Parse(testFile, []byte(shownFile), testLookup(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := strings.NewReplacer(c.Masks()...)
	for _, tt := range []struct{ line, want string }{
		{"dial http://records.example:9000", "dial http://${env:HOST}:${env:PORT}"},
		{"lookup records.example: no such host", "lookup ${env:HOST}: no such host"},
		{"dial records.example:9000", "dial http://${env:HOST}:${env:PORT}"},
		{"the key sk-live-51Hx.", "the key ${env:KEY}."},
		{"lookup hunter22.example: no such host", "lookup http://${file:secret.txt}.example/y: no such host"},
		{"lookup HUNTER22", "lookup HUNTER22"},
		{`the header A is "", not "true"`, `the header A is "", not "${env:ON}"`},
		{"it is true, 9000 times", "it is true, 9000 times"},
		{"b.example, nothing at all", "b.example, nothing at all"},
	} {
		if got := r.Replace(tt.line); got != tt.want {
			t.Errorf("%q became %q, want %q", tt.line, got, tt.want)
		}
	}
	if got := (&Config{}).Masks(); len(got) != 0 {
		t.Errorf("without a file: %q", got)
	}
	local, err := Parse(testFile, []byte("routes: [{ to: '${env:A}' }]"), Lookup{Env: func(string) (string, bool) { return "http://127.0.0.1:9001/path", true }}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.NewReplacer(local.Masks()...).Replace("client 127.0.0.1 to 127.0.0.1:9001"); got != "client 127.0.0.1 to ${env:A}" {
		t.Error(got)
	}
}
