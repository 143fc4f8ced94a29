package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"runtime"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A secret is a value that may stand in the file, in a file of its own or in the environment. Printing it shows nothing.
type secret string

// Format prints that it is a secret, whatever the verb.
func (secret) Format(s fmt.State, _ rune) { fmt.Fprint(s, "[redacted]") }

// secretFrom is a secret that stands elsewhere.
type secretFrom struct {
	File string `yaml:"file"`
	Env  string `yaml:"env"`
}

// unread stands for a secret that could not be read, so that it does not count as one more mistake.
const unread = "stands for a secret that could not be read, and is none"

// secret returns the secret at n.
func (d *document) secret(n *yaml.Node, path string) string {
	if n.Kind == yaml.ScalarNode {
		if n.Value == "" {
			d.problem(path, "is empty")
		}
		if path != "store" || strings.HasPrefix(n.Value, "postgres") { // the other stores name a file, or nothing
			d.inline = append(d.inline, path)
		}
		return n.Value
	}
	before := len(d.problems)
	value := d.secretFrom(n, path)
	if len(d.problems) > before {
		return unread
	}
	return value
}

func (d *document) secretFrom(n *yaml.Node, path string) (value string) {
	before := len(d.problems)
	var from secretFrom
	d.read(n, reflect.ValueOf(&from).Elem(), path)
	switch {
	case len(d.problems) > before:
	case from.File == "" && from.Env == "" || from.File != "" && from.Env != "":
		d.problem(path, "is to be the secret itself, {file: path} or {env: NAME}")
	case from.File != "":
		text, err := readSecret(d.resolve(from.File))
		if err != nil {
			d.problem(path, "%v", err)
			break
		}
		if value = string(text); value == "" {
			d.problem(path, "the file %s is empty", d.resolve(from.File))
		}
	default:
		if value = os.Getenv(from.Env); value == "" {
			d.problem(path, "the environment variable %s is not set, or empty", from.Env)
		}
	}
	return value
}

const maxSecret = 64 << 10

// readSecret returns what is in a file that is for few eyes, without the end of line that editors leave there.
func readSecret(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	if err := private(file); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err == nil && len(text) > maxSecret {
		err = fmt.Errorf("the file %s is larger than a secret can be", name)
	}
	return bytes.TrimRight(text, "\r\n"), err
}

// private refuses a file that everybody on the machine may read or change. Groups are the administrator's own business:
// where a container runs under an id of its own, a mounted secret is often read through its group.
func private(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !forAll(info.Mode()) {
		return nil
	}
	return fmt.Errorf("everybody on this machine may read or change the file %s: chmod o= it, "+
		"or mount it with the mode 0440", file.Name())
}

// forAll reports whether everybody on the machine may read or change a file with this mode.
func forAll(mode fs.FileMode) bool { return runtime.GOOS != "windows" && mode.Perm()&0o006 != 0 }

// checkInline refuses secrets that stand in a configuration that everybody may read.
func (d *document) checkInline(mode fs.FileMode) {
	if len(d.inline) > 0 && forAll(mode) {
		d.problem(d.inline[0], "stands in a file that everybody on this machine may read or change: "+
			"chmod o= it, or write {file: path} or {env: NAME} here")
	}
}
