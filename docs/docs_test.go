// Package docs tests the documents: every example in them is a configuration that
// the gateway takes.
package docs

import (
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"github.com/airside-gateway/airside/all"
	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/config"
)

// block is a fenced block of YAML; what follows the word yaml says what it is: nothing
// for a whole file, "fragment" for a part of one, which is not loaded.
var block = regexp.MustCompile("(?ms)^```yaml([^\n]*)\n(.*?)^```$")

func TestExamplesOfDocuments(t *testing.T) {
	found := 0
	for _, file := range files(t, "..", ".md") {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllStringSubmatchIndex(string(b), -1) {
			kind, text := string(b[m[2]:m[3]]), b[m[4]:m[5]]
			if strings.TrimSpace(kind) == "fragment" {
				continue
			}
			found++
			line := 1 + strings.Count(string(b[:m[4]]), "\n")
			check(t, file, line, text)
		}
	}
	if found < 20 {
		t.Errorf("%d examples were found, want at least 20: is the pattern right?", found)
	}
}

// indented is a configuration in the comment of a policy or an upstream: the code
// block of a doc comment that begins with a key of the top level.
var indented = regexp.MustCompile(`(?m)^//\t(?:routes|policies|upstreams|listen|use):.*\n(?:^//(?:\t.*)?\n)*`)

func TestExamplesOfComments(t *testing.T) {
	for _, dir := range []string{"../policy", "../upstream"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				t.Run(e.Name(), func(t *testing.T) { commentExamples(t, filepath.Join(dir, e.Name())) })
			}
		}
	}
}

func commentExamples(t *testing.T, dir string) {
	found := 0
	for _, file := range files(t, dir, ".go") {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(string(b), "\npackage ")
		for _, m := range indented.FindAllStringIndex(head, -1) {
			text := regexp.MustCompile(`(?m)^//\t?`).ReplaceAllString(head[m[0]:m[1]], "")
			found++
			check(t, file, 1+strings.Count(head[:m[0]], "\n"), []byte(text))
		}
	}
	if found == 0 {
		t.Error("the package comment has no example")
	}
}

func TestExampleFiles(t *testing.T) {
	found := files(t, "../examples", ".yaml")
	if len(found) < 2 {
		t.Errorf("%d example files were found", len(found))
	}
	for _, file := range found {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		check(t, file, 1, b)
	}
}

// check builds the configuration text, which stands in file at line. Environment
// variables that it refers to are set; files are made up.
func check(t *testing.T, file string, line int, text []byte) {
	t.Helper()
	lookup := config.Lookup{
		Env:  func(name string) (string, bool) { return "a-value-of-the-environment-" + name, true },
		File: func(name string) ([]byte, error) { return []byte("a-value-of-the-file-" + name), nil },
	}
	c, err := app.Parse(filepath.Join(filepath.Dir(file), "airside.yaml"), text, lookup)
	if err == nil {
		err = app.Check(slog.New(slog.DiscardHandler), c)
	}
	if err != nil {
		t.Errorf("%s:%d: the example is not valid:\n%v\n%s", file, line, err, text)
		return
	}
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	s, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(plain(v)); err != nil {
		t.Errorf("%s:%d: the gateway takes the example, but the schema does not:\n%v\n%s", file, line, err, text)
	}
}

// schema is what editors check files by.
var schema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	b, err := config.Schema(all.Describe)
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("airside.schema.json", doc); err != nil {
		return nil, err
	}
	return c.Compile("airside.schema.json")
})

// plain turns what YAML gives into what JSON would have given.
func plain(v any) any {
	switch v := v.(type) {
	case time.Time:
		return v.Format(time.RFC3339)
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	case map[any]any:
		m := map[string]any{}
		for k := range v {
			m[fmt.Sprint(k)] = plain(v[k])
		}
		return m
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	}
	return v
}

func files(t *testing.T, root, suffix string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == "testdata" || d.Name() == ".git" || d.Name() == "run") {
			return fs.SkipDir
		}
		if err == nil && strings.HasSuffix(path, suffix) && !strings.HasSuffix(path, "_test.go") {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
