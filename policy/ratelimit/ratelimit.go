// Package ratelimit lets each caller make so many requests in a time, and no more.
//
// Use it to share an agent fairly, and to keep one client from using up what all
// pay for. A caller starts with a full bucket of burst requests and gets limit
// of them back in each per, evenly: with 100 per 1m, one every 0.6 seconds. In
// any stretch of time t no more than burst + t * limit / per requests of a caller
// are let through (the generic cell rate algorithm, exact, on a monotonic clock).
//
//	policies:
//	  fair: { ratelimit: { limit: 100, per: 1m } }
//	  teams:
//	    ratelimit:
//	      limit: 10000
//	      per: 1h
//	      burst: 500
//	      by: request.headers["x-team"]
//
//	routes:
//	  - { path: /agent1/*, use: [fair, teams], to: http://127.0.0.1:9001 }
//
// # Who is counted
//
// Without by, a request counts for its caller if an authentication policy has run
// before, else for the address it came from; all addresses of an IPv6 /64 are one,
// as a single client has that many. With by, all requests for which the expression
// comes to the same text are counted together, and so are all those for which it
// comes to nothing, such as those without a header that it asks for.
//
// One policy that is used on several routes counts their requests together. A
// request counts where it passes: behind a retry policy each try counts. Put this
// policy after authentication, and before retry.
//
// # What the client sees
//
// A request too many is refused with 429 and the code rate_limited; Retry-After
// is the number of seconds after which the next one passes. It is not counted.
// Every answer that passes this policy, refused or not, has the fields of
// draft-ietf-httpapi-ratelimit-headers-10; several policies on one route append to
// them:
//
//	RateLimit-Policy: "fair";q=100;w=60
//	RateLimit: "fair";r=50;t=1
//
// q is the limit, w the seconds of per, airside-burst (where it is not q) the
// burst, r how many requests pass right now, and t the seconds until there is one
// more of them; without t there are as many as there can be.
//
// # Bounds
//
// At most key_limit callers are remembered, by a keyed hash of 128 bits and in
// less than 100 bytes each. A caller whose bucket is full again is forgotten as
// new ones come. If all are in use, a new caller takes the place of the one who
// lacks least of a full bucket among 16 picked at random. So nobody gets rid of a
// used-up limit by flooding the policy with made-up callers: to be forgotten, a
// caller would have to have used less than others have, which costs more requests
// than the forgetting gives back.
//
// Counters outlive a reload. Other numbers take effect at once: a caller who had
// to wait for so long has to wait for so long still, but never longer than the
// new numbers could ask for. Another by starts anew. Counters do not outlive the
// process.
package ratelimit

import (
	"errors"
	"math/bits"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/expr"
)

func init() { airside.RegisterPolicy("ratelimit", New) }

// Config is the settings of the policy.
type Config struct {
	// Limit is how many requests a caller gets back in each per: 1 to 1000000000.
	Limit int `yaml:"limit,required"`
	// Per is the time in which limit requests come back, in whole seconds, at most
	// 8784h (366 days).
	Per time.Duration `yaml:"per,required"`
	// Burst is how many requests a caller can make at once after a pause: 1 to
	// 1000000000. Default: as limit.
	Burst int `yaml:"burst"`
	// By is a CEL expression; requests for which it comes to the same text are
	// counted together. Default: the caller, or the client's address if nobody is
	// authenticated.
	By string `yaml:"by"`
	// KeyLimit is how many callers are remembered: 1000 to 100000000. Default
	// 100000.
	KeyLimit int `yaml:"key_limit"`
}

// Bounds of the settings. They keep the arithmetic within 64 bits.
const (
	maxCount   = 1_000_000_000
	maxPer     = 366 * 24 * time.Hour
	maxWindow  = 10 * maxPer
	minKeys    = 1000
	maxKeys    = 100_000_000
	usualLimit = 100_000
)

// Defaults fills in what is usually left out.
func (c *Config) Defaults() { c.KeyLimit = usualLimit }

// Validate refuses settings that cannot work.
func (c *Config) Validate() error {
	var errs []error
	if c.Limit < 1 || c.Limit > maxCount {
		errs = append(errs, airside.FieldErrorf("limit", "must be from 1 to %d", maxCount))
	}
	if c.Per < time.Second || c.Per > maxPer || c.Per%time.Second != 0 {
		errs = append(errs, airside.FieldErrorf("per", "must be a whole number of seconds, such as 1s, 1m or 1h, and at most 8784h"))
	}
	if c.Burst < 0 || c.Burst > maxCount {
		errs = append(errs, airside.FieldErrorf("burst", "must be from 1 to %d, or left out", maxCount))
	}
	if c.KeyLimit < minKeys || c.KeyLimit > maxKeys {
		errs = append(errs, airside.FieldErrorf("key_limit", "must be from %d to %d", minKeys, maxKeys))
	}
	if len(errs) == 0 && newRate(*c).window > int64(maxWindow) {
		errs = append(errs, airside.FieldErrorf("burst", "would take longer than ten years to come back"))
	}
	return errors.Join(errs...)
}

