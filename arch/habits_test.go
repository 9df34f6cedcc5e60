package arch

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// find lists a finding for every node of the files that bad picks out.
func (t *tree) find(s *source, message string, bad func(ast.Node) bool) []string {
	var out []string
	ast.Inspect(s.ast, func(n ast.Node) bool {
		if n != nil && bad(n) {
			out = append(out, t.at(n, "%s", message))
		}
		return true
	})
	return out
}

// checkSleeps refuses time.Sleep, in tests too.
func checkSleeps(t *tree) []string {
	var out []string
	for _, s := range t.files {
		out = append(out, t.find(s, "wait for the thing itself, not for a time", func(n ast.Node) bool {
			return s.selects(n, "time", "Sleep")
		})...)
	}
	return out
}

// checkSkips refuses tests that do not run: what cannot run here is no proof.
// Examples that a property test throws away are no tests.
func checkSkips(t *tree) []string {
	var out []string
	for _, s := range t.files {
		if !s.test {
			continue
		}
		owned := testParameters(s)
		out = append(out, t.find(s, "no test is skipped: make it run, shorter if need be", func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return false
			}
			if s.selects(call.Fun, "testing", "Short") {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, sel.Sel.Name) {
				return false
			}
			x, ok := sel.X.(*ast.Ident)
			return ok && owned.tests(x)
		})...)
	}
	return out
}

// A parameter is one of a function, and where it can be seen.
type parameter struct {
	name     string
	from, to token.Pos
	test     bool // it is testing's
}

type parameters []parameter

// testParameters lists the parameters of all functions of a file, outer ones first.
func testParameters(s *source) parameters {
	var out parameters
	add := func(typ *ast.FuncType, to token.Pos) {
		for _, f := range typ.Params.List {
			e := f.Type
			if star, ok := e.(*ast.StarExpr); ok {
				e = star.X
			}
			for _, n := range f.Names {
				out = append(out, parameter{n.Name, typ.Pos(), to, s.selects(e, "testing", "T", "B", "F", "TB")})
			}
		}
	}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			add(n.Type, n.End())
		case *ast.FuncLit:
			add(n.Type, n.End())
		}
		return true
	})
	return out
}

// tests reports whether x is a parameter that package testing gave.
func (ps parameters) tests(x *ast.Ident) bool {
	for _, p := range slices.Backward(ps) { // the innermost that has the name
		if p.name == x.Name && p.from <= x.Pos() && x.Pos() < p.to {
			return p.test
		}
	}
	return false
}

// background lists where a context may begin: in programs, in tests, and at the
// edge, where the life of a server and of its connections begins.
var background = []string{
	"cmd/...", "examples/...", "internal/tool/...", "bench/...", "internal/edge/...", "airsidetest/...",
	"internal/telemetry/trace", // what is sent of an exchange outlives it
	"internal/pool/health",     // checks outlive it, too
	"internal/discover",        // a source outlives the configuration that began it; Close ends it
}

// checkContexts refuses contexts that nobody can end. A log line needs none, so
// it may be given an empty one.
func checkContexts(t *tree) []string {
	var out []string
	for s := range t.code {
		if within(s.dir, background...) {
			continue
		}
		logged := map[ast.Node]bool{}
		out = append(out, t.find(s, "take the caller's context; a context begins in cmd only", func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return false
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && len(call.Args) > 0 && (sel.Sel.Name == "LogAttrs" || sel.Sel.Name == "Enabled") {
				logged[call.Args[0]] = true
			}
			return s.selects(call.Fun, "context", "Background", "TODO") && !logged[n]
		})...)
	}
	return out
}

// writers lists who may write to a client: the edge, the admin API, which is a
// server of its own, the metrics, which it serves, and programs that play agents.
var writers = []string{"internal/edge/...", "internal/admin/...", "internal/telemetry/metrics", "airsidetest/...", "cmd/...", "examples/...", "bench/..."}

// checkWriters refuses a ResponseWriter anywhere else: everybody else returns
// the response or an error.
func checkWriters(t *tree) []string {
	var out []string
	for s := range t.code {
		if within(s.dir, writers...) {
			continue
		}
		out = append(out, t.find(s, "only the edge writes to a client: return the response", func(n ast.Node) bool {
			return s.selects(n, "net/http", "ResponseWriter", "NewResponseController", "Error")
		})...)
	}
	return out
}

// avoid lists words that the glossary has a better one for, or that say nothing.
var avoid = []struct{ word, better string }{
	{"backend", "upstream"},
	{"cluster", "upstream"},
	{"plugin", "policy"},
	{"transaction", "exchange"},
	{"principal", "caller"},
	{"consumer", "caller, or subscription"},
	{"dialect", "protocol"},
	{"pipeline", "flow, or chain"},
	{"manager", "what it does"},
	{"helper", "what it does"},
	{"util", "what it does"},
	{"utils", "what it does"},
	{"impl", "what it is"},
	{"misc", "what it is"},
}

// checkWords refuses the words in names that are declared at package level, in
// fields, and in the names of packages and folders; and the prefix Get.
func checkWords(t *tree) []string {
	var out []string
	for s := range t.code {
		for _, name := range declared(s.ast) {
			words := camel(name.Name)
			for _, a := range avoid {
				if slices.Contains(words, a.word) {
					out = append(out, t.at(name, "%s: the word is %s, not %s", name.Name, a.better, a.word))
				}
			}
			if len(words) > 1 && words[0] == "get" {
				out = append(out, t.at(name, "%s: without Get", name.Name))
			}
		}
	}
	return out
}

// declared lists the names that a file gives: to the package, to declarations,
// and to fields and methods.
func declared(f *ast.File) []*ast.Ident {
	out := []*ast.Ident{f.Name}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			out = append(out, d.Name)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					out = append(out, spec.Names...)
				case *ast.TypeSpec:
					out = append(out, spec.Name)
					out = append(out, fields(spec.Type)...)
				}
			}
		}
	}
	return out
}

func fields(typ ast.Expr) []*ast.Ident {
	var list *ast.FieldList
	switch typ := typ.(type) {
	case *ast.StructType:
		list = typ.Fields
	case *ast.InterfaceType:
		list = typ.Methods
	default:
		return nil
	}
	var out []*ast.Ident
	for _, f := range list.List {
		out = append(out, f.Names...)
	}
	return out
}

// camel splits a name into its words, in lower case: HTTPBackend is http and
// backend.
func camel(name string) []string {
	var out []string
	start := 0
	upper := func(i int) bool { return 'A' <= name[i] && name[i] <= 'Z' }
	for i := 1; i <= len(name); i++ {
		if i == len(name) || name[i] == '_' ||
			upper(i) && (!upper(i-1) || i+1 < len(name) && !upper(i+1)) {
			if w := strings.ToLower(strings.Trim(name[start:i], "_")); w != "" {
				out = append(out, w)
			}
			start = i
		}
	}
	return out
}
