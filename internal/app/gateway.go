// Package app builds a running gateway out of a configuration, and replaces it,
// while it runs, by one built out of another. It is the only package that knows
// all parts.
package app

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool"
	"github.com/airside-gateway/airside/internal/route"
)

// A gateway answers exchanges with the newest generation that was built whole.
type gateway struct {
	log  *slog.Logger
	live atomic.Pointer[generation]
	none *route.Table // without a route

	mu    sync.Mutex // serializes building and closing
	kept  map[string]*kept
	drain sync.WaitGroup // generations that are not closed yet

	opened opened // the same, but for those without routes
}

func newGateway(log *slog.Logger) *gateway {
	g := &gateway{log: log, kept: map[string]*kept{}}
	g.none, _ = route.New(nil) // nothing can be wrong with nothing
	g.live.Store((&generation{g: g, table: g.none}).open())
	g.drain.Add(1) // for this first generation
	return g
}

// poison has upstreams spoil what they use again: they do if a value is kept by this
// name, and do not keep one themselves.
func (g *gateway) poison() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kept["poison"] = &kept{value: true, users: 1}
}

// counts has upstreams tell of their tries, in the same way.
func (g *gateway) counts(tries func(upstream string) pool.Tried) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kept["tries"] = &kept{value: tries, users: 1}
}

// Handle finds the route of x and follows it.
func (g *gateway) Handle(x *airside.Exchange) (*http.Response, error) {
	gen := g.acquire()
	x.OnDone(gen.done)
	match := x.Trace.Begin("match", airside.SpanInternal)
	entry, result, err := gen.table.Match(x)
	match.End(err)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return nil, noRoute(gen, x, result)
	}
	r, ok := entry.Value.(*compiled)
	if !ok {
		return nil, airside.Errorf(airside.Internal, "")
	}
	x.Route, x.Protocol = r.name, r.protocol
	if x.Call, err = r.protocol.Parse(x); err != nil {
		return nil, err
	}
	return r.handler.Handle(x)
}

// acquire takes hold of the live generation: it is not closed before release.
func (g *gateway) acquire() *generation {
	for {
		gen := g.live.Load()
		for n := gen.users.Load(); n >= 0; n = gen.users.Load() {
			if gen.users.CompareAndSwap(n, n+1) {
				return gen
			}
		} // retired between the loads: there is another one
	}
}

// swap puts next in place of the live generation, which is closed when its last
// exchange has ended.
func (g *gateway) swap(next *generation) {
	next.start()
	g.live.Swap(next).retire()
}

// close retires the live generation for good and waits until all are closed, but not
// beyond the end of ctx. Exchanges that come even now find no route.
func (g *gateway) close(ctx context.Context) error {
	g.live.Swap((&generation{g: g, table: g.none}).open()).retire()
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.drain.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("closing what earlier configurations built: %w", ctx.Err())
	}
}

func noRoute(gen *generation, x *airside.Exchange, result route.Result) error {
	path := x.Request.URL.Path
	if result != route.WrongMethod {
		return airside.Errorf(airside.NotFound, "no route matches %s", path)
	}
	allowed := strings.Join(gen.table.Allow(x), ", ")
	e := airside.Errorf(airside.MethodNotAllowed, "%s allows %s, not %s", path, allowed, x.Request.Method)
	e.Header = http.Header{"Allow": {allowed}}
	return e
}
