// Package hist is a histogram of durations that costs a few nanoseconds to add
// to and keeps every value to within 1.6 per cent.
package hist

import (
	"math/bits"
	"time"
)

// sub is the number of buckets for each power of two.
const sub = 64

// A Histogram counts durations: log-linear, 64 buckets for each power of two of
// nanoseconds, the first 64 exact. The zero value is empty and ready. It is not
// for concurrent use.
type Histogram struct {
	buckets [sub * sub]int64
	count   int64
	longest time.Duration
}

// Add counts d; a negative duration counts as zero.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.buckets[bucket(d)]++
	h.count++
	h.longest = max(h.longest, d)
}

// Merge adds all that o counted.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	h.count += o.count
	h.longest = max(h.longest, o.longest)
}

// Count is how many durations were added.
func (h *Histogram) Count() int64 { return h.count }

// Max is the longest duration that was added, exactly.
func (h *Histogram) Max() time.Duration { return h.longest }

// Quantile returns the duration that the share q of all, from 0 to 1, do not
// exceed: the middle of its bucket, and never more than Max. It is 0 where
// nothing was added.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := int64(q * float64(h.count))
	var seen int64
	for i, n := range h.buckets {
		seen += n
		if seen > want {
			return min(middle(i), h.longest)
		}
	}
	return h.longest
}

// bucket keeps the seven highest bits of d.
func bucket(d time.Duration) int {
	if d < sub {
		return int(d)
	}
	shift := bits.Len64(uint64(d)) - 7
	return shift*sub + int(d>>shift)
}

func middle(b int) time.Duration {
	if b < sub {
		return time.Duration(b)
	}
	shift := b/sub - 1
	return time.Duration(b%sub+sub)<<shift + time.Duration(1)<<shift/2
}
