package cmd

import "strings"

// Relax is to be called first by main. Where the system lets it, a server's process begins anew, once, with timers
// that may be a little late, which spares it about a tenth of its processor time; then Relax does not return.
func Relax(args []string) {
	if isServer(args) {
		relax()
	}
}

// isServer reports whether a command line, without the program's name, is that of a server.
func isServer(args []string) bool {
	for _, arg := range args {
		switch {
		case strings.HasPrefix(arg, "-"):
		default:
			return arg == "master" || arg == "volume" || arg == "filer" || arg == "server"
		}
	}
	return false
}
