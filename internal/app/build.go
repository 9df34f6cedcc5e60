package app

import (
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/expr"
	"github.com/airside-gateway/airside/internal/route"
)

// A builder turns a configuration into a generation. It goes on after an error, so
// that all errors are told at once.
type builder struct {
	gen       *generation
	config    *config.Config
	upstreams map[string]*built[airside.Handler]
	policies  map[string]*built[airside.Middleware]
	global    []used
	urls      map[string]airside.Handler // upstreams made of URLs
	problems  config.Problems
}

// A built component is built once, when first asked for.
type built[T any] struct {
	part     config.Part
	value    T
	err      error
	done     bool
	building bool
	used     bool
}

// used is a policy at its place in a chain.
type used struct {
	label      string // for explain: the name, or the kind
	kind       string
	middleware airside.Middleware
}

// compiled is a route, ready to be followed.
type compiled struct {
	name     string
	protocol airside.Protocol
	handler  airside.Handler
	policies []string // labels, in the order in which they run
	targets  []string // names of upstreams
	how      string   // how one of the targets is chosen
}

// errReported stands for an error that is among the problems already.
var errReported = errors.New("reported")

func newBuilder(gen *generation, c *config.Config) *builder {
	return &builder{
		gen: gen, config: c, urls: map[string]airside.Handler{},
		upstreams: named[airside.Handler](c.Upstreams), policies: named[airside.Middleware](c.Policies),
	}
}

func (b *builder) build() error {
	b.global = b.chain(b.config.Use, "use")
	entries := make([]route.Entry, 0, len(b.config.Routes))
	for i := range b.config.Routes {
		entries = append(entries, b.route(&b.config.Routes[i]))
	}
	table, err := route.New(entries)
	b.tableErrors(err)
	b.rest()
	if len(b.problems) > 0 {
		return b.problems.Sorted()
	}
	b.gen.table = table
	return nil
}

func named[T any](parts []config.Named) map[string]*built[T] {
	m := make(map[string]*built[T], len(parts))
	for _, p := range parts {
		m[p.Name] = &built[T]{part: p.Part}
	}
	return m
}

// rest builds what nothing used, for its errors, and then says that it is unused.
func (b *builder) rest() {
	ups, pols := map[string]bool{}, map[string]bool{}
	for _, n := range b.config.Upstreams {
		if u := b.upstreams[n.Name]; u != nil {
			ups[n.Name] = u.used
			_, _ = b.upstreamNamed(n.Name) // its errors are among the problems
		}
	}
	for _, n := range b.config.Policies {
		if p := b.policies[n.Name]; p != nil {
			pols[n.Name] = p.used
			_, _ = b.policyNamed(n.Name)
		}
	}
	b.problems = append(b.problems, b.config.Unused(ups, pols)...)
}

// route compiles the route at index i.
func (b *builder) route(rc *config.Route) route.Entry {
	where := "routes." + b.config.Shown(rc.Name)
	if rc.Name == "" { // what it matches stays the same where its place in the file does not
		match := fmt.Sprintf("%q %q %q %q %q %q", rc.Host, rc.Path, rc.Method, rc.Headers, rc.Query, rc.When)
		where = fmt.Sprintf("routes.%x", sha256.Sum256([]byte(match)))[:len("routes.")+12] // hashed: clients may see it, and a match may hold a secret
	}
	r := &compiled{name: routeName(b.config, rc)}
	b.gen.routes = append(b.gen.routes, r)
	r.protocol, _ = airside.ProtocolByName(rc.Protocol) // the configuration has checked that there is one
	var chain []used
	chain = append(chain, b.global...)
	if rc.Timeout > 0 {
		chain = append(chain, b.deadline(where, rc))
	}
	chain = append(chain, b.chain(rc.Use, where+".use")...)
	b.checkParameters(rc)
	for _, u := range chain {
		r.policies = append(r.policies, u.label)
	}
	r.handler = b.strip(rc, b.target(rc, r, chain))
	for j := len(chain) - 1; j >= 0 && r.handler != nil; j-- {
		if chain[j].middleware != nil {
			r.handler = b.traced(&chain[j], chain[j].middleware(r.handler))
		}
	}
	return route.Entry{Name: r.name, Value: r, Match: b.match(rc)}
}

// routeName is what logs call a route. It shows no value of a reference.
func routeName(c *config.Config, rc *config.Route) string {
	if rc.Name != "" {
		return c.Shown(rc.Name)
	}
	if len(rc.Host) > 0 {
		return c.Shown(rc.Host[0]) + c.Shown(rc.Path)
	}
	return c.Shown(rc.Path)
}

func (b *builder) when(rc *config.Route) func(*airside.Exchange) (bool, error) {
	if rc.When == "" {
		return nil
	}
	p, err := expr.Compile(rc.When, expr.Bool, expr.Only("request"), expr.At("when"))
	if err != nil {
		b.field(rc, "when", err)
		return nil
	}
	return p.Bool
}

// deadline is the policy timeout, which a route may write as a setting of its own.
func (b *builder) deadline(where string, rc *config.Route) used {
	k, ok := airside.PolicyKind("timeout")
	if !ok {
		b.problem(rc.Field("timeout"), "this build has no policy timeout, which a route's timeout needs")
		return used{label: "timeout"}
	}
	m, err := k.Build(b.gen.env(where+".timeout", b.upstream), scalar(rc.Timeout.String()))
	if err != nil {
		b.field(rc, "timeout", err)
	}
	return used{label: "timeout " + rc.Timeout.Round(time.Millisecond).String(), kind: "timeout", middleware: m}
}

