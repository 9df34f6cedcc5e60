package rewrite

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/canon"
)

// compilePath makes a function of the setting for the path, or nil if there is
// none.
func compilePath(c *Config) (func(*http.Request) (string, error), error) {
	switch {
	case c.Path != "":
		return compileTemplate(c.Path)
	case c.Prefix != nil:
		return compilePrefix(c.Prefix)
	case c.Regex != nil:
		return compileRegex(c.Regex)
	}
	return nil, nil
}

func compileTemplate(src string) (func(*http.Request) (string, error), error) {
	t, err := parseTemplate(src)
	if err != nil {
		return nil, airside.FieldErrorf("path", "%w", err)
	}
	if _, err := canonical(t.sample()); err != nil {
		return nil, airside.FieldErrorf("path", "%w", err)
	}
	return func(r *http.Request) (string, error) { return t.expand(r, url.PathEscape) }, nil
}

func compilePrefix(p *Prefix) (func(*http.Request) (string, error), error) {
	if strings.HasSuffix(p.From, "*") {
		return nil, airside.FieldErrorf("prefix.from", "write the prefix without the *: it is one of whole segments anyway")
	}
	from, err := canonical(p.From)
	if err != nil {
		return nil, airside.FieldErrorf("prefix.from", "%w", err)
	}
	from = strings.TrimSuffix(from, "/")
	to := p.To
	if to != "" {
		if to, err = canonical(to); err != nil {
			return nil, airside.FieldErrorf("prefix.to", "%w", err)
		}
	}
	to = strings.TrimSuffix(to, "/")
	return func(r *http.Request) (string, error) {
		path := r.URL.EscapedPath()
		rest, ok := hasPrefix(path, from)
		switch {
		case !ok:
			return path, nil
		case to == "" && rest == "":
			return "/", nil
		}
		return to + rest, nil
	}, nil
}

// The bounds of an expression and of what takes the place of a match, in bytes.
const (
	maxMatch   = 1 << 10
	maxReplace = 256
)

func compileRegex(c *Regex) (func(*http.Request) (string, error), error) {
	switch {
	case len(c.Match) > maxMatch:
		return nil, airside.FieldErrorf("regex.match", "is longer than %d bytes", maxMatch)
	case len(c.Replace) > maxReplace:
		return nil, airside.FieldErrorf("regex.replace", "is longer than %d bytes", maxReplace)
	}
	re, err := regexp.Compile(c.Match)
	if err != nil {
		return nil, airside.FieldErrorf("regex.match", "%w", err)
	}
	if err := checkReplacement(re, c.Replace); err != nil {
		return nil, airside.FieldErrorf("regex.replace", "%w", err)
	}
	return func(r *http.Request) (string, error) {
		path := r.URL.EscapedPath()
		if len(path) > maxTarget { // every byte may be a match
			return "", airside.Errorf(airside.Invalid, "the path is too long to be passed on")
		}
		return re.ReplaceAllString(path, c.Replace), nil
	}, nil
}

// reference finds what regexp.Expand takes for a reference to a group.
var reference = regexp.MustCompile(`\$(\$|\w+|\{\w+\})?`)

// checkReplacement refuses references to groups that there are not, which
// regexp.Expand would replace by nothing.
func checkReplacement(re *regexp.Regexp, replace string) error {
	for _, m := range reference.FindAllStringSubmatch(replace, -1) {
		name := strings.Trim(m[1], "{}")
		if name == "$" {
			continue
		}
		if name == "" {
			return errors.New("write $$ for a dollar sign, $1 or ${name} for a group")
		}
		n, err := strconv.Atoi(name)
		if err == nil && n <= re.NumSubexp() || err != nil && re.SubexpIndex(name) > 0 {
			continue
		}
		return fmt.Errorf("the expression has no group %q (write ${1}x for group 1 and an x)", name)
	}
	return nil
}

// canonical makes a path of the configuration canonical and escaped.
func canonical(path string) (string, error) {
	p, raw, err := canon.Path(path)
	if err != nil {
		return "", errors.New(airside.AsError(err).Message)
	}
	u := url.URL{Path: p, RawPath: raw}
	return u.EscapedPath(), nil
}

