package pool

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Bounds of a quantile: how many samples make a turn, how many there must be before
// anything is known, and how often it is worked out.
const (
	turnSamples  = 1024
	leastSamples = 64
	everySamples = 64
)

// Times are counted in buckets of which each power of two has 8, so that a time is known
// to an eighth of itself: from 2^10 ns, a microsecond, up to 2^42 ns, more than an hour.
const (
	stepBits   = 3
	lowestBits = 10
	buckets    = (42 - lowestBits) << stepBits
)

// A quantile learns how long the given share of the latest samples takes at most. The
// latest are the last one to two turns of 1024. To add one takes no lock.
type quantile struct {
	share float64
	known atomic.Int64  // nanoseconds; 0: too few samples
	n     atomic.Uint64 // samples so far
	turns [2][buckets]atomic.Uint32
}

// bucketOf is where a time is counted.
func bucketOf(d time.Duration) int {
	v := uint64(max(d, 1<<lowestBits))
	power := bits.Len64(v) - 1
	step := v >> (power - stepBits) & (1<<stepBits - 1)
	return min((power-lowestBits)<<stepBits+int(step), buckets-1)
}

// endOf is the end of a bucket.
func endOf(bucket int) time.Duration {
	power := bucket>>stepBits + lowestBits
	return time.Duration((1<<stepBits + bucket&(1<<stepBits-1) + 1) << (power - stepBits))
}

// add adds a sample.
func (q *quantile) add(d time.Duration) {
	n := q.n.Add(1)
	turn := (n - 1) / turnSamples
	if (n-1)%turnSamples == 0 && turn > 1 { // the turn before the last is forgotten
		for i := range q.turns[turn%2] {
			q.turns[turn%2][i].Store(0)
		}
	}
	q.turns[turn%2][bucketOf(d)].Add(1)
	if n%everySamples == 0 {
		q.work()
	}
}

// work works the quantile out.
func (q *quantile) work() {
	var counts [buckets]uint64
	var all uint64
	for i := range counts {
		counts[i] = uint64(q.turns[0][i].Load()) + uint64(q.turns[1][i].Load())
		all += counts[i]
	}
	rank := uint64(math.Ceil(q.share * float64(all)))
	for i, c := range counts {
		if rank <= c {
			q.known.Store(int64(endOf(i)))
			return
		}
		rank -= c
	}
}

// value is the quantile; 0 while too few samples are known.
func (q *quantile) value() time.Duration { return time.Duration(q.known.Load()) }
