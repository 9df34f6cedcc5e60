// Package pool sends exchanges to agents: it chooses an endpoint, sends the
// request, bounds every stage in time, passes the answer on as it comes, and says
// in one way what went wrong.
//
// A [Pool] spreads exchanges over [Endpoint]s, which hold the connections and
// outlive a pool. [Retry] sends a request again where that is safe.
//
// Every failure is an [airside.Error]: 502 (upstream_failed) when an agent cannot
// be reached or breaks off, 504 (timeout) when it takes too long, 503 (unavailable)
// when there is no connection to be had, 499 (canceled) when the client left, and
// what [airside.Exchange.BodyErr] says, before everything else, when the client's
// body is at fault. The message names the stage and nothing of the inside.
package pool

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool/balance"
	"github.com/airside-gateway/airside/internal/pool/health"
)

// Settings are what a [Pool] is made of.
type Settings struct {
	Members []Member // at most MaxMembers; see [Pool.Set] for none
	Limits  Limits

	// Balance says how an endpoint is chosen. The zero value is round robin.
	Balance balance.Settings

	// Key is what balance.Hash goes by: exchanges of the same key go to the same
	// endpoint. It is not asked for another balance.
	Key func(*airside.Exchange) uint64

	// Host is what agents see as the host they were asked for: HostUpstream,
	// HostPreserve, or the host itself.
	Host string

	// Health, if not nil, knows which endpoints are well. See [Pool.Retire].
	Health *health.Group

	// Retry, if not nil, sends requests again. Limits.Total spans all tries.
	Retry *Retry

	// Queue, if not nil, lets exchanges wait while all endpoints have as many as they may.
	Queue *Queue

	// Hedge, if not nil, asks a second endpoint while the first is awaited.
	Hedge *Hedge

	// Tried, if not nil, is told of every try.
	Tried Tried

	// Deadline says how agents are told how much time they have left.
	Deadline Deadline

	// Random yields numbers in [0, 1) for the pauses of Retry; nil means those of
	// math/rand.
	Random func() float64
}

// Which host an agent sees.
const (
	HostUpstream = "upstream" // the one of its address
	HostPreserve = "preserve" // the one that the client asked for
)

// A Pool is a handler that asks agents. It may be used by many goroutines at once.
type Pool struct {
	fleet   atomic.Pointer[fleet]
	balance balance.Settings
	key     func(*airside.Exchange) uint64 // or nil
	limits  Limits
	host    string
	retry   *retrier // or nil
	hedge   *hedger  // or nil
	tells   Deadline
	tries   tries
	tried   Tried         // or nil
	health  *health.Group // or nil

	queue     *queue // or nil
	overflows atomic.Uint64

	setting sync.Mutex  // guards what follows, and is held while the fleet is changed
	left    []*Endpoint // those that may not have ended what they began
	retired bool        // see Retire
}

// New returns a pool. It fails if the settings are out of bounds.
func New(s Settings) (*Pool, error) {
	p := &Pool{limits: s.Limits, host: s.Host, tells: s.Deadline, balance: s.Balance, key: s.Key, tried: s.Tried, health: s.Health}
	if err := p.Set(s.Members); err != nil {
		return nil, err
	}
	if s.Retry != nil {
		p.retry = newRetrier(s.Retry, s.Random)
	}
	if s.Queue != nil {
		p.queue = &queue{Queue: *s.Queue}
	}
	if s.Hedge != nil {
		p.hedge = newHedger(s.Hedge)
	}
	return p, nil
}

// Handle asks an agent. The caller must close the body of the response, and may
// read it while the request body is still being sent; both are safe if it does not.
//
// The body of a 101 (Switching Protocols) is an [io.ReadWriteCloser]. The body of
// any other response ends in io.EOF only if the answer was complete; otherwise in
// an [airside.Error].
func (p *Pool) Handle(x *airside.Exchange) (*http.Response, error) {
	if err := x.CheckBody(); err != nil {
		return nil, err
	}
	if x.Request.Method == http.MethodConnect {
		return nil, airside.Errorf(airside.Unsupported, "this gateway is no tunnel: CONNECT is not supported")
	}
	var end time.Time
	if p.limits.Total > 0 {
		end = time.Now().Add(p.limits.Total)
	}
	p.tells.heed(x)
	if p.retry == nil {
		return p.race(x, end)
	}
	return p.retry.handle(x, airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) { return p.race(x, end) }), end)
}

// race makes one try, and hedges it if it should.
func (p *Pool) race(x *airside.Exchange, end time.Time) (*http.Response, error) {
	if p.hedge == nil {
		return p.ask(x, end)
	}
	return p.hedge.handle(x, func(x *airside.Exchange) (*http.Response, error) { return p.ask(x, end) })
}

// ask makes one try.
func (p *Pool) ask(x *airside.Exchange, end time.Time) (*http.Response, error) {
	m, ticket, err := p.place(x)
	if err != nil {
		return nil, err
	}
	t := p.newTry()
	t.wellness, t.ticket, t.settled = m.wellness, ticket, false
	t.x, t.parent, t.endpoint, t.method = x, x.Context(), m.Endpoint, x.Request.Method
	whole := x.Request
	x.Request = p.tells.tell(x, end)
	t.trace(m)
	resp, err := t.run(m, end)
	x.Request = whole
	return t.opened(resp, err)
}
