package edge

import (
	"log/slog"
	"time"
)

// overruns counts connections that were closed because there were too many, and says so
// at most once a second. It belongs to the goroutine that accepts.
type overruns struct {
	total, told int64
	said        time.Time
}

const tellAgain = time.Second

// overrun notes that a connection was closed at the limit of l.
func (k *socket) overrun(l *served) {
	o := &k.full
	o.total++
	now := time.Now()
	if now.Sub(o.said) < tellAgain {
		return
	}
	since := o.total - o.told
	o.said, o.told = now, o.total
	k.server.Log.LogAttrs(k.server.ctx, slog.LevelWarn, "connections were closed: limits.connections is reached",
		slog.String("address", l.Address), slog.Int("limit", l.Limits.Connections), slog.Int64("closed", since), slog.Int64("total", o.total))
}
