package cmd

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// maxPasswordBytes is far more than any password: a file that is longer is another one.
const maxPasswordBytes = 64 << 10

// password is a secret that stands in a flag, where everybody on the machine can see it in the list of processes, or
// in a file, or in the environment.
type password struct {
	name  string // of its flag
	env   string // the variable that counts if neither flag is given
	value string
	file  string
}

// register makes two flags, name and nameFile.
func (p *password) register(flags *pflag.FlagSet, name, of string) {
	p.name = name
	flags.StringVar(&p.value, name, "", "The `password` of "+of+". The list of processes shows it: rather give -"+name+
		"File, or the environment variable "+p.env+".")
	flags.StringVar(&p.file, name+"File", "", "A `file` with the password of "+of+" and nothing else but an end of line.")
}

// read returns the password, "" if there is none: from the flag, else the file, else the environment.
func (p *password) read() (string, error) {
	switch {
	case p.value != "" && p.file != "":
		return "", fmt.Errorf("give one of -%[1]s and -%[1]sFile", p.name)
	case p.value != "":
		return p.value, nil
	case p.file == "":
		return os.Getenv(p.env), nil
	}
	info, err := os.Stat(p.file)
	if err != nil {
		return "", fmt.Errorf("-%sFile: %w", p.name, err)
	}
	if info.Size() > maxPasswordBytes {
		return "", fmt.Errorf("-%sFile: %s is too long for a password", p.name, p.file)
	}
	text, err := os.ReadFile(p.file)
	if err != nil {
		return "", fmt.Errorf("-%sFile: %w", p.name, err)
	}
	value := strings.TrimRight(string(text), "\r\n")
	if value == "" {
		return "", fmt.Errorf("-%sFile: %s is empty", p.name, p.file)
	}
	return value, nil
}
