package edge

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"

	"github.com/airside-gateway/airside"
)

// A Choice says which exchanges are logged, and what of them. A nil Choice is all of all.
// It must not be changed once it is in use.
type Choice struct {
	// Keep reports whether an exchange that has ended is logged; nil is all of them. The
	// request is as it came, but for headers that policies changed.
	Keep func(x *airside.Exchange, o *airside.Outcome) bool

	// Faults are logged whatever Keep says: see [airside.Outcome.Failed].
	Faults bool

	// Sample is the part of the successes that is logged, 0 to 1.
	Sample float64

	// Names are other names of fields; the empty name leaves a field out.
	Names map[string]string

	Request, Response []HeaderField // headers that become fields
	Add               []AddedField
}

// A HeaderField is a header that becomes a field.
type HeaderField struct {
	Header string // canonical
	Name   string // of the field
}

// An AddedField is one that is worked out.
type AddedField struct {
	Name string
	Text func(x *airside.Exchange) (text string, ok bool) // not ok: no field
}

// maxField bounds the text of a field of a choice, in bytes.
const maxField = 1 << 10

// SetChoice puts c into force, for exchanges that begin from now on.
func (s *Server) SetChoice(c *Choice) { s.choice.Store(c) }

// wants reports whether the exchange is logged.
func (c *Choice) wants(x *airside.Exchange, o *airside.Outcome) bool {
	if c.Keep != nil && !(c.Faults && o.Failed()) && !c.Keep(x, o) {
		return false
	}
	success := o.Status < http.StatusBadRequest && o.Err == nil
	return !success || c.Sample >= 1 || rand.Float64() < c.Sample //nolint:gosec // nothing depends on it
}

// note keeps what the line wants of the headers of an answer, which is not there any more
// when the line is written.
func (e *exchange) note(resp *http.Response) {
	for _, f := range e.choice.Response {
		text := ""
		if lines := resp.Header[f.Header]; len(lines) > 0 {
			text = strings.Clone(cutField(strings.Join(lines, ", ")))
		}
		e.noted = append(e.noted, text)
	}
}

func cutField(s string) string { return s[:min(len(s), maxField)] }

// chosen makes the line what the choice says.
func (l *line) chosen(e *exchange) {
	c := e.choice
	l.rename(c.Names)
	for _, f := range c.Request {
		if lines := e.x.Request.Header[f.Header]; len(lines) > 0 {
			l.text(f.Name, cutField(strings.Join(lines, ", ")))
		}
	}
	for i, text := range e.noted {
		l.known(c.Response[i].Name, text)
	}
	for _, f := range c.Add {
		if text, ok := f.Text(e.x); ok {
			l.text(f.Name, cutField(text))
		}
	}
}

// asCame gives x the request as it came, as far as the log has it. What it returns gives
// the other one back.
func (l *line) asCame(e *exchange) (back func()) {
	now := e.x.Request
	l.url = url.URL{Path: e.path}
	if now.URL != nil {
		l.url.RawQuery = now.URL.RawQuery
	}
	l.request = http.Request{Method: e.method, Host: e.host, Header: now.Header, URL: &l.url}
	e.x.Request = &l.request
	return func() { e.x.Request = now }
}

// rename gives fields other names, and leaves out those whose name is empty.
func (l *line) rename(names map[string]string) {
	if len(names) == 0 {
		return
	}
	kept := l.attrs[:0]
	for _, a := range l.attrs {
		name, other := names[a.Key]
		if other {
			a.Key = name
		}
		if !other || name != "" {
			kept = append(kept, a)
		}
	}
	clear(l.attrs[len(kept):])
	l.attrs = kept
}
