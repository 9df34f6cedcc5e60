package health

import (
	"context"
	"time"
)

// asking is the goroutine that checks one host.
type asking struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
}

// ask begins to check h. It is called with the mutex held.
func (g *Group) ask(h *Host) {
	before := h.asking
	ctx, cancel := context.WithCancel(g.ctx)
	a := &asking{cancel: cancel, done: make(chan struct{})}
	h.asking = a
	g.all.Go(func() {
		defer close(a.done)
		defer cancel()
		if before != nil {
			<-before.done // checks of one host never overlap
		}
		g.checks(ctx, h)
	})
}

// checks asks h again and again until ctx ends.
func (g *Group) checks(ctx context.Context, h *Host) {
	c := g.s.Check
	p, err := newProbe(&g.s, h.address)
	if err != nil {
		g.checked(ctx, h, &tally{first: true}, err)
		return
	}
	defer p.close()
	t := tally{first: true}
	timer := time.NewTimer(time.Duration(float64(c.Interval) * float64(c.Jitter) * g.s.Random()))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		g.checked(ctx, h, &t, p.within(ctx, c.Timeout))
		timer.Reset(g.interval())
	}
}

// interval is the time until the next check.
func (g *Group) interval() time.Duration {
	c := g.s.Check
	return time.Duration(float64(c.Interval) * (1 + float64(c.Jitter)*(2*g.s.Random()-1)))
}

// A tally counts checks of one host in a row.
type tally struct {
	first      bool
	well, sick int
}

// checked notes what a check found: nil if h is well.
func (g *Group) checked(ctx context.Context, h *Host, t *tally, err error) {
	if ctx.Err() != nil {
		return // it was not the host that ended it
	}
	bad := t.count(g.s.Check, h, err == nil)
	g.mu.Lock()
	defer g.unlock()
	if err != nil {
		h.reason = err.Error()
	}
	h.bad = bad
	g.refresh(h, time.Now())
}

// count counts a check, and says whether the host is to be taken for unwell. Only the
// goroutine that checks writes what it reads of h.
func (t *tally) count(c *Check, h *Host, well bool) bool {
	first := t.first
	t.first = false
	if well {
		t.well, t.sick = t.well+1, 0
		return h.bad && !first && t.well < c.Healthy
	}
	t.well, t.sick = 0, t.sick+1
	return h.bad || first || t.sick >= c.Unhealthy
}
