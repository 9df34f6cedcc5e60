package pool

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside"
)

// Hedge says when a request is sent to a second endpoint while the first is awaited. The
// first head of an answer that is no failure (500 to 599, or 429) is taken, and the other
// try is given up. It makes the slowest answers faster, and costs the agents a few
// requests more.
//
// Only such requests are sent twice as may be repeated: see [Retry]. Their body must be
// of a known length of at most 64KiB; it is awaited whole before the first try begins.
type Hedge struct {
	// After is how long the first endpoint may take before another is asked as well: a
	// time, such as 200ms, or a percentile of the latest one or two thousand times that
	// the agent took to the head of its answer, such as p95 (p50 to p99, or p99.9). As
	// long as fewer than 64 are known, no second request is sent.
	After string `yaml:"after,required"`

	// Max is how many requests are sent beside the first at most, each when another
	// "after" has passed: 1 to 3. The default is 1.
	Max int `yaml:"max"`

	// Budget is the share of the requests of the last ten seconds that may be sent beside
	// the first: more than 0, at most 1. The default is 0.1.
	Budget float64 `yaml:"budget"`

	// Repeat says which requests may be sent twice. "safe", the default: those that may be
	// repeated. "any": all of them, a POST without an Idempotency-Key too: what it asks for
	// may happen twice.
	Repeat Repeat `yaml:"repeat" enum:"safe,any"`
}

const (
	maxHedges = 3
	hedgeBody = 64 << 10
)

// Defaults sets every field to its default, but After, which has none.
func (h *Hedge) Defaults() { *h = Hedge{Max: 1, Budget: 0.1, Repeat: RepeatSafe} }

// Validate says what is wrong with the fields, each as an [airside.FieldError].
func (h *Hedge) Validate() error {
	var errs []error
	wrong := func(bad bool, field, format string, args ...any) {
		if bad {
			errs = append(errs, airside.FieldErrorf(field, format, args...))
		}
	}
	_, _, ok := parseAfter(h.After)
	wrong(!ok, "after", "must be a time that is more than 0, such as 200ms, or a percentile, such as p95")
	wrong(h.Max < 1 || h.Max > maxHedges, "max", "must be 1 to %d", maxHedges)
	wrong(!(h.Budget > 0 && h.Budget <= 1), "budget", "is a share: more than 0, at most 1")
	wrong(h.Repeat != "" && h.Repeat != RepeatSafe && h.Repeat != RepeatAny, "repeat", "expected safe or any")
	return errors.Join(errs...)
}

// parseAfter reads a time, or a percentile as a share.
func parseAfter(s string) (after time.Duration, share float64, ok bool) {
	if p, isShare := strings.CutPrefix(s, "p"); isShare {
		f, err := strconv.ParseFloat(p, 64)
		return 0, f / 100, err == nil && f >= 50 && f <= 99.9
	}
	d, err := time.ParseDuration(s)
	return d, 0, err == nil && d > 0
}

// A hedger is a Hedge at work.
type hedger struct {
	Hedge
	after   time.Duration // or
	learned *quantile
	budget  *budget

	sent, won atomic.Uint64 // requests beside the first, and those whose answer was taken
}

func newHedger(h *Hedge) *hedger {
	g := &hedger{Hedge: *h, budget: newBudget(h.Budget, 0)}
	var share float64
	if g.after, share, _ = parseAfter(h.After); share > 0 {
		g.learned = &quantile{share: share}
	}
	return g
}

// delay is how long the first try may take; 0 if that is not known yet.
func (g *hedger) delay() time.Duration {
	if g.learned != nil {
		return g.learned.value()
	}
	return g.after
}

// may reports whether a request may be sent twice.
func (g *hedger) may(r *http.Request) bool {
	return g.Repeat.Allows(r, nil) && len(r.Header["Upgrade"]) == 0 && len(r.Trailer) == 0 && len(r.Header["Expect"]) == 0 &&
		(r.Body == nil || r.Body == http.NoBody || r.ContentLength >= 0 && r.ContentLength <= hedgeBody)
}

