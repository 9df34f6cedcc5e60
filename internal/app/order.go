package app

import (
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/config"
)

// A policy stands on a route, with what went before and what the route matches: this
// file holds what a policy alone cannot check.

// pathParameters is what settings have that stand for parameters of a route's path: the
// settings, and the names in them.
type pathParameters interface {
	PathParameters() iter.Seq2[string, string]
}

// readsCaller is what settings have that may look at who asks.
type readsCaller interface{ ReadsCaller() bool }

// settingsOf decodes the settings of a policy, or of the one that it names, if they are a
// T and valid; others say it if they are not. The part is where they stand.
func settingsOf[T any](c *config.Config, p config.Part) (settings T, part config.Part, ok bool) {
	if p.Ref != "" {
		if p, ok = c.Policy(p.Ref); !ok {
			return settings, p, false
		}
	}
	k, ok := airside.PolicyKind(p.Kind)
	if !ok {
		return settings, p, false
	}
	v := reflect.New(k.Settings).Interface()
	if settings, ok = v.(T); !ok {
		return settings, p, false
	}
	return settings, p, p.Decode(v) == nil
}

// checkParameters reports parameters that policies of a route use and its path does not
// have.
func (b *builder) checkParameters(rc *config.Route) {
	for _, p := range slices.Concat(b.config.Use, rc.Use) {
		settings, part, ok := settingsOf[pathParameters](b.config, p)
		if !ok {
			continue
		}
		for field, name := range settings.PathParameters() {
			if hasParameter(rc.Path, name) {
				continue
			}
			err := airside.FieldErrorf(field, "the path of the route %s (at %d:%d) has no {%s}", routeName(b.config, rc), rc.At.Line, rc.At.Column, name)
			b.problems = append(b.problems, part.Locate(err)...)
		}
	}
}

func hasParameter(path, name string) bool {
	return slices.Contains(strings.Split(path, "/"), "{"+name+"}")
}

// callerTooEarly warns of policies that look at who asks before anybody finds out.
func callerTooEarly(c *config.Config) config.Problems {
	var out config.Problems
	for i := range c.Routes {
		for _, p := range slices.Concat(c.Use, c.Routes[i].Use) {
			if knowsCallers(c, []config.Part{p}) {
				break
			}
			if settings, _, ok := settingsOf[readsCaller](c, p); ok && settings.ReadsCaller() {
				out = append(out, config.Problem{At: p.At, Message: fmt.Sprintf(
					"on the route %s nobody is known yet where this reads caller: put an authentication policy (such as apikey) before it", routeName(c, &c.Routes[i]))})
			}
		}
	}
	return out
}
