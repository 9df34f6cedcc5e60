package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/airside-gateway/airside"
)

// What the design of the configuration names, and a later version brings.
var (
	laterPolicies  = []string{"jwt", "introspect", "oidc", "mtls", "cache", "redact", "audit", "cedar", "waf"}
	laterUpstreams = []string{"grpc", "llm", "mcp", "a2a", "topic", "flow"}
	laterProtocols = []string{"openai", "anthropic", "gemini", "mcp", "a2a"}
)

// check looks at what no single value shows: names, and what refers to them.
// What could not be decoded is not there, and was reported.
func (d *decoder) check(c *Config) {
	upstreams, policies := known(c.Upstreams), known(c.Policies)
	for i := range c.Upstreams {
		d.upstream(&c.Upstreams[i].Part)
	}
	for i := range c.Policies {
		d.policy(&c.Policies[i].Part)
	}
	d.uses(c.Use, policies)
	if n := d.doc.root.at("listen"); n != nil && n.kind == list && len(n.in) == 0 {
		d.fail(n, "expected at least one address, found an empty list")
	}
	if n := d.doc.root.at("routes"); n != nil && n.kind == list && len(n.in) == 0 {
		d.fail(n, "expected at least one route, found an empty list")
	}
	d.addresses(c)
	seen := map[string]Position{}
	for i := range c.Routes {
		r := &c.Routes[i]
		if r.node == nil { // it is no mapping
			continue
		}
		d.routeName(r, seen)
		d.protocol(r)
		d.uses(r.Use, policies)
		for _, t := range r.To.Targets {
			d.reference(t.node, "upstream", upstreams)
		}
		d.answer(r)
	}
}

// A registry is a set of names that the file gives.
type registry struct {
	list []string
	set  map[string]bool
}

func known(all []Named) registry {
	r := registry{set: make(map[string]bool, len(all))}
	for _, n := range all {
		r.list = append(r.list, n.Name)
		r.set[n.Name] = true
	}
	return r
}

// reference checks that n is the name of something, or a URL of an upstream.
func (d *decoder) reference(n *node, what string, names registry) {
	if n == nil || names.set[n.text] || what == "upstream" && strings.Contains(n.text, "://") {
		return
	}
	hint := ""
	if !n.ref && !n.secret {
		hint = d.hintReference(n.text, what, names)
	}
	d.fail(n, "no "+what+" is called "+strings.TrimPrefix(n.found(), "the number ")+hint)
}

func (d *decoder) hintReference(name, what string, names registry) string {
	if near := d.nearest(name, names.list); near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	if what == "policy" {
		if _, ok := airside.PolicyKind(name); ok || slices.Contains(laterPolicies, name) {
			return fmt.Sprintf(" (to use the kind in place, write { %s: {} })", name)
		}
		return ""
	}
	if strings.ContainsAny(name, ":/") {
		return fmt.Sprintf(" (for an address, write %s)", strconv.Quote("http://"+strings.TrimLeft(cut(name, 60), "/")))
	}
	return ""
}

// uses checks the policies that a route, or every route, uses.
func (d *decoder) uses(use []Part, policies registry) {
	for i := range use {
		p := &use[i]
		switch {
		case p.Ref != "":
			d.reference(p.node, "policy", policies)
		case p.Kind == "": // reported when it was decoded
		case policies.set[p.Kind] && !isPolicy(p.Kind):
			d.fail(&p.node.in[0], fmt.Sprintf("unknown policy kind %q (to use the policy of this name, write it as text: %s)", p.Kind, p.Kind))
		default:
			d.policy(p)
		}
	}
}

func isPolicy(kind string) bool {
	_, ok := airside.PolicyKind(kind)
	return ok
}

// policy checks the kind and the settings of a policy.
func (d *decoder) policy(p *Part) {
	k, ok := airside.PolicyKind(p.Kind)
	d.component(p, "policy", k.Settings, ok, laterPolicies)
}

// upstream checks the kind and the settings of an upstream.
func (d *decoder) upstream(p *Part) {
	k, ok := airside.UpstreamKind(p.Kind)
	d.component(p, "upstream", k.Settings, ok, laterUpstreams)
}

