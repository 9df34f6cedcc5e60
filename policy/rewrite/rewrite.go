// Package rewrite changes the path, the query and the host that an agent sees.
//
// Use it where the addresses that clients know are not those of the agents.
//
//	upstreams:
//	  hosted: { http: { url: http://127.0.0.1:9002, host: preserve } }
//
//	policies:
//	  v2:      { rewrite: { prefix: { from: /agent1, to: /api/v2 } } }
//	  record:  { rewrite: { path: "/records/{id}", query: { set: { full: "1", case: "{id}" }, remove: [debug] } } }
//	  dated:   { rewrite: { regex: { match: "^/(\\d{4})/(\\d\\d)/", replace: "/archive/$1-$2/" } } }
//	  virtual: { rewrite: { host: agents.internal } }
//
//	routes:
//	  - { path: /agent1/*,    use: [v2],      to: http://127.0.0.1:9001 }
//	  - { path: "/case/{id}", use: [record],  to: http://127.0.0.1:9001 }
//	  - { path: /2024/*,      use: [dated],   to: http://127.0.0.1:9001 }
//	  - { path: /b/*,         use: [virtual], to: hosted }
//
// # What becomes of the path
//
// One of path, prefix and regex. path puts another path in its place; {id} stands
// for what the route's path has at {id}, escaped so that it stays one segment.
// prefix replaces whole segments at the beginning: /agent1 and /agent1/x have the
// prefix /agent1, and /agent12 has not. regex replaces every match (RE2; $1 or
// ${name} for what a group matched) in the path as it is sent, with its percent
// signs. A path that has not the prefix, or does not match, stays as it is.
//
// query.set puts a parameter in place of all of its name, at the end; {id} is as
// in path. query.remove leaves a parameter out. The others keep their order and
// spelling. host sets the host that the client is taken to ask for; the agent sees it if its
// upstream has host: preserve.
//
// # Order
//
// The route was found by the address that the client asked for, and policies
// before this one have judged that address. Policies after it, and the agent, see
// the new one. So put authentication and allow before it, unless their rules are
// written for the new address. A retry before this policy starts from the old
// one.
//
// # What the client sees
//
// 400, if the new path, query or host is not one that the gateway takes from a
// client either: with "//", ".." or an encoded slash, for example.
//
// A {name} that the path of a route does not have, on which the policy is used, is
// refused when the configuration is read.
//
// # Bounds
//
// The new path and the new query have at most 16 KiB each, and so has a path that
// regex is to change. An expression has at most 1 KiB, and what takes the place of
// a match 256 bytes. At most 100 parameters are set or removed. A query in which
// parameters are to be changed must not have a semicolon, which agents of old take
// for an ampersand.
package rewrite

import (
	"errors"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/canon"
)

func init() { airside.RegisterPolicy("rewrite", New) }

// maxTarget bounds the new path and the new query, in bytes.
const maxTarget = 16 << 10

// Config is the settings of the policy.
type Config struct {
	// Path is the new path. {name} stands for a parameter of the route's path.
	Path string `yaml:"path"`
	// Prefix replaces the beginning of the path.
	Prefix *Prefix `yaml:"prefix"`
	// Regex replaces what a regular expression matches in the path.
	Regex *Regex `yaml:"regex"`
	// Query changes the query.
	Query Query `yaml:"query"`
	// Host is the new host, with a port if there is to be one.
	Host string `yaml:"host"`
}

// A Prefix replaces whole segments at the beginning of a path.
type Prefix struct {
	// From is the prefix to replace, such as /agent1.
	From string `yaml:"from,required"`
	// To is what takes its place. Default: nothing, so that /agent1/x becomes /x.
	To string `yaml:"to"`
}

// A Regex replaces the matches of a regular expression.
type Regex struct {
	// Match is the regular expression, in the syntax of RE2.
	Match string `yaml:"match,required"`
	// Replace is what takes the place of a match; $1 and ${name} stand for what a
	// group matched, and $$ for a dollar sign. Default: nothing.
	Replace string `yaml:"replace"`
}

