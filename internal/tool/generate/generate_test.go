package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// fixture reads testdata/<name>: source, and below want/ what is to come of it.
func fixture(t *testing.T, name string) (source fstest.MapFS, want map[string]string) {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	source, want = fstest.MapFS{}, map[string]string{}
	for _, f := range archive.Files {
		if out, ok := strings.CutPrefix(f.Name, "want/"); ok {
			want[out] = string(f.Data)
		} else {
			source[f.Name] = &fstest.MapFile{Data: f.Data}
		}
	}
	return source, want
}

// TestGenerate proves what is written for a small module that has every sort of
// setting. AIRSIDE_UPDATE=1 rewrites the fixture, to be read before it is believed.
func TestGenerate(t *testing.T) {
	source, want := fixture(t, "module.txtar")
	outputs, err := generate(source)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for name, text := range outputs {
		got[name] = string(text)
	}
	if os.Getenv("AIRSIDE_UPDATE") != "" {
		update(t, source, got)
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
}

func update(t *testing.T, source fstest.MapFS, got map[string]string) {
	t.Helper()
	archive := &txtar.Archive{}
	for _, name := range slices.Sorted(maps.Keys(source)) {
		archive.Files = append(archive.Files, txtar.File{Name: name, Data: source[name].Data})
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		archive.Files = append(archive.Files, txtar.File{Name: "want/" + name, Data: []byte(got[name])})
	}
	if err := os.WriteFile("testdata/module.txtar", txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestSameBytes proves that the order of maps does not show.
func TestSameBytes(t *testing.T) {
	source, _ := fixture(t, "module.txtar")
	first, err := generate(source)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		again, err := generate(source)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Fatalf("another run wrote something else (-first +again):\n%s", diff)
		}
	}
}

// TestRefused proves that what users could not understand is an error.
func TestRefused(t *testing.T) {
	const head = "package p\n\nimport \"example.com/gate\"\n\n"
	for _, c := range []struct{ name, code, want string }{
		{
			"a key without a comment",
			head + "func init() { airside.RegisterPolicy(\"p\", New) }\n\ntype Config struct {\n\tLimit int `yaml:\"limit\"`\n}\n\nfunc New(e *airside.Env, c Config) (airside.Middleware, error) { return nil, nil }\n",
			"policy/p/p.go:8:2: Limit (key limit) has no doc comment: it is what users read",
		},
		{
			"a name that is computed",
			head + "func init() { airside.RegisterProtocol(name(), nil) }\n",
			"policy/p/p.go:5:15: the name of a protocol is a string literal",
		},
		{
			"settings that cannot be seen",
			head + "func init() { airside.RegisterPolicy(\"p\", other.New) }\n",
			`policy/p/p.go:5:15: cannot see the settings of policy "p"; name the function that builds it`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			code := strings.ReplaceAll(c.code, `import "example`, `import airside "example`)
			_, err := generate(fstest.MapFS{
				"go.mod":        {Data: []byte("module example.com/gate\n")},
				"policy/p/p.go": {Data: []byte(code)},
			})
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// TestRun proves that -check tells what is out of date and writes nothing, that a
// run mends it, and that pages of what is gone go too, but not pages by hand.
func TestRun(t *testing.T) {
	source, _ := fixture(t, "module.txtar")
	dir := t.TempDir()
	if err := os.CopyFS(dir, source); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	for name, text := range map[string]string{
		"docs/reference/policies/gone.md": marker + "\n\n# gone\n",
		"docs/reference/byhand.md":        "# By hand\n",
		"all/all.go":                      "package all\n",
	} {
		if err := write(root, name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}

	_, err = run(dir, true)
	for _, name := range []string{"all/all.go", "all/fields.go", "docs/reference/README.md", "docs/reference/policies/gone.md"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("check says %v, and does not name %s", err, name)
		}
	}
	if have, err := root.ReadFile("all/all.go"); err != nil || string(have) != "package all\n" {
		t.Errorf("check has changed all.go: %q, %v", have, err)
	}
	if done, err := run(dir, false); err != nil || !slices.Contains(done, "wrote all/all.go") {
		t.Fatalf("got %q, %v", done, err)
	}
	if _, err := run(dir, true); err != nil {
		t.Errorf("check after a run: %v", err)
	}
	if _, err := root.Stat("docs/reference/policies/gone.md"); err == nil {
		t.Error("the page of a policy that is gone is still there")
	}
	if _, err := root.Stat("docs/reference/byhand.md"); err != nil {
		t.Errorf("a page by hand: %v", err)
	}
	if done, err := run(dir, false); err != nil || len(done) > 0 {
		t.Errorf("a run with nothing to do: %q, %v", done, err)
	}
}

// TestUpToDate proves that what is committed is what the source says.
func TestUpToDate(t *testing.T) {
	if _, err := run("../../..", true); err != nil {
		t.Error(err)
	}
}

// TestSplitDefault proves that a default is found however the comment states it.
func TestSplitDefault(t *testing.T) {
	for _, c := range []struct{ text, fallback, rest string }{
		{"How many. Default: 5.", "5", "How many."},
		{"How many. Default 100000.", "100000", "How many."},
		{"How long; default 1.5s.", "1.5s", "How long."},
		{"How long. The default is 10s. At most 1h.", "10s", "How long. At most 1h."},
		{"How long. Defaults to 10s; at most 1h.", "10s", "How long. at most 1h."},
		{"Default: the caller, or the address.", "the caller, or the address", ""},
		{"How many (default 3), at most 9.", "3", "How many (default 3), at most 9."},
		{"How many at once, default 64.", "64", "How many at once, default 64."},
		{"Waits 10s by default.", "10s", "Waits 10s by default."},
		{"Whether the default route is meant.", "", "Whether the default route is meant."},
		{"How many.", "", "How many."},
	} {
		fallback, rest := splitDefault(c.text)
		if fallback != c.fallback || rest != c.rest {
			t.Errorf("%q: got %q and %q, want %q and %q", c.text, fallback, rest, c.fallback, c.rest)
		}
	}
}
