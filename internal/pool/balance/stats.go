package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// Stats are what is known about a member. They are its own: they outlive the balancers,
// and several may look at them. All methods may be called by many goroutines at once.
type Stats struct {
	origin   time.Time    // what times are counted from
	active   atomic.Int64 // under way; far below 0 once it is retired
	requests atomic.Uint64
	failures atomic.Uint64
	warmed   atomic.Int64 // since when it warms up, in nanoseconds after origin; 0 if it never did

	mean atomic.Int64  // nanoseconds to the head of an answer
	peak atomic.Uint64 // what a try costs, and when that was found: see pack
}

// NewStats returns the stats of a member of which nothing is known yet.
func NewStats() *Stats { return &Stats{origin: time.Now()} }

// retired is what active is set to when a member has been left by everybody. It stays
// far below 0, however many try to enter at the same time.
const retired = math.MinInt64 / 2

// Enter takes a place for a try, and reports whether it may: there is room below limit (0:
// no bound), and the member has not retired.
func (s *Stats) Enter(limit int64) bool {
	n := s.active.Add(1)
	if n > 0 && (limit <= 0 || n <= limit) {
		return true
	}
	s.active.Add(-1)
	return false
}

// Sent counts a try that is made. It comes after Enter; a place that was taken may be given
// back without.
func (s *Stats) Sent() { s.requests.Add(1) }

// Leave gives the place of a try back when it has ended, and reports whether it was the last.
func (s *Stats) Leave() bool { return s.active.Add(-1) == 0 }

// Retire lets no try begin any more, if none is under way. It reports whether it did so:
// once only.
func (s *Stats) Retire() bool { return s.active.CompareAndSwap(0, retired) }

// Retired reports whether no try may begin any more.
func (s *Stats) Retired() bool { return s.active.Load() < 0 }

// Active is the number of tries under way.
func (s *Stats) Active() int { return int(max(s.active.Load(), 0)) }

// Requests is the number of tries that were made.
func (s *Stats) Requests() uint64 { return s.requests.Load() }

// Failures is the number of tries that have failed by the fault of the member.
func (s *Stats) Failures() uint64 { return s.failures.Load() }

// Latency is the mean time to the head of an answer, the last eight of which weigh most;
// 0 if there was none.
func (s *Stats) Latency() time.Duration { return time.Duration(s.mean.Load()) }

// Origin is what the times of the stats are counted from.
func (s *Stats) Origin() time.Time { return s.origin }

// Warm begins the slow start: the member has come, or has come back to health.
func (s *Stats) Warm() { s.warmed.Store(max(int64(time.Since(s.origin)), 1)) }

// Warmed is when the slow start last began; the zero time if it is over, or never did.
func (s *Stats) Warmed() time.Time {
	if w := s.warmed.Load(); w > 0 {
		return s.origin.Add(time.Duration(w))
	}
	return time.Time{}
}

// Warming reports whether the slow start is under way, for a slow start of the length of
// window.
func (s *Stats) Warming(window time.Duration) bool {
	w := s.warmed.Load()
	return w > 0 && int64(time.Since(s.origin))-w < int64(window)
}

// warmth is what the member is worth: it grows from coldest to 1 while the window passes.
func (s *Stats) warmth(window time.Duration) float64 {
	w := s.warmed.Load()
	if w == 0 {
		return 1
	}
	past := int64(time.Since(s.origin)) - w
	if past >= int64(window) {
		s.warmed.CompareAndSwap(w, 0) // the next need not look at the clock
		return 1
	}
	return coldest + (1-coldest)*float64(past)/float64(window)
}

// How the cost of a try is estimated. It follows the latency of answers: at once when it
// rises, and by and by when it falls, so that one slow answer is enough to be asked less.
// With time it decays, so that who is asked no more gets another chance.
const (
	decay    = 10 * time.Second // in which the estimate falls to 1/e
	patient  = 4                // but not in less than so many times the estimate
	failing  = time.Second      // what a try that fails costs at least
	worsened = 2                // how much more it costs than was estimated
	dearest  = time.Minute      // what a failure adds nothing to
)

// Answered notes that the head of an answer came after took. At is the present, after
// Origin.
func (s *Stats) Answered(at, took time.Duration) {
	mean := s.mean.Load()
	if mean == 0 {
		mean = int64(took)
	}
	s.mean.Store(max(mean+(int64(took)-mean)/8, 1)) // another, at the same time, may go unnoticed
	s.learn(ticks(at), float64(took))
}

// Failed notes that a try has failed after took by the fault of the member, which counts
// as an answer that was slow. At is the present, after Origin.
func (s *Stats) Failed(at, took time.Duration) {
	s.failures.Add(1)
	cost, _ := unpack(s.peak.Load())
	s.learn(ticks(at), max(float64(took), float64(failing), min(worsened*cost, float64(dearest))))
}

func (s *Stats) learn(now uint32, took float64) {
	for {
		old := s.peak.Load()
		cost, at := unpack(old)
		switch kept := fade(cost, now-at); {
		case took >= cost || old == 0:
			cost = took
		case now == at:
			return // one sample for every tick will do
		default:
			cost = cost*kept + took*(1-kept)
		}
		if s.peak.CompareAndSwap(old, pack(cost, now)) {
			return
		}
	}
}

// cost is what a try is expected to cost, in nanoseconds; 0 if nothing is known.
func (s *Stats) cost(now uint32) float64 {
	p := s.peak.Load()
	if p == 0 {
		return 0
	}
	cost, at := unpack(p)
	return cost * fade(cost, now-at)
}

// usual is the mean time to the head of an answer, faded like the cost of a try.
func (s *Stats) usual(now time.Time) float64 {
	_, at := unpack(s.peak.Load())
	mean := float64(s.mean.Load())
	return mean * fade(mean, s.tickAt(now)-at)
}

// fade is what is left of an estimate after some ticks. Those that seem to be more than
// half of all there are come from who read the clock a little earlier.
func fade(cost float64, ticks uint32) float64 {
	if ticks == 0 || ticks > math.MaxUint32/2 {
		return 1
	}
	return math.Exp(-float64(ticks) * tick / max(float64(decay), patient*cost))
}

// tick is the unit of the time that an estimate was made at: about a millisecond, so that
// 32 bits last for 50 days.
const tick = 1 << 20

func (s *Stats) tickAt(now time.Time) uint32 { return ticks(now.Sub(s.origin)) }

func ticks(at time.Duration) uint32 { return uint32(at / tick) } //nolint:gosec // it comes round

// pack puts an estimate and its time into one word. It is never 0, which means that there
// is no estimate.
func pack(cost float64, at uint32) uint64 {
	return uint64(math.Float32bits(float32(max(cost, 1))))<<32 | uint64(at)
}

func unpack(p uint64) (cost float64, at uint32) {
	return float64(math.Float32frombits(uint32(p >> 32))), uint32(p) //nolint:gosec // the halves
}
