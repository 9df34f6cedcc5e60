package pool

import (
	"cmp"
	"time"

	"github.com/airside-gateway/airside/internal/pool/balance"
)

// A Snapshot is how a pool stands at a moment, for operators and metrics. All counts
// begin when the pool, or the endpoint, was made, and only grow.
type Snapshot struct {
	Balance   string // how an endpoint is chosen
	Panic     bool   // so many endpoints are out that all are asked nevertheless
	Endpoints []EndpointSnapshot

	Retries       uint64 // tries beyond the first
	RetriesDenied uint64 // tries that the budget did not allow
	Hedges        uint64 // second requests sent while the first was awaited
	HedgesWon     uint64 // those whose answer was taken
	Overflows     uint64 // exchanges for which no endpoint had room
	Queued        int    // exchanges that wait for room now
}

// An EndpointSnapshot is how one endpoint of a pool stands.
type EndpointSnapshot struct {
	Address string // scheme, host and port
	Zone    string
	Weight  int

	State string    // StateHealthy, ...
	Why   string    // what brought it there; empty for StateHealthy
	Since time.Time // when it came into the state

	Active   int           // exchanges under way
	Requests uint64        // tries sent to it
	Failures uint64        // tries that failed by its fault: no connection, broken, too late, or 5xx but 501 and 505
	Latency  time.Duration // to the head of an answer, exponentially weighted; 0 if not known
}

// States of an endpoint.
const (
	StateHealthy   = "healthy"
	StateUnhealthy = "unhealthy" // an active check says so
	StateEjected   = "ejected"   // its own answers say so
	StateOpen      = "open"      // its circuit breaker lets nothing through
	StateHalfOpen  = "half_open" // a few requests try whether it is well again
	StateWarming   = "warming"   // slow start: it gets less than its share
	StateLeaving   = "leaving"   // discovery does not list it any more; it ends what it has begun
)

// Snapshot says how p stands. An endpoint that is a member more than once, for several
// paths, is listed once.
func (p *Pool) Snapshot() Snapshot {
	s := Snapshot{Balance: cmp.Or(p.balance.By, balance.RoundRobin), Overflows: p.overflows.Load()}
	at := map[string]int{}
	for _, m := range p.fleet.Load().members {
		if i, ok := at[m.address]; ok {
			s.Endpoints[i].Weight += m.weight
			continue
		}
		at[m.address] = len(s.Endpoints)
		e := m.snapshot()
		e.Zone, e.Weight = m.zone, m.weight
		e.State, e.Since = StateHealthy, m.stats.Origin()
		if m.stats.Warming(p.balance.SlowStart) {
			e.State, e.Why, e.Since = StateWarming, "slow start", m.stats.Warmed()
		}
		m.state(&e)
		s.Endpoints = append(s.Endpoints, e)
	}
	s.Panic = p.health != nil && p.health.Panic()
	p.setting.Lock()
	defer p.setting.Unlock()
	for _, l := range p.left {
		e := l.snapshot()
		if i, ok := at[l.address]; ok {
			s.Endpoints[i].Active += e.Active // it has come back, as another
			continue
		}
		if l.stats.Retired() {
			continue
		}
		e.State, e.Why = StateLeaving, "not listed any more"
		at[l.address] = len(s.Endpoints)
		s.Endpoints = append(s.Endpoints, e)
	}
	if p.queue != nil {
		s.Queued = int(p.queue.waiting.Load())
	}
	if p.retry != nil {
		s.Retries, s.RetriesDenied = p.retry.retries.Load(), p.retry.denied.Load()
	}
	if p.hedge != nil {
		s.Hedges, s.HedgesWon = p.hedge.sent.Load(), p.hedge.won.Load()
	}
	return s
}

func (e *Endpoint) snapshot() EndpointSnapshot {
	return EndpointSnapshot{
		Address: e.address, Active: e.Active(),
		Requests: e.stats.Requests(), Failures: e.stats.Failures(), Latency: e.stats.Latency(),
	}
}
