package headers

import (
	"errors"
	"maps"
	"net/textproto"
	"slices"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/expr"
	"github.com/airside-gateway/airside/proto/web"
)

// maxValue bounds what an expression may come to, in bytes.
const maxValue = 8 << 10

// A program is the changes of one direction, in the order in which they are made.
type program struct{ steps []step }

type step struct {
	do   action
	name string // the header; of remove, without its *
	to   string // the new name, of rename
	text string
	cel  *expr.Program // nil: text
}

type action int

const (
	remove action = iota
	removeAll
	rename
	fallback
	set
	add
)

// compile makes a program of c, which is the setting called field of the policy at
// where.
func compile(where, field string, c *Changes) (*program, error) {
	p := &program{}
	for _, name := range c.Remove {
		if prefix, ok := strings.CutSuffix(name, "*"); ok {
			p.steps = append(p.steps, step{do: removeAll, name: prefix})
			continue
		}
		p.steps = append(p.steps, step{do: remove, name: name})
	}
	for _, from := range slices.Sorted(maps.Keys(c.Rename)) {
		p.steps = append(p.steps, step{do: rename, name: textproto.CanonicalMIMEHeaderKey(from), to: textproto.CanonicalMIMEHeaderKey(c.Rename[from])})
	}
	return p, errors.Join(
		p.values(where, fallback, field+".default", c.Default),
		p.values(where, set, field+".set", c.Set),
		p.values(where, add, field+".add", c.Add),
	)
}

func (p *program) values(where string, do action, field string, values map[string]Value) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		s := step{do: do, name: textproto.CanonicalMIMEHeaderKey(name), text: values[name].Text}
		if src := values[name].CEL; src != "" {
			var err error
			if s.cel, err = expr.Compile(src, expr.String, expr.At(where+" "+field+"."+name)); err != nil {
				errs = append(errs, airside.FieldErrorf(field+"."+name+".cel", "%w", err))
			}
		}
		p.steps = append(p.steps, s)
	}
	return errors.Join(errs...)
}

// evaluate returns the value of each step.
func (p *program) evaluate(x *airside.Exchange) ([]string, error) {
	if len(p.steps) == 0 {
		return nil, nil
	}
	values := make([]string, 0, len(p.steps))
	for i := range p.steps {
		s := &p.steps[i]
		if s.cel == nil {
			values = append(values, s.text)
			continue
		}
		text, err := s.cel.Text(x)
		if err != nil {
			return nil, refuse(s.name, err)
		}
		text = strings.Trim(text, " \t")
		if len(text) > maxValue || !web.FieldValue(text) {
			return nil, airside.Errorf(airside.Invalid, "what this request gives for the header %s cannot be sent: it is longer than %s or has control characters",
				s.name, airside.Size(maxValue))
		}
		values = append(values, text)
	}
	return values, nil
}

// refuse says that a value could not be worked out. The client's fault, if it is
// known, is told as it is.
func refuse(name string, err error) error {
	if e, ok := errors.AsType[*airside.Error](err); ok {
		return e
	}
	return airside.Errorf(airside.Invalid, "the request, or who sends it, lacks what the header %s is made of", name).Because(err)
}

// apply makes the changes. values are those of evaluate, and become lines of the headers.
func (p *program) apply(e *web.Edit, values []string) {
	for i := range p.steps {
		s, line := &p.steps[i], values[i:i+1:i+1]
		there := e.Header[s.name]
		nothing := s.cel != nil && line[0] == ""
		switch s.do {
		case remove:
			e.Del(s.name)
		case removeAll:
			e.DelFunc(s.begins)
		case rename:
			if len(there) > 0 {
				e.Set(s.to, slices.Clone(there))
			}
			e.Del(s.name)
		case fallback:
			if len(there) == 0 && !nothing {
				e.Set(s.name, line)
			}
		case set:
			if nothing {
				e.Del(s.name)
				continue
			}
			e.Set(s.name, line)
		case add:
			if !nothing {
				e.Put(s.name, append(slices.Clip(there), line[0]))
			}
		}
	}
}

// begins reports whether a header is one of those to remove: its name begins so, and it
// does not frame the message.
func (s *step) begins(name string) bool {
	return len(name) >= len(s.name) && web.Alias(name[:len(s.name)], s.name) && !web.Framing(name)
}