// handle asks by ask, and elsewhere too if that takes long.
func (g *hedger) handle(x *airside.Exchange, ask func(*airside.Exchange) (*http.Response, error)) (*http.Response, error) {
	if !g.may(x.Request) {
		return ask(x)
	}
	g.budget.request()
	var body []byte
	if b := x.Request.Body; b != nil && b != http.NoBody && x.Request.ContentLength > 0 {
		var err error
		if body, err = x.ReadBody(hedgeBody); err != nil {
			return ask(x) // which finds out whose fault it is
		}
	}
	begin, first := time.Now(), true
	var resp *http.Response
	var err error
	if d := g.delay(); d > 0 {
		r := &race{hedger: g, ask: ask, x: x, request: x.Request, body: body, moved: make(chan struct{}, 1)}
		first, resp, err = r.run(d)
	} else {
		resp, err = ask(x)
	}
	if g.learned != nil && (err == nil || !first) { // of who was overtaken it is known that he takes longer
		g.learned.add(time.Since(begin))
	}
	return resp, err
}

// A race is one request, sent to one endpoint and, after a while, to others. The first
// try is made by the goroutine of the exchange, and is the only one that knows the
// exchange. Each of the others has an exchange of its own.
type race struct {
	*hedger
	ask     func(*airside.Exchange) (*http.Response, error)
	x       *airside.Exchange // of the first try
	request *http.Request     // its request, which is not changed while the race is on
	body    []byte
	moved   chan struct{} // has room for one: something has changed
	stop    context.CancelCauseFunc
	tried   *tried

	running sync.WaitGroup // goroutines of others

	mu     sync.Mutex // guards what follows
	timer  *time.Timer
	others []*other
	under  int // of others, how many are under way
	over   bool
	winner *other // nil: the first, or not known
	spare  *other // has ended with an answer that is a failure
}

// An other is a try beside the first.
type other struct {
	x      *airside.Exchange
	cancel context.CancelCauseFunc
	resp   *http.Response
}

// errOvertaken is why a try is given up whose answer is not needed any more. It is like
// that of a client which has left: it says nothing about the agent.
var errOvertaken = &airside.Error{Code: airside.Canceled, Err: errors.New("pool: another endpoint was faster")}

// run races: others are asked after d. First says that what it returns came of the first
// try.
func (r *race) run(d time.Duration) (first bool, resp *http.Response, err error) {
	x := r.x
	ctx := x.Context()
	if r.tried, _ = triedOf(ctx); r.tried == nil {
		r.tried = &tried{}
		ctx = context.WithValue(ctx, triedKey{}, r.tried)
	}
	r.request = r.request.WithContext(ctx)
	ctx, r.stop = context.WithCancelCause(ctx)
	outer := x.Request
	x.Request = outer.WithContext(ctx)
	defer x.AfterDone(r)
	r.mu.Lock()
	r.timer = time.AfterFunc(d, r.send)
	r.mu.Unlock()
	resp, err = r.ask(x)
	x.Request = outer
	return r.settle(resp, err)
}

// send asks another endpoint, and passes what comes of it to who waits. It is called by
// the timer, in a goroutine of its own.
func (r *race) send() {
	o := r.begin()
	if o == nil {
		return
	}
	defer r.running.Done()
	resp, err := r.askOther(o)
	if r.ended(o, resp, err) {
		return
	}
	if resp != nil {
		_ = resp.Body.Close() // nobody wants it
	}
	o.finish()
}

// askOther makes a try beside the first. A panic, which the edge sees to in the goroutine of
// the exchange, must not end the gateway here: the try has failed.
func (r *race) askOther(o *other) (resp *http.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			o.x.Log.LogAttrs(o.x.Context(), slog.LevelError, "panic", slog.String("id", o.x.ID),
				slog.Any("value", p), slog.String("stack", string(debug.Stack())))
			resp, err = nil, airside.Errorf(airside.Internal, "")
		}
	}()
	return r.ask(o.x)
}

