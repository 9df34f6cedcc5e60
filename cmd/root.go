package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
)

// defaultFile is the configuration that is used where none is named.
const defaultFile = "airside.yaml"

// root is the tree of commands. Alone, the program runs ./airside.yaml.
func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "airside",
		Short: "An API gateway for AI agents",
		Long: `Airside stands between clients and agents: any client reaches any agent behind
one identity, one set of policies and one log.

Alone it runs ./airside.yaml.`,
		Example:       "  airside init && airside     # begin\n  airside demo                # see it work",
		Args:          usage(cobra.NoArgs),
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := os.Stat(defaultFile); errors.Is(err, fs.ErrNotExist) {
				return usageError{errors.New("there is no airside.yaml here\n\n  airside init    makes one to begin with\n  airside demo    shows a running example\n  airside --help  lists the commands")}
			}
			return p.run(cmd.Context(), runOptions{file: defaultFile})
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(p.runCommand(), p.checkCommand(), p.explainCommand(), p.schemaCommand(), p.initCommand(),
		p.demoCommand(), p.statusCommand(), p.topCommand(), p.versionCommand())
	return root
}

// usage makes the complaints of v usage errors.
func usage(v cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := v(cmd, args); err != nil {
			return usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
		}
		return nil
	}
}

// fileArg returns the configuration that the argument and the flag name, or the default.
// Either may be empty; both may name the same file, but not two.
func fileArg(args []string, flag string) (string, error) {
	switch {
	case len(args) == 0 && flag == "":
		return defaultFile, nil
	case len(args) == 0:
		return flag, nil
	case flag != "" && flag != args[0]:
		return "", usageError{fmt.Errorf("two configurations are named, %s and %s: leave one of them out", args[0], flag)}
	}
	return args[0], nil
}
