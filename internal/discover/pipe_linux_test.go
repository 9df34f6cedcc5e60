package discover

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestPipe proves that what is no file is not waited for: a source that waits for somebody
// to write could not be ended.
func TestPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	sink := newTold()
	running(t, File(path, "http", parseURL), sink)
	if got := sink.failure(t); !strings.HasSuffix(got, "it is not a regular file") {
		t.Errorf("got %q", got)
	}
}