// begin makes another try, unless it is too late or there is no budget.
func (r *race) begin() *other {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || !r.budget.take() {
		return nil
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(r.request.Context(), triedKey{}, elsewhere{r.tried}))
	req := r.request.Clone(ctx)
	req.Body = nil
	o := &other{x: r.like(req), cancel: cancel}
	r.others = append(r.others, o)
	r.under++
	r.running.Add(1)
	if len(r.others) < r.Max {
		r.timer.Reset(r.delay())
	}
	return o
}

// like returns an exchange for req that is like that of the first try. What it looks at
// there is not changed while the race is on.
func (r *race) like(req *http.Request) *airside.Exchange {
	x := airside.NewExchange(req, r.x.Log)
	x.ID, x.Client, x.Route, x.Upstream = r.x.ID, r.x.Client, r.x.Route, r.x.Upstream
	x.Protocol, x.Call, x.Caller, x.Trace = r.x.Protocol, r.x.Call, r.x.Caller, r.x.Trace
	if len(r.body) > 0 {
		x.SetBody(r.body)
	}
	return x
}

// ended notes what another try has come to, and reports whether its answer is kept.
func (r *race) ended(o *other, resp *http.Response, err error) (kept bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.under--
	if NothingSent(err) {
		r.budget.giveBack()
	} else {
		r.sent.Add(1)
	}
	switch {
	case r.over:
	case settles(resp, err):
		o.resp, r.winner, kept = resp, o, true
		r.finishLocked(o)
		r.stop(errOvertaken)
	case err == nil && r.spare == nil:
		o.resp, r.spare, kept = resp, o, true
	}
	select {
	case r.moved <- struct{}{}:
	default:
	}
	return kept
}

// settles reports whether an answer ends a race.
func settles(resp *http.Response, err error) bool {
	return err == nil && resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests
}

// finishLocked ends the race in favor of o, or of the first try if that is nil. It is
// called with mu held.
func (r *race) finishLocked(o *other) {
	r.over = true
	r.timer.Stop()
	for _, loser := range r.others {
		if loser != o {
			loser.cancel(errOvertaken)
		}
	}
}

// settle decides when the first try has ended: it waits for the others if that failed
// and they may do better.
func (r *race) settle(resp *http.Response, err error) (first bool, _ *http.Response, _ error) {
	r.mu.Lock()
	r.timer.Stop() // when the first has failed, another request is for a retry
	for !r.over && !settles(resp, err) && r.under > 0 {
		r.mu.Unlock()
		<-r.moved
		r.mu.Lock()
	}
	if !r.over {
		if err != nil { // a failure that the client can read is better than none
			r.winner, r.spare = r.spare, nil
		}
		r.finishLocked(r.winner)
	}
	o, spare := r.winner, r.spare
	r.spare = nil
	r.mu.Unlock()
	if spare != nil {
		_ = spare.resp.Body.Close() // nobody wants it
		spare.finish()
	}
	if o == nil {
		return true, resp, err
	}
	if resp != nil {
		_ = resp.Body.Close() // it came at the same moment
	}
	r.x.Endpoint = o.x.Endpoint
	r.won.Add(1)
	return false, o.resp, nil
}

// finish ends a try whose answer is closed.
func (o *other) finish() {
	o.cancel(errOver)
	o.x.Finish(airside.Outcome{})
}

// Release waits until everybody has let go, when the exchange is over.
func (r *race) Release() {
	r.mu.Lock()
	if !r.over { // the first try has panicked
		r.finishLocked(nil)
	}
	r.mu.Unlock()
	r.running.Wait()
	r.stop(errOver)
	for _, o := range []*other{r.winner, r.spare} {
		if o != nil {
			_ = o.resp.Body.Close() // it is closed, unless something has panicked
			o.finish()
		}
	}
}
