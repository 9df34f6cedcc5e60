package discover

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Pauses before a source that gave up is run again: they double, each with up to a fifth
// less, so that many gateways do not come back at the same moment.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// A Status is how a follower stands. Counts begin when it was made, and only grow.
type Status struct {
	Known     bool // there is a set, which may be empty
	Endpoints int
	Changed   time.Time // when the set became what it is
	Changes   uint64
	Failures  uint64 // how often the source gave up, or found what is of no use
	Err       error  // what went wrong last, until all is well again
}

// A Follower runs a source, keeps what it found last, and tells it to its subscribers.
type Follower struct {
	source Source
	log    *slog.Logger

	known   chan struct{} // closed when there is a set
	running sync.WaitGroup

	life   sync.Mutex // guards what follows
	begun  time.Time
	cancel context.CancelFunc // ends the source; nil before the start
	closed bool

	mu     sync.Mutex // guards what follows; held while subscribers are told, so that all see the same order
	set    []Endpoint
	status Status
	fresh  bool // the source has told a set since it was run last
	subs   []*subscriber
}

type subscriber struct{ tell func([]Endpoint) }

// Follow returns a follower of s, which does nothing before it is started.
func Follow(s Source, log *slog.Logger) *Follower {
	return &Follower{source: s, log: log, known: make(chan struct{})}
}

// Start runs the source until [Follower.Close]. Calls after the first do nothing.
func (f *Follower) Start() {
	f.life.Lock()
	defer f.life.Unlock()
	if f.closed || f.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.begun, f.cancel = time.Now(), cancel
	f.running.Go(func() { f.run(ctx) })
}

// Close ends the source and waits for it. A follower that was closed does not start.
func (f *Follower) Close() error {
	f.life.Lock()
	f.closed = true
	cancel := f.cancel
	f.life.Unlock()
	if cancel != nil {
		cancel()
	}
	f.running.Wait()
	return nil
}

// Known is closed when there is a set.
func (f *Follower) Known() <-chan struct{} { return f.known }

// Begun says when the follower was started; zero if it was not.
func (f *Follower) Begun() time.Time {
	f.life.Lock()
	defer f.life.Unlock()
	return f.begun
}

// Subscribe has tell called with the set at once, if there is one, and then with every
// change, one call at a time, until stop is called. A call that is under way then is
// waited for. Tell must not block, keep to itself what it was given, or change it.
func (f *Follower) Subscribe(tell func([]Endpoint)) (stop func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := &subscriber{tell}
	f.subs = append(f.subs, s)
	if f.status.Known {
		tell(f.set)
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.subs = slices.DeleteFunc(f.subs, func(o *subscriber) bool { return o == s })
	}
}

// Status says how f stands.
func (f *Follower) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// run runs the source over and over.
func (f *Follower) run(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		err := f.source.Run(ctx, f)
		if ctx.Err() != nil {
			return
		}
		if f.gaveUp(err) {
			pause = firstPause
		}
		if !wait(ctx, pause-time.Duration(rand.Int64N(int64(pause)/5))) { //nolint:gosec // no secret
			return
		}
		pause = min(2*pause, lastPause)
	}
}

// gaveUp notes why the source cannot go on, and reports whether it had found something
// since it was run last.
func (f *Follower) gaveUp(err error) (fresh bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fresh, f.fresh = f.fresh, false
	if err == nil { // it has ended by itself, which only asks to be run again
		return fresh
	}
	f.status.Failures++
	if f.status.Err == nil { // the same over and over is said once
		f.log.Warn("discovery fails; what it found last stays in force", slog.Any("err", err), slog.Int("endpoints", len(f.set)))
	}
	f.status.Err = err
	return fresh
}

// Failed implements [Sink].
func (f *Follower) Failed(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Failures++
	f.status.Err = err
	f.log.Warn("discovery found what is of no use; what it found before stays in force", slog.Any("err", err), slog.Int("endpoints", len(f.set)))
}

// Set implements [Sink].
func (f *Follower) Set(endpoints []Endpoint) {
	now, beyond := ordered(endpoints)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.status.Err != nil {
		f.log.Info("discovery is well again", slog.Uint64("failures", f.status.Failures))
	}
	f.status.Err, f.fresh = nil, true
	added, removed, changed := difference(f.set, now)
	if f.status.Known && added+removed+changed == 0 {
		return
	}
	f.log.Info("endpoints changed", slog.Int("added", added), slog.Int("removed", removed),
		slog.Int("changed", changed), slog.Int("endpoints", len(now)))
	if beyond > 0 {
		f.log.Warn("there are more endpoints than are used", slog.Int("left_out", beyond))
	}
	if !f.status.Known {
		f.status.Known = true
		defer close(f.known)
	}
	f.set, f.status.Endpoints, f.status.Changed = now, len(now), time.Now()
	f.status.Changes++
	for _, s := range f.subs {
		s.tell(now)
	}
}

// wait waits for d, and reports false if ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
