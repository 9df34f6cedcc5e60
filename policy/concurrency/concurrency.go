// Package concurrency lets only so many exchanges run at once: a number that is
// written, or one that follows how the agent bears up.
//
// Use it in front of an agent that can do a few things at a time, such as a model
// on one GPU, or to keep one caller from taking all places. Others wait in a queue,
// first come first served, or are refused at once.
//
//	policies:
//	  gpu: { concurrency: { max: 8, queue: 50, wait: 5s } }
//	  each: { concurrency: { max: 2, by: caller.id } }
//
//	routes:
//	  - { path: /agent1/*, use: [gpu, each], to: http://127.0.0.1:9001 }
//
// An exchange takes its place when it comes to this policy and keeps it to its
// very end: until the last byte of the answer was sent, also of an event stream or
// of a WebSocket connection. It takes one place only, however often it is tried.
// A client that leaves while it waits leaves the queue.
//
// Without by, all exchanges that come to the policy share its places, on whatever
// route. With by, those for which the expression comes to the same text do; those
// for which it comes to nothing, such as those without a header that it asks for,
// are taken together.
//
// # A limit that finds itself
//
// With adaptive nobody needs to know how much the agent can do. The time until the
// head of an answer is compared with the time that it takes when little is under way:
// as long as it is less than tolerance times that, and the places are in use, there
// are more and more of them; when it is more, there are fewer in proportion. Answers
// of 429 and 503, and answers that do not come in time, make it fewer too. Now and then,
// every second at first and every half minute later, half of the places are given out
// for a moment, to see what an answer takes then: an agent that has become slower or
// faster for good is found out.
//
//	policies:
//	  bearable: { concurrency: { adaptive: { min: 4, max: 200 }, queue: 20, wait: 200ms } }
//
//	routes:
//	  - { path: /agent1/*, use: [bearable], to: http://127.0.0.1:9001 }
//
// # Who comes first
//
// With priority an exchange is high, normal or low, and waits with those of its class.
// A free place goes to the highest class that waits; who was passed over eight times
// comes next nevertheless, so that nobody starves. Where the queue is full, the
// newest of the lowest class makes room for one of a higher class: low is shed first.
//
//	policies:
//	  keys:
//	    apikey:
//	      keys:
//	        ward: { hash: sha256:9b74c9897bac770ffc029102a200c5de3f3d7d2ee6b7a0d1fb2cf0e5e5e8d5c3, claims: { tier: gold } }
//	  fair:
//	    concurrency:
//	      max: 8
//	      queue: 50
//	      wait: 2s
//	      priority: 'caller.claims[?"tier"].orValue("") == "gold" ? "high" : "low"'
//
//	routes:
//	  - { path: /agent1/*, use: [keys, fair], to: http://127.0.0.1:9001 }
//
// With order: newest, who came last is served first. Under a load that lasts, a queue in
// order makes everybody wait for nearly as long as wait, and serves many who have given
// up; this one serves most at once, and lets those go who have waited longest.
//
// # What the client sees
//
// If there is no place, nor one in the queue, or none became free within wait, or the
// place in the queue went to a higher class, the client is refused: without by with 503
// and the code unavailable, with by with 429 and the code rate_limited. Retry-After is
// wait, at least one second.
//
// # Bounds
//
// What is kept grows with the exchanges that run and wait, and with nothing else.
// Places outlive a reload, and so does what adaptive has learned: exchanges that began
// before it still count, and other numbers take effect at once, but for exchanges that
// run already, which are never ended. Another by starts anew.
package concurrency

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/expr"
)

func init() { airside.RegisterPolicy("concurrency", New) }

// Config is the settings of the policy.
type Config struct {
	// Max is how many exchanges run at once: 1 to 1000000. It is needed unless adaptive
	// is written, whose upper bound it is then.
	Max int `yaml:"max"`
	// Adaptive makes the limit follow how long answers take. Write {} for its defaults.
	// It cannot be had with by.
	Adaptive *Adaptive `yaml:"adaptive"`
	// Queue is how many more wait for a place: 0 to 1000000. Default 0.
	Queue int `yaml:"queue"`
	// Wait is the longest that an exchange waits, at most 1h. Default 1s.
	Wait time.Duration `yaml:"wait"`
	// By is a CEL expression: max and queue are for each text that it comes to.
	// Default: for all together.
	By string `yaml:"by"`
	// Priority is high, normal or low, or a CEL expression that comes to one of them, or to
	// a number: above 0 is high, below is low. Whatever it comes to else is normal. It
	// needs a queue. Default: all are normal.
	Priority string `yaml:"priority"`
	// Order says who of a class is served first: oldest, who waited longest, or newest.
	// Default oldest.
	Order string `yaml:"order" enum:"oldest,newest"`
}

const (
	maxCount = 1_000_000
	maxWait  = time.Hour
)

// Defaults fills in what is usually left out.
func (c *Config) Defaults() { c.Wait, c.Order = time.Second, oldest }

// Orders of a queue.
const (
	oldest = "oldest"
	newest = "newest"
)

