package shell

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/peterh/liner"
)

// IsTerminal says whether a person types on standard input and sees standard output.
func IsTerminal() bool {
	if _, err := liner.TerminalMode(); err != nil {
		return false
	}
	out, err := os.Stdout.Stat()
	return err == nil && out.Mode()&os.ModeCharDevice != 0
}

// Terminal is a LineReader on standard input and output with editing, history and completion. It changes the
// mode of the terminal until it is closed.
type Terminal struct {
	state *liner.State
}

// NewTerminal takes the terminal over. complete is what Tab calls (see Shell.Complete).
func NewTerminal(complete func(line string, pos int) (head string, candidates []string, tail string)) *Terminal {
	state := liner.NewLiner()
	state.SetCtrlCAborts(true)
	state.SetTabCompletionStyle(liner.TabPrints)
	state.SetWordCompleter(complete)
	return &Terminal{state}
}

// Line implements LineReader.
func (t *Terminal) Line(prompt string) (string, error) {
	line, err := t.state.Prompt(prompt)
	if errors.Is(err, liner.ErrPromptAborted) {
		return "", ErrInterrupted
	}
	return line, err
}

// Remember implements LineReader.
func (t *Terminal) Remember(line string) { t.state.AppendHistory(line) }

// LoadHistory adds the lines of a file, which need not exist, to those that can be called back.
func (t *Terminal) LoadHistory(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		_, err = t.state.ReadHistory(bytes.NewReader(text))
	}
	if err != nil {
		return fmt.Errorf("read history: %w", err)
	}
	return nil
}

// SaveHistory replaces the file by the last 1000 lines. Only its owner may read it.
func (t *Terminal) SaveHistory(path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keep history: %w", err)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".history-*") // for the owner alone
	if err != nil {
		return err
	}
	_, err = t.state.WriteHistory(f)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// Close gives the terminal back.
func (t *Terminal) Close() error { return t.state.Close() }

// HistoryFile returns where the history of a user is kept: under XDG_STATE_HOME, or else .local/state at home.
func HistoryFile() (string, error) {
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) { // relative ones are to be ignored, says the XDG base directory specification
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("keep history: %w", err)
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "weed", "shell_history"), nil
}
