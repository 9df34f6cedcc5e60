package health

import (
	"strconv"
	"sync/atomic"
	"time"
)

// A Kind is how an exchange with an endpoint ended.
type Kind uint8

// The kinds.
const (
	// Neutral says nothing about the endpoint: the client left, its body was at fault,
	// the gateway itself gave the exchange up, or the agent asked to be asked later.
	Neutral Kind = iota

	OK       // a whole answer
	Connect  // no connection came about
	Reset    // the connection broke, or what came was no answer
	Timeout  // the answer did not come in time
	Answered // an answer of the given status: whether that is a failure is for the settings to say
)

// A Result is how an exchange with an endpoint ended.
type Result struct {
	Kind    Kind
	Status  int    // of Answered
	Orderly bool   // of Answered: a Retry-After came with it
	Why     string // of Connect, Reset and Timeout: in words, for operators
}

// why says in words what r is.
func (r Result) why() string {
	if r.Kind == Answered {
		return "it answered " + strconv.Itoa(r.Status)
	}
	return r.Why
}

// A Ticket is a place for one exchange at a [Host]: what [Host.Begin] gives, and
// [Host.Done] takes back.
type Ticket uint32

// The two lowest bits of a ticket, and of the word of a host, are its gate. The others
// are its epoch, which changes whenever the host is put aside, tried or taken back: what
// began in another epoch says nothing about this one.
const (
	gateOpen  = 0
	gateTrial = 1
	gateShut  = 2
	gatePanic = 3 // open for the sake of a panic: each result counts for the trial
	gateBits  = 2
	gateMask  = 1<<gateBits - 1
)

// Trial reports whether the place is one of the few of a trial.
func (t Ticket) Trial() bool { return t.gate() == gateTrial }

// open reports whether the place is one of as many as there are exchanges.
func (t Ticket) open() bool { return t.gate() == gateOpen || t.gate() == gatePanic }

func (t Ticket) gate() uint32  { return uint32(t) & gateMask }
func (t Ticket) epoch() uint32 { return uint32(t) >> gateBits }

// A Host is the state of one endpoint. Its methods may be called by many goroutines at
// once.
type Host struct {
	group   *Group
	address string

	word   atomic.Uint32 // gate and epoch
	places atomic.Uint64 // epoch << 32, and how many places of a trial are left
	ended  atomic.Uint64 // exchanges that say something about it; only if somebody asks
	stats  atomic.Pointer[Stats]

	eject, breaker circuit
	window         window

	// Guarded by the mutex of the group.
	users  int
	since  time.Time
	state  string
	why    string
	left   time.Time // when the last user left; zero while there is one
	bad    bool      // the active checks say so
	reason string    // why
	asking *asking   // the goroutine that checks; nil if there is none
}

// Usable reports whether h may be asked now. It costs an atomic load.
func (h *Host) Usable() bool {
	w := Ticket(h.word.Load())
	return w.open() || w.gate() == gateTrial && uint32(h.places.Load()) > 0 //nolint:gosec // the lower half
}

// Begin takes a place for one exchange, which [Host.Done] must give back. It reports
// false if h is not [Host.Usable], or if somebody else took the last place of a trial.
func (h *Host) Begin() (Ticket, bool) {
	t := Ticket(h.word.Load())
	if t.open() {
		return t, true
	}
	for t.gate() == gateTrial {
		p := h.places.Load()
		if uint32(p>>32) != t.epoch() || uint32(p) == 0 { //nolint:gosec // the halves
			return 0, false
		}
		if h.places.CompareAndSwap(p, p-1) {
			return t, true
		}
	}
	return 0, false
}

// Done gives a place back, and says how the exchange ended. It must be called once for
// every [Host.Begin] that reported true. A success of an endpoint that is well takes no
// lock.
func (h *Host) Done(t Ticket, r Result) {
	switch {
	case r.Kind == OK && t.gate() == gateOpen:
		h.succeeded()
	case r.Kind != Neutral || t.Trial():
		h.group.result(h, t, r)
	}
}

func (h *Host) succeeded() {
	if h.group.counts {
		h.ended.Add(1)
	}
	if h.eject.streak.Load() != 0 {
		h.eject.streak.Store(0)
	}
	if h.breaker.streak.Load() != 0 {
		h.breaker.streak.Store(0)
	}
}

