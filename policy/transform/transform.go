// Package transform shapes JSON bodies with jq: those of requests, of answers, and
// of the events of a stream.
//
// Use it where a client and an agent do not quite speak the same JSON: to rename
// and to add members, to take away what an agent should not see or a client should
// not get, to refuse what has not the right shape.
//
//	policies:
//	  shape:
//	    transform:
//	      request: '{model: "m1", messages: [{role: "user", content: .question}], user: $caller.id}'
//	      response: '{answer: .choices[0].message.content, case: $params.id}'
//	  checked:
//	    transform:
//	      request: 'if (.patient | type) == "string" then . else error("patient must be a text") end'
//	      strict: true
//	      max: 256KiB
//	  plain:
//	    transform:
//	      events: 'select(.type == "delta") | {text: .delta.text}'
//	      response: '.error |= {message: "the agent refused", status: $response.status}'
//	      status: [2xx, 4xx]
//
//	routes:
//	  - { path: "/cases/{id}", method: POST, use: [shape], to: http://127.0.0.1:9001 }
//	  - { path: /records,      method: POST, use: [checked], to: http://127.0.0.1:9002 }
//	  - { path: /chat,         use: [plain], to: http://127.0.0.1:9003 }
//
// # The filters
//
// A filter gets the body as its input, and its one result is the new body. The
// language is jq's, see https://jqlang.org/manual/; regular expressions are RE2.
// There are no modules, no input, no debug, and $ENV is empty. All filters know
//
//   - $request: method, path, query (the first value of each name), headers (names
//     in lower case, several values joined by a comma), as this policy got them;
//   - $call: operation, target and id of what the client asks for;
//   - $caller: id and claims; the id is empty if nobody was authenticated;
//   - $params: the parameters of the route's path; only as $params.name, and null
//     where the route has no {name};
//   - $response: status and headers (response and events only);
//   - $event: type and id of the event (events only).
//
// request is applied to a request with a JSON body, response to an answer with one
// and a status out of status, events to each event of such an answer that is a
// stream of server-sent events. An event without data, or whose data is not JSON
// (such as [DONE]), passes untouched. An event for which the filter has no result,
// or null, is left out.
//
// JSON is application/json, or a type that ends in +json. Whatever else there is
// passes untouched, so a filter is no guard unless strict is set: then a request
// body that is not JSON is refused, and so is an answer that is neither JSON nor,
// with events, a stream. No filter sees an empty body, an answer to HEAD, or a 204
// or a 304.
//
// The order of members is not kept: they are written sorted by name. Integers are
// exact at every size, and a number that is only moved keeps its text.
//
// What the protocol of the route and the policies before this one have read, such
// as $call, is not read again from the new body.
//
// # What is done to headers
//
// Content-Length is set anew. Content-Encoding, Content-MD5, Digest,
// Content-Digest and Repr-Digest of a body that was changed are removed, and of an
// answer ETag, Accept-Ranges and trailers too. With response or events, the agent
// is asked for an answer without compression, and for all of it: Range and
// If-Range are removed. To compress answers again, put the policy compress before
// this one.
//
// # What the client sees
//
// 400, if the body is not valid JSON (RFC 8259, in UTF-8, each name once in an
// object), with the place; if the filter calls error("text"), with the text; and
// with a general message if the filter fails on it in another way. 413, if the
// body, or what becomes of it, is larger than max, or passes another of the bounds
// below. 415, if it is compressed in another way than by gzip; with strict, if it is
// not JSON. 500, if the request filter has more than one result. 502, if the answer is
// not valid JSON, too large, or the response filter fails on it, whatever the reason:
// it is in the log. 503 with Retry-After, if the memory for all bodies is in use for
// five seconds. A stream whose event fails is ended as the protocol of the client ends
// it.
//
// # Bounds
//
// Bodies, and each event, have at most max bytes, before and after the filter, and
// also decompressed. JSON nests at most 128 deep, and its numbers have at most 1024
// digits. A filter has at most 16 KiB, and each of its runs a second.
//
// A few bytes can stand for much memory, so this is measured before anything is
// decoded. A compressed body may become 64 KiB, and beyond that at most 100 times as
// large as it was. A body holds at most one value for each 4 bytes of max (262144 by
// default), and never fewer than 1024. Its values take at most 64 times max of memory,
// and 256 MiB at the most: an ordinary text takes 2 to 10 times its size. All bodies that
// are being transformed at the same time, by all policies of this kind, take at most
// 64 MiB; one that needs more waits until it is alone. Those whose values take less
// than 64 KiB do not wait.
package transform

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/jq"
)

func init() { airside.RegisterPolicy("transform", New) }

const (
	defaultMax = 1 << 20
	mostMax    = 64 << 20
)

// Config is the settings of the policy.
type Config struct {
	// Request is the jq filter for the JSON body of a request. Default: requests
	// are left alone.
	Request *Filter `yaml:"request"`
	// Response is the jq filter for the JSON body of an answer. Default: answers
	// are left alone.
	Response *Filter `yaml:"response"`
	// Events is the jq filter for the JSON data of each server-sent event of an
	// answer. Default: streams are left alone.
	Events *Filter `yaml:"events"`
	// Max bounds a body, or the data of an event, in bytes, before and after the
	// filter: at most 64MiB. Default: 1MiB.
	Max airside.Size `yaml:"max"`
	// Status lists the answers that are transformed: a status such as 404, or a
	// class such as 4xx. Default: 2xx.
	Status []Status `yaml:"status,single"`
	// Strict refuses bodies that are not JSON, where there is a filter for them.
	// Default: they pass untouched.
	Strict bool `yaml:"strict"`
}

