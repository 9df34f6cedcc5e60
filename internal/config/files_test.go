package config

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expected messages of testdata/bad")

const testFile = "airside.yaml"

// testLookup has a few environment variables and files.
func testLookup() Lookup {
	env := map[string]string{
		"HOST": "records.example", "PORT": "9000", "ON": "true", "WAIT": "20s", "EMPTY": "",
		"KEY": "sk-live-51Hx", "LIMIT": "one hundred", "UPSTREAM": "recordz",
	}
	files := map[string]string{"secret.txt": "hunter22\n", "folder/two": "line 1\nline 2\r\n", "binary": "\xff\xfe\x00"}
	return Lookup{
		Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		File: func(path string) ([]byte, error) {
			if v, ok := files[filepath.ToSlash(path)]; ok {
				return []byte(v), nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		},
	}
}

// problems is everything that is wrong with a file, as the app sees it.
func problems(text []byte) []string {
	c, err := Parse(testFile, text, testLookup(), nil)
	if err == nil {
		err = c.Unused(nil, nil).asError()
	}
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

// TestBad proves that each file of testdata/bad is refused with exactly the
// problems that its first lines list, in this order.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d files, want at least 60 (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want, body := expected(text)
			if *update {
				want = rewrite(t, file, body)
				text, _ = os.ReadFile(file)
			}
			got := problems(text)
			if len(got) == 0 {
				t.Fatal("the file is accepted")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

const mark = "# " + testFile

// expected splits a bad file into the problems it announces and the rest.
func expected(text []byte) (want []string, body []byte) {
	for bytes.HasPrefix(text, []byte(mark)) {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		want = append(want, strings.TrimPrefix(string(line), "# "))
		text = rest
	}
	return want, text
}

// rewrite writes a bad file with the problems it has now.
func rewrite(t *testing.T, file string, body []byte) []string {
	t.Helper()
	head := strings.Repeat("#\n", len(problems(body)))
	want := problems(append([]byte(head), body...))
	head = ""
	for _, p := range want {
		head += "# " + p + "\n"
	}
	if err := os.WriteFile(file, append([]byte(head), body...), 0o600); err != nil {
		t.Fatal(err)
	}
	return want
}

// TestGood proves that each file of testdata/good is accepted, that its dump is
// accepted as well, and that the dump of that is the same.
func TestGood(t *testing.T) {
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil || len(files) < 8 {
		t.Fatalf("%d files, want at least 8 (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got := problems(text); len(got) > 0 {
				t.Fatalf("problems:\n%s", strings.Join(got, "\n"))
			}
			c, err := Parse(testFile, text, testLookup(), nil)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Parse(testFile, c.Dump(), testLookup(), nil)
			if err != nil {
				t.Fatalf("the dump is refused: %v\n%s", err, c.Dump())
			}
			if diff := cmp.Diff(string(c.Dump()), string(again.Dump())); diff != "" {
				t.Errorf("the dump of the dump (-dump +dump of dump):\n%s", diff)
			}
		})
	}
}

// TestDumpFiles compares the dumps of testdata/dump/*.yaml with the files beside
// them.
func TestDumpFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/dump/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		c, err := Parse(testFile, read(t, file), testLookup(), nil)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		golden := strings.TrimSuffix(file, ".yaml") + ".want"
		if *update {
			if err := os.WriteFile(golden, c.Dump(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(string(read(t, golden)), string(c.Dump())); diff != "" {
			t.Errorf("%s: dump (-want +got):\n%s", file, diff)
		}
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// asProblems is err as Problems, which every error of Parse and Decode is.
func asProblems(t *testing.T, err error) Problems {
	t.Helper()
	p, ok := errors.AsType[Problems](err)
	if !ok {
		t.Fatalf("%v (%T), want Problems", err, err)
	}
	return p
}