// Stats are what a pool knows about an endpoint, and is told about it.
type Stats interface {
	// Latency is how long answers take to begin; 0 says that it is not known.
	Latency() time.Duration

	// Warm begins the slow start: the endpoint was put aside, and is back. It must not
	// wait for anything.
	Warm()
}

// Bind gives h the stats of its endpoint. The last ones count.
func (h *Host) Bind(s Stats) { h.stats.Store(&s) }

func (h *Host) latency() time.Duration {
	if s := h.stats.Load(); s != nil {
		return (*s).Latency()
	}
	return 0
}

func (h *Host) warm() {
	if s := h.stats.Load(); s != nil {
		(*s).Warm()
	}
}

// Address is the scheme, host and port of the endpoint.
func (h *Host) Address() string { return h.address }

// The states of a [Host].
const (
	StateHealthy   = "healthy"
	StateUnhealthy = "unhealthy" // an active check says so
	StateEjected   = "ejected"   // its own answers say so
	StateOpen      = "open"      // its circuit breaker lets nothing through
	StateHalfOpen  = "half_open" // a few exchanges try whether it is well again
)

// A Status is how a [Host] stands.
type Status struct {
	State string
	Why   string    // what brought it there; empty for StateHealthy
	Since time.Time // when it came into the state
}

// Status says how h stands.
func (h *Host) Status() Status {
	h.group.mu.Lock()
	defer h.group.mu.Unlock()
	return Status{State: h.state, Why: h.why, Since: h.since}
}

// A change is one of the state of a host, for the log.
type change struct {
	address, from, to, why string
}

// settle brings state and gate in line with what is known. It is called with the mutex
// of the group held, like all that follows.
func (h *Host) settle(now time.Time) {
	state, why := h.stand()
	h.gate()
	if state == h.state {
		h.why = why
		return
	}
	from := h.state
	h.state, h.why, h.since = state, why, now
	if state == StateHealthy && from != "" {
		h.warm()
	}
	if from != "" {
		h.group.changed(change{h.address, from, state, why})
	}
}

// stand is the state, and why.
func (h *Host) stand() (state, why string) {
	switch {
	case h.breaker.phase == open:
		return StateOpen, h.breaker.why
	case h.bad:
		return StateUnhealthy, h.reason
	case h.eject.phase == open:
		return StateEjected, h.eject.why
	case h.breaker.phase == halfOpen:
		return StateHalfOpen, h.breaker.why
	case h.eject.phase == halfOpen:
		return StateHalfOpen, h.eject.why
	}
	return StateHealthy, ""
}

// out reports whether h is put aside by what a panic overrides.
func (h *Host) out() bool { return h.bad || h.eject.phase != closed }

// usable reports whether h counts as one that can be asked.
func (h *Host) usable() bool { return !h.out() && h.breaker.phase == closed }

// gate stores what Usable and Begin go by.
func (h *Host) gate() {
	gate := uint32(gateOpen)
	switch {
	case h.breaker.phase == open:
		gate = gateShut
	case h.breaker.phase == halfOpen && (h.group.panics || !h.bad && h.eject.phase != open):
		gate = gateTrial
	case h.group.panics && h.eject.phase == halfOpen:
		gate = gatePanic // or it would never be taken back, and the panic never end
	case h.group.panics:
	case h.bad || h.eject.phase == open:
		gate = gateShut
	case h.eject.phase == halfOpen:
		gate = gateTrial
	}
	h.word.Store(h.word.Load()&^gateMask | gate)
}

// turn begins another epoch, with as many places as the circuits that are half open
// have wins to go.
func (h *Host) turn() {
	epoch := (Ticket(h.word.Load()).epoch() + 1) & (1<<(32-gateBits) - 1)
	places := 0
	for _, c := range h.circuits() {
		if c.phase == halfOpen {
			places = max(places, c.rule.halfOpen-c.wins)
		}
	}
	h.places.Store(uint64(epoch)<<32 | uint64(places))
	h.word.Store(epoch<<gateBits | h.word.Load()&gateMask)
}

// giveBack makes the place of a trial free that told nothing.
func (h *Host) giveBack(t Ticket) {
	for p := h.places.Load(); uint32(p>>32) == t.epoch(); p = h.places.Load() {
		if h.places.CompareAndSwap(p, p+1) {
			return
		}
	}
}

func (h *Host) circuits() [2]*circuit { return [2]*circuit{&h.eject, &h.breaker} }
