package arch

import (
	"fmt"
	"go/ast"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

const (
	maxFile     = 500  // lines of a file
	maxTestFile = 1000 // lines of a file of tests
	maxFunc     = 60   // lines of a function, tests excepted
	maxDepth    = 3    // blocks within blocks in a function, tests excepted
)

// checkSizes bounds files and functions. What a generator wrote has no bound.
func checkSizes(t *tree) []string {
	var out []string
	for _, s := range t.files {
		bound := maxFile
		if s.test {
			bound = maxTestFile
		}
		if s.lines > bound && !s.generated {
			out = append(out, fmt.Sprintf("%s: %d lines, at most %d", s.path, s.lines, bound))
		}
		if s.test || s.generated {
			continue
		}
		for _, fn := range functions(s.ast) {
			n := t.fset.Position(fn.End()).Line - t.fset.Position(fn.Pos()).Line + 1
			if n > maxFunc {
				out = append(out, t.at(fn, "%s has %d lines, at most %d", fn.Name.Name, n, maxFunc))
			}
		}
	}
	return out
}

func functions(f *ast.File) []*ast.FuncDecl {
	var out []*ast.FuncDecl
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			out = append(out, fn)
		}
	}
	return out
}

// checkNesting bounds how deep blocks lie in blocks. An else, a case and a
// function literal go no deeper than what they belong to.
func checkNesting(t *tree) []string {
	var out []string
	for s := range t.code {
		if s.generated {
			continue
		}
		for _, fn := range functions(s.ast) {
			if fn.Body == nil {
				continue
			}
			if at, depth := deepest(fn.Body); depth > maxDepth {
				out = append(out, t.at(at, "%s nests %d deep, at most %d", fn.Name.Name, depth, maxDepth))
			}
		}
	}
	return out
}

// deepest finds the block statement that lies deepest below n.
func deepest(n ast.Node) (at ast.Node, depth int) {
	for _, child := range children(n) {
		a, d := deepest(child)
		if nests(n, child) {
			d++
		}
		if d == 1 && a == nil {
			a = child
		}
		if d > depth {
			at, depth = a, d
		}
	}
	return at, depth
}

// nests reports whether child, right below parent, opens a deeper block.
func nests(parent, child ast.Node) bool {
	switch child := child.(type) {
	case *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt, *ast.TypeSwitchStmt, *ast.SelectStmt:
		return true
	case *ast.IfStmt:
		outer, ok := parent.(*ast.IfStmt)
		return !ok || outer.Else != child
	}
	return false
}

// children lists the nodes right below n.
func children(n ast.Node) []ast.Node {
	var out []ast.Node
	ast.Inspect(n, func(c ast.Node) bool {
		if c == nil || c == n {
			return c == n
		}
		out = append(out, c)
		return false
	})
	return out
}

// checkInits sees to it that init functions register and do nothing else.
func checkInits(t *tree) []string {
	var out []string
	for s := range t.code {
		for _, fn := range functions(s.ast) {
			if fn.Recv == nil && fn.Name.Name == "init" && !registersOnly(s, fn) {
				out = append(out, t.at(fn, "init may only call airside.Register..."))
			}
		}
	}
	return out
}

func registersOnly(s *source, fn *ast.FuncDecl) bool {
	for _, stmt := range fn.Body.List {
		e, ok := stmt.(*ast.ExprStmt)
		if !ok {
			return false
		}
		call, ok := e.X.(*ast.CallExpr)
		if !ok || !s.registers(call) {
			return false
		}
	}
	return true
}

// registers reports whether call makes a component known by name.
func (s *source) registers(call *ast.CallExpr) bool {
	fun := call.Fun
	if g, ok := fun.(*ast.IndexExpr); ok {
		fun = g.X
	}
	return s.selects(fun, module, "RegisterPolicy", "RegisterUpstream", "RegisterProtocol")
}

// nameless are folder names that say nothing about what lies in the folder.
var nameless = []string{"pkg", "src", "util", "utils", "common", "helper", "helpers", "misc", "shared", "lib", "base", "types", "models"}

// checkFolders refuses folders whose names say nothing.
func checkFolders(t *tree) []string {
	var out []string
	for _, dir := range t.dirs {
		if slices.Contains(nameless, path.Base(dir)) {
			out = append(out, dir+": a folder is named after what lies in it")
		}
	}
	return out
}

var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HACK|not ` + `implemented yet|for ` + `now)\b`)

// checkUnfinished refuses words that say that something is still to be done.
func checkUnfinished(t *tree) []string {
	var out []string
	for _, s := range t.files {
		for _, group := range s.ast.Comments {
			for _, c := range group.List {
				if word := unfinished.FindString(c.Text); word != "" {
					out = append(out, t.at(c, "%q: what is committed is finished", word))
				}
			}
		}
	}
	return out
}

// checkComponents sees to it that every policy and every upstream has a test,
// and a package comment with an example: its page of the reference.
func checkComponents(t *tree) []string {
	var out []string
	for _, dir := range t.dirs {
		if ok, err := path.Match("policy/*", dir); !ok || err != nil {
			if ok, err := path.Match("upstream/*", dir); !ok || err != nil {
				continue
			}
		}
		if tests, err := fs.Glob(t.fsys, dir+"/*_test.go"); err != nil || len(tests) == 0 {
			out = append(out, dir+": has no test")
		}
		if !t.documented(dir) {
			out = append(out, dir+": the package comment holds no example, an indented block that begins with policies:, upstreams: or routes:")
		}
	}
	return out
}

var example = regexp.MustCompile(`(?m)^\t(policies|upstreams|routes|listen):`)

func (t *tree) documented(dir string) bool {
	for s := range t.code {
		if s.dir == dir && s.ast.Doc != nil && example.MatchString(s.ast.Doc.Text()) {
			return true
		}
	}
	return false
}

// checkDependencies sees to it that every direct requirement of go.mod has its
// reason in the decision record.
func checkDependencies(t *tree) []string {
	const record = "docs/adr/0010-dependencies.md"
	mod, err := fs.ReadFile(t.fsys, "go.mod")
	if err != nil {
		return []string{err.Error()}
	}
	reasons, err := fs.ReadFile(t.fsys, record)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for line := range strings.Lines(string(mod)) {
		f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(f) < 2 || !thirdParty(f[0]) || !strings.HasPrefix(f[1], "v") || strings.Contains(line, "// indirect") {
			continue
		}
		if !strings.Contains(string(reasons), "`"+f[0]+"`") {
			out = append(out, fmt.Sprintf("go.mod: %s has no line in %s", f[0], record))
		}
	}
	return out
}
