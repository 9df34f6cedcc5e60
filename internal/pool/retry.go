package pool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/airside-gateway/airside"
)

// A Reason makes a request be sent again: a kind of failure, or a status that the
// agent answered. In the file a status may be written as a number.
type Reason string

// The reasons.
const (
	OnConnect Reason = "connect" // no connection came about
	OnReset   Reason = "reset"   // the connection broke before the head of the answer
	OnTimeout Reason = "timeout" // the answer did not begin in time
	On429     Reason = "429"
	On500     Reason = "500"
	On502     Reason = "502"
	On503     Reason = "503"
	On504     Reason = "504"
	On5xx     Reason = "5xx" // every status from 500 to 599
)

var reasons = [...]Reason{OnConnect, OnReset, OnTimeout, On429, On500, On502, On503, On504, On5xx}

// UnmarshalText takes one of the reasons and refuses everything else.
func (r *Reason) UnmarshalText(text []byte) error {
	if !slices.Contains(reasons[:], Reason(text)) {
		return errReason
	}
	*r = Reason(text)
	return nil
}

var errReason = errors.New("expected one of connect, reset, timeout, 429, 500, 502, 503, 504, 5xx")

// Retry says when a request is sent again. It is what the setting retry of an
// upstream and the policy retry are made of.
//
// A request is sent again only while nothing of an answer has been passed on to
// the client, and only if it may be: its method is GET, HEAD, OPTIONS, PUT, DELETE
// or TRACE, it carries an Idempotency-Key, it is certain that no byte of it
// reached the agent; or repeat says so. Where an upstream has several endpoints, the next try goes to
// one that has not been tried.
type Retry struct {
	// Attempts is how many times a request is sent at most, the first time
	// included: 1 to 10. The default is 3.
	Attempts int `yaml:"attempts"`

	// On lists what makes a request be sent again. "connect": no connection to the
	// agent came about. "reset": the connection broke before the head of the
	// answer. "timeout": the answer did not begin in time. A status: the agent
	// answered it ("5xx" is every status from 500 on). The default is connect,
	// reset, 502, 503 and 504.
	On []Reason `yaml:"on,single" enum:"connect,reset,timeout,429,500,502,503,504,5xx"`

	// Backoff is the longest pause before the second try. It doubles with every
	// further try; each pause is drawn at random between nothing and that (full
	// jitter). The default is 25ms.
	Backoff time.Duration `yaml:"backoff"`

	// MaxBackoff is what the pauses do not grow beyond. The default is 1s.
	MaxBackoff time.Duration `yaml:"max_backoff"`

	// MaxWait is the longest Retry-After of an agent that is waited for, in the
	// place of the pause. An answer that asks for more is passed on. The default is
	// 5s.
	MaxWait time.Duration `yaml:"max_wait"`

	// Budget is the share of the requests of the last ten seconds that may be
	// retries: 0 to 1. Ten retries a second are always allowed. The default is 0.2.
	Budget float64 `yaml:"budget"`

	// Repeat says which requests may be sent again though an earlier try may have been
	// acted on. "safe", the default: those that may be repeated, see above. "any": all
	// of them, a POST without an Idempotency-Key too: what it asks for may happen
	// twice.
	Repeat Repeat `yaml:"repeat" enum:"safe,any"`

	// Body is how much of a request body is kept so that it can be sent again, at
	// most 16MiB. Of a longer one nothing is kept, and it is not sent again once
	// it was read beyond that. The default is 64KiB.
	Body airside.Size `yaml:"body"`
}

// Repeat says which requests may be sent again though an agent may have acted on them
// already.
type Repeat string

// The two there are. The empty Repeat is RepeatSafe.
const (
	RepeatSafe Repeat = "safe" // those that may be repeated, see [Repeatable]
	RepeatAny  Repeat = "any"  // all: what they ask for may happen twice
)

// Allows reports whether a request may be sent again, to the same agent or another,
// after a try that gave an answer or err: if r says so, if the request may be
// repeated, or if it is certain that nothing of it was sent.
func (r Repeat) Allows(req *http.Request, err error) bool {
	return r == RepeatAny || Repeatable(req) || NothingSent(err)
}

// Bounds of the settings of a [Retry].
const (
	maxAttempts = 10
	maxKept     = 16 << 20
)

// Defaults sets every field to its default.
func (r *Retry) Defaults() {
	*r = Retry{
		Attempts: 3,
		On:       []Reason{OnConnect, OnReset, On502, On503, On504},
		Backoff:  25 * time.Millisecond, MaxBackoff: time.Second, MaxWait: 5 * time.Second,
		Budget: 0.2,
		Repeat: RepeatSafe,
		Body:   64 << 10,
	}
}

// Validate says what is wrong with the fields, each as an [airside.FieldError].
func (r *Retry) Validate() error {
	var errs []error
	wrong := func(bad bool, field, format string, args ...any) {
		if bad {
			errs = append(errs, airside.FieldErrorf(field, format, args...))
		}
	}
	wrong(r.Attempts < 1 || r.Attempts > maxAttempts, "attempts", "must be 1 to %d", maxAttempts)
	wrong(r.Backoff < 0, "backoff", "must not be negative")
	wrong(r.MaxBackoff < r.Backoff, "max_backoff", "must not be less than backoff, %s", r.Backoff)
	wrong(r.MaxWait < 0, "max_wait", "must not be negative")
	wrong(!(r.Budget >= 0 && r.Budget <= 1), "budget", "is a share: 0 to 1")
	wrong(r.Repeat != "" && r.Repeat != RepeatSafe && r.Repeat != RepeatAny, "repeat", "expected safe or any")
	wrong(r.Body < 0 || r.Body > maxKept, "body", "must be at most %s", airside.Size(maxKept))
	return errors.Join(errs...)
}

