package metrics

import (
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside"
)

// A series is the numbers of exchanges that have a key in common.
type series struct {
	hash uint64
	key  key

	lanes     [maxLanes]atomic.Pointer[counts]
	exemplars [splits + 1]exemplarAt // of classic buckets
}

// counts are the numbers of one lane. They are as long as not to share a cache line with
// those of another, wherever they come to lie. Cells of durations come in chunks of the
// length of a cache line, which are made when they are needed: most series need few.
type counts struct {
	seconds [(cells + chunkLen - 1) / chunkLen]atomic.Pointer[chunk]
	took    atomic.Uint64 // nanoseconds, all together
	in, out sizes
	_       [64]byte
}

const chunkLen = 8

type chunk [chunkLen]atomic.Uint64

// sizes are numbers of bodies.
type sizes struct {
	cells [sizeCells]atomic.Uint64
	sum   atomic.Uint64 // bytes
}

func (s *sizes) count(n int64) {
	s.cells[sizeOf(n)].Add(1)
	if n > 0 {
		s.sum.Add(uint64(n))
	}
}

// count counts an exchange whose duration lies in cell.
func (s *series) count(lane uint32, cell int, o *airside.Outcome) {
	c := s.took(lane, cell, o.Duration)
	c.in.count(o.Received)
	c.out.count(o.Sent)
}

// took counts something that took d, which lies in cell.
func (s *series) took(lane uint32, cell int, d time.Duration) *counts {
	c := s.lanes[lane].Load()
	if c == nil {
		s.lanes[lane].CompareAndSwap(nil, new(counts))
		c = s.lanes[lane].Load()
	}
	part := &c.seconds[cell/chunkLen]
	p := part.Load()
	if p == nil {
		part.CompareAndSwap(nil, new(chunk))
		p = part.Load()
	}
	p[cell%chunkLen].Add(1)
	if d > 0 {
		c.took.Add(uint64(d))
	}
	return c
}

// An exemplarAt is the place of one.
type exemplarAt struct{ atomic.Pointer[exemplar] }

// An exemplar is an exchange of a bucket, to be found by its trace.
type exemplar struct {
	trace [16]byte
	took  time.Duration
	at    time.Time // when it ended
}

// fresh is how long an exemplar stays before another takes its place, so that they cost
// nothing under load.
const fresh = time.Second

// exemplify makes an exchange the exemplar of a classic bucket, unless that has one that
// is fresh.
func (s *series) exemplify(bucket uint8, trace [16]byte, took time.Duration, start time.Time) {
	at := &s.exemplars[bucket]
	end := start.Add(took)
	if old := at.Load(); old != nil && end.Sub(old.at) < fresh {
		return
	}
	at.Store(&exemplar{trace: trace, took: took, at: end})
}

// A total is the sum of the lanes of a series.
type total struct {
	seconds [cells]uint64
	took    uint64
	in, out [sizeCells]uint64
	inSum   uint64
	outSum  uint64
}

// total adds up what was counted.
func (s *series) total(t *total) {
	*t = total{}
	for i := range s.lanes {
		c := s.lanes[i].Load()
		if c == nil {
			continue
		}
		t.took += c.took.Load()
		t.inSum += c.in.sum.Load()
		t.outSum += c.out.sum.Load()
		for j := range c.in.cells {
			t.in[j] += c.in.cells[j].Load()
			t.out[j] += c.out.cells[j].Load()
		}
		for n := range t.seconds {
			if p := c.seconds[n/chunkLen].Load(); p != nil {
				t.seconds[n] += p[n%chunkLen].Load()
			}
		}
	}
}
