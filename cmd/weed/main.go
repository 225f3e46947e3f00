// Command weed runs the servers and the tools of the store; package cmd holds them all.
package main

import (
	"os"

	"weed/cmd"
)

func main() {
	cmd.Relax(os.Args[1:])
	os.Exit(cmd.Execute(os.Args[1:], os.Stdout, os.Stderr))
}
