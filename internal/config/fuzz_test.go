package config

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func seeds(f *testing.F) {
	f.Helper()
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
}

// FuzzParse proves that no text makes Parse panic or hang, that what is refused
// is refused with a position, and that what is accepted is accepted again as its
// own dump.
func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse(testFile, text, testLookup(), nil)
		if err != nil {
			for _, p := range asProblems(t, err) {
				if p.At.File != testFile || p.Message == "" {
					t.Fatalf("a problem without place or words: %+v", p)
				}
			}
			return
		}
		dump := c.Dump()
		if bytes.Contains(dump, []byte(masked)) {
			return // what is masked may not be accepted in its place
		}
		again, err := Parse(testFile, dump, testLookup(), nil)
		if err != nil {
			t.Fatalf("the dump is refused: %v\n%s", err, dump)
		}
		if diff := cmp.Diff(string(dump), string(again.Dump())); diff != "" {
			t.Fatalf("the dump of the dump (-dump +dump of dump):\n%s", diff)
		}
	})
}

// FuzzTree proves that any tree of nodes is written so that it is read as the
// same tree, be it a configuration or not.
func FuzzTree(f *testing.F) {
	seeds(f)
	f.Add([]byte("a: |\n  x\n   y\n\n  z\n"))
	f.Add([]byte("a: [\"\\x00\", '''', \"\\u2029\", '- a', ? b]\n- {a: , ~: }"))
	f.Fuzz(func(t *testing.T, text []byte) {
		first := tree(text)
		if first == nil {
			return
		}
		w := dumper{}
		w.block(first, 0)
		second := tree(w.out.Bytes())
		if second == nil {
			t.Fatalf("what was written is refused: %q", w.out.Bytes())
		}
		if diff := cmp.Diff(plainTree(first), plainTree(second)); diff != "" {
			t.Fatalf("tree (-first +second), as written %q:\n%s", w.out.Bytes(), diff)
		}
	})
}

// tree reads text without masking anything; nil if there is a problem.
func tree(text []byte) *node {
	d := &decoder{doc: &document{name: testFile, dir: ".", text: text}}
	if !d.read(testLookup()) || len(d.problems) > 0 {
		return nil
	}
	ok := d.doc.root.scalars(func(n *node) bool { return withoutPassword(n.text) == n.text && withoutPassword(n.raw) == n.raw })
	if !ok || d.doc.root.scalar() {
		return nil
	}
	return &d.doc.root
}

type plainNode struct {
	Kind      kind
	Text, Raw string
	In        []plainNode
}

func plainTree(n *node) plainNode {
	c := plainNode{Kind: n.kind, Text: n.text, Raw: n.raw}
	if n.kind == null {
		c.Text = ""
	}
	for i := range n.in {
		c.In = append(c.In, plainTree(&n.in[i]))
	}
	return c
}
