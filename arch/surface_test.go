package arch

import (
	"go/ast"
	"strings"
)

// homes says which packages may use which third-party module. Everybody else
// goes through them, so that a dependency can be replaced in one place.
var homes = []struct {
	module string
	dirs   []string
}{
	{"cel.dev/cel-go", []string{"internal/expr"}},
	{"github.com/itchyny/gojq", []string{"internal/jq"}},
	{"github.com/prometheus/client_model", []string{"internal/telemetry/metrics"}},
	{"github.com/spf13/cobra", []string{"cmd"}},
	{"go.yaml.in/yaml/v4", []string{"internal/config", "internal/discover", "docs", "examples/observability"}},
	{"github.com/fsnotify/fsnotify", []string{"internal/watch"}},
	{"github.com/quic-go/quic-go", []string{"internal/edge/h3", "airsidetest"}}, // and its client, for tests
	{"golang.org/x/net/dns/dnsmessage", []string{"internal/discover"}},
	{"golang.org/x/net/http2/hpack", []string{"internal/edge/...", "test/...", "bench/..."}},
	{"google.golang.org/protobuf", []string{"internal/telemetry/..."}},
	{"golang.org/x/term", []string{"cmd"}},
	{"golang.org/x/sys", []string{"bench/...", "internal/edge"}},
}

// tests lists the modules that only tests use, and airsidetest.
var tests = []string{
	"github.com/google/go-cmp",
	"github.com/rogpeppe/go-internal",
	"github.com/santhosh-tekuri/jsonschema/v6",
	"github.com/coder/websocket",
	"github.com/quic-go/qpack",
	"go.opentelemetry.io/proto/otlp", // what a collector reads
	"go.uber.org/goleak",
	"golang.org/x/net",
	"pgregory.net/rapid",
}

// checkHomes holds third-party imports to their homes.
func checkHomes(t *tree) []string {
	var out []string
	for _, s := range t.files {
		for _, im := range s.ast.Imports {
			target := strings.Trim(im.Path.Value, `"`)
			if thirdParty(target) && !atHome(s, target) {
				out = append(out, t.at(im, "%s may not import %s", packageName(s.dir), target))
			}
		}
	}
	return out
}

func atHome(s *source, target string) bool {
	for _, h := range homes {
		if inModule(target, h.module) {
			return within(s.dir, h.dirs...)
		}
	}
	for _, m := range tests {
		if inModule(target, m) {
			return s.test || within(s.dir, "airsidetest/...")
		}
	}
	return false
}

func inModule(target, m string) bool {
	return target == m || strings.HasPrefix(target, m+"/")
}

// checkSignatures refuses third-party types in what we export: a caller of ours
// would have to know the dependency.
func checkSignatures(t *tree) []string {
	var out []string
	for s := range t.code {
		if s.ast.Name.Name == "main" {
			continue
		}
		for _, d := range s.ast.Decls {
			for _, typ := range exposed(d) {
				out = append(out, t.foreign(s, typ)...)
			}
		}
	}
	return out
}

// foreign lists the third-party types that typ speaks of.
func (t *tree) foreign(s *source, typ ast.Expr) []string {
	var out []string
	ast.Inspect(typ, func(n ast.Node) bool {
		if f, ok := n.(*ast.Field); ok && len(f.Names) > 0 && !anyExported(f.Names) && isStructField(typ, f) {
			return false
		}
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && thirdParty(s.imports[x.Name]) {
				out = append(out, t.at(sel, "%s.%s is a type of a dependency in an exported declaration", x.Name, sel.Sel.Name))
			}
		}
		return true
	})
	return out
}

// exposed lists the types that a declaration shows to importers.
func exposed(d ast.Decl) []ast.Expr {
	var out []ast.Expr
	switch d := d.(type) {
	case *ast.FuncDecl:
		if !d.Name.IsExported() || d.Recv != nil && !receiver(d).IsExported() {
			return nil
		}
		out = append(out, d.Type)
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() {
					out = append(out, spec.Type)
				}
			case *ast.ValueSpec:
				if anyExported(spec.Names) && spec.Type != nil {
					out = append(out, spec.Type)
				}
			}
		}
	}
	return out
}

func receiver(d *ast.FuncDecl) *ast.Ident {
	e := d.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x
		default:
			return ast.NewIdent("_")
		}
	}
}

func anyExported(names []*ast.Ident) bool {
	for _, n := range names {
		if n.IsExported() {
			return true
		}
	}
	return false
}

// isStructField reports whether f is a field of typ or of a struct inside it,
// and not a parameter, whose name does not matter.
func isStructField(typ ast.Expr, f *ast.Field) bool {
	found := false
	ast.Inspect(typ, func(n ast.Node) bool {
		if st, ok := n.(*ast.StructType); ok {
			for _, g := range st.Fields.List {
				found = found || g == f
			}
		}
		return !found
	})
	return found
}
