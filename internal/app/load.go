package app

import (
	"errors"
	"log/slog"
	"math"

	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/route"
)

// Load reads the configuration file and finds everything that is wrong with it that
// can be found without building anything.
func Load(file string) (*config.Config, error) {
	return config.Load(file, config.Lookup{}, routeProblems)
}

// Parse is [Load] for a text. Name is the file that messages name.
func Parse(name string, text []byte, lookup config.Lookup) (*config.Config, error) {
	return config.Parse(name, text, lookup, routeProblems)
}

// routeProblems finds what is wrong with the matches of routes. Those in which
// something else is wrong are left out: what they mean is not known.
func routeProblems(c *config.Config, have config.Problems) config.Problems {
	b := &builder{config: c}
	var entries []route.Entry
	var index []int
	for i := range c.Routes {
		end := math.MaxInt
		if i+1 < len(c.Routes) {
			end = c.Routes[i+1].At.Line
		}
		if touched(have, c.Routes[i].At.Line, end) {
			continue
		}
		entries = append(entries, route.Entry{Name: routeName(c, &c.Routes[i]), Match: b.match(&c.Routes[i])})
		index = append(index, i)
		b.checkStrip(&c.Routes[i])
	}
	_, err := route.New(entries)
	for _, e := range unjoin(err) {
		if ee, ok := errors.AsType[*route.EntryError](e); ok {
			b.field(&c.Routes[index[ee.Index]], ee.Field, ee.Err)
		}
	}
	if len(have)+len(b.problems) > 0 { // otherwise whoever builds it finds them
		b.problems = append(b.problems, componentProblems(c)...)
	}
	return b.problems
}

// componentProblems builds every policy and upstream, whether routes use them or not,
// for what is wrong with them, and throws them away.
func componentProblems(c *config.Config) config.Problems {
	g := newGateway(slog.New(slog.DiscardHandler))
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drain.Add(1)
	gen := &generation{g: g, config: c}
	defer gen.close()
	b := newBuilder(gen, c)
	b.chain(c.Use, "use")
	for i := range c.Routes {
		b.chain(c.Routes[i].Use, "use")
	}
	for _, n := range c.Upstreams {
		_, _ = b.upstreamNamed(n.Name) // its errors are among the problems
	}
	for _, n := range c.Policies {
		_, _ = b.policyNamed(n.Name)
	}
	return b.problems
}

// touched reports whether a problem lies in the lines from begin up to end, or on
// the line of begin.
func touched(have config.Problems, begin, end int) bool {
	for _, p := range have {
		if p.At.Line == begin || p.At.Line >= begin && p.At.Line < end {
			return true
		}
	}
	return false
}

// match is what the route table compares requests with.
func (b *builder) match(rc *config.Route) route.Match {
	return route.Match{
		Hosts: rc.Host, Path: rc.Path, Methods: rc.Method, Headers: rc.Headers, Query: rc.Query, When: b.when(rc),
	}
}
