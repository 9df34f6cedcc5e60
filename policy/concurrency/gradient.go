package concurrency

import (
	"math"
	"slices"
	"time"
)

// bounds are what a gradient keeps to.
type bounds struct {
	least, most, start float64
	tolerance          float64
}

// A sample is an answer whose time tells something.
type sample struct {
	began, ended time.Time
	overloaded   bool
}

// How a gradient looks.
const (
	windowTime  = 100 * time.Millisecond // that a window lasts at least
	windowFull  = 20                     // samples that it has at least
	windowMost  = 256                    // samples that are kept of it, the newest
	smoothing   = 0.3                    // the part of the way that the limit goes after a window
	follow      = 0.1                    // the same of the unloaded time
	steepest    = 0.5                    // the least factor of one window
	firstProbe  = time.Second
	lastProbe   = 30 * time.Second
	probePart   = 0.5 // of the limit, while it probes
	stillHigh   = 0.9 // of the unloaded time: a probe that finds less is soon followed by another
	dropPart    = 0.1 // of the samples, from which overloaded ones make the limit fall
	dropFactor  = 0.8
	crowdedPart = 0.5 // of the limit in use, below which nothing is learned of more
)

// A gradient finds how many exchanges an agent bears, by the time of its answers: the
// limit is multiplied by the ratio of the time that is tolerated to the median of a
// window, and grows by its root where that is not exceeded. A window takes only what
// began within it, so that it tells of the limit that is in force. The idea is that of
// gradient limits (Netflix concurrency-limits; Envoy's adaptive concurrency filter).
type gradient struct {
	bounds bounds
	limit  float64
	usual  time.Duration // of an answer with little under way; 0 if not known

	since   time.Time // when the window began; zero before the first sample
	times   [windowMost]time.Duration
	told    int // samples
	dropped int // of them, overloaded
	peak    int // most under way

	probing bool
	probed  time.Time     // when the last probe began
	again   time.Duration // from one probe to the next
}

func newGradient(b bounds) *gradient {
	return &gradient{bounds: b, limit: b.start, again: firstProbe}
}

// set keeps the limit to other bounds.
func (g *gradient) set(b bounds) {
	g.bounds = b
	g.limit = g.within(g.limit)
}

func (g *gradient) within(limit float64) float64 {
	return min(max(limit, g.bounds.least), g.bounds.most)
}

// allowed is how many exchanges may run now.
func (g *gradient) allowed() int {
	if g.probing {
		return int(max(g.limit*probePart, g.bounds.least))
	}
	return int(g.limit)
}

// add takes a sample, with so many exchanges under way, itself included. It reports
// whether allowed may have risen.
func (g *gradient) add(s sample, under int) bool {
	if g.since.IsZero() {
		g.begin(s.began)
		g.probed = s.ended
	}
	g.peak = max(g.peak, under)
	if s.began.Before(g.since) {
		return false
	}
	if s.overloaded {
		g.dropped++
	} else {
		g.times[(g.told-g.dropped)%windowMost] = s.ended.Sub(s.began)
	}
	g.told++
	if g.told < windowFull || s.ended.Sub(g.since) < windowTime {
		return false
	}
	g.close()
	g.begin(s.ended)
	if s.ended.Sub(g.probed) >= g.again {
		g.probing, g.probed, g.again = true, s.ended, min(2*g.again, lastProbe)
	}
	return true
}

func (g *gradient) begin(at time.Time) {
	g.since, g.told, g.dropped, g.peak = at, 0, 0, 0
}

// close learns of the window.
func (g *gradient) close() {
	crowded := float64(g.peak) >= g.limit*crowdedPart
	if float64(g.dropped) >= dropPart*float64(g.told) {
		g.limit, g.probing = g.within(g.limit*dropFactor), false
		return
	}
	median := g.median()
	switch {
	case g.usual == 0, g.probing:
		if float64(median) < stillHigh*float64(g.usual) {
			g.again = firstProbe // half as many may be too many yet
		}
		g.usual = median
	case median < g.usual || !crowded:
		g.usual += time.Duration(follow * float64(median-g.usual))
	}
	if g.probing {
		g.probing = false
		return
	}
	ratio := g.bounds.tolerance * float64(g.usual) / float64(max(median, 1))
	goal := g.limit
	switch {
	case ratio < 1:
		goal *= max(ratio, steepest)
	case crowded:
		goal += math.Sqrt(g.limit)
	}
	g.limit = g.within(g.limit + smoothing*(goal-g.limit))
}

func (g *gradient) median() time.Duration {
	kept := g.times[:min(g.told-g.dropped, windowMost)]
	slices.Sort(kept)
	return kept[len(kept)/2]
}
