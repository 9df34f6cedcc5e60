package main

import (
	"bufio"
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A mod is the source of the module.
type mod struct {
	path string // the module path
	fset *token.FileSet
	pkgs map[string]*pkg // by import path
}

// A pkg is one parsed package, without its tests.
type pkg struct {
	path   string
	doc    string
	files  []*file
	types  map[string]*named
	funcs  map[string]*ast.FuncDecl
	consts map[string]ast.Expr
}

type file struct {
	pkg     *pkg
	ast     *ast.File
	imports map[string]string // local name -> import path
}

// A named is a type declaration, with its methods.
type named struct {
	file    *file
	name    string
	expr    ast.Expr
	methods map[string]*ast.FuncDecl
}

// folders lists where components and their settings are looked for.
var folders = []string{".", "policy", "upstream", "proto", "llm", "internal"}

// load parses the packages that settings can be made of.
func load(fsys fs.FS) (*mod, error) {
	gomod, err := fs.ReadFile(fsys, "go.mod")
	if err != nil {
		return nil, err
	}
	m := &mod{fset: token.NewFileSet(), pkgs: map[string]*pkg{}}
	for s := bufio.NewScanner(bytes.NewReader(gomod)); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "module "); ok {
			m.path = strings.TrimSpace(rest)
			break
		}
	}
	if m.path == "" {
		return nil, fmt.Errorf("go.mod names no module")
	}
	err = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		top, _, _ := strings.Cut(name, "/")
		base := path.Base(name)
		if d.IsDir() {
			if !slices.Contains(folders, top) || base == "testdata" || strings.HasPrefix(base, ".") && base != "." {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		return m.parse(fsys, name)
	})
	return m, err
}

func (m *mod) parse(fsys fs.FS, name string) error {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	tree, err := parser.ParseFile(m.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	at := path.Join(m.path, path.Dir(name))
	p := m.pkgs[at]
	if p == nil {
		p = &pkg{path: at, types: map[string]*named{}, funcs: map[string]*ast.FuncDecl{}, consts: map[string]ast.Expr{}}
		m.pkgs[at] = p
	}
	if tree.Doc != nil {
		p.doc = tree.Doc.Text()
	}
	f := &file{pkg: p, ast: tree, imports: map[string]string{}}
	p.files = append(p.files, f)
	for _, im := range tree.Imports {
		target, err := strconv.Unquote(im.Path.Value)
		if err != nil {
			return err
		}
		local := path.Base(target)
		if im.Name != nil {
			local = im.Name.Name
		}
		f.imports[local] = target
	}
	f.declare()
	return nil
}

func (f *file) declare() {
	for _, d := range f.ast.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			f.declareFunc(d)
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				f.declareSpec(spec, d.Tok)
			}
		}
	}
}

func (f *file) declareFunc(d *ast.FuncDecl) {
	if d.Recv == nil {
		f.pkg.funcs[d.Name.Name] = d
		return
	}
	if n := receiver(d.Recv.List[0].Type); n != "" {
		f.pkg.typeNamed(n).methods[d.Name.Name] = d
	}
}

func (f *file) declareSpec(spec ast.Spec, tok token.Token) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		n := f.pkg.typeNamed(spec.Name.Name)
		n.file, n.expr = f, spec.Type
	case *ast.ValueSpec:
		for i, n := range spec.Names {
			if tok == token.CONST && i < len(spec.Values) {
				f.pkg.consts[n.Name] = spec.Values[i]
			}
		}
	}
}

