// Package telemetry makes what operators look at. In this version that is the log.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
)

// LogFormat names how a log line is written.
type LogFormat string

// The formats.
const (
	JSON   LogFormat = "json"   // one JSON object a line, for machines
	Logfmt LogFormat = "logfmt" // key=value pairs, for machines and people
	Text   LogFormat = "text"   // for people
)

// NewLog returns a logger that writes each line to w before it goes on. Colour is for
// the format Text on a terminal only. A gateway has an [Open] log.
func NewLog(w io.Writer, format LogFormat, level slog.Leveler, colour bool) (*slog.Logger, error) {
	h, err := newHandler(&writer{w: w}, format, level, colour)
	if err != nil {
		return nil, err
	}
	return slog.New(h), nil
}

func newHandler(out lines, format LogFormat, level slog.Leveler, colour bool) (slog.Handler, error) {
	switch format {
	case JSON:
		return newJSON(out, level), nil
	case Logfmt:
		return newLogfmt(out, level), nil
	case Text:
		return newConsole(out, level, colour), nil
	}
	return nil, fmt.Errorf("there is no log format %q", format)
}

// Lines are where a log is written to.
type lines interface {
	// line takes a whole line, which it does not keep.
	line(level slog.Level, b []byte) error
}

// A writer writes each line at once, and one after the other.
type writer struct {
	mu sync.Mutex
	w  io.Writer
}

func (w *writer) line(_ slog.Level, b []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.w.Write(b)
	return err
}
