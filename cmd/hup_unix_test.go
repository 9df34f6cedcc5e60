//go:build unix

package cmd

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// TestHangupWhileLoading proves that a reload that is asked for while the configuration
// is read for the first time does not end the program.
func TestHangupWhileLoading(t *testing.T) {
	file := filepath.Join(t.TempDir(), "airside.yaml")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "airside", "run", "-c", file)
	var said bytes.Buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(file, os.O_WRONLY, 0) // waits until somebody reads
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("nonsense: yes\n"); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err, ok := errors.AsType[*exec.ExitError](c.Wait()); !ok || err.ExitCode() != exitUsage {
		t.Errorf("got %v, want exit code %d, for the configuration is not valid\n%s", err, exitUsage, said.String())
	}
}
