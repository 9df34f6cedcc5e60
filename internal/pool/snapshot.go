package pool

import "time"

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
	Failures uint64        // tries that failed by its fault: no connection, broken, too late, or 5xx
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

// Snapshot says how p stands.
func (p *Pool) Snapshot() Snapshot {
	s := Snapshot{Balance: "round_robin"}
	for i := range p.members {
		m := &p.members[i]
		s.Endpoints = append(s.Endpoints, EndpointSnapshot{Address: m.scheme + "://" + m.host, Weight: 1, State: StateHealthy, Active: m.Active()})
	}
	return s
}
