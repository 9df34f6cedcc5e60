package config

import (
	"time"

	"github.com/airside-gateway/airside"
)

// Config is a configuration file.
type Config struct {
	// Listen is where clients connect: an address such as ":8080", a mapping, or
	// a list of them. The default is 127.0.0.1:8080.
	Listen []Listen `yaml:"listen,single"`

	// Upstreams are what stands behind the gateway and answers, by name. Each is
	// written as one kind with its settings: { http: { url: ... } }. One that
	// nothing uses is an error.
	Upstreams []Named `yaml:"upstreams" of:"upstream"`

	// Policies are what is done with the requests, by name, for routes to use.
	// Each is written as one kind with its settings: { ratelimit: { limit: 100 } }.
	// One that nothing uses is an error.
	Policies []Named `yaml:"policies" of:"policy"`

	// Use lists policies that come first on every route, in this order: names, or
	// policies written in place.
	Use []Part `yaml:"use" of:"policy"`

	// Routes say which requests go where, and what is done with them. The most
	// specific match wins, whatever the order. At least one is needed.
	Routes []Route `yaml:"routes,required"`

	// Admin is where operators look into the gateway: an address, a mapping, or off. The
	// default is 127.0.0.1:9900.
	Admin Admin `yaml:"admin"`

	// Telemetry says what is told about the running gateway.
	Telemetry Telemetry `yaml:"telemetry"`

	// Overload says when exchanges are refused because the gateway has too much to do:
	// marks, or off.
	Overload Overload `yaml:"overload"`

	// Shutdown says how the gateway ends.
	Shutdown Shutdown `yaml:"shutdown"`

	// Data is the folder in which durable things lie. A later version brings it.
	Data airside.Later `yaml:"data"`

	// Store is the database of durable things. A later version brings it.
	Store airside.Later `yaml:"store"`

	// Broker is where events are kept. A later version brings it.
	Broker airside.Later `yaml:"broker"`

	// Shared is what several gateways share. A later version brings it.
	Shared airside.Later `yaml:"shared"`

	doc                 *document
	upstreams, policies map[string]Part // by name
}

// A Named is an upstream or a policy that has a name in the file.
type Named struct {
	Name string
	Part
}

// A Route sends some of the requests somewhere.
type Route struct {
	// Name is what logs and metrics call the route: letters, digits, dots, hyphens
	// and underscores, at most 64. The default is made of what the route matches.
	Name string `yaml:"name"`

	// Host is one or several hosts: exact, or *.example.com. The default is any.
	Host []string `yaml:"host,single"`

	// Path is exact (/status), with a wildcard at its end (/agent/*), or with
	// names for segments (/items/{id}). The default is any.
	Path string `yaml:"path"`

	// Method is one or several HTTP methods. The default is any.
	Method []string `yaml:"method,single"`

	// Headers are headers that the request has, with their values.
	Headers map[string]string `yaml:"headers"`

	// Query are query parameters that the request has, with their values.
	Query map[string]string `yaml:"query"`

	// When is a condition in CEL over request, call and caller.
	When string `yaml:"when"`

	// Protocol is the language the client speaks. The default is web.
	Protocol string `yaml:"protocol" of:"protocol"`

	// Use lists the policies of the route, in the order in which they run: names,
	// or policies written in place.
	Use []Part `yaml:"use" of:"policy"`

	// To is what answers: the name of an upstream, or a URL; a list of them, tried
	// in order; or a mapping of each to its weight. It may be left out where a
	// policy answers.
	To To `yaml:"to"`

	// Repeat says which requests may be sent to the next upstream of a list in to
	// though an earlier one may have acted on them. "safe", the default: GET, HEAD,
	// OPTIONS, PUT, DELETE and TRACE, and those with an Idempotency-Key. "any": all of
	// them, so that what a POST asks for may happen twice. A request of which nothing
	// was sent goes to the next in either case.
	Repeat string `yaml:"repeat" enum:"safe,any"`

	// Strip is a prefix that is taken from the path before it is sent on.
	Strip string `yaml:"strip"`

	// Timeout bounds the whole exchange, from the request to the end of the
	// answer. The default is 0: none.
	Timeout time.Duration `yaml:"timeout"`

	// Topic makes the route a subscription. A later version brings it.
	Topic airside.Later `yaml:"topic"`

	// At is where the route stands in the file.
	At Position `yaml:"-"`

	doc  *document
	node *node
}

// Defaults sets the protocol, and what may be repeated.
func (r *Route) Defaults() { r.Protocol, r.Repeat = "web", "safe" }

func (r *Route) place(d *document, n *node) { r.At, r.doc, r.node = d.position(n), d, n }

// Field returns where the value of a key of the route stands; name may be a path
// such as "to[1]". For what is not there it is where the route stands.
func (r *Route) Field(name string) Position {
	if r.node == nil {
		return r.At
	}
	return r.doc.position(r.node.find(name))
}

// Locate turns an error about the route into problems with positions, by the
// paths of its field errors ("path", "to[1]"). It shows no secret.
func (r *Route) Locate(err error) Problems {
	return located(r.doc, r.node, r.At, err)
}

// To is where a route leads: one target, several that are tried in order, or,
// if it is Weighted, several of which each gets its share.
type To struct {
	Weighted bool
	Targets  []Target
}

// A Target is an upstream by its name, or a URL (which holds "://").
type Target struct {
	Name   string
	Weight int // 0 to 1000000; 0 for all of them if they are tried in order
	At     Position

	node *node
}

// Telemetry says what is told about the running gateway.
type Telemetry struct {
	// Log is the log of the gateway, a line for each exchange.
	Log Log `yaml:"log"`

	// Traces says which exchanges are traced, and where that is sent to: the URL of a
	// collector, a mapping, or off. The default is off.
	Traces *Traces `yaml:"traces"`

	// Metrics says what is counted for Prometheus: a mapping, or off.
	Metrics Metrics `yaml:"metrics"`
}

// Shutdown says how the gateway ends.
type Shutdown struct {
	// Grace is how long exchanges may go on after the gateway was told to stop.
	// The default is 30s.
	Grace time.Duration `yaml:"grace"`
}

// Defaults sets the grace.
func (s *Shutdown) Defaults() { s.Grace = 30 * time.Second }