func (d *decoder) component(p *Part, what string, settings reflect.Type, ok bool, later []string) {
	switch {
	case p.Kind == "": // reported when it was decoded
	case ok:
		d.settings(*p, reflect.New(settings).Elem())
	case slices.Contains(later, p.Kind):
		d.fail(&p.node.in[0], fmt.Sprintf("%s kind %q %s", what, p.Kind, Later))
	default:
		policies, upstreams, _ := airside.Names()
		all := policies
		if what == "upstream" {
			all = upstreams
		}
		d.fail(&p.node.in[0], fmt.Sprintf("unknown %s kind %q%s", what, p.Kind, meant(d.nearest(p.Kind, all), all)))
	}
}

// protocol checks the protocol of a route, if one is written.
func (d *decoder) protocol(r *Route) {
	n := r.node.at("protocol")
	if n == nil || n.kind != text || n.bad {
		return
	}
	switch _, ok := airside.ProtocolByName(n.text); {
	case ok:
	case n.ref:
		d.fail(n, "unknown protocol: "+n.found())
	case slices.Contains(laterProtocols, n.text):
		d.fail(n, fmt.Sprintf("protocol %q %s", n.text, Later))
	default:
		_, _, all := airside.Names()
		d.fail(n, fmt.Sprintf("unknown protocol %q%s", cut(n.text, 60), meant(d.nearest(n.text, all), all)))
	}
}

// answer checks that something answers on a route: what it leads to, or a
// policy.
func (d *decoder) answer(r *Route) {
	use := r.node.at("use")
	if r.node.at("to") == nil && (use == nil || use.kind == list && len(use.in) == 0) && !d.slips[slip{r.node, "use"}] {
		d.missing(r.node, "to")
	}
}

// routeName checks the name of a route, if it has one.
func (d *decoder) routeName(r *Route, seen map[string]Position) {
	n := r.node.at("name")
	if n == nil || n.kind != text || n.bad {
		return
	}
	first, dup := seen[n.text]
	switch {
	case !nameForm.MatchString(n.text):
		d.fail(n, n.found()+" cannot be a name: "+nameRule)
	case dup:
		d.fail(n, fmt.Sprintf("another route has this name already (at %d:%d)", first.Line, first.Column))
	default:
		seen[n.text] = d.doc.position(n)
	}
}

// addresses refuses two listeners at one address, of which the administration is
// one.
func (d *decoder) addresses(c *Config) {
	seen := map[string]string{}
	if !c.Admin.Off {
		seen[c.Admin.Address] = `the administration has this address (see "admin")`
	}
	for _, l := range c.Listen {
		if other := seen[l.Address]; other != "" && l.Address != "" && !strings.HasSuffix(l.Address, ":0") {
			d.add(Problem{At: l.At, Message: other})
		}
		seen[l.Address] = "another listener has this address already"
	}
}

// Unused reports the upstreams and policies of the file that nothing uses. What
// routes use is known here; upstreams and policies are the names of others that
// are in use, such as the target of a mirror. Either may be nil.
func (c *Config) Unused(upstreams, policies map[string]bool) Problems {
	used := [2]map[string]bool{{}, {}}
	for _, p := range c.Use {
		used[1][p.Ref] = true
	}
	for i := range c.Routes {
		for _, p := range c.Routes[i].Use {
			used[1][p.Ref] = true
		}
		for _, t := range c.Routes[i].To.Targets {
			used[0][t.Name] = true
		}
	}
	var problems Problems
	for _, n := range c.Upstreams {
		if !used[0][n.Name] && !upstreams[n.Name] {
			problems = append(problems, Problem{At: n.At, Message: fmt.Sprintf("upstream %q is not used by any route", n.Name)})
		}
	}
	for _, n := range c.Policies {
		if !used[1][n.Name] && !policies[n.Name] {
			problems = append(problems, Problem{At: n.At, Message: fmt.Sprintf("policy %q is not used by any route", n.Name)})
		}
	}
	return problems.Sorted()
}
