package trace

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside"
)

// Stats are the counters of an exporter, of spans where nothing else is said.
type Stats struct {
	Exported  uint64 // taken by the collector
	Rejected  uint64 // refused by the collector: they are not sent again
	QueueFull uint64 // dropped, because more came than could be sent
	Unsent    uint64 // dropped, because the collector could not be reached in time
	Lost      uint64 // not recorded, because an exchange had more than [airside.MaxSpans]
	Requests  uint64 // exports that were tried, with those that were tried again
	Retries   uint64 // exports that were tried again
	Waiting   int    // exchanges that wait to be sent
}

// An item is a trace on its way out.
type item struct {
	trace *airside.Trace
	alone bool // it may be used again
}

// maxBatch is how long an export may become before it is sent, in bytes.
const maxBatch = 1 << 20

// An exporter gathers traces and sends them, on one goroutine.
type exporter struct {
	to       sender
	target   Target
	log      *slog.Logger
	queue    chan item
	free     func(item)
	encoder  encoder
	resource []byte
	random   func() float64

	ctx     context.Context // ends what is being sent
	cancel  context.CancelFunc
	once    sync.Once
	stop    chan struct{}
	done    chan struct{}
	failing bool // the last export came to nothing

	exported, rejected, full, unsent, lost, requests, retries atomic.Uint64
}

func newExporter(s *Settings, to sender, free func(item)) *exporter {
	e := &exporter{
		to: to, target: s.To, log: s.Log, queue: make(chan item, s.To.Queue), free: free,
		encoder: encoder{mask: s.Mask}, stop: make(chan struct{}), done: make(chan struct{}), random: jitter,
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.resource = e.encoder.resource(s.Resource)
	e.ctx, e.cancel = context.WithCancel(context.Background())
	go e.run()
	return e
}

// offer takes i, or says no: it never waits.
func (e *exporter) offer(i item) bool {
	e.lost.Add(uint64(i.trace.Lost())) //nolint:gosec // not negative
	select {
	case <-e.stop:
	default:
		select {
		case e.queue <- i:
			return true
		default:
		}
	}
	e.full.Add(uint64(len(i.trace.Spans())))
	return false
}

func (e *exporter) run() {
	defer close(e.done)
	defer e.to.close()
	timer := time.NewTimer(e.target.Interval)
	defer timer.Stop()
	for {
		select {
		case i := <-e.queue:
			if e.encoder.count == 0 {
				timer.Reset(e.target.Interval)
			}
			e.add(i)
		case <-timer.C:
			e.flush()
		case <-e.stop:
			e.drain()
			return
		}
	}
}

func (e *exporter) add(i item) {
	e.encoder.add(i.trace)
	e.free(i)
	if e.encoder.count >= e.target.Batch || len(e.encoder.spans) >= maxBatch {
		e.flush()
	}
}

// drain sends what is left.
func (e *exporter) drain() {
	for {
		select {
		case i := <-e.queue:
			e.add(i)
		default:
			e.flush()
			return
		}
	}
}

// flush sends what was gathered, and counts what became of it.
func (e *exporter) flush() {
	if e.encoder.count == 0 {
		return
	}
	b, n := e.encoder.take(nil, e.resource)
	spans := uint64(n) //nolint:gosec // not negative
	out, err := e.send(b)
	switch {
	case err != nil && out.final:
		e.rejected.Add(spans)
	case err != nil:
		e.unsent.Add(spans)
	default:
		rejected := min(out.rejected, spans)
		e.rejected.Add(rejected)
		e.exported.Add(spans - rejected)
	}
	e.say(err, n)
}

// say tells the log when exports begin to fail, and when they are well again.
func (e *exporter) say(err error, spans int) {
	switch {
	case err != nil && !e.failing:
		e.log.LogAttrs(e.ctx, slog.LevelWarn, "traces cannot be sent, and are dropped until they can", slog.Int("spans", spans), slog.Any("err", err))
	case err == nil && e.failing:
		e.log.LogAttrs(e.ctx, slog.LevelInfo, "traces can be sent again")
	}
	e.failing = err != nil
}

// Bounds of trying again.
const (
	firstPause  = 250 * time.Millisecond
	longPause   = 5 * time.Second
	longestWait = 30 * time.Second // for a Retry-After
	tryAgain    = time.Minute      // for one export in all
)

// send sends one export, again if that may help, and returns the last outcome.
func (e *exporter) send(b []byte) (outcome, error) {
	began, pause := time.Now(), firstPause
	for {
		e.requests.Add(1)
		ctx, cancel := context.WithTimeout(e.ctx, e.target.Timeout)
		out, err := e.to.send(ctx, b)
		cancel()
		if err == nil || out.final || e.ctx.Err() != nil {
			return out, err
		}
		wait := time.Duration(float64(pause) * (0.5 + e.random()/2))
		pause = min(2*pause, longPause)
		if out.after > 0 {
			wait = min(out.after, longestWait)
		}
		if time.Since(began)+wait > tryAgain || !e.pause(wait) {
			return out, err
		}
		e.retries.Add(1)
	}
}

// pause waits, and reports whether that was not cut short, as it is when the exporter is
// told to stop: each of the last exports has one try.
func (e *exporter) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-e.stop:
		return false
	case <-e.ctx.Done():
		return false
	}
}

func (e *exporter) close(ctx context.Context) {
	e.once.Do(func() { close(e.stop) })
	select {
	case <-e.done:
	case <-ctx.Done():
	}
	e.cancel()
	<-e.done
}

func (e *exporter) stats() Stats {
	return Stats{
		Exported: e.exported.Load(), Rejected: e.rejected.Load(), QueueFull: e.full.Load(), Unsent: e.unsent.Load(),
		Lost: e.lost.Load(), Requests: e.requests.Load(), Retries: e.retries.Load(), Waiting: len(e.queue),
	}
}
