// Package compress compresses answers by gzip, for clients that take it.
//
// Use it where clients are far away, or their lines slow, and answers are text.
//
//	policies:
//	  small: { compress: {} }
//	  lines: { compress: { types: [application/x-ndjson, text/*, +json], min_size: 4KiB, level: 1, events: true } }
//
//	routes:
//	  - { path: /agent1/*, use: [small], to: http://127.0.0.1:9001 }
//	  - { path: /agent2/*, use: [lines], to: http://127.0.0.1:9002 }
//
// Put it before policies that read or change answers, such as transform and cache:
// they should see them as they are.
//
// An answer is compressed if the client prefers gzip (Accept-Encoding, with its
// weights, RFC 9110 section 12.5.3), if its type is among types, and if it has
// min_size bytes, or none that it says. It is left alone if the agent has
// compressed it, if it is a part (206, Content-Range), if it has no body (HEAD,
// 204, 304), or if a Cache-Control of either side says no-transform. A client that
// refuses identity gets gzip for short answers, and for other types, too.
//
// Whatever the agent sends is passed on at once: what has arrived is compressed and
// flushed, and never waits for more.
//
// # What the client sees
//
// Content-Encoding: gzip. The length is not known in advance. A strong ETag becomes
// a weak one, since the bytes are others; a client that sends it back in If-Match
// gets 412 from an agent that compares strictly, so leave compress out on routes
// where documents are edited that way. Content-MD5, Digest, Content-Digest,
// Repr-Digest and Accept-Ranges are removed. Vary: Accept-Encoding is added to each
// answer that is compressed, or would be for another client. An answer that breaks
// off stays broken: the compressed data has no end either.
//
// # Streams
//
// Server-sent events are compressed if events is set, each as it comes. An answer
// that is being compressed holds about 1 MiB of memory, as long as it lasts. That is
// much for a stream that lasts for hours, and is why the default is not to.
//
// # Secrets
//
// Who can put text of his own into an answer and see how long it gets can guess a
// secret in the same answer (BREACH, CVE-2013-3587). Do not use this policy on
// routes that repeat what a client sends next to a token or the like that the client
// should not know.
//
// # Bounds
//
// At most concurrent answers are compressed at a time by one policy; others are sent
// as they are.
package compress

import (
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

func init() { airside.RegisterPolicy("compress", New) }

// Config is the settings of the policy.
type Config struct {
	// Types lists the content types to compress: type/subtype, type/* or a suffix
	// such as +json. Types of gRPC never are, and text/event-stream only by events.
	// Default: text/*, application/json, +json, application/xml, +xml,
	// application/javascript and application/x-ndjson.
	Types []string `yaml:"types,single"`
	// MinSize is the smallest answer to compress, if it says its length. Default:
	// 1KiB.
	MinSize airside.Size `yaml:"min_size"`
	// Level is how much work to do: 1 (fastest) to 9 (smallest). Default: 3.
	Level int `yaml:"level"`
	// Events compresses streams of server-sent events too. Default: they are not
	// compressed.
	Events bool `yaml:"events"`
	// Concurrent bounds how many answers are compressed at a time, each of which
	// takes about 1 MiB of memory: 1 to 10000. Default: 128.
	Concurrent int `yaml:"concurrent"`
}

// Defaults sets everything but events.
func (c *Config) Defaults() {
	c.Types = []string{
		"text/*", "application/json", "+json", "application/xml", "+xml",
		"application/javascript", "application/x-ndjson",
	}
	c.MinSize = 1 << 10
	c.Level = 3
	c.Concurrent = 128
}

// Validate refuses settings that cannot work.
func (c *Config) Validate() error {
	var errs []error
	for i, t := range c.Types {
		if !validType(t) {
			errs = append(errs, airside.FieldErrorf(fmt.Sprintf("types[%d]", i), "%q is neither a type such as text/css or text/*, nor a suffix such as +json", t))
		}
	}
	if len(c.Types) == 0 && !c.Events {
		errs = append(errs, airside.FieldErrorf("types", "must not be empty, unless events is set"))
	}
	if c.Level < gzip.BestSpeed || c.Level > gzip.BestCompression {
		errs = append(errs, airside.FieldErrorf("level", "must be from 1 to 9"))
	}
	if c.Concurrent < 1 || c.Concurrent > 10_000 {
		errs = append(errs, airside.FieldErrorf("concurrent", "must be from 1 to 10000"))
	}
	return errors.Join(errs...)
}

// New returns the policy. All routes that use it share its bound.
func New(_ *airside.Env, c Config) (airside.Middleware, error) {
	p := &policy{Config: c}
	p.packers.New = func() any {
		k := &packer{in: make([]byte, readSize)}
		k.gzip, k.err = gzip.NewWriterLevel(k, c.Level)
		return k
	}
	k := p.packer()
	if k.err != nil {
		return nil, airside.FieldErrorf("level", "%w", k.err)
	}
	p.packers.Put(k)
	return func(next airside.Handler) airside.Handler {
		return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) { return p.handle(x, next) })
	}, nil
}