// chain builds the policies of a use list.
func (b *builder) chain(parts []config.Part, where string) []used {
	var out []used
	for i, p := range parts {
		if p.Ref != "" {
			m, err := b.policyNamed(p.Ref)
			if err == nil {
				b.policies[p.Ref].used = true
				out = append(out, used{label: p.Ref, kind: b.policies[p.Ref].part.Kind, middleware: m})
			}
			continue
		}
		k, ok := airside.PolicyKind(p.Kind)
		if !ok {
			continue // the configuration has said so
		}
		m, err := k.Build(b.gen.env(fmt.Sprintf("%s[%d]", where, i), b.upstream), p.Decode)
		if err != nil {
			b.problems = append(b.problems, p.Locate(err)...)
			continue
		}
		out = append(out, used{label: p.Kind, kind: p.Kind, middleware: m})
	}
	return out
}

func (b *builder) policyNamed(name string) (airside.Middleware, error) {
	p := b.policies[name]
	if p == nil {
		return nil, errReported
	}
	if p.done {
		return p.value, p.err
	}
	p.done = true
	k, ok := airside.PolicyKind(p.part.Kind)
	if !ok {
		p.err = errReported
		return nil, p.err
	}
	m, err := k.Build(b.gen.env("policies."+name, b.upstream), p.part.Decode)
	if err != nil {
		b.problems = append(b.problems, p.part.Locate(err)...)
		p.err = errReported
		return nil, p.err
	}
	p.value = m
	return m, nil
}

// upstream is what components ask for by [airside.Env].Upstream: a name or a URL.
func (b *builder) upstream(name string) (airside.Handler, error) {
	if strings.Contains(name, "://") {
		return b.upstreamURL(name)
	}
	if u := b.upstreams[name]; u != nil {
		u.used = true
		return b.upstreamNamed(name)
	}
	return nil, fmt.Errorf("no upstream is called %q", name)
}

func (b *builder) upstreamNamed(name string) (airside.Handler, error) {
	u := b.upstreams[name]
	if u.building {
		return nil, fmt.Errorf("upstream %q is made of itself", name)
	}
	if u.done {
		return u.value, u.err
	}
	u.building = true
	defer func() { u.building, u.done = false, true }()
	k, ok := airside.UpstreamKind(u.part.Kind)
	if !ok {
		u.err = errReported
		return nil, u.err
	}
	h, err := k.Build(b.gen.env("upstreams."+name, b.upstream), u.part.Decode)
	if err != nil {
		b.problems = append(b.problems, u.part.Locate(err)...)
		u.err = errReported
		return nil, u.err
	}
	u.value = b.named(h, name, u.part.Kind)
	return u.value, nil
}

// upstreamURL makes an http upstream with default settings.
func (b *builder) upstreamURL(address string) (airside.Handler, error) {
	if h := b.urls[address]; h != nil {
		return h, nil
	}
	if _, err := url.Parse(address); err != nil {
		return nil, fmt.Errorf("%q is not a URL", address)
	}
	k, ok := airside.UpstreamKind("http")
	if !ok {
		return nil, errors.New("this build has no http upstream, which a URL needs")
	}
	name := b.config.Shown(address)
	h, err := k.Build(b.gen.env("upstreams."+name, b.upstream), scalar(address))
	if err != nil {
		return nil, err
	}
	b.urls[address] = b.named(h, name, "http")
	return b.urls[address], nil
}

// scalar decodes settings that may be written as one scalar, by the rules of package
// config.
func scalar(text string) func(any) error {
	return func(v any) error {
		if d, ok := v.(interface{ Defaults() }); ok {
			d.Defaults()
		}
		u, ok := v.(encoding.TextUnmarshaler)
		if !ok {
			return fmt.Errorf("%T cannot be written as a scalar", v)
		}
		if err := u.UnmarshalText([]byte(text)); err != nil {
			return err
		}
		if c, ok := v.(interface{ Validate() error }); ok {
			return c.Validate()
		}
		return nil
	}
}

func (b *builder) problem(at config.Position, format string, args ...any) {
	b.problems = append(b.problems, config.Problem{At: at, Message: fmt.Sprintf(format, args...)})
}

// field reports what is wrong with a setting of a route. The configuration knows the
// place, and keeps values out of the message that came by a reference.
func (b *builder) field(rc *config.Route, name string, err error) {
	for _, p := range rc.Locate(&airside.FieldError{Field: name, Err: err}) {
		if strings.HasPrefix(p.Message, name+": "+name+" ") { // the error names the field itself
			p.Message = strings.TrimPrefix(p.Message, name+": ")
		}
		b.problems = append(b.problems, p)
	}
}

func (b *builder) tableErrors(err error) {
	for _, e := range unjoin(err) {
		ee, ok := errors.AsType[*route.EntryError](e)
		if !ok {
			b.problem(config.Position{}, "%v", e)
			continue
		}
		b.field(&b.config.Routes[ee.Index], ee.Field, ee.Err)
	}
}

// unjoin returns the errors that [errors.Join] put together.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	j, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range j.Unwrap() {
		out = append(out, unjoin(e)...)
	}
	return out
}
