// Package concurrency lets only so many exchanges run at once.
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
// # What the client sees
//
// If there is no place, nor one in the queue, or none became free within wait, the
// client is refused: without by with 503 and the code unavailable, with by with 429
// and the code rate_limited. Retry-After is wait, at least one second.
//
// # Bounds
//
// What is kept grows with the exchanges that run and wait, and with nothing else.
// Places outlive a reload: exchanges that began before it still count, and other
// numbers take effect at once, but for exchanges that run already, which are never
// ended. Another by starts anew.
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
	// Max is how many exchanges run at once: 1 to 1000000.
	Max int `yaml:"max,required"`
	// Queue is how many more wait for a place: 0 to 1000000. Default 0.
	Queue int `yaml:"queue"`
	// Wait is the longest that an exchange waits, at most 1h. Default 1s.
	Wait time.Duration `yaml:"wait"`
	// By is a CEL expression: max and queue are for each text that it comes to.
	// Default: for all together.
	By string `yaml:"by"`
}

const (
	maxCount = 1_000_000
	maxWait  = time.Hour
)

// Defaults fills in what is usually left out.
func (c *Config) Defaults() { c.Wait = time.Second }

// Validate refuses settings that cannot work.
func (c *Config) Validate() error {
	var errs []error
	if c.Max < 1 || c.Max > maxCount {
		errs = append(errs, airside.FieldErrorf("max", "must be from 1 to %d", maxCount))
	}
	if c.Queue < 0 || c.Queue > maxCount {
		errs = append(errs, airside.FieldErrorf("queue", "must be from 0 to %d", maxCount))
	}
	if c.Wait <= 0 || c.Wait > maxWait {
		errs = append(errs, airside.FieldErrorf("wait", "must be more than 0 and at most 1h"))
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
	d, err := airside.Keep(env, "concurrency:"+env.Where+":"+c.By, newDesk)
	if err != nil {
		return nil, err
	}
	p.desk = d
	p.rules = rules{order: d.orders.Add(1), max: c.Max, queue: c.Queue}
	return func(next airside.Handler) airside.Handler {
		return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
			if err := p.enter(x); err != nil {
				return nil, err
			}
			return next.Handle(x)
		})
	}, nil
}

type policy struct {
	desk       *desk
	rules      rules
	by         *expr.Program
	wait       time.Duration
	retryAfter time.Duration
}

// enter takes a place for x, which gives it back when x is done.
func (p *policy) enter(x *airside.Exchange) error {
	key, err := p.key(x)
	if err != nil {
		return err
	}
	w, state := p.desk.ask(x, key, p.rules)
	switch state {
	case there:
		return nil
	case refused:
		return p.refusal()
	case waiting:
		if err := p.await(x, w); err != nil {
			return err
		}
	case entered:
	}
	x.OnDone(func(airside.Outcome) { p.desk.leave(x) })
	return nil
}

func (p *policy) await(x *airside.Exchange, w *waiter) error {
	timer := time.NewTimer(p.wait)
	defer timer.Stop()
	ctx := x.Context()
	select {
	case <-w.called:
		return nil
	case <-ctx.Done():
		if !p.desk.giveUp(w) {
			p.desk.leave(x)
		}
		return fmt.Errorf("waiting for a place: %w", context.Cause(ctx))
	case <-timer.C:
		if !p.desk.giveUp(w) {
			return nil // called at the last moment
		}
		return p.refusal()
	}
}

func (p *policy) refusal() error {
	e := airside.Errorf(airside.Unavailable, "the limit of %d requests at once is reached here; try again later", p.rules.max)
	if p.by != nil {
		e = airside.Errorf(airside.RateLimited, "the limit of %d requests at once is reached; wait for one to end, or try again later", p.rules.max)
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
