// Package headers changes the headers of requests and of answers.
//
// Use it to tell an agent who asks, to hide what an agent says about itself, and
// to add what browsers want to see.
//
//	policies:
//	  staff: { apikey: { keys: { ward: { key: 8vYq2mZc7nRt4KpX9sLd, claims: { tenant: north } } } } }
//	  tidy:
//	    headers:
//	      request:
//	        remove: [Cookie, X-Debug-*]
//	        rename: { X-Clinic: X-Tenant }
//	        default: { Accept-Language: de }
//	        set:
//	          X-User: { cel: caller.id }
//	          X-Tenant: { cel: 'caller.claims[?"tenant"].orValue("")' }
//	      response:
//	        remove: [Server, X-Powered-By]
//	        set: { X-Frame-Options: DENY }
//	        add: { Vary: Accept-Language }
//
//	routes:
//	  - { path: /agent1/*, use: [staff, tidy], to: http://127.0.0.1:9001 }
//
// # Order
//
// First remove, then rename, default, set and add. A value written with cel is an
// expression over request, call and caller (see the policy allow). All of them,
// those of the answer too, are worked out when the request arrives here, before
// anything is changed: none sees what another one did, and a request that is
// refused for one has not reached the agent. One that comes to empty text removes
// the header in set, and does nothing in default and add.
//
// A header is one whatever the case, and whether it is written with hyphens or
// underscores, since many agents cannot tell them apart: set and remove see to
// all spellings. So a client cannot slip its own X_User past a set X-User.
//
// The changes of the request are for what comes after this policy; a retry before
// it starts from the request as it was. The changes of the answer are made to
// answers that come through here. Refusals and failures are phrased by the
// gateway, and are not touched.
//
// # What the client sees
//
// 400, if an expression cannot be evaluated (a claim that it asks for is
// missing), or comes to text that no header can hold: with control characters, or
// of more than 8 KiB. It is refused rather than left out, since an agent may take
// a missing header for a right. Where it may be missing, write
// caller.claims[?"tenant"].orValue("").
//
// # Bounds
//
// Headers that belong to the connection or frame the message (Connection,
// Content-Length, Keep-Alive, Proxy-Connection, TE, Trailer, Transfer-Encoding,
// Upgrade) and Host are refused when the configuration is read; for the host, see
// the policy rewrite. At most 100 changes of each direction.
package headers

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

func init() { airside.RegisterPolicy("headers", New) }

// Config is the settings of the policy.
type Config struct {
	// Request is what changes before the agent sees the request.
	Request Changes `yaml:"request"`
	// Response is what changes before the client sees the answer.
	Response Changes `yaml:"response"`
}

// Changes says what becomes of headers.
type Changes struct {
	// Remove are names of headers to leave out. A name may end in * for all that
	// begin so.
	Remove []string `yaml:"remove,single"`
	// Rename gives headers another name, in place of what may be there by it.
	Rename map[string]string `yaml:"rename"`
	// Default are headers to set where there is none.
	Default map[string]Value `yaml:"default"`
	// Set are headers to put in place of what is there.
	Set map[string]Value `yaml:"set"`
	// Add are header lines to add to what is there.
	Add map[string]Value `yaml:"add"`
}

// A Value is what a header is to hold: text, or {cel: EXPRESSION}.
type Value struct {
	// Text is sent as it stands.
	Text string `yaml:"text"`
	// CEL is an expression, and its result is sent.
	CEL string `yaml:"cel"`
}

// UnmarshalText takes the text alone.
func (v *Value) UnmarshalText(text []byte) error {
	v.Text = string(text)
	return nil
}

// maxChanges bounds the changes of one direction.
const maxChanges = 100

// Validate refuses settings that cannot work.
func (c *Config) Validate() error {
	if c.Request.len() == 0 && c.Response.len() == 0 {
		return errors.New("nothing is changed: give request or response")
	}
	return nil
}

func (c *Changes) len() int {
	return len(c.Remove) + len(c.Rename) + len(c.Default) + len(c.Set) + len(c.Add)
}

// Validate refuses names and values that no header can have, and headers that
// are changed twice.
func (c *Changes) Validate() error {
	var errs []error
	if n := c.len(); n > maxChanges {
		errs = append(errs, fmt.Errorf("%d changes are too many: at most %d are allowed", n, maxChanges))
	}
	for i, name := range c.Remove {
		errs = append(errs, checkRemoved(i, name))
	}
	for _, from := range slices.Sorted(maps.Keys(c.Rename)) {
		errs = append(errs, checkName("rename."+from, from), checkName("rename."+from, c.Rename[from]))
		if sameHeader(from, c.Rename[from]) {
			errs = append(errs, airside.FieldErrorf("rename."+from, "is the same header"))
		}
	}
	errs = append(errs, checkValues("default", c.Default)...)
	errs = append(errs, checkValues("set", c.Set)...)
	errs = append(errs, checkValues("add", c.Add)...)
	for _, name := range slices.Sorted(maps.Keys(c.Default)) {
		for _, other := range slices.Sorted(maps.Keys(c.Set)) {
			if sameHeader(name, other) {
				errs = append(errs, airside.FieldErrorf("default."+name, "is set too"))
			}
		}
	}
	return errors.Join(errs...)
}

// New returns the policy.
func New(env *airside.Env, c Config) (airside.Middleware, error) {
	request, err1 := compile(env.Where, "request", &c.Request)
	response, err2 := compile(env.Where, "response", &c.Response)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return func(next airside.Handler) airside.Handler {
		return &editor{next: next, request: request, response: response}
	}, nil
}

type editor struct {
	next              airside.Handler
	request, response *program
}

// Handle implements [airside.Handler].
func (e *editor) Handle(x *airside.Exchange) (*http.Response, error) {
	request, err := e.request.evaluate(x)
	if err != nil {
		return nil, err
	}
	response, err := e.response.evaluate(x)
	if err != nil {
		return nil, err
	}
	resp, err := e.pass(x, request)
	if err != nil || len(e.response.steps) == 0 {
		return resp, err
	}
	if resp.Header == nil {
		resp.Header = http.Header{}
	}
	e.response.apply(&web.Edit{Header: resp.Header}, response)
	return resp, nil
}

// pass hands the request on with the changes, and takes them back then, so that whoever
// stands before this policy can send the first one again.
func (e *editor) pass(x *airside.Exchange, values []string) (*http.Response, error) {
	if len(e.request.steps) == 0 {
		return e.next.Handle(x)
	}
	if x.Request.Header == nil {
		x.Request.Header = http.Header{}
	}
	edit := web.Edit{Header: x.Request.Header}
	defer edit.Undo()
	e.request.apply(&edit, values)
	return e.next.Handle(x)
}
