// Command airside is an API gateway for AI agents in one binary.
package main

import (
	"os"

	_ "github.com/airside-gateway/airside/all"
	"github.com/airside-gateway/airside/cmd"
)

func main() { os.Exit(cmd.Main()) }
