package app

import (
	"slices"
	"strings"

	"github.com/airside-gateway/airside/internal/discover"
	"github.com/airside-gateway/airside/internal/pool"
)

// An Upstream is how one of the live configuration stands.
type Upstream struct {
	Name string
	Kind string
	Pool *pool.Snapshot // nil if the kind has no endpoints

	Discovery *discover.Status // nil if its endpoints are those of the configuration
}

// Upstreams says how the upstreams of the live configuration stand, by name. It waits
// for nothing.
func (a *App) Upstreams() []Upstream {
	gen := a.gateway.acquire()
	defer gen.release()
	out := make([]Upstream, 0, len(gen.targets))
	for _, t := range gen.targets {
		u := Upstream{Name: t.name, Kind: t.kind}
		if p, ok := t.Handler.(interface{ Snapshot() pool.Snapshot }); ok {
			s := p.Snapshot()
			u.Pool = &s
		}
		if d, ok := t.Handler.(interface{ Discovery() discover.Status }); ok {
			s := d.Discovery()
			u.Discovery = &s
		}
		out = append(out, u)
	}
	slices.SortFunc(out, func(a, b Upstream) int { return strings.Compare(a.Name, b.Name) })
	return out
}
