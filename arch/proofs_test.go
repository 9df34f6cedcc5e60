package arch

import (
	"fmt"
	"io/fs"
	"regexp"
)

// claims lists the documents that name tests as proof.
var claims = []string{"SECURITY.md", "docs/BARS.md"}

var testName = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)`")

// checkProofs sees to it that the tests exist that documents name as proof.
func checkProofs(t *tree) []string {
	have := map[string]bool{}
	for _, s := range t.files {
		if !s.test {
			continue
		}
		for _, fn := range functions(s.ast) {
			have[fn.Name.Name] = have[fn.Name.Name] || fn.Recv == nil
		}
	}
	var out []string
	for _, name := range claims {
		text, err := fs.ReadFile(t.fsys, name)
		if err != nil {
			out = append(out, err.Error())
			continue
		}
		seen := map[string]bool{}
		for _, m := range testName.FindAllStringSubmatch(string(text), -1) {
			if !have[m[1]] && !seen[m[1]] {
				out = append(out, fmt.Sprintf("%s: there is no test %s", name, m[1]))
			}
			seen[m[1]] = true
		}
	}
	return out
}
