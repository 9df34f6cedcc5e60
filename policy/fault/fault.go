// Package fault delays, refuses or cuts off a share of the exchanges, for tests.
//
// Use it to see how clients and flows bear a slow or failing agent. It has no place
// in production.
//
//	policies:
//	  slow: { fault: { delay: { fixed: 200ms, jitter: 300ms }, share: 20 } }
//	  down: { fault: { abort: { status: 503 }, share: 5, when: 'call.operation == "POST"' } }
//	  torn: { fault: { abort: { cut: 1KiB }, share: 50, seed: 7 } }
//
//	routes:
//	  - { path: /agent1/*, use: [slow, down], to: http://127.0.0.1:9001 }
//	  - { path: /agent2/*, use: [{ fault: { delay: 2s } }], to: http://127.0.0.1:9002 }
//	  - { path: /agent3/*, use: [torn], to: http://127.0.0.1:9003 }
//
// Of the exchanges for which when is true (all of them, without it), share per cent
// are hit, drawn at random; the others pass. An exchange that is hit is delayed first
// and aborted then. With a seed the draws are the same after each start and each
// reload, as long as exchanges come one after the other. If when cannot be evaluated,
// as where it asks for a header that is missing, the exchange is not hit.
//
// # What the client sees
//
// A delay lasts fixed and a random part of jitter, and ends when the client leaves.
// Status is answered in the words of the client's protocol, in the place of the
// agent, which is not asked; a retry policy further out takes it for the agent's
// answer. Cut passes the agent's answer on, but breaks it off after so many bytes of
// its body, as if the connection to the agent had been lost: a body of known length
// of which nothing was sent becomes 502, an event stream ends with an error event
// where the protocol has one, anything else is cut. A shorter answer passes whole, and
// so does an upgraded connection (WebSocket).
package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/expr"
	"github.com/airside-gateway/airside/proto/web"
)

func init() { airside.RegisterPolicy("fault", New) }

// Config is the settings of the policy. At least one of delay and abort is needed.
type Config struct {
	// Delay is how long an exchange is held up: a time, or a mapping. Default: none.
	Delay Delay `yaml:"delay"`
	// Abort says how an exchange fails. Default: it does not.
	Abort *Abort `yaml:"abort"`
	// Share is how many per cent of the exchanges are hit: 0 to 100. Default 100.
	Share float64 `yaml:"share"`
	// When is a condition in CEL that exchanges meet that can be hit. Default: all do.
	When string `yaml:"when"`
	// Seed makes the draws repeatable, if it is not 0. Default 0.
	Seed uint64 `yaml:"seed"`
}

// A Delay is how long an exchange is held up.
type Delay struct {
	// Fixed is the shortest delay. Default 0s.
	Fixed time.Duration `yaml:"fixed"`
	// Jitter is what the delay can be longer than fixed; it is drawn each time.
	// Default 0s.
	Jitter time.Duration `yaml:"jitter"`
}

// UnmarshalText reads a time alone, such as 300ms.
func (d *Delay) UnmarshalText(text []byte) error {
	fixed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 300ms or 20s", text)
	}
	d.Fixed = fixed
	return nil
}

// An Abort is how an exchange fails: one of its keys.
type Abort struct {
	// Status is the HTTP status that is answered: 200 to 599.
	Status int `yaml:"status"`
	// Cut is after how many bytes the body of the answer is broken off.
	Cut *airside.Size `yaml:"cut"`
}

const longest = time.Hour

// Defaults fills in what is usually left out.
func (c *Config) Defaults() { c.Share = 100 }

// Validate refuses settings that cannot work.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(bad bool, field, message string) {
		if bad {
			errs = append(errs, airside.FieldErrorf(field, "%s", message))
		}
	}
	if c.Delay == (Delay{}) && c.Abort == nil {
		errs = append(errs, errors.New("fault needs delay or abort"))
	}
	wrong(c.Delay.Fixed < 0 || c.Delay.Fixed > longest, "delay.fixed", "must be from 0s to 1h")
	wrong(c.Delay.Jitter < 0 || c.Delay.Jitter > longest, "delay.jitter", "must be from 0s to 1h")
	wrong(!(c.Share >= 0 && c.Share <= 100), "share", "must be from 0 to 100") // NaN is refused too
	if a := c.Abort; a != nil {
		wrong((a.Status == 0) == (a.Cut == nil), "abort", "needs one of status and cut")
		wrong(a.Status != 0 && (a.Status < 200 || a.Status > 599), "abort.status", "must be from 200 to 599")
	}
	return errors.Join(errs...)
}

