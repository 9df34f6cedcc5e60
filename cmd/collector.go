package cmd

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// A collector sets how much garbage may come together before the runtime collects it:
// with a small heap as much as costs little, since a gateway makes some for every
// exchange and keeps next to nothing. With a large heap the runtime's own measure is
// kept. ADR 23 has the figures.
type collector struct{ percent int }

const (
	slack      = 32 << 20 // bytes of garbage that are no harm
	usual      = 100      // the runtime's own percentage
	mostSlack  = 1000
	worthwhile = 10 // a smaller change of the percentage is left be: each stops the program for a moment
)

// tuneCollector sets it now, and anew after every collection, as long as the program runs. An
// operator who has set GOGC has decided otherwise, and is left alone.
func tuneCollector() {
	if os.Getenv("GOGC") != "" {
		return
	}
	c := &collector{percent: usual}
	c.tune()
	c.again()
}

// again runs tune after the next collection: that is when the sentinel is found to be
// garbage.
func (c *collector) again() {
	type sentinel struct{ _ *byte }
	runtime.AddCleanup(new(sentinel), func(c *collector) {
		c.tune()
		c.again()
	}, c)
}

func (c *collector) tune() {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	live := uint64(4 << 20) // before the first collection
	if v := sample[0].Value; v.Kind() == metrics.KindUint64 && v.Uint64() > 0 {
		live = v.Uint64()
	}
	percent := percentFor(live)
	if d := percent - c.percent; d > worthwhile || d < -worthwhile {
		c.percent = percent
		debug.SetGCPercent(percent)
	}
}

// percentFor is the percentage at which slack comes together beside so many live bytes,
// within its bounds.
func percentFor(live uint64) int {
	return int(min(max(slack*100/max(live, 1), usual), mostSlack))
}
