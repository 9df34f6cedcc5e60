//go:build !linux

package metrics

import "time"

// process knows only since when there is something to count.
func process(g *gathering, began time.Time) {
	g.set("process_start_time_seconds", float64(began.UnixMilli())/1e3)
}
