// Package metrics counts what goes through the gateway, and tells Prometheus.
//
// A [Metrics] is told of every exchange that has ended ([Metrics.Ended]), asks the
// upstreams and the runtime how they stand when it is asked itself, and serves all of it
// ([Metrics.Handler]) in the three forms that Prometheus reads. Names follow the semantic
// conventions of OpenTelemetry where there are some, in the form that Prometheus gives
// them; all others begin with airside_.
//
// Counting an exchange takes no lock and no memory: its series is found in a table that
// is only ever added to, and its numbers are kept apart for each processor. What may grow
// has a bound: beyond it exchanges are counted under the label value [Overflow].
package metrics

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/edge"
	"github.com/airside-gateway/airside/internal/pool"
)

// Overflow is what labels say of the series beyond the bound.
const Overflow = "_overflow"

// Settings are what a [Metrics] is made of.
type Settings struct {
	Version string // of the program, for airside_build_info

	// Trace says by which trace an exchange can be found, and whether it can. Nil if
	// there are no traces. It is called for every exchange, and must be quick.
	Trace func(x *airside.Exchange) (id [16]byte, ok bool)

	// The parts that are asked for their state when the metrics are. Nil ones are left out.
	Upstreams func() []Upstream
	Listeners func() []Listener
	Active    func() int64 // exchanges under way
	Config    func() Config
}

// An Upstream is one of the live configuration.
type Upstream struct {
	Name string
	Pool *pool.Snapshot // nil if it has no endpoints
}

// A Listener is an address that clients connect to.
type Listener struct {
	Address string // as configured
	Open    int64  // connections
	Refused uint64 // connections beyond the bound
}

// Config says which configuration is in force.
type Config struct {
	Generation int       // 0 before the first
	Since      time.Time // when it came into force
	Refused    bool      // the last one that was to take its place was refused
}

// Options are what can be changed while a [Metrics] is in use.
type Options struct {
	Off    bool
	Series int  // at most so many for each metric, at least 1
	Caller bool // exchanges are counted by caller, too

	// Keep says of a route and an upstream whether the configuration has them. Series of
	// what it does not have are dropped. Nil keeps all.
	Keep func(route, upstream string) bool
}

// A Metrics counts. It is an [edge.Observer].
type Metrics struct {
	settings Settings
	began    time.Time
	layout   layout
	series   table
	tries    table
	own      registry
	busy     chan struct{} // holds a token for each scrape under way
	turn     chan struct{} // holds a token while one of them gathers, which takes much memory

	lanes  sync.Pool // of *lane: one for each processor, more or less
	handed atomic.Uint32
	width  uint32 // number of lanes, a power of two

	live     atomic.Pointer[Options] // nil if off
	overflow atomic.Uint64           // exchanges beyond the bound
	refused  atomic.Uint64           // scrapes beyond the bound
}

// A lane is the place in each series that a processor counts at.
type lane struct{ n uint32 }

const (
	maxLanes   = 16
	maxScrapes = 4 // at the same time
)

// New returns a Metrics that is off until [Metrics.Set].
func New(s Settings) *Metrics {
	m := &Metrics{settings: s, began: time.Now(), width: 1, busy: make(chan struct{}, maxScrapes), turn: make(chan struct{}, 1)}
	for int(m.width) < runtime.GOMAXPROCS(0) && m.width < maxLanes {
		m.width *= 2
	}
	m.layout.init()
	m.series.init()
	m.tries.init()
	m.lanes.New = func() any { return &lane{n: m.handed.Add(1) & (m.width - 1)} }
	return m
}

// Set puts o into force. What was counted stays, but for series that o does not keep.
func (m *Metrics) Set(o Options) {
	if o.Keep != nil {
		m.series.keep(o.Keep)
		m.tries.keep(o.Keep)
	}
	if o.Off {
		m.live.Store(nil)
		return
	}
	m.live.Store(&o)
}

// On reports whether anything is counted and served.
func (m *Metrics) On() bool { return m.live.Load() != nil }

// Ended counts an exchange.
func (m *Metrics) Ended(x *airside.Exchange, o *airside.Outcome, seen *edge.Seen) {
	live := m.live.Load()
	if live == nil {
		return
	}
	k := keyOf(x, o, seen)
	if live.Caller {
		k.caller = x.Caller.ID
	}
	s := m.find(&k, live)
	l, _ := m.lanes.Get().(*lane) // the pool holds nothing else
	cell := m.layout.seconds(int64(o.Duration))
	s.count(l.n, cell, o)
	m.lanes.Put(l)
	if m.settings.Trace != nil {
		if id, ok := m.settings.Trace(x); ok {
			s.exemplify(m.layout.classic[cell], id, o.Duration, seen.Start)
		}
	}
}

// find returns the series of k, or the one that stands for those beyond the bound.
// Callers may take half of the series at most, so that many of them do not hide which
// routes are asked.
func (m *Metrics) find(k *key, live *Options) *series {
	h := m.series.hash(k)
	if s := m.series.find(h, k); s != nil {
		return s
	}
	bound := live.Series
	if k.caller != "" {
		bound /= 2
	}
	if s := m.series.add(h, k, bound); s != nil {
		return s
	}
	if k.caller != "" {
		short := *k
		short.caller = Overflow
		h = m.series.hash(&short)
		s := m.series.find(h, &short)
		if s == nil {
			s = m.series.add(h, &short, live.Series)
		}
		if s != nil {
			m.overflow.Add(1)
			return s
		}
	}
	m.overflow.Add(1)
	return m.series.rest()
}
