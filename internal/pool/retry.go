package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/expr"
)

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
	// answer, or between that and its first byte, which is awaited for it where the answer
	// is no stream of events. "timeout": the answer did not begin in time. A status: the agent
	// answered it ("5xx" is every status from 500 on). The default is connect,
	// reset, 502, 503 and 504.
	On []Reason `yaml:"on,single" enum:"connect,reset,timeout,429,500,502,503,504,5xx"`

	// When is a condition in CEL that makes a request be sent again, beside what on lists,
	// such as 'response.status == 409 && "x-again" in response.headers'. It sees request,
	// call and caller, response (status, a number, and headers) and error (code, such as
	// "timeout", and kind: "connect", "reset", "timeout", "unavailable" or "malformed"); of the
	// last two one is empty. What a client did wrong makes no request be sent again.
	When string `yaml:"when"`

	// PerTry bounds each try of a request that may be sent again, from its beginning to
	// the first byte of an answer, so that a slow endpoint leaves time for another. A try
	// that is given up so is followed by the next, whether on lists "timeout" or not. The
	// default is 0: only the time-outs of the upstream bound it.
	PerTry time.Duration `yaml:"per_try"`

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
	if _, err := r.condition(); r.When != "" && err != nil {
		wrong(true, "when", "%w", err)
	}
	wrong(r.PerTry < 0, "per_try", "must not be negative")
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
	t := newRetrier(r, random)
	return func(next airside.Handler) airside.Handler {
		return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) { return t.handle(x, next, time.Time{}) })
	}
}

// A retrier is a Retry at work.
type retrier struct {
	Retry
	when   *expr.Program // nil: none
	peeks  bool          // an answer that breaks off before its first byte is another try's
	budget *budget
	random func() float64

	retries, denied atomic.Uint64 // tries beyond the first, and those that the budget did not allow
}

func newRetrier(r *Retry, random func() float64) *retrier {
	if random == nil {
		random = rand.Float64
	}
	t := &retrier{Retry: *r, budget: newBudget(r.Budget, budgetFloor), random: random}
	t.peeks = slices.Contains(r.On, OnReset) || r.PerTry > 0
	if r.When != "" {
		t.when, _ = r.condition() // Validate has said what is wrong with it
	}
	return t
}

// condition compiles When.
func (r *Retry) condition() (*expr.Program, error) {
	return expr.Compile(r.When, expr.Bool, expr.At("the setting when of retry"), expr.WithAnswer())
}

// handle asks next as often as it needs and may. No try begins after end, if that is not
// zero.
func (r *retrier) handle(x *airside.Exchange, next airside.Handler, end time.Time) (*http.Response, error) {
	r.budget.request()
	x.KeepBody(int(r.Body))
	x.Request = x.Request.WithContext(context.WithValue(x.Context(), triedKey{}, &tried{}))
	first, restore := x.Request, x.Save()
	may := r.Repeat.Allows(first, nil)
	for try := 1; ; try++ {
		resp, err := r.once(x, next, may)
		pause, again := r.again(x, first, try, end, resp, err)
		if !again {
			return resp, err
		}
		if !restore() {
			r.budget.giveBack()
			return resp, err
		}
		r.retries.Add(1)
		x.Failures = append(x.Failures, Failed(x.Upstream, resp, err))
		x.Trace.Event("retry", slog.Int("airside.try", try+1), slog.Int64("airside.pause_ms", pause.Milliseconds()))
		if resp != nil {
			_ = resp.Body.Close() // nobody wants it
		}
		if err := sleep(first.Context(), pause); err != nil {
			return nil, err
		}
	}
}

// once makes one try. If another may follow, it is bounded by PerTry, and an answer that
// fails before its first byte is a failure of the try.
func (r *retrier) once(x *airside.Exchange, next airside.Handler, may bool) (*http.Response, error) {
	if !may || r.PerTry <= 0 {
		resp, err := next.Handle(x)
		return r.begun(x.Request, may, resp, err)
	}
	late := (&failure{kind: tryTimeout, sent: true, after: r.PerTry}).phrase()
	parent := x.Context()
	ctx, cancel := context.WithCancelCause(endingAt(parent, time.Now().Add(r.PerTry)))
	x.OnDone(func(airside.Outcome) { cancel(errOver) })
	timer := time.AfterFunc(r.PerTry, func() { cancel(late) })
	x.Request = x.Request.WithContext(ctx)
	resp, err := next.Handle(x)
	resp, err = r.begun(x.Request, may, resp, err)
	x.Request = x.Request.WithContext(parent)
	if timer.Stop() {
		return resp, err
	}
	if resp != nil { // it has been cancelled, or will be at this moment
		_ = resp.Body.Close()
	}
	if err := ended(parent); err != nil {
		return nil, err
	}
	return nil, late
}

// begun awaits the first byte of an answer that may be given up for another.
func (r *retrier) begun(req *http.Request, may bool, resp *http.Response, err error) (*http.Response, error) {
	if err != nil || !may || !r.peeks || !peekable(req, resp) {
		return resp, err
	}
	if err := peek(resp); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
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
func (r *retrier) again(x *airside.Exchange, first *http.Request, try int, end time.Time, resp *http.Response, err error) (time.Duration, bool) {
	if try == r.Attempts || !r.wants(x, resp, err) || !r.Repeat.Allows(first, err) {
		return 0, false
	}
	pause, ok := r.pause(try, resp, err)
	if !ok || !timeFor(first.Context(), end, pause) {
		return 0, false
	}
	if !r.budget.take() {
		r.denied.Add(1)
		return 0, false
	}
	return pause, true
}

// wants reports whether the outcome is one of those listed, or meets the condition.
func (r *retrier) wants(x *airside.Exchange, resp *http.Response, err error) bool {
	if err == nil {
		s := resp.StatusCode
		if slices.Contains(r.On, Reason(strconv.Itoa(s))) || s >= 500 && s <= 599 && slices.Contains(r.On, On5xx) {
			return true
		}
		return s != http.StatusSwitchingProtocols && r.meets(x, expr.Answer{Status: s, Header: resp.Header})
	}
	if OutOfTime(err) {
		return false
	}
	if reason := reasonOf(err); reason != "" && slices.Contains(r.On, reason) || asked(err) {
		return true
	}
	switch code := airside.AsError(err).Code; code {
	case airside.UpstreamFailed, airside.Timeout, airside.Unavailable:
		return r.meets(x, expr.Answer{Code: string(code), Kind: kindOf(err)})
	default: // not the agent's
		return false
	}
}

// meets reports whether an outcome meets the condition. One that cannot be evaluated is
// not met.
func (r *retrier) meets(x *airside.Exchange, a expr.Answer) bool {
	if r.when == nil {
		return false
	}
	met, err := r.when.BoolAfter(x, a)
	if err != nil {
		x.Failures = append(x.Failures, err)
	}
	return met && err == nil
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

// timeFor reports whether ctx, and end if it is not zero, leave time for the pause.
func timeFor(ctx context.Context, end time.Time, pause time.Duration) bool {
	if ctx.Err() != nil || !end.IsZero() && time.Until(end) <= pause {
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
