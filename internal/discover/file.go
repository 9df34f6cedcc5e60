package discover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/airside-gateway/airside/internal/watch"
)

// File returns the source of the endpoints that the file at path lists. It is read again
// when it changes, is replaced, or is reached by a link that leads elsewhere, as a
// ConfigMap of Kubernetes is. A file with a mistake is refused whole, and what was there
// before stays. Scheme is that of hosts in the file that are no URLs, for parse.
func File(path, scheme string, parse Parse) Source {
	return &file{path, form{scheme: scheme, parse: parse}}
}

type file struct {
	path string
	form form
}

// Run implements [Source].
func (f *file) Run(ctx context.Context, s Sink) error {
	changed := make(chan struct{}, 1)
	w, err := watch.Files([]string{f.path}, func() {
		select {
		case changed <- struct{}{}:
		default: // it will be read after this change, too
		}
	})
	if err != nil {
		return err
	}
	defer w.Close() //nolint:errcheck // it is not needed any more
	for {
		if set, err := f.read(); err != nil {
			s.Failed(fmt.Errorf("%s: %w", f.path, err))
		} else {
			s.Set(set)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *file) read() ([]Endpoint, error) {
	r, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe would else keep us until somebody writes to it
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // it was only read
	if st, err := r.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("it is not a regular file"))
	}
	text, err := io.ReadAll(io.LimitReader(r, maxSmallFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxSmallFile {
		return nil, fmt.Errorf("the file is larger than %d bytes", maxSmallFile)
	}
	return parseFile(text, f.form)
}
