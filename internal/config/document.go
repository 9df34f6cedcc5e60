package config

import (
	"errors"
	"reflect"
	"strings"
	"sync"

	"github.com/airside-gateway/airside"
)

// The bounds of a file.
const (
	maxFile    = 8 << 20   // bytes
	maxDepth   = 64        // mappings and lists in each other
	maxNodes   = 4_000_000 // keys and values, aliases followed
	maxAliased = 100_000   // keys and values that stand in the file through aliases
	maxKey     = 255       // bytes of a key
)

// A document is one file that was read. It does not change afterwards and may
// be used from several goroutines.
type document struct {
	name  string   // as the user calls it, for messages
	dir   string   // what paths in the file are relative to
	text  []byte   // as written, while it is read
	hash  string   // of the text
	files []string // read by references, in the order of the file
	root  node

	values []shownAs // what references brought in
	naming sync.Once
	names  map[string]string // scalars that hold references, as they are written

	mu     sync.Mutex
	shapes map[reflect.Type]*shape // of the settings decoded so far
}

func (d *document) position(n *node) Position {
	if d == nil || n == nil {
		return Position{}
	}
	return Position{File: d.name, Line: n.line, Column: n.column}
}

// A decoder brings nodes into Go values, and collects what is wrong with them.
// It belongs to one goroutine.
type decoder struct {
	doc      *document
	problems Problems
	guesses  int
	slips    map[slip]bool
	mark     bool // note on the nodes which of them are secrets
}

// A slip is a key that somebody meant to write.
type slip struct {
	in  *node
	key string
}

// maxProblems bounds what is collected. Nobody reads as many.
const maxProblems = 10_000

// fail notes a problem at n. It returns false, for its caller to return.
func (d *decoder) fail(n *node, message string) bool {
	d.add(Problem{At: d.doc.position(n), Message: message})
	return false
}

func (d *decoder) add(problems ...Problem) {
	for _, p := range problems {
		if len(d.problems) >= maxProblems {
			return
		}
		p.Message = oneLine(p.Message)
		d.problems = append(d.problems, p)
	}
}

// locate turns an error of a component into problems at or below n. The field
// of each [airside.FieldError] is a path that begins at n; an error without one
// is a problem of n. A message that would show a secret is replaced.
func (d *document) locate(n *node, err error) Problems {
	if d == nil || n == nil {
		return Problems{{Message: oneLine(err.Error())}}
	}
	return d.split(n, "", err)
}

func (d *document) split(n *node, path string, err error) Problems {
	//nolint:errorlint // wrapped errors are unwrapped below, by hand
	if e, ok := err.(*airside.FieldError); ok {
		return d.split(n, join(path, e.Field), e.Err)
	}
	if several := joined(err); len(several) > 0 {
		var all Problems
		for _, one := range several {
			all = append(all, d.split(n, path, one)...)
		}
		return all
	}
	if e, ok := errors.AsType[Problems](err); ok {
		return e
	}
	target := n.find(path)
	if below := field(err); below != "" {
		target = n.find(join(path, below))
	}
	message := d.safe(n, oneLine(err.Error()))
	if path != "" {
		message = oneLine(path) + ": " + message
	}
	return Problems{{At: d.position(target), Message: message}}
}

// joined returns the errors that [errors.Join] made err of. An error that wraps
// several in words of its own is one error.
func joined(err error) []error {
	e, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	lines := make([]string, 0, 8)
	for _, one := range e.Unwrap() {
		lines = append(lines, one.Error())
	}
	if strings.Join(lines, "\n") != err.Error() {
		return nil
	}
	return e.Unwrap()
}

// field is the path of the FieldErrors that err wraps in words of its own.
func field(err error) (path string) {
	for err != nil {
		//nolint:errorlint // this is the unwrapping
		if e, ok := err.(*airside.FieldError); ok {
			path = join(path, e.Field)
		}
		err = errors.Unwrap(err)
	}
	return path
}

func join(path, key string) string {
	if path == "" || key == "" || strings.HasPrefix(key, "[") {
		return path + key
	}
	return path + "." + key
}

// safe returns message, unless it shows a piece of a secret below n.
func (d *document) safe(n *node, message string) string {
	n.scalars(func(s *node) bool {
		if (s.ref || s.secret) && shows(message, s.text) {
			what := "a secret value"
			if s.ref {
				what = "the value of " + s.reference()
			}
			message = what + " is not valid here (the reason is not shown, since it quotes the value)"
			return false
		}
		return true
	})
	return message
}

// shown is the length of the shortest piece of a secret that counts as showing
// it, in bytes. A secret that is shorter counts as a whole.
const shown = 4

// shows reports whether message holds a piece of secret, whatever the case.
func shows(message, secret string) bool {
	message, secret = strings.ToLower(message), strings.ToLower(secret)
	size := min(shown, len(secret))
	if size == 0 {
		return false
	}
	for i := 0; i+size <= len(message); i++ {
		if strings.Contains(secret, message[i:i+size]) {
			return true
		}
	}
	return false
}
