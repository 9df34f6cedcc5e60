package app

import (
	"io"
	"log/slog"
	"math"
	"slices"
	"sync/atomic"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/route"
)

// A generation is everything that was built out of one configuration. It never
// changes.
type generation struct {
	g       *gateway
	table   *route.Table
	config  *config.Config
	routes  []*compiled // as the configuration lists them
	targets []*target   // all upstreams
	closers []func() error
	keys    []string
	users   atomic.Int64          // exchanges under way; far below zero once retired
	done    func(airside.Outcome) // release, for the end of an exchange
}

// retired is added to users when a generation leaves: no number of exchanges brings
// it above zero again.
const retired = math.MinInt64 / 2

// newGeneration builds c whole, or nothing: on an error everything built so far is
// closed again.
func newGeneration(g *gateway, c *config.Config) (*generation, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gen := (&generation{g: g, config: c}).open()
	g.drain.Add(1)
	if err := newBuilder(gen, c).build(); err != nil {
		gen.close()
		return nil, err
	}
	g.opened.add(gen)
	return gen, nil
}

// open makes gen ready for exchanges.
func (gen *generation) open() *generation {
	gen.done = func(airside.Outcome) { gen.release() }
	return gen
}

func (gen *generation) release() {
	if gen.users.Add(-1) == retired {
		gen.finish()
	}
}

func (gen *generation) retire() {
	if gen.users.Add(retired) == retired {
		gen.finish()
	}
}

// finish closes the generation without keeping the last exchange waiting. The
// gateway waits for it, by drain.
func (gen *generation) finish() {
	go func() {
		gen.g.mu.Lock()
		defer gen.g.mu.Unlock()
		gen.close()
	}()
}

// close is called with g.mu held, once.
func (gen *generation) close() {
	gen.g.opened.remove(gen)
	for _, v := range slices.Backward(gen.closers) {
		if err := v(); err != nil {
			gen.g.log.Error("closing a generation", slog.Any("err", err))
		}
	}
	for _, k := range gen.keys {
		gen.g.drop(k)
	}
	gen.g.drain.Done()
}

// env is what a component of this generation may ask for.
func (gen *generation) env(where string, upstream func(string) (airside.Handler, error)) *airside.Env {
	return &airside.Env{
		Where:    where,
		Log:      gen.g.log.With(slog.String("at", where)),
		Upstream: upstream,
		OnClose:  func(f func() error) { gen.closers = append(gen.closers, f) },
		Keep:     func(key string, build func() (any, error)) (any, error) { return gen.keep(where, key, build) },
	}
}

// A kept value outlives the generation that built it, as long as another asks for
// it in time.
type kept struct {
	value any
	users int
	where string // of the component that built it: keys are not for logs, they may hold secrets
}

// keep is called while building, with g.mu held.
func (gen *generation) keep(where, key string, build func() (any, error)) (any, error) {
	k := gen.g.kept[key]
	if k == nil {
		v, err := build()
		if err != nil {
			return nil, err
		}
		k = &kept{value: v, where: where}
		gen.g.kept[key] = k
	}
	k.users++
	gen.keys = append(gen.keys, key)
	return k.value, nil
}

// drop is called with g.mu held.
func (g *gateway) drop(key string) {
	k := g.kept[key]
	if k.users--; k.users > 0 {
		return
	}
	delete(g.kept, key)
	if c, ok := k.value.(io.Closer); ok {
		if err := c.Close(); err != nil {
			g.log.Error("closing what was kept", slog.String("at", k.where), slog.Any("err", err))
		}
	}
}
