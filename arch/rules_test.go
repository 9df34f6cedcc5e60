package arch

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// A rule is found by the name of its fixture.
type rule struct {
	name  string
	check func(*tree) []string
}

var rules = []rule{
	{"layers", checkLayers},
	{"homes", checkHomes},
	{"sizes", checkSizes},
	{"nesting", checkNesting},
	{"inits", checkInits},
	{"state", checkState},
	{"sleeps", checkSleeps},
	{"skips", checkSkips},
	{"contexts", checkContexts},
	{"writers", checkWriters},
	{"signatures", checkSignatures},
	{"components", checkComponents},
	{"folders", checkFolders},
	{"words", checkWords},
	{"unfinished", checkUnfinished},
	{"dependencies", checkDependencies},
	{"proofs", checkProofs},
}

// TestProject proves that the project keeps every rule.
func TestProject(t *testing.T) {
	project, err := load(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	if len(project.files) == 0 {
		t.Fatal("no Go file found")
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, finding := range r.check(project) {
				t.Error(finding)
			}
		})
	}
}

// TestRulesCanFail proves that every rule finds what its fixture holds, and
// nothing else there.
func TestRulesCanFail(t *testing.T) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			archive, err := txtar.ParseFile(filepath.Join("testdata", r.name+".txtar"))
			if err != nil {
				t.Fatal(err)
			}
			fsys, want := fstest.MapFS{}, []string(nil)
			for _, f := range archive.Files {
				if f.Name == "want" {
					want = strings.Split(strings.TrimSpace(string(f.Data)), "\n")
					continue
				}
				fsys[f.Name] = &fstest.MapFile{Data: lengthen(f.Data)}
			}
			if len(want) == 0 {
				t.Fatal("the fixture wants nothing: it cannot show that the rule fails")
			}
			fixture, err := load(fsys)
			if err != nil {
				t.Fatal(err)
			}
			got := r.check(fixture)
			slices.Sort(got)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

var gap = regexp.MustCompile(`(?m)^\.\.\. (\d+) empty lines\n`)

// lengthen puts empty lines in the place of a line "... N empty lines", so that a
// fixture may be long without being so.
func lengthen(text []byte) []byte {
	return gap.ReplaceAllFunc(text, func(line []byte) []byte {
		n, err := strconv.Atoi(string(gap.FindSubmatch(line)[1]))
		if err != nil {
			return line
		}
		return bytes.Repeat([]byte("\n"), n)
	})
}

// TestFixturesAreUsed proves that no fixture lies about without a rule.
func TestFixturesAreUsed(t *testing.T) {
	fixtures, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fixtures {
		name := strings.TrimSuffix(filepath.Base(f), ".txtar")
		if !slices.ContainsFunc(rules, func(r rule) bool { return r.name == name }) {
			t.Errorf("%s belongs to no rule", f)
		}
	}
}
