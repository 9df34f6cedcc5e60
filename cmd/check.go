package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/config"
)

func (p *program) checkCommand() *cobra.Command {
	var asJSON bool
	var flag string
	cmd := &cobra.Command{
		Use:     "check [FILE]",
		Short:   "Check a configuration and say everything that is wrong with it",
		Long:    "Check builds all that the file asks for, without listening, and prints every problem with its\nline and column. The exit code is 0 if the file is valid, and 2 if it is not. Warnings do not count.",
		Example: "  airside check airside.yaml",
		Args:    usage(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			file, err := fileArg(args, flag)
			if err != nil {
				return err
			}
			c, err := app.Load(file)
			if err == nil {
				err = app.Check(slog.New(slog.DiscardHandler), c)
			}
			return p.report(c, file, err, asJSON)
		},
	}
	cmd.Flags().StringVarP(&flag, "config", "c", "", "the configuration file (default "+defaultFile+")")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// A report is what check prints with --json.
type report struct {
	File     string           `json:"file"`
	Valid    bool             `json:"valid"`
	Problems []reportedAt     `json:"problems"`
	Warnings []reportedAt     `json:"warnings"`
	Count    map[string]int64 `json:"count,omitempty"`
}

type reportedAt struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

func reported(ps config.Problems) []reportedAt {
	out := []reportedAt{}
	for _, q := range ps {
		out = append(out, reportedAt{q.At.File, q.At.Line, q.At.Column, q.Message})
	}
	return out
}

func (p *program) report(c *config.Config, file string, err error, asJSON bool) error {
	var problems config.Problems
	if err != nil && !errors.As(err, &problems) {
		if asJSON { // a machine reads JSON, whatever is wrong
			out := report{File: file, Problems: []reportedAt{{File: file, Message: err.Error()}}, Warnings: []reportedAt{}}
			return errors.Join(err, writeJSON(p.Out, out))
		}
		return err
	}
	var warnings config.Problems
	if err == nil {
		warnings = app.Warnings(c)
	}
	if asJSON {
		out := report{File: file, Valid: err == nil, Problems: reported(problems), Warnings: reported(warnings)}
		if err == nil {
			out.Count = map[string]int64{"routes": int64(len(c.Routes)), "upstreams": int64(len(c.Upstreams)), "policies": int64(len(c.Policies))}
		}
		if werr := writeJSON(p.Out, out); werr != nil {
			return werr
		}
		if err != nil {
			return usageError{errSilent}
		}
		return nil
	}
	for _, w := range warnings {
		fmt.Fprintf(p.Err, "warning: %s\n", w)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.Out, "%s is valid: %s, %s, %s\n", file,
		plural(len(c.Routes), "route", "routes"), plural(len(c.Upstreams), "upstream", "upstreams"), plural(len(c.Policies), "policy", "policies"))
	return err
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
