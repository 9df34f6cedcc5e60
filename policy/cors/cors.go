// Package cors says which web pages may call an agent from a browser, by the CORS
// protocol of the Fetch Standard (https://fetch.spec.whatwg.org/#http-cors-protocol).
//
// Use it where scripts of another origin call the gateway. It protects users
// against foreign pages; it is no authentication.
//
//	policies:
//	  pages:
//	    cors:
//	      allow_origins: [https://app.example, "https://*.clinic.example", "http://localhost:*"]
//	      allow_credentials: true
//	      expose_headers: [X-Request-Id]
//	  staff: { apikey: { keys: { ward: 8vYq2mZc7nRt4KpX9sLd } } }
//
//	routes:
//	  - { path: /agent1/*, use: [pages, staff], to: http://127.0.0.1:9001 }
//
// Put it first in use: a preflight carries no credentials, and must be answered
// before authentication. A route that is limited to some methods must have
// OPTIONS among them.
//
// # Origins
//
// An origin is written as the browser sends it, such as https://app.example or
// http://localhost:3000. A host may begin with *. for one label or more before it
// (https://*.clinic.example is not https://clinic.example), and a port may be *
// for any or none. * alone is any origin, but not together with
// allow_credentials. The origin null, which sandboxed and local documents have, is
// only allowed where it is listed as null.
//
// # What the browser sees
//
// A preflight from an allowed origin is answered here with 204, and no agent is
// asked. It lists what is allowed, and the browser decides. A preflight from
// another origin is refused with 403.
//
// Other requests go on whatever their origin, since the agent may serve others
// than browsers by them; without the headers, the browser keeps the answer from
// the page. Opening a WebSocket from another origin is refused with 403: there,
// browsers do not look at the headers.
//
// What an agent says about CORS itself is removed. Vary: Origin is added to every
// answer. Refusals and failures of the gateway carry the headers too, so that a
// page can read why.
package cors

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

func init() { airside.RegisterPolicy("cors", New) }

// Config is the settings of the policy.
type Config struct {
	// AllowOrigins are the origins that may call: exact, with *. before the host,
	// with :* for any port, null, or * for any.
	AllowOrigins []string `yaml:"allow_origins,required,single"`
	// AllowMethods are the methods that may be used. Default GET, HEAD, POST, PUT,
	// PATCH and DELETE.
	AllowMethods []string `yaml:"allow_methods,single"`
	// AllowHeaders are the headers that may be sent. Default *: whatever the page
	// asks to send.
	AllowHeaders []string `yaml:"allow_headers,single"`
	// ExposeHeaders are the headers of an answer that a page may read, beside the
	// usual ones. Default none.
	ExposeHeaders []string `yaml:"expose_headers,single"`
	// AllowCredentials lets pages send cookies and the like. Default false.
	AllowCredentials bool `yaml:"allow_credentials"`
	// MaxAge is how long a browser may remember the answer to a preflight: 0 to
	// 24h; browsers have bounds of their own. Default 10m.
	MaxAge time.Duration `yaml:"max_age"`
	// AllowPrivateNetwork lets public pages call into a private network, where the
	// browser asks for it. Default false.
	AllowPrivateNetwork bool `yaml:"allow_private_network"`
}

// Defaults fills in what is usually left out.
func (c *Config) Defaults() {
	c.AllowMethods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
	c.AllowHeaders = []string{"*"}
	c.MaxAge = 10 * time.Minute
}

// Validate refuses settings that cannot work.
func (c *Config) Validate() error {
	var errs []error
	if len(c.AllowOrigins) == 0 {
		errs = append(errs, airside.FieldErrorf("allow_origins", "name at least one origin"))
	}
	if c.AllowCredentials {
		for i, o := range c.AllowOrigins {
			if o == "*" || o == "null" {
				errs = append(errs, airside.FieldErrorf("allow_origins["+strconv.Itoa(i)+"]",
					"%s with allow_credentials would let any page act for the user; name the origins", o))
			}
		}
	}
	if c.MaxAge < 0 || c.MaxAge > 24*time.Hour {
		errs = append(errs, airside.FieldErrorf("max_age", "must be from 0s to 24h"))
	}
	for _, list := range []struct {
		field    string
		names    []string
		wildcard bool
	}{
		{"allow_methods", c.AllowMethods, false},
		{"allow_headers", c.AllowHeaders, true},
		{"expose_headers", c.ExposeHeaders, !c.AllowCredentials},
	} {
		for i, name := range list.names {
			if name == "*" && !list.wildcard || !web.Token(name) {
				errs = append(errs, airside.FieldErrorf(list.field+"["+strconv.Itoa(i)+"]", "%q cannot stand here: write a name", name))
			}
		}
	}
	return errors.Join(errs...)
}

