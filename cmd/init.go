package cmd

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// starter is the file that init writes.
//
//go:embed starter.yaml
var starter []byte

func (p *program) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "init [FOLDER]",
		Short:   "Write an airside.yaml to begin with",
		Long:    "Write an airside.yaml to begin with into the folder, by default this one. A file that is there is left alone.",
		Example: "  airside init && airside check && airside",
		Args:    usage(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			if err := os.MkdirAll(dir, 0o750); err != nil {
				return fmt.Errorf("making the folder: %w", err)
			}
			file := filepath.Join(dir, defaultFile)
			f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // the user names the folder
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s is there already, and was left alone", file)
			}
			if err != nil {
				return fmt.Errorf("making the file: %w", err)
			}
			_, err = f.Write(starter)
			if err = errors.Join(err, f.Close()); err != nil {
				return fmt.Errorf("writing %s: %w", file, err)
			}
			_, err = fmt.Fprintf(p.Out, "wrote %s\n\n  airside check %s    says whether it is valid\n  airside run -c %s   runs it\n  curl http://127.0.0.1:8080/   asks it\n", file, file, file)
			return err
		},
	}
}