// Middleware returns a middleware that sends requests again as r says. The
// settings must be valid. All exchanges that go through one middleware share its
// budget. Random yields numbers in [0, 1); nil means those of math/rand.
func (r *Retry) Middleware(random func() float64) airside.Middleware {
	if random == nil {
		random = rand.Float64
	}
	t := &retrier{Retry: *r, budget: newBudget(r.Budget), random: random}
	return func(next airside.Handler) airside.Handler {
		return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) { return t.handle(x, next) })
	}
}

// A retrier is a Retry at work.
type retrier struct {
	Retry
	budget *budget
	random func() float64
}

func (r *retrier) handle(x *airside.Exchange, next airside.Handler) (*http.Response, error) {
	r.budget.request()
	x.KeepBody(int(r.Body))
	x.Request = x.Request.WithContext(context.WithValue(x.Context(), triedKey{}, &tried{}))
	first, restore := x.Request, x.Save()
	for try := 1; ; try++ {
		resp, err := next.Handle(x)
		pause, again := r.again(first, try, resp, err)
		if !again {
			return resp, err
		}
		if !restore() {
			r.budget.giveBack()
			return resp, err
		}
		x.Failures = append(x.Failures, Failed(x.Upstream, resp, err))
		if resp != nil {
			_ = resp.Body.Close() // nobody wants it
		}
		if err := sleep(first.Context(), pause); err != nil {
			return nil, err
		}
	}
}

// Failed says of an upstream what made another try needed: an error, or a status.
func Failed(upstream string, resp *http.Response, err error) error {
	if err == nil {
		err = fmt.Errorf("answered %d", resp.StatusCode)
	}
	return fmt.Errorf("%s: %w", upstream, err)
}

// again decides whether what a try of the request gave makes another, and after which
// pause. If it says so, the budget has been charged.
func (r *retrier) again(first *http.Request, try int, resp *http.Response, err error) (time.Duration, bool) {
	if try == r.Attempts || !r.wants(resp, err) || !r.Repeat.Allows(first, err) {
		return 0, false
	}
	pause, ok := r.pause(try, resp, err)
	if !ok || !timeFor(first.Context(), pause) {
		return 0, false
	}
	return pause, r.budget.take()
}

// wants reports whether the outcome is one of those listed.
func (r *retrier) wants(resp *http.Response, err error) bool {
	if err == nil {
		s := resp.StatusCode
		return slices.Contains(r.On, Reason(strconv.Itoa(s))) || s >= 500 && s <= 599 && slices.Contains(r.On, On5xx)
	}
	reason := reasonOf(err)
	return reason != "" && slices.Contains(r.On, reason)
}

// reasonOf sorts an error. Those that are not a failure of a pool come from
// upstreams that do not tell as much.
func reasonOf(err error) Reason {
	f, ok := errors.AsType[*failure](err)
	if !ok {
		switch airside.AsError(err).Code {
		case airside.UpstreamFailed:
			return OnReset
		case airside.Timeout:
			return OnTimeout
		}
		return ""
	}
	switch f.kind {
	case noName, refused, unreachable, connectTimeout, certificate, handshake, handshakeTimeout, noHTTP2:
		return OnConnect
	case broke:
		return OnReset
	case firstByteTimeout:
		return OnTimeout
	}
	return ""
}

// pause is how long to wait after the given try: what the agent asked for, or the
// jittered back-off. It says no if the agent asked for more than is waited for.
func (r *retrier) pause(try int, resp *http.Response, err error) (time.Duration, bool) {
	if asked := retryAfter(resp, err); asked > 0 {
		return asked, asked <= r.MaxWait
	}
	d := r.MaxBackoff
	if doubled := r.Backoff << (try - 1); doubled>>(try-1) == r.Backoff { // or it would overflow
		d = min(d, doubled)
	}
	return time.Duration(r.random() * float64(d)), true
}

// retryAfter reads when the agent wants to be asked again, RFC 9110 section
// 10.2.3: seconds, or a date. 0 if it does not say.
func retryAfter(resp *http.Response, err error) time.Duration {
	if err != nil {
		return airside.AsError(err).RetryAfter
	}
	v := resp.Header.Get("Retry-After")
	if v == "" {
		return 0
	}
	if s, err := strconv.ParseInt(v, 10, 32); err == nil {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return time.Until(at)
	}
	return 0
}

// timeFor reports whether ctx leaves time for the pause.
func timeFor(ctx context.Context, pause time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) > pause
}

// sleep waits, or returns how ctx ended meanwhile.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

// tried is what the tries of one exchange have in common: the endpoints that were
// asked already. It travels in the context of the request.
type tried struct{ endpoints []*Endpoint }

type triedKey struct{}

func (t *tried) has(e *Endpoint) bool { return slices.Contains(t.endpoints, e) }

func triedOf(ctx context.Context) *tried {
	t, _ := ctx.Value(triedKey{}).(*tried) // nil without a retry
	return t
}