// A Filter is what becomes of a body. It may be written as the filter alone.
type Filter struct {
	// Body is a jq filter with one result, the new body.
	Body string `yaml:"body,required"`
}

// UnmarshalText reads the filter alone.
func (f *Filter) UnmarshalText(text []byte) error {
	f.Body = string(text)
	return nil
}

// A Status is one status, or a class of them.
type Status struct {
	from, to int
}

// UnmarshalText reads "404" or "4xx".
func (s *Status) UnmarshalText(text []byte) error {
	b := string(text)
	if len(b) != 3 || b[0] < '2' || b[0] > '5' {
		return fmt.Errorf("%q is neither a status from 200 to 599 nor a class from 2xx to 5xx", b)
	}
	class := int(b[0]-'0') * 100
	if b[1:] == "xx" {
		*s = Status{class, class + 99}
		return nil
	}
	if b[1] < '0' || b[1] > '9' || b[2] < '0' || b[2] > '9' {
		return fmt.Errorf("%q is neither a status from 200 to 599 nor a class from 2xx to 5xx", b)
	}
	one := class + int(b[1]-'0')*10 + int(b[2]-'0')
	*s = Status{one, one}
	return nil
}

// MarshalText writes the status as it is read.
func (s Status) MarshalText() ([]byte, error) {
	if s.from == s.to {
		return fmt.Appendf(nil, "%d", s.from), nil
	}
	return fmt.Appendf(nil, "%dxx", s.from/100), nil
}

// Defaults sets max and status.
func (c *Config) Defaults() {
	c.Max = defaultMax
	c.Status = []Status{{200, 299}}
}

// Validate refuses settings that cannot work.
func (c *Config) Validate() error {
	var errs []error
	if c.Request == nil && c.Response == nil && c.Events == nil {
		errs = append(errs, errors.New("transform needs at least one of request, response, events"))
	}
	if c.Max <= 0 || c.Max > mostMax {
		errs = append(errs, airside.FieldErrorf("max", "must be from 1 to %s", airside.Size(mostMax)))
	}
	if len(c.Status) == 0 {
		errs = append(errs, airside.FieldErrorf("status", "must not be empty; leave it out for 2xx"))
	}
	_, err := compileAll(c)
	return errors.Join(append(errs, err)...)
}

// New returns the policy.
func New(env *airside.Env, c Config) (airside.Middleware, error) {
	p, err := compileAll(&c)
	if err != nil {
		return nil, err
	}
	if p.room, err = room(env); err != nil {
		return nil, err
	}
	return func(next airside.Handler) airside.Handler {
		return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) { return p.handle(x, next) })
	}, nil
}

type policy struct {
	Config
	request, response, events *jq.Query // nil: there is no filter
	facts                     facts
	room                      *jq.Room
}

// compileAll compiles the filters, and says of which one an error is.
func compileAll(c *Config) (*policy, error) {
	p := &policy{Config: *c}
	var errs [3]error
	p.request, errs[0] = compile("request", c.Request, factNames[:given])
	p.response, errs[1] = compile("response", c.Response, factNames[:given+1])
	p.events, errs[2] = compile("events", c.Events, factNames)
	p.facts = wanted(p.request, p.response, p.events)
	return p, errors.Join(errs[:]...)
}

func compile(field string, f *Filter, facts []string) (*jq.Query, error) {
	if f == nil {
		return nil, nil
	}
	if f.Body == "" {
		return nil, airside.FieldErrorf(field, "must not be empty")
	}
	q, err := jq.Compile(f.Body, facts...)
	if err != nil {
		return nil, airside.FieldErrorf(field, "%w", err)
	}
	if _, only := q.Members("params"); !only {
		return nil, airside.FieldErrorf(field, "jq: $params can only be used as $params.name")
	}
	return q, nil
}

func (p *policy) handle(x *airside.Exchange, next airside.Handler) (*http.Response, error) {
	known, err := p.facts.of(x)
	if err != nil {
		return nil, err
	}
	ctx, method := x.Context(), x.Request.Method
	body, err := p.requestBody(x, known)
	if err != nil {
		return nil, err
	}
	defer p.pass(x, body)()
	resp, err := next.Handle(x)
	if err != nil || method == http.MethodHead || !hasBody(resp) || !p.meant(resp.StatusCode) {
		return resp, err
	}
	return p.answer(ctx, resp, known)
}

// pass makes x the request as the agent gets it, with body unless that is nil. The
// function that it returns puts back what was: whoever stands before this policy
// may send the request again.
func (p *policy) pass(x *airside.Exchange, body []byte) (restore func()) {
	asks := p.response != nil || p.events != nil
	if body == nil && !asks {
		return func() {}
	}
	before := x.Request
	if body == nil {
		after := *before
		x.Request = &after
		restore = func() { x.Request = before }
	} else {
		saved := x.Save()
		restore = func() { saved() } // the whole body was read and kept
	}
	h := before.Header.Clone()
	x.Request.Header = h
	if body != nil {
		x.SetBody(body)
		x.Request.Trailer = nil
		clean(h)
	}
	if asks {
		h.Set("Accept-Encoding", "identity")
		h.Del("Range")
		h.Del("If-Range")
	}
	return restore
}

// hasBody reports whether resp may have a body, RFC 9110 section 6.4.1.
func hasBody(resp *http.Response) bool {
	return resp.StatusCode >= 200 && resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusNotModified &&
		resp.Body != nil && resp.Body != http.NoBody
}

func (p *policy) meant(status int) bool {
	for _, s := range p.Status {
		if s.from <= status && status <= s.to {
			return true
		}
	}
	return false
}

// clean removes what is said of a body that is no more.
func clean(h http.Header) {
	for _, name := range []string{"Content-Encoding", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Trailer"} {
		h.Del(name)
	}
}
