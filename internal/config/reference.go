package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"
)

// The bounds of references.
const (
	maxSecretFile = 1 << 20  // bytes of one file, or of one environment variable
	maxResolved   = 16 << 20 // bytes that all references of a configuration bring in
)

// A Lookup is where references get their values from. The zero Lookup asks the
// operating system.
type Lookup struct {
	// Env returns an environment variable, and whether it is set.
	Env func(name string) (string, bool)

	// File returns the content of a file, of which at most 1 MiB is of use. A
	// relative path was made relative to the folder of the configuration before.
	File func(path string) ([]byte, error)
}

func (l Lookup) env(name string) (string, bool) {
	if l.Env == nil {
		return os.LookupEnv(name)
	}
	return l.Env(name)
}

func (l Lookup) file(path string) ([]byte, error) {
	if l.File == nil {
		return readRegular(path)
	}
	return l.File(path)
}

// readRegular reads a regular file. Any other could block, or never end.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := os.Open(path) //nolint:gosec // the configuration names the file
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	return b, errors.Join(err, f.Close())
}

var errNotRegular = errors.New("it is not a regular file")

// references resolves the references of one configuration.
type references struct {
	lookup Lookup
	dir    string
	files  []string          // read so far, in order
	read   map[string]string // by path
	size   int               // bytes brought in so far
	values []shownAs         // of what came from outside
}

// resolve returns written with every reference replaced by its value, whether
// there was one, and what is wrong with them. A value is put in as it is, and never read again.
func (r *references) resolve(written string) (value string, ref bool, wrong []error) {
	var b strings.Builder
	for rest := written; rest != ""; {
		i := strings.Index(rest, "${")
		if i < 0 {
			b.WriteString(rest)
			break
		}
		if i > 0 && rest[i-1] == '$' {
			b.WriteString(rest[:i-1] + "${")
			rest = rest[i+2:]
			continue
		}
		b.WriteString(rest[:i])
		inner, after, closed := strings.Cut(rest[i+2:], "}")
		if !closed || strings.Contains(inner, "${") {
			return "", true, append(wrong, errors.New(`"${" is not closed by "}" (write $${ for a plain "${")`))
		}
		v, err := r.one(inner)
		if err != nil {
			wrong = append(wrong, err)
		}
		r.note(inner, v)
		if r.size += len(v); r.size > maxResolved {
			return "", true, append(wrong, fmt.Errorf("references bring in more than %d MiB", maxResolved>>20))
		}
		b.WriteString(v)
		ref, rest = true, after
	}
	return b.String(), ref, wrong
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,254}$`)

// one resolves what stands between "${" and "}".
func (r *references) one(inner string) (string, error) {
	scheme, rest, ok := strings.Cut(inner, ":")
	switch {
	case ok && scheme == "env":
		name, fallback, has := strings.Cut(rest, ":-")
		if !envName.MatchString(name) {
			return "", fmt.Errorf("%q is not the name of an environment variable", cut(name, 60))
		}
		return r.variable(name, fallback, has)
	case ok && scheme == "file":
		if rest == "" {
			return "", errors.New("the path of the file is missing in ${file:}")
		}
		return r.content(rest)
	}
	return "", fmt.Errorf(`unknown reference ${%s}: known are ${env:NAME} and ${file:path} (write $${ for a plain "${")`, cut(inner, 60))
}

// variable returns an environment variable. As in a shell, the default stands
// for one that is not set and for one that is empty.
func (r *references) variable(name, fallback string, has bool) (string, error) {
	v, set := r.lookup.env(name)
	switch {
	case has && v == "":
		return fallback, nil
	case !set:
		return "", fmt.Errorf("environment variable %s is not set (${env:%s:-value} gives it a default)", name, name)
	}
	return v, fit(v, "environment variable "+name)
}

// content returns what a file holds, without the end of its last line.
func (r *references) content(path string) (string, error) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.dir, path)
	}
	if v, ok := r.read[path]; ok {
		return v, nil
	}
	b, err := r.lookup.file(path)
	if err != nil {
		return "", fmt.Errorf("cannot read the file %q: %s", path, reason(err))
	}
	if err := fit(string(b), fmt.Sprintf("the file %q", path)); err != nil {
		return "", err
	}
	v := string(b)
	if line, ok := strings.CutSuffix(v, "\n"); ok {
		v = strings.TrimSuffix(line, "\r")
	}
	if r.read == nil {
		r.read = map[string]string{}
	}
	r.read[path] = v
	r.files = append(r.files, path)
	return v, nil
}

// fit refuses a value that is no text, or too long.
func fit(v, what string) error {
	switch {
	case len(v) > maxSecretFile:
		return fmt.Errorf("%s is larger than %d MiB", what, maxSecretFile>>20)
	case !utf8.ValidString(v) || strings.ContainsRune(v, 0):
		return fmt.Errorf("%s does not hold text (UTF-8)", what)
	}
	return nil
}

// reason is why a file could not be read, without its path.
func reason(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "it does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "permission is denied"
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return err.Error()
}
