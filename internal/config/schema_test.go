package config

import (
	"bytes"
	"encoding/json/jsontext"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := Schema(nil)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	meta, err := c.Compile("https://json-schema.org/draft/2020-12/schema")
	if err != nil {
		t.Fatal(err)
	}
	if err := meta.Validate(doc); err != nil {
		t.Fatalf("the schema is not valid: %v", err)
	}
	if err := c.AddResource("airside.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("airside.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asWritten is a file as an editor sees it, without references resolved.
func asWritten(t *testing.T, text []byte) (any, bool) {
	t.Helper()
	d := &decoder{doc: &document{name: testFile, dir: ".", text: text}}
	if !d.read(testLookup()) || len(d.problems) > 0 {
		return nil, false
	}
	var unresolve func(n *node)
	unresolve = func(n *node) {
		if n.raw != "" {
			n.text = n.raw
		}
		for i := range n.in {
			unresolve(&n.in[i])
		}
	}
	unresolve(&d.doc.root)
	v, ok := d.plain(&d.doc.root)
	return v, ok
}

// The schema accepts every good file.
func TestSchemaGood(t *testing.T) {
	s := compiled(t)
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		v, ok := asWritten(t, read(t, file))
		if !ok {
			t.Errorf("%s cannot be read", file)
			continue
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// shapely are the messages about what a schema can say.
var shapely = regexp.MustCompile(`^\S+ (unknown key|missing key|expected (text|true or false|a whole number|a number|a duration|a size|a mapping|a list|one of|one \{|\{kind|at least one|a weight|the name)|unknown (policy|upstream) kind|unknown protocol "|"\w+" is not yet)`)

// The schema refuses every bad file whose shape is wrong, as opposed to its
// references, names and ranges.
func TestSchemaBad(t *testing.T) {
	s := compiled(t)
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, file := range files {
		want, body := expected(read(t, file))
		v, ok := asWritten(t, body)
		if !ok || strings.Contains(strings.Join(want, ""), "${") {
			continue // it is no YAML, or about the values of references
		}
		if filepath.Base(file) == "fraction.yaml" {
			continue // 200.0 is an integer to JSON Schema
		}
		wrong := false
		for _, p := range want {
			wrong = wrong || shapely.MatchString(p)
		}
		if err := s.Validate(v); wrong && err == nil {
			t.Errorf("%s is accepted, with:\n%s", file, strings.Join(want, "\n"))
		} else if wrong {
			refused++
		}
	}
	if refused < 30 {
		t.Errorf("only %d files were refused: has the wording of the messages changed?", refused)
	}
}

// One wrong value after the other in a good file is refused.
func TestSchemaDetails(t *testing.T) {
	s := compiled(t)
	for _, x := range []struct {
		text string
		want bool
	}{
		{"routes: [{ to: http://a:1 }]", true},
		{"routes: [{ use: [p] }]", true},
		{"routes: [{ use: [{ cors: }] }]", true},
		{"routes: [{ use: [{ allow: x }, { allow: { when: x } }, { note: x }] }]", true},
		{"routes: [{ to: a, timeout: 0 }]", true},
		{"routes: [{ to: a, timeout: 1h30m }]", true},
		{"routes: [{ to: a, timeout: '${env:WAIT}' }]", true},
		{"routes: [{ to: { a: '${env:PORT}', b: 5 } }]", true},
		{"routes: [{ to: a }]\nlisten: ':8080'", true},
		{"routes: [{ to: a }]\nlisten: [':8080', { address: x, limits: { body: 10, headers: 1KiB } }]", true},
		{"routes: [{ to: a }]\nadmin: off", true},
		{"routes: [{ to: a, host: [x], method: GET }]", true},
		{"routes: []", false},
		{"routes: [{}]", false},
		{"routes: [{ use: [] }]", false},
		{"routes: [{ use: [{ cors: {}, note: x }] }]", false},
		{"routes: [{ use: [{}] }]", false},
		{"routes: [{ use: [{ note: {} }] }]", false},
		{"routes: [{ to: a, timeout: 5 }]", false},
		{"routes: [{ to: a, timeout: 1 hour }]", false},
		{"routes: [{ to: { a: 1000001 } }]", false},
		{"routes: [{ to: {} }]", false},
		{"routes: [{ to: a, protocol: soap }]", false},
		{"routes: [{ to: a, topic: x }]", false},
		{"routes: [{ to: a, headers: { x: 1 } }]", false},
		{"routes: [{ to: a }]\nlisten: []", false},
		{"routes: [{ to: a }]\nlisten: { tls: { self_signed: true } }", false},
		{"routes: [{ to: a }]\nupstreams: { 'a b': { http: {} } }", false},
		{"routes: [{ to: a }]\nupstreams: { a: { cors: {} } }", false},
		{"routes: [{ to: a }]\nupstreams: { a: { http: { endpoints: [{ url: x, weight: 256 }] } } }", false},
		{"routes: [{ to: a }]\ndata: x", false},
	} {
		v, ok := asWritten(t, []byte(x.text))
		if !ok {
			t.Errorf("%s cannot be read", x.text)
			continue
		}
		if err := s.Validate(v); (err == nil) != x.want {
			t.Errorf("%s: %v, want it accepted: %v", x.text, err, x.want)
		}
	}
}

// The schema is the same every time, and as it was.
func TestSchemaText(t *testing.T) {
	docs := func(typeName, field string) string {
		if strings.HasSuffix(typeName, "/config.TLS") && field == "Min" {
			return "The least version."
		}
		if typeName == "github.com/airside-gateway/airside/internal/config.cors" && field == "" {
			return "Cross-origin requests."
		}
		return ""
	}
	got, err := Schema(docs)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		again, err := Schema(docs)
		if err != nil || !bytes.Equal(got, again) {
			t.Fatalf("the second schema differs (%v):\n%s", err, cmp.Diff(string(got), string(again)))
		}
	}
	if !jsontext.Value(got).IsValid() {
		t.Error("the schema is no JSON, or has a key twice")
	}
	const golden = "testdata/schema.json"
	if *update {
		if err := os.WriteFile(golden, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(read(t, golden)), string(got)); diff != "" {
		t.Errorf("schema (-want +got):\n%s", diff)
	}
}