// Validate refuses settings that cannot work.
func (c *Config) Validate() error {
	var errs []error
	switch {
	case c.Max == 0 && c.Adaptive == nil:
		errs = append(errs, airside.FieldErrorf("max", "is needed, from 1 to %d, unless adaptive is written", maxCount))
	case c.Max < 0 || c.Max > maxCount:
		errs = append(errs, airside.FieldErrorf("max", "must be from 1 to %d", maxCount))
	}
	if c.Queue < 0 || c.Queue > maxCount {
		errs = append(errs, airside.FieldErrorf("queue", "must be from 0 to %d", maxCount))
	}
	if c.Wait <= 0 || c.Wait > maxWait {
		errs = append(errs, airside.FieldErrorf("wait", "must be more than 0 and at most 1h"))
	}
	if c.Adaptive != nil && c.By != "" {
		errs = append(errs, airside.FieldErrorf("by", "cannot be had with adaptive: use two policies, one for the agent and one for each caller"))
	}
	if c.Adaptive != nil && c.Max != 0 && c.Adaptive.Max != 0 {
		errs = append(errs, airside.FieldErrorf("max", "stands in adaptive already"))
	}
	if c.Priority != "" && c.Queue == 0 {
		errs = append(errs, airside.FieldErrorf("priority", "needs a queue: without one nobody waits"))
	}
	return errors.Join(errs...)
}

// New returns the policy.
func New(env *airside.Env, c Config) (airside.Middleware, error) {
	p := &policy{wait: c.Wait, retryAfter: max(c.Wait, time.Second)}
	if c.By != "" {
		by, err := expr.Compile(c.By, expr.String, expr.At(env.Where+" by"))
		if err != nil {
			return nil, &airside.FieldError{Field: "by", Err: err}
		}
		p.by = by
	}
	var err error
	if p.priority, err = newPriority(c.Priority, env.Where); err != nil {
		return nil, &airside.FieldError{Field: "priority", Err: err}
	}
	bounds, err := c.bounds()
	if err != nil {
		return nil, err
	}
	d, err := airside.Keep(env, "concurrency:"+env.Where+":"+c.By, newDesk)
	if err != nil {
		return nil, err
	}
	p.desk = d
	p.rules = rules{order: d.orders.Add(1), max: c.Max, queue: c.Queue, newest: c.Order == newest, adaptive: bounds}
	return func(next airside.Handler) airside.Handler {
		return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
			had, err := p.enter(x)
			if err != nil {
				return nil, err
			}
			if had || bounds == nil {
				return next.Handle(x)
			}
			return p.measured(x, next)
		})
	}, nil
}

type policy struct {
	desk       *desk
	rules      rules
	by         *expr.Program
	priority   priority
	wait       time.Duration
	retryAfter time.Duration
}

// measured has x answered, and the desk learn of it.
func (p *policy) measured(x *airside.Exchange, next airside.Handler) (*http.Response, error) {
	began := time.Now()
	resp, err := next.Handle(x)
	now := time.Now()
	switch v := judge(resp, err); v {
	case told, overloaded:
		p.desk.learn(sample{began: began, ended: now, overloaded: v == overloaded})
	case nothing:
	}
	return resp, err
}

// enter takes a place for x, which gives it back when x is done. It reports whether x
// had one already.
func (p *policy) enter(x *airside.Exchange) (had bool, err error) {
	key, err := p.key(x)
	if err != nil {
		return false, err
	}
	c, err := p.priority.of(x)
	if err != nil {
		return false, err
	}
	w, state := p.desk.ask(x, key, c, p.rules)
	switch state {
	case there:
		return true, nil
	case refused:
		return false, p.refusal()
	case waiting:
		if err := p.await(x, w); err != nil {
			return false, err
		}
	case entered:
	}
	x.OnDone(func(airside.Outcome) { p.desk.leave(x) })
	return false, nil
}

func (p *policy) await(x *airside.Exchange, w *waiter) error {
	timer := time.NewTimer(p.wait)
	defer timer.Stop()
	ctx := x.Context()
	select {
	case <-w.called:
		if w.evicted {
			return p.refusal()
		}
		return nil
	case <-ctx.Done():
		if !p.desk.giveUp(w) {
			p.desk.leave(x)
		}
		return fmt.Errorf("waiting for a place: %w", context.Cause(ctx))
	case <-timer.C:
		if !p.desk.giveUp(w) && !w.evicted {
			return nil // called at the last moment
		}
		return p.refusal()
	}
}

func (p *policy) refusal() error {
	var e *airside.Error
	switch {
	case p.by != nil:
		e = airside.Errorf(airside.RateLimited, "the limit of %d requests at once is reached; wait for one to end, or try again later", p.rules.max)
	case p.rules.adaptive != nil:
		e = airside.Errorf(airside.Unavailable, "as many requests as can be borne are under way here; try again later")
	default:
		e = airside.Errorf(airside.Unavailable, "the limit of %d requests at once is reached here; try again later", p.rules.max)
	}
	e.RetryAfter = p.retryAfter
	return e
}

// key says with whom x shares its places. An error is the client's fault.
func (p *policy) key(x *airside.Exchange) (string, error) {
	if p.by == nil {
		return "", nil
	}
	text, err := p.by.Text(x)
	if e, ok := errors.AsType[*airside.Error](err); ok {
		return "", e
	}
	return text, nil // empty if it came to nothing
}
