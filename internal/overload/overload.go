// Package overload refuses exchanges early when the gateway itself has more to do than it
// can bear: when its memory nears its limit, or when goroutines wait long for a processor.
//
// One goroutine looks every 100 ms at what the runtime says of itself. An exchange costs
// one atomic load as long as all is well.
package overload

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside"
)

// A Level says how much is refused.
type Level int32

// The levels.
const (
	None  Level = iota // nothing
	Heavy              // what takes much memory, or lasts long: see [Guard.Refuse]
	All                // every exchange
)

// String names the level for the log.
func (l Level) String() string {
	switch l {
	case Heavy:
		return "heavy"
	case All:
		return "all"
	case None:
	}
	return "none"
}

// Marks say when something is refused. The zero Marks refuse nothing.
type Marks struct {
	Heavy, All float64       // portions of the memory limit, 0 to 1; 0 for never
	Wait       time.Duration // for a processor: heavy ones from there on, all from twice that; 0 for never
}

func (m Marks) none() bool { return m.Heavy == 0 && m.All == 0 && m.Wait == 0 }

// How a guard looks.
const (
	interval = 100 * time.Millisecond
	calm     = 5    // looks in a row that must be better before less is refused
	memoryBy = 0.05 // how much lower memory must be than the mark, of the limit
)

// LargeBody is the length, in bytes, from which a request body is heavy.
const LargeBody = 1 << 20

// A Guard refuses exchanges while there is too much to do. Its goroutine runs from
// [Guard.Set] with marks to [Guard.Close].
type Guard struct {
	level atomic.Int32
	log   *slog.Logger
	probe func() Reading

	marks atomic.Pointer[Marks]

	mu   sync.Mutex
	stop chan struct{} // nil while no goroutine runs
	wg   sync.WaitGroup
}

// New returns a guard that refuses nothing before [Guard.Set]. Probe says how the process
// stands; nil asks the runtime.
func New(log *slog.Logger, probe func() Reading) *Guard {
	if probe == nil {
		probe = newGauge().read
	}
	return &Guard{log: log, probe: probe}
}

// Level is how much is refused now.
func (g *Guard) Level() Level { return Level(g.level.Load()) }

// Set puts marks into force.
func (g *Guard) Set(m Marks) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.marks.Store(&m)
	switch {
	case m.none():
		g.halt()
	case g.stop == nil:
		stop := make(chan struct{})
		g.stop = stop
		g.wg.Go(func() { g.run(stop) })
	}
}

// Close ends the goroutine. Nothing is refused any more.
func (g *Guard) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.halt()
}

// halt ends the goroutine and waits for it. The caller holds mu.
func (g *Guard) halt() {
	if g.stop == nil {
		return
	}
	close(g.stop)
	g.wg.Wait()
	g.stop = nil
	g.level.Store(int32(None))
}

func (g *Guard) run(stop <-chan struct{}) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	better := 0 // looks in a row that would allow more
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		m, r := g.marks.Load(), g.probe()
		now := g.Level()
		up, down := m.level(r, 1), m.level(r, now.hold())
		switch {
		case up > now:
			better = 0
			g.change(up, r)
		case down < now:
			if better++; better >= calm {
				better = 0
				g.change(down, r)
			}
		default:
			better = 0
		}
	}
}

// hold is the portion of the marks below which the level is left again.
func (l Level) hold() float64 {
	if l == None {
		return 1
	}
	return 0.5
}

// level is what m asks for at r. With a portion below 1 the marks are lower: the wait by
// that portion, memory by memoryBy.
func (m Marks) level(r Reading, portion float64) Level {
	memory := 0.0
	if r.Limit > 0 {
		memory = float64(r.Memory) / float64(r.Limit)
	}
	lower := 0.0
	if portion < 1 {
		lower = memoryBy
	}
	wait := time.Duration(float64(m.Wait) * portion)
	switch {
	case m.All > 0 && memory >= m.All-lower, m.Wait > 0 && r.Wait >= 2*wait:
		return All
	case m.Heavy > 0 && memory >= m.Heavy-lower, m.Wait > 0 && r.Wait >= wait:
		return Heavy
	}
	return None
}

// change puts a level into force, and says so once.
func (g *Guard) change(to Level, r Reading) {
	g.level.Store(int32(to))
	about := []slog.Attr{slog.String("refuses", to.String()), slog.Uint64("memory", r.Memory), slog.Uint64("limit", r.Limit), slog.Duration("wait", r.Wait)}
	if to == None {
		g.log.LogAttrs(context.Background(), slog.LevelInfo, "the gateway refuses nothing any more", about...)
		return
	}
	g.log.LogAttrs(context.Background(), slog.LevelWarn, "the gateway has too much to do: it refuses exchanges", about...)
}

// Refuse returns why r is refused, or nil. It reads neither the body nor the clock. Heavy
// are requests for event streams and upgrades, and those whose body is of unknown
// length or has [LargeBody] bytes or more.
func (g *Guard) Refuse(r *http.Request) *airside.Error {
	switch g.Level() {
	case None:
		return nil
	case Heavy:
		if !heavy(r) {
			return nil
		}
	case All:
	}
	return &airside.Error{
		Code: airside.Unavailable, Message: "the gateway has too much to do; try again later",
		RetryAfter: time.Duration(1+rand.IntN(3)) * time.Second, //nolint:gosec // so that not all come back at once
	}
}

func heavy(r *http.Request) bool {
	return r.ContentLength >= LargeBody || r.ContentLength < 0 || len(r.Header["Upgrade"]) > 0 ||
		len(r.Header["Accept"]) > 0 && strings.HasPrefix(r.Header["Accept"][0], "text/event-stream")
}