func (p *pkg) typeNamed(name string) *named {
	n := p.types[name]
	if n == nil {
		n = &named{name: name, methods: map[string]*ast.FuncDecl{}}
		p.types[name] = n
	}
	return n
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// A kind is a component that the configuration can name.
type kind struct {
	sort     string // "policy", "upstream" or "protocol"
	name     string
	pkg      *pkg
	settings *settings // nil for a protocol
}

// page is where the kind is described, below docs/reference; empty for none.
func (k *kind) page() string {
	switch k.sort {
	case "policy":
		return "policies/" + k.name + ".md"
	case "upstream":
		return "upstreams/" + k.name + ".md"
	}
	return ""
}

// kinds lists what init functions register, sorted by sort and name.
func (m *mod) kinds() ([]*kind, error) {
	var out []*kind
	for _, p := range m.pkgs {
		if p.path == m.path || strings.HasPrefix(p.path, m.path+"/internal/") {
			continue
		}
		for _, f := range p.files {
			found, err := m.registered(f)
			if err != nil {
				return nil, err
			}
			out = append(out, found...)
		}
	}
	slices.SortFunc(out, func(a, b *kind) int {
		return strings.Compare(a.sort+" "+a.name, b.sort+" "+b.name)
	})
	return out, nil
}

func (m *mod) registered(f *file) ([]*kind, error) {
	var out []*kind
	var wrong error
	ast.Inspect(f.ast, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || wrong != nil {
			return wrong == nil
		}
		sort, typ := m.registration(f, call)
		if sort == "" {
			return true
		}
		k := &kind{sort: sort, pkg: f.pkg}
		if k.name = text(call.Args[0]); k.name == "" {
			wrong = fmt.Errorf("%s: the name of a %s is a string literal", m.fset.Position(call.Pos()), sort)
			return false
		}
		if sort != "protocol" {
			if typ == nil {
				wrong = fmt.Errorf("%s: cannot see the settings of %s %q; name the function that builds it", m.fset.Position(call.Pos()), sort, k.name)
				return false
			}
			k.settings, wrong = m.settings(f, typ)
		}
		out = append(out, k)
		return true
	})
	return out, wrong
}

// registration tells what a call registers, and finds the type of its settings.
func (m *mod) registration(f *file, call *ast.CallExpr) (sort string, settings ast.Expr) {
	fun := call.Fun
	if g, ok := fun.(*ast.IndexExpr); ok {
		fun, settings = g.X, g.Index
	}
	sel, ok := fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) != 2 {
		return "", nil
	}
	if x, ok := sel.X.(*ast.Ident); !ok || f.imports[x.Name] != m.path {
		return "", nil
	}
	switch sel.Sel.Name {
	case "RegisterPolicy":
		sort = "policy"
	case "RegisterUpstream":
		sort = "upstream"
	case "RegisterProtocol":
		return "protocol", nil
	default:
		return "", nil
	}
	if settings == nil {
		settings = secondParameter(f.pkg, call.Args[1])
	}
	return sort, settings
}

// secondParameter finds the type of the settings in the function that builds a
// component of them: a function of the package, a literal, or what a function of
// the package returns.
func secondParameter(p *pkg, build ast.Expr) ast.Expr {
	var typ *ast.FuncType
	switch build := build.(type) {
	case *ast.Ident:
		if d := p.funcs[build.Name]; d != nil {
			typ = d.Type
		}
	case *ast.FuncLit:
		typ = build.Type
	case *ast.CallExpr:
		id, ok := build.Fun.(*ast.Ident)
		if !ok || p.funcs[id.Name] == nil || p.funcs[id.Name].Type.Results == nil {
			return nil
		}
		typ, _ = p.funcs[id.Name].Type.Results.List[0].Type.(*ast.FuncType)
	}
	if typ == nil {
		return nil
	}
	var params []ast.Expr
	for _, f := range typ.Params.List {
		for range max(1, len(f.Names)) {
			params = append(params, f.Type)
		}
	}
	if len(params) != 2 {
		return nil
	}
	return params[1]
}

// text is the value of a string literal; empty if e is none.
func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

// commentText joins the lines of the first comment that is there.
func commentText(groups ...*ast.CommentGroup) string {
	for _, g := range groups {
		if t := strings.Join(strings.Fields(g.Text()), " "); t != "" {
			return t
		}
	}
	return ""
}
