// Package arch holds the shape of the code as tests: who may import whom, how
// large files and functions may grow, where init and package-level state are
// allowed, and a few more rules of the house that no linter knows.
//
// Each rule is one function over the parsed tree. It runs on the project, where
// it must find nothing, and on testdata/<rule>.txtar, where it must find exactly
// what the file called want says: a rule that cannot fail proves nothing.
package arch

import (
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

const module = "github.com/airside-gateway/airside"

// A tree is the parsed module.
type tree struct {
	fsys  fs.FS
	fset  *token.FileSet
	dirs  []string // slash-separated, relative to the root of the module, sorted
	files []*source
}

// A source is one Go file.
type source struct {
	path, dir string // slash-separated, relative to the root of the module
	test      bool
	generated bool
	lines     int
	text      []byte
	ast       *ast.File
	imports   map[string]string // local name -> path
}

// load parses every Go file below the root of fsys that belongs to the module:
// not testdata, not hidden folders, not what make builds, not nested modules.
func load(fsys fs.FS) (*tree, error) {
	t := &tree{fsys: fsys, fset: token.NewFileSet()}
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return t.enter(p)
		case path.Ext(p) == ".go":
			return t.parse(p)
		}
		return nil
	})
	return t, err
}

func (t *tree) enter(dir string) error {
	if dir == "." {
		return nil
	}
	base := path.Base(dir)
	if base == "testdata" || base == "node_modules" || dir == "bin" || strings.HasPrefix(base, ".") {
		return fs.SkipDir
	}
	if _, err := fs.Stat(t.fsys, path.Join(dir, "go.mod")); err == nil {
		return fs.SkipDir
	}
	t.dirs = append(t.dirs, dir)
	return nil
}

func (t *tree) parse(p string) error {
	text, err := fs.ReadFile(t.fsys, p)
	if err != nil {
		return err
	}
	f, err := parser.ParseFile(t.fset, p, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	s := &source{
		path: p, dir: path.Dir(p), test: strings.HasSuffix(p, "_test.go"), generated: ast.IsGenerated(f),
		lines: bytes.Count(text, []byte("\n")), text: text, ast: f, imports: map[string]string{},
	}
	for _, im := range f.Imports {
		target, err := strconv.Unquote(im.Path.Value)
		if err != nil {
			return err
		}
		name := importName(target)
		if im.Name != nil {
			name = im.Name.Name
		}
		s.imports[name] = target
	}
	t.files = append(t.files, s)
	return nil
}

// importName guesses the name of the package at an import path: the last
// element that is not a major version, without a "go-" before or after it.
func importName(target string) string {
	name := path.Base(target)
	if len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
		name = path.Base(path.Dir(target))
	}
	return strings.TrimSuffix(strings.TrimPrefix(name, "go-"), "-go")
}

// code yields the files that are part of the program: no tests.
func (t *tree) code(yield func(*source) bool) {
	for _, s := range t.files {
		if !s.test && !yield(s) {
			return
		}
	}
}

// at writes a finding about n.
func (t *tree) at(n ast.Node, format string, args ...any) string {
	p := t.fset.Position(n.Pos())
	return fmt.Sprintf("%s:%d: ", p.Filename, p.Line) + fmt.Sprintf(format, args...)
}

// selects reports whether n is the name sel of the package imported from target,
// such as time.Sleep.
func (s *source) selects(n ast.Node, target string, names ...string) bool {
	e, ok := n.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := e.X.(*ast.Ident)
	return ok && s.imports[x.Name] == target && slices.Contains(names, e.Sel.Name)
}

// thirdParty reports whether an import path is neither ours nor the standard
// library's.
func thirdParty(target string) bool {
	first, _, _ := strings.Cut(target, "/")
	return strings.Contains(first, ".") && !ours(target)
}

func ours(target string) bool {
	return target == module || strings.HasPrefix(target, module+"/")
}

// within reports whether dir matches one of the patterns: a folder, or a folder
// and all below it ("cmd/...").
func within(dir string, patterns ...string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		above, all := strings.CutSuffix(p, "/...")
		return dir == above || all && strings.HasPrefix(dir, above+"/")
	})
}