// A Query says what becomes of query parameters.
type Query struct {
	// Set are parameters to put in place of those of their name. {name} stands for
	// a parameter of the route's path.
	Set map[string]string `yaml:"set"`
	// Remove are names of parameters to leave out.
	Remove []string `yaml:"remove,single"`
}

// Validate refuses settings that cannot work.
func (c *Config) Validate() error {
	paths := 0
	for _, given := range []bool{c.Path != "", c.Prefix != nil, c.Regex != nil} {
		if given {
			paths++
		}
	}
	switch {
	case paths > 1:
		return errors.New("give one of path, prefix and regex")
	case paths == 0 && c.Host == "" && len(c.Query.Set) == 0 && len(c.Query.Remove) == 0:
		return errors.New("nothing is changed: give path, prefix, regex, query or host")
	}
	return nil
}

// PathParameters yields the settings that stand for parameters of a route's path, and
// the names of those: the path of each route must have them.
func (c *Config) PathParameters() iter.Seq2[string, string] {
	return func(yield func(field, name string) bool) {
		texts := map[string]string{"path": c.Path}
		for name, text := range c.Query.Set {
			texts["query.set."+name] = text
		}
		for _, field := range slices.Sorted(maps.Keys(texts)) {
			t, err := parseTemplate(texts[field])
			if err != nil {
				continue // New says what is wrong
			}
			for _, name := range t.names {
				if !yield(field, name) {
					return
				}
			}
		}
	}
}

// New returns the policy.
func New(_ *airside.Env, c Config) (airside.Middleware, error) {
	path, err1 := compilePath(&c)
	query, err2 := compileQuery(&c.Query)
	host, err3 := c.Host, error(nil)
	if host != "" {
		if host, err3 = canon.Host(c.Host); err3 != nil {
			err3 = airside.FieldErrorf("host", "%s", airside.AsError(err3).Message)
		}
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	r := &rewriter{path: path, query: query, host: host}
	return func(next airside.Handler) airside.Handler {
		return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
			after, err := r.rewrite(x.Request)
			if err != nil {
				return nil, err
			}
			// Whoever stands before this policy can send the first request again.
			before := x.Request
			x.Request = after
			defer func() { x.Request = before }()
			return next.Handle(x)
		})
	}, nil
}

type rewriter struct {
	path  func(*http.Request) (escaped string, err error) // nil: stays
	query *queryEdit                                      // nil: stays
	host  string                                          // empty: stays
}

// rewrite returns a request of its own, which shares the headers and the body.
func (r *rewriter) rewrite(before *http.Request) (*http.Request, error) {
	after := *before
	u := *before.URL
	after.URL = &u
	if r.path != nil {
		escaped, err := r.path(before)
		if err != nil {
			return nil, err
		}
		if err := setPath(&u, escaped); err != nil {
			return nil, err
		}
	}
	if r.query != nil {
		query, err := r.query.apply(before)
		if err != nil {
			return nil, err
		}
		if u.RawQuery = query; len(query) > maxTarget {
			return nil, airside.Errorf(airside.Invalid, "the query is too long to be passed on")
		}
		u.ForceQuery = false
	}
	if r.host != "" {
		after.Host = r.host
	}
	return &after, nil
}

// setPath makes escaped the path of u if it is canonical.
func setPath(u *url.URL, escaped string) error {
	if len(escaped) > maxTarget {
		return airside.Errorf(airside.Invalid, "the path is too long to be passed on")
	}
	path, raw, err := canon.Path(escaped)
	if err != nil {
		return airside.Errorf(airside.Invalid, "the path of this request does not come to one that can be passed on").Because(err)
	}
	u.Path, u.RawPath = path, raw
	return nil
}

// hasPrefix reports whether path begins with the segments of prefix, which does
// not end in a slash, and returns the rest.
func hasPrefix(path, prefix string) (rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, prefix)
	return rest, ok && (rest == "" || rest[0] == '/')
}
