// Package static answers with a fixed response, and asks no agent.
//
// Use it for health checks, robots.txt, redirects, maintenance pages, and to
// stand in for an agent that is not there yet.
//
//	policies:
//	  alive:   { static: { body: "ok\n" } }
//	  moved:   { static: { status: 308, headers: { Location: https://agents.example/ } } }
//	  offline:
//	    static:
//	      status: 503
//	      headers: { Retry-After: "600", Cache-Control: no-store }
//	      json: { error: We are back at noon. }
//
//	routes:
//	  - { path: /health,   use: [alive],   to: http://127.0.0.1:9001 }
//	  - { path: /old/*,    use: [moved],   to: http://127.0.0.1:9001 }
//	  - { path: /agent1/*, use: [offline], to: http://127.0.0.1:9001 }
//
// What stands after it in use, and the upstream, are never reached. Policies
// before it see the answer as if an agent had given it.
//
// The Content-Type is the one in headers; else application/json for json, and for
// a body that is a JSON object or array; else what the beginning of the body
// looks like (the WHATWG MIME Sniffing rules, in UTF-8). The Content-Length is
// set, for HEAD too, whose answer has no body.
//
// # Bounds
//
// A body has at most 1 MiB. The status is 200 to 599; 204, 205 and 304 have no
// body.
package static

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

func init() { airside.RegisterPolicy("static", New) }

// maxBody bounds the body.
const maxBody = 1 << 20

// Config is the settings of the policy.
type Config struct {
	// Status is the status of the answer: 200 to 599. Default 200.
	Status int `yaml:"status"`
	// Headers are the headers of the answer. Those that frame a message
	// (Content-Length, Connection and so on) are refused.
	Headers map[string]string `yaml:"headers"`
	// Body is the body, as text. Default: none.
	Body string `yaml:"body"`
	// JSON is the body, as any value; it is sent as application/json.
	JSON any `yaml:"json"`
}

// Defaults fills in what is usually left out.
func (c *Config) Defaults() { c.Status = http.StatusOK }

// Validate refuses settings that cannot work.
func (c *Config) Validate() error {
	var errs []error
	if c.Status < 200 || c.Status > 599 {
		errs = append(errs, airside.FieldErrorf("status", "must be from 200 to 599"))
	}
	if c.Body != "" && c.JSON != nil {
		errs = append(errs, airside.FieldErrorf("json", "give body or json, not both"))
	}
	if bodiless(c.Status) && (c.Body != "" || c.JSON != nil) {
		errs = append(errs, airside.FieldErrorf("status", "an answer with status %d has no body", c.Status))
	}
	if len(c.Body) > maxBody {
		errs = append(errs, airside.FieldErrorf("body", "is larger than %s", airside.Size(maxBody)))
	}
	return errors.Join(append(errs, c.validateHeaders()...)...)
}

func (c *Config) validateHeaders() []error {
	var errs []error
	for i, name := range slices.Sorted(maps.Keys(c.Headers)) {
		switch {
		case !web.Token(name):
			errs = append(errs, airside.FieldErrorf("headers."+name, "%q is not the name of a header", name))
		case web.Framing(name):
			errs = append(errs, airside.FieldErrorf("headers."+name, "%s is set by the gateway", name))
		case !web.FieldValue(c.Headers[name]):
			errs = append(errs, airside.FieldErrorf("headers."+name, "a header holds no control characters"))
		}
		for _, other := range slices.Sorted(maps.Keys(c.Headers))[:i] {
			if web.Alias(name, other) {
				errs = append(errs, airside.FieldErrorf("headers."+name, "is the same header as %s", other))
			}
		}
	}
	return errs
}

// bodiless reports whether an answer with the status ends with its head (RFC
// 9110 section 6.4.1), or must have nothing in its body.
func bodiless(status int) bool {
	return status == http.StatusNoContent || status == http.StatusResetContent || status == http.StatusNotModified
}

// New returns the policy.
func New(_ *airside.Env, c Config) (airside.Middleware, error) {
	body := []byte(c.Body)
	if c.JSON != nil {
		b, err := json.Marshal(c.JSON, json.Deterministic(true))
		if err != nil {
			return nil, airside.FieldErrorf("json", "cannot be written as JSON: %w", err)
		}
		if len(b) > maxBody {
			return nil, airside.FieldErrorf("json", "is larger than %s", airside.Size(maxBody))
		}
		body = append(b, '\n')
	}
	h := http.Header{}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		web.SetHeader(h, name, c.Headers[name])
	}
	if len(body) > 0 && h.Get("Content-Type") == "" {
		h.Set("Content-Type", contentType(body, c.JSON != nil))
	}
	if !bodiless(c.Status) || c.Status == http.StatusResetContent {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	answer := airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
		resp := web.Response(x, c.Status, h.Clone(), body)
		if x.Request.Method == http.MethodHead {
			resp.Body = http.NoBody // the length stays: it is that of GET
		}
		return resp, nil
	})
	return func(airside.Handler) airside.Handler { return answer }, nil
}

func contentType(body []byte, isJSON bool) string {
	if isJSON || (body[0] == '{' || body[0] == '[') && jsontext.Value(body).IsValid() {
		return "application/json"
	}
	return http.DetectContentType(body)
}
