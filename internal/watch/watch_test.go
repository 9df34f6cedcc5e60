package watch

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFiles(t *testing.T) {
	steps := map[string]func(t *testing.T, dir, file string){
		"written": func(t *testing.T, _, file string) { write(t, file, "two") },
		"replaced": func(t *testing.T, dir, file string) {
			write(t, filepath.Join(dir, "new"), "two")
			if err := os.Rename(filepath.Join(dir, "new"), file); err != nil {
				t.Fatal(err)
			}
		},
		"removed": func(t *testing.T, _, file string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, change := range steps {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "file")
			write(t, file, "one")
			changed := make(chan struct{}, 8)
			w, err := Files([]string{file}, func() { changed <- struct{}{} })
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			change(t, dir, file)
			<-changed // the test's own time-out is the bound
		})
	}
}

// A secret mounted by Kubernetes is a link to a link to a folder that is swapped.
func TestSwappedLink(t *testing.T) {
	dir := t.TempDir()
	for _, v := range []string{"v1", "v2"} {
		if err := os.Mkdir(filepath.Join(dir, v), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, v, "key"), v)
	}
	link(t, "v1", filepath.Join(dir, "data"))
	link(t, filepath.Join("data", "key"), filepath.Join(dir, "key"))
	changed := make(chan struct{}, 8)
	w, err := Files([]string{filepath.Join(dir, "key")}, func() { changed <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	link(t, "v2", filepath.Join(dir, "data.new"))
	if err := os.Rename(filepath.Join(dir, "data.new"), filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	<-changed
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, to, file string) {
	t.Helper()
	if err := os.Symlink(to, file); err != nil {
		t.Fatal(err)
	}
}
