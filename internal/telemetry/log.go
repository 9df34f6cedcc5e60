// Package telemetry makes what operators look at. In this version that is the log.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
)

// LogFormat names how a log line is written.
type LogFormat string

// The formats.
const (
	JSON LogFormat = "json" // one JSON object a line, for machines
	Text LogFormat = "text" // for people
)

// NewLog returns a logger that writes to w. Colour is for the format Text on a
// terminal only.
func NewLog(w io.Writer, format LogFormat, level slog.Leveler, colour bool) (*slog.Logger, error) {
	switch format {
	case JSON:
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: readableDurations})), nil
	case Text:
		return slog.New(NewConsole(w, level, colour)), nil
	}
	return nil, fmt.Errorf("there is no log format %q", format)
}

// readableDurations writes durations as milliseconds, the unit of every dashboard,
// and not as nanoseconds.
func readableDurations(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.Float64(a.Key+"_ms", float64(a.Value.Duration().Microseconds())/1e3)
	}
	return a
}