type policy struct {
	Config
	packers sync.Pool
	busy    atomic.Int64 // answers that are being compressed
}

func (p *policy) packer() *packer {
	return p.packers.Get().(*packer) //nolint:errcheck,forcetypeassert // the pool holds nothing else
}

func (p *policy) handle(x *airside.Exchange, next airside.Handler) (*http.Response, error) {
	unwrap(x)
	asked, method := negotiate(x.Request.Header), x.Request.Method
	if noTransform(x.Request.Header) {
		return next.Handle(x)
	}
	resp, err := next.Handle(x)
	if err != nil || !p.possible(resp) || !p.worthwhile(resp, asked) {
		return resp, err
	}
	vary(resp.Header)
	if asked == plain || method == http.MethodHead || isEmpty(resp) || !p.enter() {
		return resp, nil
	}
	p.compress(x, resp)
	return resp, nil
}

// enter takes one of the places, if one is free.
func (p *policy) enter() bool {
	if p.busy.Add(1) <= int64(p.Concurrent) {
		return true
	}
	p.busy.Add(-1)
	return false
}

// possible reports whether resp may be compressed at all.
func (p *policy) possible(resp *http.Response) bool {
	h := resp.Header
	switch {
	case resp.StatusCode < 200, resp.StatusCode == http.StatusNoContent, resp.StatusCode == http.StatusResetContent,
		resp.StatusCode == http.StatusPartialContent, resp.StatusCode == http.StatusNotModified,
		h.Get("Content-Range") != "", encoded(h), noTransform(h):
		return false
	case web.EventStream(h):
		return p.Events
	}
	return !isGRPC(h)
}

func isEmpty(resp *http.Response) bool {
	return resp.Body == nil || resp.Body == http.NoBody || resp.ContentLength == 0
}

// worthwhile reports whether to compress resp for a client that takes gzip. For
// one that takes nothing else it always is.
func (p *policy) worthwhile(resp *http.Response, asked answer) bool {
	if asked == packedOnly {
		return true
	}
	if resp.ContentLength >= 0 && resp.ContentLength < int64(p.MinSize) {
		return false
	}
	return web.EventStream(resp.Header) || p.hasType(resp.Header)
}

// compress makes the body of resp a compressed one.
func (p *policy) compress(x *airside.Exchange, resp *http.Response) {
	b := &body{src: resp.Body, policy: p, announced: resp.ContentLength}
	h := resp.Header
	h.Set("Content-Encoding", "gzip")
	for _, name := range []string{"Content-Length", "Content-Md5", "Digest", "Content-Digest", "Repr-Digest", "Accept-Ranges"} {
		h.Del(name)
	}
	if tag := h.Get("Etag"); strings.HasPrefix(tag, `"`) {
		h.Set("Etag", "W/"+tag)
	}
	resp.Body, resp.ContentLength, resp.TransferEncoding, resp.Uncompressed = b, -1, nil, false
	if x.Protocol != nil {
		x.Protocol = &protocol{Protocol: x.Protocol, body: b, events: web.EventStream(h)}
	}
}

// vary says that the answer depends on Accept-Encoding, unless that is said.
func vary(h http.Header) {
	for token := range tokens(h, "Vary") {
		if token == "*" || strings.EqualFold(token, "Accept-Encoding") {
			return
		}
	}
	h.Add("Vary", "Accept-Encoding")
}

// A protocol phrases failures in the middle of a compressed answer: what it says
// has to be compressed as well.
type protocol struct {
	airside.Protocol
	body   *body
	events bool
}

// FailStream ends a stream of events by words of the client's protocol. Nothing
// else has any.
func (p *protocol) FailStream(x *airside.Exchange, e *airside.Error) []byte {
	if !p.events {
		return nil
	}
	words := p.Protocol.FailStream(x, e)
	if words == nil {
		return nil
	}
	return p.body.seal(words)
}

// unwrap takes back what an earlier try, whose answer was not passed on, has left.
func unwrap(x *airside.Exchange) {
	if p, ok := x.Protocol.(*protocol); ok {
		x.Protocol = p.Protocol
	}
}
