package smuggle

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the tables of docs/STRICTNESS.md anew")

const strictness = "../../docs/STRICTNESS.md"

// The tables of the page are those of the corpus.
func TestPage(t *testing.T) {
	b, err := os.ReadFile(strictness)
	if err != nil {
		t.Fatal(err)
	}
	requests, answers := corpus(t, "requests"), corpus(t, "answers")
	got := string(b)
	for name, table := range map[string]string{
		"refused": refusedTable(requests), "passed": passedTable(requests), "answers": answersTable(answers), "std": stdTable(slices.Concat(requests, answers)),
	} {
		begin, end := "<!-- "+name+": written by go test ./test/smuggle -run TestPage -update -->\n", "<!-- end -->\n"
		before, rest, ok := strings.Cut(got, begin)
		_, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			t.Fatalf("%s has no place for the table %s", strictness, name)
		}
		got = before + begin + table + end + after
	}
	if *update {
		if err := os.WriteFile(strictness, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(string(b), got); d != "" {
		t.Errorf("%s is not that of the corpus; write it with -update (-is +should be):\n%s", strictness, d)
	}
}

// refuses lists the statuses by which a strict engine refuses what is of a class; nil if
// it does not.
func refuses(c *class) []string {
	found := map[int]bool{}
	for _, k := range c.cases {
		for _, o := range k.want {
			found[o.statuses[0]] = found[o.statuses[0]] || o.method == ""
		}
	}
	var out []string
	for _, s := range slices.Sorted(maps.Keys(found)) {
		if found[s] && s > 0 {
			out = append(out, strconv.Itoa(s))
		}
	}
	return out
}

// passes reports whether a class is of requests that pass.
func passes(c *class) bool { return strings.HasPrefix(c.name, "good-") }

func refusedTable(classes []*class) string {
	var b strings.Builder
	b.WriteString("\n| what | status | RFC 9112 | cases |\n|---|---|---|---|\n")
	for _, c := range classes {
		if r := refuses(c); len(r) > 0 && !passes(c) {
			fmt.Fprintf(&b, "| %s | %s | %s | %d |\n", c.text, strings.Join(r, ", "), c.section, len(c.cases))
		}
	}
	return b.String() + "\n"
}

func passedTable(classes []*class) string {
	var b strings.Builder
	b.WriteString("\n| what | RFC 9112 | cases |\n|---|---|---|\n")
	for _, c := range classes {
		if passes(c) || len(refuses(c)) == 0 {
			fmt.Fprintf(&b, "| %s | %s | %d |\n", c.text, c.section, len(c.cases))
		}
	}
	return b.String() + "\n"
}

func answersTable(classes []*class) string {
	var b strings.Builder
	b.WriteString("\n| what | RFC 9112 | cases |\n|---|---|---|\n")
	for _, c := range classes {
		fmt.Fprintf(&b, "| %s | %s | %d |\n", c.text, c.section, len(c.cases))
	}
	return b.String() + "\n"
}

// stdTable says what net/http does otherwise, each once.
func stdTable(classes []*class) string {
	var b strings.Builder
	b.WriteString("\n| what | cases |\n|---|---|\n")
	count := map[string]int{}
	var order []string
	for _, c := range classes {
		for _, k := range c.cases {
			if k.why == "" {
				continue
			}
			if count[k.why]++; count[k.why] == 1 {
				order = append(order, k.why)
			}
		}
	}
	for _, why := range order {
		fmt.Fprintf(&b, "| %s | %d |\n", why, count[why])
	}
	return b.String() + "\n"
}