// New returns the policy.
func New(env *airside.Env, c Config) (airside.Middleware, error) {
	p := &policy{Config: c, random: rand.Float64}
	if c.Seed != 0 {
		p.random = seeded(c.Seed)
	}
	if c.When != "" {
		when, err := expr.Compile(c.When, expr.Bool, expr.At(env.Where+" when"))
		if err != nil {
			return nil, &airside.FieldError{Field: "when", Err: err}
		}
		p.when = when
	}
	return func(next airside.Handler) airside.Handler {
		return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
			if !p.hits(x) {
				return next.Handle(x)
			}
			return p.hit(x, next)
		})
	}, nil
}

// seeded draws from [0, 1), the same row each time. It is safe for concurrent use.
func seeded(seed uint64) func() float64 {
	var mu sync.Mutex
	row := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // is to be foreseen
	return func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return row.Float64()
	}
}

type policy struct {
	Config
	when   *expr.Program
	random func() float64
}

func (p *policy) hits(x *airside.Exchange) bool {
	if p.when != nil {
		if met, err := p.when.Bool(x); err != nil || !met {
			return false
		}
	}
	return p.random()*100 < p.Share
}

func (p *policy) hit(x *airside.Exchange, next airside.Handler) (*http.Response, error) {
	if err := p.delay(x.Context()); err != nil {
		return nil, err
	}
	if p.Abort != nil && p.Abort.Cut == nil {
		return refusal(x, p.Abort.Status), nil
	}
	resp, err := next.Handle(x)
	if err == nil && p.Abort != nil && resp.Body != nil && resp.StatusCode != http.StatusSwitchingProtocols {
		resp.Body = &torn{ReadCloser: resp.Body, left: int64(*p.Abort.Cut)}
	}
	return resp, err
}

func (p *policy) delay(ctx context.Context) error {
	d := p.Delay.Fixed
	if p.Delay.Jitter > 0 {
		d += time.Duration(p.random() * float64(p.Delay.Jitter))
	}
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("delaying: %w", context.Cause(ctx))
	}
}

// codes are those that a client's protocol may phrase in a way of its own.
var codes = []airside.Code{
	airside.Invalid, airside.Unauthenticated, airside.Denied, airside.NotFound, airside.MethodNotAllowed,
	airside.RequestTimeout, airside.TooLarge, airside.UnsupportedMedia, airside.Misdirected, airside.Blocked,
	airside.RateLimited, airside.HeadersTooLarge, airside.Internal, airside.Unsupported, airside.UpstreamFailed,
	airside.Unavailable, airside.Timeout,
}

const made = "this answer was made by the fault policy"

// refusal answers status. It is an answer, and not an error, so that whoever is
// further out sees what it would see of an agent.
func refusal(x *airside.Exchange, status int) *http.Response {
	for _, c := range codes {
		if c.Status() == status && x.Protocol != nil {
			return x.Protocol.Fail(x, &airside.Error{Code: c, Message: made})
		}
	}
	if status == http.StatusNoContent || status == http.StatusNotModified {
		return web.Response(x, status, http.Header{}, nil)
	}
	text := made + "\n"
	h := http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Content-Length": {strconv.Itoa(len(text))}}
	return web.Response(x, status, h, []byte(text))
}

// A torn body breaks off.
type torn struct {
	io.ReadCloser
	left int64
}

func (b *torn) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, airside.Errorf(airside.UpstreamFailed, "the answer was cut off by the fault policy")
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left == 0 && errors.Is(err, io.EOF) {
		err = nil // its end is not to be seen
	}
	return n, err
}
