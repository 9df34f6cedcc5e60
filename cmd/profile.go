package cmd

import (
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
)

// profiled runs f and, if there is a file to write to, notes there where it spends
// processor time.
func profiled(file string, f func() error) error {
	if file == "" {
		return f()
	}
	out, err := os.Create(file) //nolint:gosec // the user names it
	if err != nil {
		return fmt.Errorf("cpu profile: %w", err)
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return errors.Join(fmt.Errorf("cpu profile: %w", err), out.Close())
	}
	err = f()
	pprof.StopCPUProfile()
	return errors.Join(err, out.Close())
}
