// Package limits bounds what a request may bring and how large an answer may get.
//
// Use it where an agent takes less than the listener lets through, or more: a body
// bound of a route that is higher than that of the listener is in force as well,
// but for protocols that read the body to find out what is asked (all but web):
// they have read it, within the bound of the listener, before any policy runs.
//
//	policies:
//	  small: { limits: { body: 64KiB, uri: 2KiB, headers: 50 } }
//	  strict: { limits: { body: 1MiB, json_depth: 32, json_keys: 1000, response: 10MiB } }
//
//	routes:
//	  - { path: /agent1/*, use: [small], to: http://127.0.0.1:9001 }
//	  - { path: /upload/*, use: [{ limits: { body: 1GiB } }], to: http://127.0.0.1:9002 }
//	  - { path: /agent2/*, use: [strict], to: http://127.0.0.1:9003 }
//
// What is not named is not bounded here; the bounds of the listener stay.
//
// # JSON
//
// With json_depth or json_keys a request body that announces JSON (application/json
// or a type that ends in +json) is read as a whole before the request goes on, at
// most body or else 10MiB of it, and refused unless it is one valid JSON text in
// UTF-8, nested no deeper than json_depth, in which no object has more than
// json_keys keys, nor one key twice: of the two values a policy and the agent may
// read different ones. Such a body must come without Content-Encoding. A body that
// announces something else is not looked into, so an agent that takes any body for
// JSON is not protected.
//
// # What the client sees
//
// A body that is too large is refused with 413 and the code too_large, a URI that is
// too long with 414 and uri_too_long, too many header lines with 431 and
// headers_too_large, JSON with 400 and invalid_request, compressed JSON with 415 and
// unsupported_media. A body of unknown
// length is cut off where it passes the bound. An answer that is announced too large
// becomes 502 and upstream_failed; one of unknown length, an event stream too, is
// broken off where it passes the bound, in the way of the client's protocol. An
// upgraded connection (WebSocket) has no bound.
package limits

import (
	"errors"
	"io"
	"net/http"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

func init() { airside.RegisterPolicy("limits", New) }

// Config is the settings of the policy. At least one is needed.
type Config struct {
	// Body is the largest request body; 0 allows none. Default: as the listener.
	Body *airside.Size `yaml:"body"`
	// URI is the longest path and query together, as they are sent on. Default: no
	// bound.
	URI airside.Size `yaml:"uri"`
	// Headers is how many header lines a request may have, Host not counted.
	// Default: no bound.
	Headers int `yaml:"headers"`
	// JSONDepth is how many arrays and objects may lie in each other in a request
	// body of JSON: 1 to 10000. Default: bodies are not looked into.
	JSONDepth int `yaml:"json_depth"`
	// JSONKeys is how many keys each object may have in a request body of JSON.
	// Default: bodies are not looked into.
	JSONKeys int `yaml:"json_keys"`
	// Response is the largest body of an answer. Default: no bound.
	Response airside.Size `yaml:"response"`
}

const (
	// wholeJSON is how much of a JSON body is read if body does not say.
	wholeJSON = 10 << 20
	// deepest is how deep the parser can go.
	deepest = 10_000
)

// Validate refuses settings that cannot work.
func (c *Config) Validate() error {
	if *c == (Config{}) {
		return errors.New("limits needs at least one of body, uri, headers, json_depth, json_keys, response")
	}
	var errs []error
	if c.Headers < 0 {
		errs = append(errs, airside.FieldErrorf("headers", "must not be negative"))
	}
	if c.JSONDepth < 0 || c.JSONDepth > deepest {
		errs = append(errs, airside.FieldErrorf("json_depth", "must be from 1 to %d, or left out", deepest))
	}
	if c.JSONKeys < 0 {
		errs = append(errs, airside.FieldErrorf("json_keys", "must not be negative"))
	}
	return errors.Join(errs...)
}

// New returns the policy.
func New(_ *airside.Env, c Config) (airside.Middleware, error) {
	p := &policy{Config: c, whole: wholeJSON}
	if c.Body != nil {
		p.whole = int64(*c.Body)
	}
	return func(next airside.Handler) airside.Handler {
		return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
			if err := p.request(x); err != nil {
				return nil, err
			}
			resp, err := next.Handle(x)
			if err != nil || p.Response == 0 {
				return resp, err
			}
			return p.response(x, resp)
		})
	}, nil
}

type policy struct {
	Config
	whole int64 // bytes of a JSON body that are read
}

// request refuses a request that is too large, or sees to it that its body does
// not become so.
func (p *policy) request(x *airside.Exchange) error {
	if n := airside.Size(len(x.Request.URL.RequestURI())); p.URI > 0 && n > p.URI {
		return airside.Errorf(airside.URITooLong, "the path and the query have %d bytes, of which %d are allowed here", n, p.URI)
	}
	if n := lines(x.Request.Header); p.Headers > 0 && n > p.Headers {
		return airside.Errorf(airside.HeadersTooLarge, "the request has %d header lines, of which %d are allowed here", n, p.Headers)
	}
	if p.Body != nil {
		n := int64(*p.Body)
		x.LimitBody(n)
		if err := x.CheckBody(); err != nil {
			return err
		}
		if x.Request.ContentLength > n { // of unknown length, and read by the protocol
			return airside.Errorf(airside.TooLarge, "the request body is larger than the %s allowed here", *p.Body)
		}
	}
	if p.JSONDepth == 0 && p.JSONKeys == 0 {
		return nil
	}
	return p.json(x)
}

func lines(h http.Header) int {
	n := 0
	for _, v := range h {
		n += len(v)
	}
	return n
}

// response refuses an answer that is too large, or breaks it off where it becomes
// so.
func (p *policy) response(x *airside.Exchange, resp *http.Response) (*http.Response, error) {
	switch {
	case x.Request.Method == http.MethodHead, resp.StatusCode == http.StatusNotModified, // the length is that of another answer
		resp.StatusCode == http.StatusSwitchingProtocols, resp.Body == nil:
		return resp, nil
	case resp.ContentLength > int64(p.Response):
		_ = resp.Body.Close() // nobody wants it
		return nil, p.tooLarge()
	case resp.ContentLength < 0:
		resp.Body = &bounded{ReadCloser: resp.Body, left: int64(p.Response), tooLarge: p.tooLarge}
	}
	return resp, nil
}

func (p *policy) tooLarge() error {
	return airside.Errorf(airside.UpstreamFailed, "the answer of the agent is larger than the %s allowed here", p.Response)
}

// A bounded body fails where it gets longer than it may.
type bounded struct {
	io.ReadCloser
	left     int64 // -1 once there was more
	tooLarge func() error
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, b.tooLarge()
	}
	if int64(len(p)) > b.left+1 { // one more, to see that there is more
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n - 1, b.tooLarge()
	}
	return n, err
}

// announcesJSON reports whether the request says that its body is JSON. Two lines
// that say different things are the client's fault.
func announcesJSON(h http.Header) (bool, error) {
	if len(h["Content-Type"]) > 1 {
		return false, airside.Errorf(airside.Invalid, "the request has more than one Content-Type")
	}
	return web.JSON(h), nil
}
