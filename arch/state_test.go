package arch

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// registries lists the package-level state that is meant: filled by init
// functions, or by the linker, and only read afterwards.
var registries = []struct{ file, name string }{
	{"registry.go", "policies"},
	{"registry.go", "upstreams"},
	{"registry.go", "protocols"},
	{"cmd/version.go", "release"},
}

// constant lists calls whose result nobody can change, or changes safely.
var constant = []struct{ path, name string }{
	{"cel.dev/cel-go/common/types", "NewListType"},
	{"cel.dev/cel-go/common/types", "NewMapType"},
	{"errors", "New"},
	{"fmt", "Errorf"},
	{"fmt", "Sprintf"},
	{"hash/maphash", "MakeSeed"},
	{"html/template", "Must"},
	{"net/netip", "MustParseAddr"},
	{"net/netip", "MustParsePrefix"},
	{"reflect", "TypeFor"},
	{"regexp", "MustCompile"},
	{"strings", "NewReplacer"},
	{"sync", "OnceFunc"},
	{"sync", "OnceValue"},
	{"sync", "OnceValues"},
	{"text/template", "Must"},
	{"time", "Date"},
	{"time", "Unix"},
}

// A scope is what one package declares at package level.
type scope struct {
	vars  map[string]bool
	types map[string]ast.Expr      // name -> what it is
	funcs map[string]*ast.FuncType // without methods
}

func (t *tree) scopes() map[string]*scope {
	out := map[string]*scope{}
	for s := range t.code {
		c := out[s.dir]
		if c == nil {
			c = &scope{vars: map[string]bool{}, types: map[string]ast.Expr{}, funcs: map[string]*ast.FuncType{}}
			out[s.dir] = c
		}
		for _, d := range s.ast.Decls {
			c.add(d)
		}
	}
	return out
}

func (c *scope) add(d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			c.funcs[d.Name.Name] = d.Type
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				c.types[spec.Name.Name] = spec.Type
			case *ast.ValueSpec:
				for _, n := range spec.Names {
					c.vars[n.Name] = d.Tok == token.VAR && n.Name != "_"
				}
			}
		}
	}
}

// checkState refuses package-level variables that hold state: whatever is not a
// table, an error value, a compiled expression, a pool or an embedded file, and
// whatever a function assigns to.
func checkState(t *tree) []string {
	var out []string
	scopes := t.scopes()
	for s := range t.code {
		c := scopes[s.dir]
		for _, d := range s.ast.Decls {
			switch d := d.(type) {
			case *ast.GenDecl:
				if d.Tok == token.VAR {
					out = append(out, t.variables(s, c, d)...)
				}
			case *ast.FuncDecl:
				out = append(out, t.assignments(c, d)...)
			}
		}
	}
	return out
}

func (t *tree) variables(s *source, c *scope, d *ast.GenDecl) []string {
	var out []string
	for _, spec := range d.Specs {
		v, ok := spec.(*ast.ValueSpec)
		if !ok {
			continue
		}
		for i, name := range v.Names {
			meant := slices.ContainsFunc(registries, func(r struct{ file, name string }) bool {
				return r.file == s.path && r.name == name.Name
			})
			if name.Name == "_" || meant || i < len(v.Values) && isError(name.Name, v.Values[i]) || s.fixedType(c, v.Type) || i < len(v.Values) && s.fixed(c, v.Values[i]) {
				continue
			}
			out = append(out, t.at(name, "%s is state at package level", name.Name))
		}
	}
	return out
}

// isError reports whether a variable holds an error value, written as &Error{...} or
// &SomeError{...}. What a function assigns to one is found as with any other.
func isError(name string, e ast.Expr) bool {
	ptr, ok := e.(*ast.UnaryExpr)
	if !ok || !strings.HasPrefix(strings.ToLower(name), "err") {
		return false
	}
	lit, ok := ptr.X.(*ast.CompositeLit)
	if !ok {
		return false
	}
	switch typ := lit.Type.(type) {
	case *ast.Ident:
		return strings.HasSuffix(typ.Name, "Error")
	case *ast.SelectorExpr:
		return strings.HasSuffix(typ.Sel.Name, "Error")
	}
	return false
}

// fixed reports whether e is a value that stays what it is.
func (s *source) fixed(c *scope, e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.CompositeLit:
		return s.fixedType(c, e.Type)
	case *ast.UnaryExpr:
		lit, ok := e.X.(*ast.CompositeLit)
		return ok && s.selects(lit.Type, "sync", "Pool")
	case *ast.CallExpr:
		return s.fixedCall(c, e)
	}
	return false
}

func (s *source) fixedCall(c *scope, e *ast.CallExpr) bool {
	fun := e.Fun
	if g, ok := fun.(*ast.IndexExpr); ok {
		fun = g.X
	}
	for _, k := range constant {
		if s.selects(fun, k.path, k.name) {
			return true
		}
	}
	var typ *ast.FuncType
	switch fun := fun.(type) {
	case *ast.ArrayType:
		return true
	case *ast.FuncLit:
		typ = fun.Type
	case *ast.Ident:
		typ = c.funcs[fun.Name]
	}
	return typ != nil && typ.Results != nil && len(typ.Results.List) == 1 && s.fixedType(c, typ.Results.List[0].Type)
}

// fixedType reports whether a variable of type e is a table, a small value, a
// pool or embedded files.
func (s *source) fixedType(c *scope, e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.ArrayType, *ast.StructType:
		return true
	case *ast.Ident:
		under := c.types[e.Name]
		return under != nil && s.fixedType(c, under)
	}
	return s.selects(e, "embed", "FS") || s.selects(e, "sync", "Pool")
}

// assignments lists what a function assigns to variables of the package.
func (t *tree) assignments(c *scope, fn *ast.FuncDecl) []string {
	if fn.Body == nil {
		return nil
	}
	local := locals(fn)
	var out []string
	assigned := func(e ast.Expr) {
		if id := root(e); id != nil && c.vars[id.Name] && !local[id.Name] {
			out = append(out, t.at(e, "%s assigns to %s, a variable of the package", fn.Name.Name, id.Name))
		}
	}
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, e := range n.Lhs {
					assigned(e)
				}
			}
		case *ast.IncDecStmt:
			assigned(n.X)
		}
		return true
	})
	return out
}

// root finds x in x, x.f, x[i] and *x.
func root(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// locals lists every name that a function declares.
func locals(fn *ast.FuncDecl) map[string]bool {
	out := map[string]bool{}
	name := func(e ast.Expr) {
		if id, ok := e.(*ast.Ident); ok {
			out[id.Name] = true
		}
	}
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, id := range n.Names {
				name(id)
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, e := range n.Lhs {
					name(e)
				}
			}
		case *ast.ValueSpec:
			for _, id := range n.Names {
				name(id)
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				name(n.Key)
				name(n.Value)
			}
		}
		return true
	})
	return out
}
