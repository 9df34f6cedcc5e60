package airside

import (
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
)

// An Env is what a component may ask of the gateway while it is being built.
// It is not to be kept afterwards, but for Log and Upstream's results.
type Env struct {
	// Where names the component, for messages and for keys of [Keep]:
	// "policies.fair", "upstreams.records", "routes.intake.use[0]". It is
	// stable over reloads as long as the name in the file is.
	Where string

	Log *slog.Logger

	// Upstream finds an upstream by its name in the configuration, or makes an
	// http upstream of a URL. A flow or a guard calls upstreams by it.
	Upstream func(name string) (Handler, error)

	// OnClose registers what to do when the generation being built has drained.
	// Functions run last registered first.
	OnClose func(func() error)

	// Keep is what the function [Keep] stands on; use that.
	Keep func(key string, build func() (any, error)) (any, error)
}

// Keep returns the value kept under key, building it the first time. The value
// outlives a reload whose configuration asks for key again: it is how rate limit
// counters and connection pools survive. When no generation asks for it any
// more it is closed, if it is an [io.Closer].
//
// Two components that ask for the same key get the same value; put Env.Where,
// and every setting that the value depends on, into the key.
func Keep[T any](e *Env, key string, build func() (T, error)) (T, error) {
	var zero T
	v, err := e.Keep(key, func() (any, error) { return build() })
	if err != nil {
		return zero, err
	}
	t, ok := v.(T)
	if !ok {
		return zero, fmt.Errorf("%s: %q is kept as %T, not %T", e.Where, key, v, zero)
	}
	return t, nil
}

// A Kind is a sort of component that the configuration can name: the shape of
// its settings, and how to build it from them.
type Kind[T any] struct {
	Name     string
	Settings reflect.Type // of the settings, for the schema and the reference
	Build    func(env *Env, decode func(any) error) (T, error)
}

// The registries, filled by init functions and only read afterwards, as with
// database/sql drivers.
var (
	policies  = map[string]Kind[Middleware]{}
	upstreams = map[string]Kind[Handler]{}
	protocols = map[string]Protocol{}
)

// RegisterPolicy makes a policy available to the configuration as name. C is
// the shape of its settings, read by the rules of package config; *C may have
// the methods Defaults() and Validate() error.
func RegisterPolicy[C any](name string, build func(*Env, C) (Middleware, error)) {
	add(policies, name, typed(name, build))
}

// RegisterUpstream makes a kind of upstream available as name. C is as for
// [RegisterPolicy].
func RegisterUpstream[C any](name string, build func(*Env, C) (Handler, error)) {
	add(upstreams, name, typed(name, build))
}

// RegisterProtocol makes a client protocol available as name.
func RegisterProtocol(name string, p Protocol) { add(protocols, name, p) }

// PolicyKind returns the kind of policy called name.
func PolicyKind(name string) (Kind[Middleware], bool) {
	k, ok := policies[name]
	return k, ok
}

// UpstreamKind returns the kind of upstream called name.
func UpstreamKind(name string) (Kind[Handler], bool) {
	k, ok := upstreams[name]
	return k, ok
}

// ProtocolByName returns the protocol called name.
func ProtocolByName(name string) (Protocol, bool) {
	p, ok := protocols[name]
	return p, ok
}

// Names lists what is registered, sorted, for messages, schema and reference.
func Names() (policy, upstream, protocol []string) {
	return slices.Sorted(maps.Keys(policies)), slices.Sorted(maps.Keys(upstreams)), slices.Sorted(maps.Keys(protocols))
}

func add[V any](m map[string]V, name string, v V) {
	if _, dup := m[name]; dup {
		panic(fmt.Sprintf("airside: %q is registered twice", name))
	}
	m[name] = v
}

func typed[C, T any](name string, build func(*Env, C) (T, error)) Kind[T] {
	return Kind[T]{Name: name, Settings: reflect.TypeFor[C](), Build: func(env *Env, decode func(any) error) (T, error) {
		var c C
		if err := decode(&c); err != nil {
			var zero T
			return zero, err
		}
		return build(env, c)
	}}
}
