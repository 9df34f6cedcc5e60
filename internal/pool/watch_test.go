package pool

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestWatch proves when a try is ended, to the nanosecond that a note of the time may be
// late.
func TestWatch(t *testing.T) {
	const s = time.Second
	never := time.Duration(-1)
	tests := []struct {
		name   string
		limits Limits
		do     func(w *watch)
		at     time.Duration
		kind   kind
	}{
		{"nothing", Limits{}, func(*watch) {}, never, 0},
		{"first byte", Limits{FirstByte: 2 * s}, func(*watch) {}, 2 * s, firstByteTimeout},
		{"client awaited", Limits{FirstByte: 2 * s}, func(w *watch) { w.sending(); pass(5 * s); w.sent() }, 7 * s, firstByteTimeout},
		{"client awaited in pieces", Limits{FirstByte: 2 * s}, func(w *watch) {
			for range 3 {
				w.sending()
				pass(1500 * time.Millisecond)
				w.sent()
				pass(s)
			}
		}, 8500 * time.Millisecond, firstByteTimeout},
		{"client awaited for ever", Limits{FirstByte: 2 * s}, func(w *watch) { w.sending() }, never, 0},
		{"total first", Limits{Total: s, FirstByte: 2 * s}, func(*watch) {}, s, totalTimeout},
		{"total alone", Limits{Total: s}, func(*watch) {}, s, totalTimeout},
		{"total while the client is awaited", Limits{Total: 3 * s, FirstByte: s}, func(w *watch) { w.sending() }, 3 * s, totalTimeout},
		{"answered", Limits{FirstByte: 2 * s}, func(w *watch) { w.answered(w.since(), false) }, never, 0},
		{"total within the answer", Limits{Total: 3 * s, FirstByte: s}, func(w *watch) { w.answered(w.since(), false) }, 3 * s, totalTimeout},
		{"endless", Limits{Total: 3 * s, FirstByte: s}, func(w *watch) { w.answered(w.since(), true) }, never, 0},
		{"silence", Limits{StreamIdle: 2 * s}, func(w *watch) { w.answered(w.since(), false); pass(s); w.listening() }, 3 * s, idleTimeout},
		{"silence, shorter than what was awaited before", Limits{FirstByte: 60 * s, StreamIdle: 2 * s}, func(w *watch) {
			w.answered(w.since(), false)
			w.listening()
		}, 2 * s, idleTimeout},
		{"chunks", Limits{StreamIdle: 2 * s}, func(w *watch) {
			w.answered(w.since(), false)
			for range 5 {
				w.listening()
				pass(1900 * time.Millisecond)
				w.heard()
			}
			w.listening()
		}, 11500 * time.Millisecond, idleTimeout},
		{"client reads slowly", Limits{StreamIdle: 2 * s}, func(w *watch) {
			w.answered(w.since(), false)
			w.listening()
			w.heard()
			pass(time.Hour)
			w.listening()
		}, time.Hour + 2*s, idleTimeout},
		{"upload goes on after the head", Limits{StreamIdle: 2 * s}, func(w *watch) {
			w.answered(w.since(), false)
			w.listening()
			pass(s)
			w.sending()
			w.sent()
		}, 2 * s, idleTimeout},
		{"upgraded, where streams of events must begin", Limits{StreamIdle: 3 * s, FirstEvent: s}, func(w *watch) { w.upgraded(); w.touch(); pass(2 * s); w.touch() }, 5 * s, idleTimeout},
		{"upgraded", Limits{StreamIdle: 2 * s, Total: s}, func(w *watch) { w.upgraded(); w.touch(); pass(s); w.touch() }, 3 * s, idleTimeout},
		{"stopped", Limits{FirstByte: s, Total: 2 * s}, func(w *watch) { w.stop() }, never, 0},
		{"stopped before the head", Limits{StreamIdle: s}, func(w *watch) { w.stop(); w.answered(w.since(), false); w.listening() }, never, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				begin := time.Now()
				var ended time.Duration
				context.AfterFunc(ctx, func() { ended = time.Since(begin) })
				var end time.Time
				if tt.limits.Total > 0 {
					end = begin.Add(tt.limits.Total)
				}
				w := &watch{}
				w.start(tt.limits, end, cancel)
				defer w.drop()
				tt.do(w)
				pass(2 * time.Hour)
				synctest.Wait()
				if tt.at == never {
					if ctx.Err() != nil {
						t.Errorf("ended after %s: %v", ended, context.Cause(ctx))
					}
					return
				}
				f, ok := errors.AsType[*failure](context.Cause(ctx))
				if !ok || f.kind != tt.kind || ended < tt.at || ended > tt.at+time.Microsecond {
					t.Errorf("ended after %s: %v, want after %s: %s", ended, context.Cause(ctx), tt.at, phrases[tt.kind].message)
				}
			})
		})
	}
}

// pass lets time go by, which costs none under synctest.
func pass(d time.Duration) { <-time.After(d) }

// TestCrowd proves that who waits for a crowd waits until it is gone, and not for ever.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c crowd
		begin := time.Now()
		c.wait(time.Hour)
		c.enter()
		c.enter()
		time.AfterFunc(time.Second, c.leave)
		time.AfterFunc(2*time.Second, c.leave)
		c.wait(time.Hour)
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("waited %s, want 2s", took)
		}
		c.enter()
		c.wait(time.Second)
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("waited until %s, want 3s", took)
		}
	})
}
