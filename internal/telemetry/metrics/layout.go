package metrics

import (
	"math"
	"math/bits"
	"time"
)

// Native buckets of durations have schema 3: eight to each doubling, so that a quantile
// is at most 9 % off. The bucket i holds what is above 2^((i-1)/8) seconds and at most
// 2^(i/8) seconds.
const (
	schema     = 3
	perTwofold = 1 << schema
	lowest     = -20 // 2^-20 seconds, about a microsecond: up to there is the zero bucket
	highest    = 17  // 2^17 seconds, a day and a half: beyond is the last bucket
	natives    = (highest - lowest) * perTwofold
	splits     = 14 // classic bounds
	cells      = 1 + natives + splits
)

// classicBounds are the upper bounds of the classic buckets that the conventions advise
// for http.server.request.duration.
func classicBounds() [splits]time.Duration {
	const ms = time.Millisecond
	return [splits]time.Duration{
		5 * ms, 10 * ms, 25 * ms, 50 * ms, 75 * ms, 100 * ms, 250 * ms, 500 * ms, 750 * ms,
		1000 * ms, 2500 * ms, 5000 * ms, 7500 * ms, 10000 * ms,
	}
}

// A layout maps durations to cells, and these to buckets. A native bucket in which a
// classic bound lies has two cells, below and above it, so that one addition counts
// exactly in both kinds of buckets.
type layout struct {
	roots   [perTwofold]uint64    // mantissas of 2^(i/8)
	first   [1 + natives]uint16   // cell of each native bucket, the zero bucket first
	split   [1 + natives]int64    // nanoseconds: what is above lies in the next cell
	of      [cells]uint16         // native bucket of each cell
	upper   [splits]time.Duration // of the classic buckets
	classic [cells]uint8          // classic bucket of each cell; splits is the one without a bound
}

const mantissa = 1<<52 - 1

func (l *layout) init() {
	l.upper = classicBounds()
	for i := range l.roots {
		l.roots[i] = math.Float64bits(math.Exp2(float64(i)/perTwofold)) & mantissa
	}
	for i := range l.split {
		l.split[i] = math.MaxInt64
	}
	for _, u := range l.upper {
		if i := l.native(int64(u)); l.native(int64(u)+1) == i { // not the bound of a native bucket itself
			l.split[i] = int64(u)
		}
	}
	cell, classic := 0, 0
	for i := range l.first {
		l.first[i] = uint16(cell)
		for classic < splits && l.native(int64(l.upper[classic])) < i {
			classic++
		}
		l.of[cell], l.classic[cell] = uint16(i), uint8(classic)
		cell++
		if l.split[i] != math.MaxInt64 {
			l.of[cell], l.classic[cell] = uint16(i), uint8(classic+1)
			cell++
		}
	}
}

// seconds is the cell of a duration of ns nanoseconds.
func (l *layout) seconds(ns int64) int {
	i := l.native(ns)
	cell := int(l.first[i])
	if ns > l.split[i] {
		cell++
	}
	return cell
}

// native is the native bucket of a duration, counted from the zero bucket.
func (l *layout) native(ns int64) int {
	b := math.Float64bits(float64(max(ns, 0)) / 1e9)
	m := b & mantissa
	j := 0
	for j < perTwofold && m > l.roots[j] {
		j++
	}
	i := (int(b>>52)-1023-lowest)*perTwofold + j
	return min(max(i, 0), natives)
}

// index is the one that Prometheus gives to a native bucket other than the zero bucket.
func index(native int) int { return native + lowest*perTwofold }

// Sizes have native buckets of schema 0, one to each doubling: the bucket i holds what is
// above 2^(i-1) bytes and at most 2^i. The first cell is that of nothing.
const (
	largest   = 40 // 2^40 bytes: beyond is the last bucket
	sizeCells = 2 + largest
)

// sizeOf is the cell of a size.
func sizeOf(n int64) int {
	if n <= 0 {
		return 0
	}
	return 1 + min(bits.Len64(uint64(n-1)), largest)
}

// sizeBounds are the classic buckets of sizes, as powers of two: 256 B to 256 MiB.
func sizeBounds() []int { return []int{8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28} }
