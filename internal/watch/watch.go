// Package watch tells when the content of files changes: a configuration that was
// edited, a certificate that was renewed.
package watch

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long a folder must be quiet before its files are read: editors and
// secret mounts change a file in several steps.
const settle = 100 * time.Millisecond

// maxFile bounds what is read of a file to tell whether it changed.
const maxFile = 64 << 20

// A Watcher watches files until it is closed.
type Watcher struct {
	fs      *fsnotify.Watcher
	paths   []string
	seen    [sha256.Size]byte
	changed func()
	wg      sync.WaitGroup
}

// Files watches the files called paths and calls changed, one call at a time, when
// the content of any of them is another than before. Files that are replaced, as by
// editors, or reached by symbolic links that are swapped, as in Kubernetes, are
// followed, since it is their folders that are watched. A file may be missing.
func Files(paths []string, changed func()) (*Watcher, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watching files: %w", err)
	}
	w := &Watcher{fs: fs, paths: paths, changed: changed}
	w.seen = w.sum()
	for _, p := range paths {
		if err := w.add(p); err != nil {
			_ = fs.Close()
			return nil, err
		}
	}
	w.wg.Go(w.run)
	return w, nil
}

// add watches the folder of path, and the one that a symbolic link leads to.
func (w *Watcher) add(path string) error {
	if err := w.fs.Add(filepath.Dir(path)); err != nil {
		return fmt.Errorf("watching %s: %w", path, err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil && filepath.Dir(real) != filepath.Dir(path) {
		if err := w.fs.Add(filepath.Dir(real)); err != nil {
			return fmt.Errorf("watching %s: %w", real, err)
		}
	}
	return nil
}

// Close ends the watch and waits for a call of changed that is under way.
func (w *Watcher) Close() error {
	err := w.fs.Close()
	w.wg.Wait()
	return err
}

func (w *Watcher) run() {
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	defer quiet.Stop()
	for {
		select {
		case _, ok := <-w.fs.Events:
			if !ok {
				return
			}
			quiet.Reset(settle)
		case _, ok := <-w.fs.Errors: // events were lost: look
			if !ok {
				return
			}
			quiet.Reset(settle)
		case <-quiet.C:
			w.look()
		}
	}
}

func (w *Watcher) look() {
	now := w.sum()
	if now == w.seen {
		return
	}
	w.seen = now
	for _, p := range w.paths {
		_ = w.add(p) // links may lead elsewhere now; what is watched already stays so
	}
	w.changed()
}

// sum is a digest of all the files.
func (w *Watcher) sum() (d [sha256.Size]byte) {
	h := sha256.New()
	for _, p := range w.paths {
		n, err := hashFile(h, p)
		fmt.Fprintf(h, "\x00%d %v\x00", n, err != nil)
	}
	h.Sum(d[:0])
	return d
}

func hashFile(h io.Writer, path string) (int64, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names the file; a pipe must not keep us
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // only read
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return 0, errors.Join(err, errors.New("it is not a regular file"))
	}
	return io.Copy(h, io.LimitReader(f, maxFile))
}