// New returns the policy.
func New(env *airside.Env, c Config) (airside.Middleware, error) {
	p := &policy{
		rate:     newRate(c),
		perShard: c.KeyLimit / shards,
		refusal:  "the rate limit of " + strconv.Itoa(c.Limit) + " per " + words(c.Per) + " is used up",
	}
	if c.By != "" {
		by, err := expr.Compile(c.By, expr.String, expr.At(env.Where+" by"))
		if err != nil {
			return nil, &airside.FieldError{Field: "by", Err: err}
		}
		p.by = by
	}
	t, err := airside.Keep(env, "ratelimit:"+env.Where+":"+c.By, newTable)
	if err != nil {
		return nil, err
	}
	p.table = t
	p.name(env.Where, c)
	return func(next airside.Handler) airside.Handler {
		return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) { return p.handle(next, x) })
	}, nil
}

type policy struct {
	table    *table
	rate     rate
	perShard int // keys in a shard of the table
	by       *expr.Program
	refusal  string // what the client is told, up to the time to wait

	advertised string // the value of RateLimit-Policy
	item       string // the value of RateLimit, up to the number that remains
}

func (p *policy) handle(next airside.Handler, x *airside.Exchange) (*http.Response, error) {
	k, err := p.key(x)
	if err != nil {
		return nil, err
	}
	if v := p.table.take(k, &p.rate, p.perShard); !v.ok {
		e := airside.Errorf(airside.RateLimited, "%s; try again in %d s", p.refusal, seconds(v.wait))
		e.RetryAfter = v.wait
		e.Header = http.Header{}
		p.mark(e.Header, v)
		return nil, e
	}
	resp, err := next.Handle(x)
	v := p.table.look(k, &p.rate) // the answer may have taken long
	if err != nil {
		return nil, p.markError(err, v)
	}
	if resp.Header == nil {
		resp.Header = http.Header{}
	}
	p.mark(resp.Header, v)
	return resp, nil
}

// The names of the fields, canonical as [http.Header] wants them.
const (
	policyField = "Ratelimit-Policy"
	limitField  = "Ratelimit"
)

// name prepares the fields: all of RateLimit-Policy and the beginning of RateLimit.
func (p *policy) name(where string, c Config) {
	name := quote(strings.TrimPrefix(where, "policies."))
	p.item = name + ";r="
	p.advertised = name + ";q=" + strconv.Itoa(c.Limit) + ";w=" + strconv.Itoa(int(c.Per/time.Second))
	if p.rate.burst != uint64(c.Limit) { //nolint:gosec // validated
		p.advertised += ";airside-burst=" + strconv.FormatUint(p.rate.burst, 10)
	}
}

// quote writes s as a string of RFC 9651 section 3.3.3, which is ASCII only.
func quote(s string) string {
	b := []byte{'"'}
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r > '~':
			b = append(b, '?')
		default:
			b = append(b, byte(r))
		}
	}
	return string(append(b, '"'))
}

// mark appends to the fields of h.
func (p *policy) mark(h http.Header, v verdict) {
	var buf [96]byte
	b := append(buf[:0], p.item...)
	b = strconv.AppendUint(b, v.remaining, 10)
	if v.wait > 0 {
		b = append(b, ";t="...)
		b = strconv.AppendInt(b, seconds(v.wait), 10)
	}
	old, beside := h[policyField], h[limitField]
	if len(old)+len(beside) == 0 { // no other policy has marked it
		lines := &[2]string{p.advertised, string(b)}
		h[policyField], h[limitField] = lines[:1:1], lines[1:]
		return
	}
	h[policyField] = append(slices.Clip(old), p.advertised)
	h[limitField] = append(slices.Clip(beside), string(b))
}

// markError marks a copy: an error may be shared by exchanges.
func (p *policy) markError(err error, v verdict) error {
	found := airside.AsError(err)
	e := *found
	if e.Header = found.Header.Clone(); e.Header == nil {
		e.Header = http.Header{}
	}
	if err != error(found) { //nolint:errorlint // asks whether the error was wrapped, to keep what it was wrapped in
		e.Err = err
	}
	p.mark(e.Header, v)
	return &e
}

// seconds rounds up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// words writes 1h for 1h0m0s.
func words(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// newRate computes the numbers of c, which must be within the bounds that
// [Config.Validate] sets; a window beyond them is returned as the largest there is.
func newRate(c Config) rate {
	if c.Burst == 0 {
		c.Burst = c.Limit
	}
	limit, per, burst := uint64(c.Limit), uint64(c.Per), uint64(c.Burst) //nolint:gosec // validated
	r := rate{limit: limit, per: per, burst: burst}
	r.step, r.stepPart = int64(per/limit), per%limit //nolint:gosec // validated
	hi, lo := bits.Mul64(burst, per)
	if hi >= limit {
		r.window = 1<<63 - 1
		return r
	}
	window, part := bits.Div64(hi, lo, limit)
	r.window, r.windowPart = int64(min(window, 1<<63-1)), part
	return r
}
