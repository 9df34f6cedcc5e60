package apikey

import (
	"errors"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

// places are where a key may be.
type places struct {
	headers []string // canonical; Authorization means Bearer
	bearer  bool     // Authorization is one of them
	query   string
	hint    string // what a client without a key is told
	scheme  string // of WWW-Authenticate
}

const authorization = "Authorization"

// Validate refuses settings that cannot work.
func (c *Config) Validate() error {
	var errs []error
	for i, name := range c.In {
		field := "in[" + strconv.Itoa(i) + "]"
		switch canonical := textproto.CanonicalMIMEHeaderKey(name); {
		case !web.Token(name):
			errs = append(errs, airside.FieldErrorf(field, "%q is not the name of a header", name))
		case canonical == "Cookie", canonical == "Host", canonical == "Connection":
			errs = append(errs, airside.FieldErrorf(field, "a key cannot be in %s", canonical))
		}
		for _, other := range c.In[:i] {
			if web.Alias(name, other) {
				errs = append(errs, airside.FieldErrorf(field, "is the same header as %s", other))
			}
		}
	}
	if len(c.In) == 0 && c.Query == "" {
		errs = append(errs, airside.FieldErrorf("in", "name at least one header"))
	}
	return errors.Join(errs...)
}

func newPlaces(c *Config) *places {
	p := &places{query: c.Query, scheme: "ApiKey"}
	var where []string
	for _, name := range c.In {
		name = textproto.CanonicalMIMEHeaderKey(name)
		p.headers = append(p.headers, name)
		if name == authorization {
			p.scheme, p.bearer = "Bearer", true
			where = append(where, `the header Authorization, as "Bearer KEY"`)
			continue
		}
		where = append(where, "the header "+name)
	}
	if c.Query != "" {
		where = append(where, "the query parameter "+c.Query)
	}
	p.hint = "send an API key in " + strings.Join(where, ", or in ")
	return p
}

func twoKeys() error {
	return airside.Errorf(airside.Invalid, "two API keys that differ were sent; send one")
}

// find returns the key that r presents, or "".
func (p *places) find(r *http.Request) (string, error) {
	key := ""
	for _, name := range p.headers {
		for _, line := range r.Header[name] {
			if name == authorization {
				line, _ = bearer(line)
			}
			var same bool
			if key, same = merge(key, line); !same {
				return "", twoKeys()
			}
		}
	}
	if p.query == "" || r.URL.RawQuery == "" {
		return key, nil
	}
	return p.findQuery(r, key)
}

// merge returns the key of two presented ones, and whether they agree.
func merge(key, next string) (merged string, same bool) {
	if key == "" {
		return next, true
	}
	return key, next == "" || next == key
}

// bearer returns the token of an Authorization of the scheme Bearer (RFC 6750
// section 2.1).
func bearer(line string) (key string, ok bool) {
	const scheme = "Bearer "
	if len(line) < len(scheme) || !strings.EqualFold(line[:len(scheme)], scheme) {
		return "", strings.EqualFold(strings.TrimSpace(line), "Bearer")
	}
	return strings.TrimLeft(line[len(scheme):], " "), true
}

func (p *places) findQuery(r *http.Request, key string) (string, error) {
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		k, v, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(k)
		value, err2 := url.QueryUnescape(v)
		if err1 != nil || err2 != nil || strings.Contains(pair, ";") {
			return "", airside.Errorf(airside.Invalid, "the query cannot be decoded: write %%25 for a percent sign and %%3B for a semicolon")
		}
		if name != p.query {
			continue
		}
		var same bool
		if key, same = merge(key, value); !same {
			return "", twoKeys()
		}
	}
	return key, nil
}

// strip leaves the key out of r, whatever the spelling of its places, until e is undone:
// in place, but for a request with a key in its query, of which it returns a copy. An
// Authorization of another scheme stays.
func (p *places) strip(r *http.Request, e *web.Edit) *http.Request {
	kept := r.Header[authorization]
	e.Del(p.headers...)
	if p.bearer && len(kept) == 1 {
		if _, ok := bearer(kept[0]); !ok {
			e.Put(authorization, kept)
		}
	}
	if p.query == "" || r.URL.RawQuery == "" {
		return r
	}
	u, after := *r.URL, *r
	u.RawQuery = without(u.RawQuery, p.query)
	after.URL = &u
	return &after
}

// without removes a parameter from a query that can be decoded. The others keep
// their order and spelling.
func without(query, name string) string {
	var kept []string
	for pair := range strings.SplitSeq(query, "&") {
		k, _, _ := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(k); err != nil || decoded != name {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}

// challenge is the refusal: RFC 9110 section 15.5.2, with the error of RFC 6750
// section 3.1 where a key was presented.
func (p *places) challenge(why error, presented bool) error {
	message, value := p.hint, p.scheme+` realm="airside"`
	if presented {
		message = why.Error() + "; " + p.hint + " that is valid"
		if p.scheme == "Bearer" {
			value += `, error="invalid_token"`
		}
	}
	e := airside.Errorf(airside.Unauthenticated, "%s", message)
	e.Header = http.Header{"Www-Authenticate": {value}}
	return e
}
