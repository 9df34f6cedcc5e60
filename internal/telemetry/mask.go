package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
)

// A Mask is a list of words that a log must not hold, and what to write instead. It
// may be changed while loggers use it. The zero Mask has no words.
type Mask struct {
	words atomic.Pointer[maskWords]
}

type maskWords struct {
	replacer *strings.Replacer
	finder   *finder
}

// Set replaces the words: each is followed by what to write instead, as
// [strings.NewReplacer] takes them.
func (m *Mask) Set(words []string) {
	if len(words) == 0 {
		m.words.Store(nil)
		return
	}
	w := &maskWords{replacer: strings.NewReplacer(words...)}
	var hidden []string
	for i := 0; i < len(words); i += 2 {
		hidden = append(hidden, words[i])
	}
	w.finder = newFinder(hidden)
	m.words.Store(w)
}

// Replace returns text without the words.
func (m *Mask) Replace(text string) string {
	w := m.words.Load()
	if w == nil {
		return text
	}
	return w.replacer.Replace(text)
}

// Handler returns a handler that passes records on to next, in which no message, no
// text and no error holds a word of m.
func (m *Mask) Handler(next slog.Handler) slog.Handler { return &masking{m, next} }

type masking struct {
	mask *Mask
	next slog.Handler
}

// An unlessWriter can tell by the line, as it is to be written, that a record holds no
// word. So what is usual costs one look at the line and no copy.
type unlessWriter interface {
	writeUnless(r slog.Record, words *finder) (ok bool, err error)
}

func (h *masking) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h *masking) Handle(ctx context.Context, r slog.Record) error {
	w := h.mask.words.Load()
	if w == nil {
		return h.next.Handle(ctx, r)
	}
	if next, can := h.next.(unlessWriter); can && w.finder != nil {
		if ok, err := next.writeUnless(r, w.finder); ok {
			return err
		}
	}
	words := w.replacer
	out := slog.NewRecord(r.Time, r.Level, words.Replace(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(masked(words, a))
		return true
	})
	return h.next.Handle(ctx, out)
}

func (h *masking) WithAttrs(attrs []slog.Attr) slog.Handler {
	if w := h.mask.words.Load(); w != nil {
		words := w.replacer
		clean := make([]slog.Attr, len(attrs))
		for i, a := range attrs {
			clean[i] = masked(words, a)
		}
		attrs = clean
	}
	return &masking{h.mask, h.next.WithAttrs(attrs)}
}

func (h *masking) WithGroup(name string) slog.Handler {
	return &masking{h.mask, h.next.WithGroup(name)}
}

// masked is a without the words. Numbers, times and the like stay as they are.
func masked(words *strings.Replacer, a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(words.Replace(v.String()))
	case slog.KindGroup:
		group := make([]slog.Attr, len(v.Group()))
		for i, g := range v.Group() {
			group[i] = masked(words, g)
		}
		a.Value = slog.GroupValue(group...)
	case slog.KindAny:
		text := fmt.Sprint(v.Any())
		if clean := words.Replace(text); clean != text {
			a.Value = slog.StringValue(clean)
		}
	case slog.KindBool, slog.KindDuration, slog.KindFloat64, slog.KindInt64, slog.KindTime, slog.KindUint64, slog.KindLogValuer:
	}
	return a
}
