package cmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/airside-gateway/airside/all"
	"github.com/airside-gateway/airside/internal/config"
)

func (p *program) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of the configuration file",
		Long:    "Print the JSON Schema (2020-12) of the configuration file. Editors complete and check by it:\n\n  # yaml-language-server: $schema=airside.schema.json",
		Example: "  airside schema > airside.schema.json",
		Args:    usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			b, err := config.Schema(all.Describe)
			if err != nil {
				return fmt.Errorf("making the schema: %w", err)
			}
			_, err = p.Out.Write(b)
			return err
		},
	}
}
