package cmd

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "write the expected output anew")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"airside": func() { os.Exit(Main()) }})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", UpdateScripts: *update, RequireExplicitExec: true})
}

// TestExplain asks what would become of twenty requests to a clinic.
func TestExplain(t *testing.T) {
	dir := filepath.Join("testdata", "explain")
	requests, err := os.ReadFile(filepath.Join(dir, "requests.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	n := 0
	for r := range strings.SplitSeq(strings.TrimSpace(string(requests)), "\n") {
		n++
		fmt.Fprintf(&got, "$ airside explain %s\n%s\n", r, run(t, append([]string{"explain", "-c", filepath.Join(dir, "airside.yaml")}, strings.Split(r, " | ")...)...))
	}
	if n < 20 {
		t.Errorf("%d requests, want at least 20", n)
	}
	golden := filepath.Join(dir, "answers.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got.String()); d != "" {
		t.Errorf("the explanations differ (-want +got):\n%s", d)
	}
}

// run runs a command line and returns what it prints, messages included.
func run(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	p := &program{Args: args, Out: &out, Err: &out, Stop: func() {}}
	p.main(context.Background())
	return out.String()
}
