// Package config reads the configuration file. It knows the shape of the file
// and where everything in it stands; what the settings of a policy or of an
// upstream mean, only the policy or the upstream knows.
//
// Reading is strict: an unknown or repeated key, a wrong type, a reference to
// nothing, and a kind that is not registered are all errors with file, line and
// column, and all errors are reported at once. Scalars are those of the core
// schema of YAML 1.2: "no" and "off" are text, and numbers are decimal.
//
// Settings are structs of Go types, decoded by these rules:
//
//   - A setting is an exported field with a tag `yaml:"key"`. Options follow the
//     key: "required"; "single", a list that may be written as its one element;
//     "path", a string that is relative to the folder of the file. A field
//     without the tag is no setting; an embedded struct lends its settings, and
//     its methods by the rules of Go.
//   - The tag `enum:"a,b,c"` lists what a string, or each of a list, may be.
//   - Types are string, bool, integers, floats, [time.Duration] (300ms),
//     [airside.Size] (64KiB), [airside.Secret], any (as in JSON, whole numbers as
//     int), [airside.Later], slices, maps with string keys, structs, pointers (nil
//     is absent), and types whose pointer is an [encoding.TextUnmarshaler]; a
//     struct of these may be written as a scalar or as a mapping.
//   - The method Defaults() runs before a value is decoded, the innermost first.
//     The method Validate() error runs after everything in the value was decoded
//     without a problem, and only if the value stands in the file. Its errors
//     name fields by [airside.FieldErrorf].
//   - Lists and maps that are written replace those that Defaults made.
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
)

// Later is how a setting, a kind or a protocol is refused that a later version
// brings.
const Later = "is not yet supported by this version"

// More finds what else is wrong with a configuration, when everything that this
// package can check has been. The configuration may be incomplete: have is what was
// found wrong with it.
type More func(c *Config, have Problems) Problems

// Load reads the configuration file. What is wrong with its content is returned
// as [Problems], all at once, those of more included, which may be nil. A file that
// cannot be opened is an error that wraps the one of the operating system.
func Load(file string, lookup Lookup, more More) (*Config, error) {
	f, err := os.Open(file) //nolint:gosec // the operator names the file
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no file %s: name one that is there, or make one with airside init: %w", file, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	return Parse(file, b, lookup, more)
}

// Parse reads a configuration. Name is the file that messages name, and paths
// in the configuration are relative to its folder. What is wrong with the
// content is returned as [Problems], all at once, those of more included, which may
// be nil. Parse is done with text when it returns.
func Parse(name string, text []byte, lookup Lookup, more More) (*Config, error) {
	d := &decoder{mark: true, doc: &document{name: name, dir: filepath.Dir(name), text: text}}
	if !d.read(lookup) {
		return nil, d.problems.asError()
	}
	sum := sha256.Sum256(text)
	d.doc.hash, d.doc.text = hex.EncodeToString(sum[:6]), nil
	c := &Config{doc: d.doc}
	v := reflect.ValueOf(c).Elem()
	d.doc.preset(v)
	d.value(&d.doc.root, v, nil)
	d.check(c)
	if more != nil {
		d.problems = append(d.problems, more(c, d.problems)...)
	}
	if len(d.problems) > 0 {
		return nil, d.problems.asError()
	}
	if c.Listen == nil {
		c.Listen = []Listen{defaultListen()}
	}
	c.policies, c.upstreams = index(c.Policies), index(c.Upstreams)
	return c, nil
}

// Hash identifies the text of the file, for logs and to see whether two gateways
// run the same: the first 12 hexadecimal digits of its SHA-256. The values of
// references are no part of it. It is empty if c was not read from a file.
func (c *Config) Hash() string {
	if c.doc == nil {
		return ""
	}
	return c.doc.hash
}

// Files lists the files that references were read from, so that they can be
// watched along with the configuration.
func (c *Config) Files() []string {
	if c.doc == nil {
		return nil
	}
	return slices.Clone(c.doc.files)
}

// Path returns path as seen from the working directory, if it is relative to the
// folder of the file.
func (c *Config) Path(path string) string {
	if path == "" || filepath.IsAbs(path) || c.doc == nil {
		return path
	}
	return filepath.Join(c.doc.dir, path)
}

// Policy returns the policy that the file calls name.
func (c *Config) Policy(name string) (Part, bool) {
	p, ok := c.policies[name]
	return p, ok
}

// Upstream returns the upstream that the file calls name.
func (c *Config) Upstream(name string) (Part, bool) {
	p, ok := c.upstreams[name]
	return p, ok
}

func index(all []Named) map[string]Part {
	m := make(map[string]Part, len(all))
	for _, n := range all {
		m[n.Name] = n.Part
	}
	return m
}
