package pool

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool/health"
)

// longWait is for how long an agent must have been awaited, when the time that a route
// allows is over, for that to count against the endpoint: a try that was begun late says
// nothing.
const longWait = 250 * time.Millisecond

// errAsked marks the end of the time that a client asked for. It says nothing about the
// agent: any client could call any endpoint slow.
var errAsked = errors.New("pool: the client asked for no more time")

// enter takes a place at an endpoint, in its pool and as to its health.
func (p *Pool) enter(x *airside.Exchange) (*member, health.Ticket, error) {
	for {
		m, err := p.choose(x)
		if err != nil || m.wellness == nil {
			return m, 0, err
		}
		if ticket, ok := m.wellness.Begin(); ok {
			return m, ticket, nil
		}
		// Somebody else was faster to try it: it is not usable any more.
		m.release()
		p.queue.freed()
		if tried, _ := triedOf(x.Context()); tried != nil {
			tried.remove(m.Endpoint)
		}
	}
}

// settle tells the health of the endpoint how the try ended. Only the first time counts.
func (t *try) settle(r health.Result) {
	if t.wellness == nil || t.settled {
		return
	}
	t.settled = true
	t.wellness.Done(t.ticket, r)
}

// headed settles a try by the head of its answer, if that is enough: it is an error, an
// endpoint was tried, or there is no end that could be waited for.
func (t *try) headed(resp *http.Response) {
	if t.wellness == nil {
		return
	}
	status := resp.StatusCode
	if status != http.StatusTooManyRequests && status < 500 {
		if t.ticket.Trial() || status == http.StatusSwitchingProtocols {
			t.settle(health.Result{Kind: health.OK})
		}
		return
	}
	t.settle(health.Result{Kind: health.Answered, Status: status, Orderly: len(resp.Header["Retry-After"]) > 0})
}

// whole settles a try whose answer came to its end.
func (t *try) whole() { t.settle(health.Result{Kind: health.OK}) }

// blame settles a try that failed by f, which was not the client's fault, and returns
// what the client is told.
func (t *try) blame(f *failure) *airside.Error {
	if t.wellness != nil && !t.settled {
		t.settle(health.Result{Kind: t.culprit(f), Why: f.message()})
	}
	return f.phrase()
}

// culprit says what a failure says about the endpoint.
func (t *try) culprit(f *failure) health.Kind {
	switch f.kind {
	case noName, refused, unreachable, connectTimeout, certificate, handshake, handshakeTimeout, noHTTP2:
		return health.Connect
	case broke, malformed, headTooLarge, unasked, cut:
		return health.Reset
	case firstByteTimeout, eventTimeout, idleTimeout:
		return health.Timeout
	case totalTimeout:
		if 2*f.mute >= f.after { // it was mostly one silence of the agent that took the time
			return health.Timeout
		}
	default: // of the gateway's own
	}
	return health.Neutral
}

// overdue settles a try that the end of the exchange's context ended. It counts only if
// that is the time which the route allows, and if it was the agent that was awaited.
func (t *try) overdue(err error) {
	if t.wellness == nil || t.settled {
		return
	}
	e, ok := errors.AsType[*airside.Error](err)
	if !ok || e.Code != airside.Timeout || errors.Is(err, errAsked) {
		return
	}
	long := longWait
	if f, ok := errors.AsType[*failure](err); ok && f.kind == tryTimeout {
		long = min(long, f.after/2)
	}
	if t.watch.mute() >= long {
		t.settle(health.Result{Kind: health.Timeout, Why: "the agent did not answer in the time that the route allows"})
	}
}

// mute is for how long the agent has been awaited; 0 if it is the client that is.
func (w *watch) mute() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.muteLocked(w.since())
}

func (w *watch) muteLocked(now time.Duration) time.Duration {
	since := w.head.Load()
	if w.headed {
		since = w.body.Load()
	}
	if since == 0 {
		return 0
	}
	return now - time.Duration(since)
}

// shut reports whether no member of f may be asked, for the sake of health.
func (p *Pool) shut(f *fleet) bool {
	return p.health != nil && !slices.ContainsFunc(f.members, p.usable)
}

// bind gives the members of f their states, and those of old theirs back.
func (p *Pool) bind(f, old *fleet) {
	if p.health == nil || p.retired {
		return
	}
	for _, m := range f.members {
		m.wellness = p.health.Use(m.address)
		m.wellness.Bind(m.stats)
	}
	if old == nil {
		return
	}
	for _, m := range old.members {
		p.health.Leave(m.wellness)
	}
}

// Retire says that p is used no more: the health of its endpoints is looked after no
// longer on its account. It comes before the group of Settings.Health is closed.
func (p *Pool) Retire() {
	p.setting.Lock()
	defer p.setting.Unlock()
	if f := p.fleet.Load(); f != nil && p.health != nil && !p.retired {
		p.retired = true
		for _, m := range f.members {
			p.health.Leave(m.wellness)
		}
	}
}

// state puts into e how the health of m stands, if it is not well.
func (m *member) state(e *EndpointSnapshot) {
	if m.wellness == nil {
		return
	}
	if s := m.wellness.Status(); s.State != health.StateHealthy {
		e.State, e.Why, e.Since = s.State, s.Why, s.Since
	} else if e.State == StateHealthy {
		e.Since = s.Since
	}
}