// New returns the policy.
func New(_ *airside.Env, c Config) (airside.Middleware, error) {
	s := &sharing{
		methods: strings.Join(c.AllowMethods, ", "), headers: strings.Join(c.AllowHeaders, ", "),
		expose: strings.Join(c.ExposeHeaders, ", "), maxAge: strconv.Itoa(int(c.MaxAge.Seconds())),
		anyHeader: slices.Contains(c.AllowHeaders, "*"), credentials: c.AllowCredentials, private: c.AllowPrivateNetwork,
	}
	var errs []error
	for i, o := range c.AllowOrigins {
		p, err := parsePattern(o)
		if err != nil {
			errs = append(errs, airside.FieldErrorf("allow_origins["+strconv.Itoa(i)+"]", "%w", err))
		}
		s.origins = append(s.origins, p)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return func(next airside.Handler) airside.Handler {
		return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) { return s.handle(x, next) })
	}, nil
}

// sharing is the settings, ready for use.
type sharing struct {
	origins                          []pattern
	methods, headers, expose, maxAge string
	anyHeader, credentials, private  bool
}

func (s *sharing) handle(x *airside.Exchange, next airside.Handler) (*http.Response, error) {
	h := x.Request.Header
	origin := h.Get("Origin")
	allowed := origin != "" && s.allows(origin)
	switch {
	case origin != "" && x.Request.Method == http.MethodOptions && h.Get("Access-Control-Request-Method") != "":
		return s.preflight(x, origin, allowed)
	case origin != "" && !allowed && h.Get("Upgrade") != "", origin != "" && !allowed && x.Request.Method == http.MethodConnect:
		return nil, refused()
	}
	resp, err := next.Handle(x)
	if err != nil {
		e := *airside.AsError(err)
		if e.Header = e.Header.Clone(); e.Header == nil {
			e.Header = http.Header{}
		}
		s.mark(e.Header, origin, allowed)
		return nil, &e
	}
	if resp.Header == nil {
		resp.Header = http.Header{}
	}
	s.mark(resp.Header, origin, allowed)
	return resp, nil
}

func (s *sharing) allows(origin string) bool {
	o, ok := parseOrigin(origin)
	return ok && slices.ContainsFunc(s.origins, func(p pattern) bool { return p.matches(o) })
}

func refused() error {
	e := airside.Errorf(airside.Denied, "pages of this origin may not call here")
	e.Header = http.Header{"Vary": {"Origin"}}
	return e
}

// preflight answers the question whether a request may be made.
func (s *sharing) preflight(x *airside.Exchange, origin string, allowed bool) (*http.Response, error) {
	if !allowed {
		return nil, refused()
	}
	asked := x.Request.Header
	h := http.Header{}
	h.Set("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	s.permit(h, origin)
	h.Set("Access-Control-Allow-Methods", s.methods)
	switch wanted := strings.Join(asked["Access-Control-Request-Headers"], ", "); {
	case wanted == "":
	case !s.anyHeader:
		if s.headers != "" {
			h.Set("Access-Control-Allow-Headers", s.headers)
		}
	case names(wanted):
		h.Set("Access-Control-Allow-Headers", wanted) // * does not mean Authorization
	}
	h.Set("Access-Control-Max-Age", s.maxAge)
	if s.private && asked.Get("Access-Control-Request-Private-Network") == "true" {
		h.Set("Access-Control-Allow-Private-Network", "true")
	}
	return web.Response(x, http.StatusNoContent, h, nil), nil
}

// maxNames bounds a list of headers that is sent back, in bytes.
const maxNames = 4 << 10

// names reports whether list holds nothing but names of headers.
func names(list string) bool {
	if len(list) > maxNames {
		return false
	}
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.Trim(name, " \t"); name != "" && !web.Token(name) {
			return false
		}
	}
	return true
}

// permit says that the origin may read the answer.
func (s *sharing) permit(h http.Header, origin string) {
	if slices.ContainsFunc(s.origins, func(p pattern) bool { return p.any }) {
		origin = "*"
	}
	h.Set("Access-Control-Allow-Origin", origin)
	if s.credentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
}

// mark makes the headers of an answer ours.
func (s *sharing) mark(h http.Header, origin string, allowed bool) {
	for name := range h {
		if len(name) > len(prefix) && web.Alias(name[:len(prefix)], prefix) {
			delete(h, name)
		}
	}
	vary(h)
	if !allowed {
		return
	}
	s.permit(h, origin)
	if s.expose != "" {
		h.Set("Access-Control-Expose-Headers", s.expose)
	}
}

const prefix = "Access-Control-"

// vary adds Origin to Vary, if it is not there.
func vary(h http.Header) {
	for _, line := range h["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.Trim(name, " \t"); name == "*" || strings.EqualFold(name, "Origin") {
				return
			}
		}
	}
	h.Add("Vary", "Origin")
}