// A template is text with the names of path parameters in it.
type template struct {
	text  []string // one more than names: text, name, text, name, text
	names []string
}

// parseTemplate reads src, in which {name} stands for a path parameter.
func parseTemplate(src string) (*template, error) {
	t := &template{}
	rest := src
	for {
		text, after, found := strings.Cut(rest, "{")
		if strings.Contains(text, "}") {
			return nil, fmt.Errorf("%q has a } without a {", src)
		}
		t.text = append(t.text, text)
		if !found {
			return t, nil
		}
		name, end, closed := strings.Cut(after, "}")
		if !closed {
			return nil, fmt.Errorf("%q has a { without a }", src)
		}
		if !parameter.MatchString(name) {
			return nil, fmt.Errorf("{%s} is not a parameter of a path, such as {id}", name)
		}
		t.names = append(t.names, name)
		rest = end
	}
}

var parameter = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// sample is the template with a letter for each parameter.
func (t *template) sample() string { return strings.Join(t.text, "x") }

// expand puts in the parameters of r, escaped.
func (t *template) expand(r *http.Request, escape func(string) string) (string, error) {
	if len(t.names) == 0 {
		return t.text[0], nil
	}
	var b strings.Builder
	for i, name := range t.names {
		value := r.PathValue(name)
		if value == "" {
			return "", (&airside.Error{Code: airside.Internal}).Because(fmt.Errorf("rewrite: the path of the route has no {%s}", name))
		}
		b.WriteString(t.text[i])
		b.WriteString(escape(value))
	}
	b.WriteString(t.text[len(t.names)])
	return b.String(), nil
}

// A queryEdit is the setting for the query.
type queryEdit struct {
	drop map[string]bool // names that are removed or set
	set  []setting       // by name
}

type setting struct {
	name  string // escaped
	value *template
}

// maxParameters bounds how many parameters are set or removed.
const maxParameters = 100

// compileQuery returns nil if the query stays as it is.
func compileQuery(c *Query) (*queryEdit, error) {
	if len(c.Set)+len(c.Remove) == 0 {
		return nil, nil
	}
	if len(c.Set)+len(c.Remove) > maxParameters {
		return nil, airside.FieldErrorf("query", "changes more than %d parameters", maxParameters)
	}
	q := &queryEdit{drop: map[string]bool{}}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.Set)) {
		t, err := parseTemplate(c.Set[name])
		if err != nil {
			errs = append(errs, airside.FieldErrorf("query.set."+name, "%w", err))
			continue
		}
		for i, text := range t.text {
			t.text[i] = url.QueryEscape(text)
		}
		q.set = append(q.set, setting{url.QueryEscape(name), t})
		q.drop[name] = true
	}
	for i, name := range c.Remove {
		if _, both := c.Set[name]; both {
			errs = append(errs, airside.FieldErrorf("query.remove["+strconv.Itoa(i)+"]", "%q is set, which removes what was there", name))
		}
		q.drop[name] = true
	}
	return q, errors.Join(errs...)
}

// apply returns the new query of r.
func (q *queryEdit) apply(r *http.Request) (string, error) {
	if strings.Contains(r.URL.RawQuery, ";") { // which agents of old take for an ampersand
		return "", airside.Errorf(airside.Invalid, "the query has a semicolon, which is ambiguous: write %%3B")
	}
	var b strings.Builder
	add := func(pair string) {
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(pair)
	}
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		if pair == "" {
			continue
		}
		name, _, _ := strings.Cut(pair, "=")
		decoded, err := url.QueryUnescape(name)
		if err != nil {
			return "", airside.Errorf(airside.Invalid, "the query cannot be decoded: write %%25 for a percent sign").Because(err)
		}
		if !q.drop[decoded] {
			add(pair)
		}
	}
	for _, s := range q.set {
		value, err := s.value.expand(r, url.QueryEscape)
		if err != nil {
			return "", err
		}
		add(s.name + "=" + value)
	}
	if err := canon.Query(b.String()); err != nil {
		return "", err
	}
	return b.String(), nil
}
