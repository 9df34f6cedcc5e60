package app

import (
	"cmp"
	"maps"
	"slices"

	"github.com/airside-gateway/airside/internal/config"
)

// A Route is one of the live configuration, for operators. It shows no value that came
// into the file by a reference.
type Route struct {
	Name      string            `json:"name" doc:"What logs and metrics call it."`
	At        string            `json:"at" doc:"Where it stands in the file: file, line and column."`
	Protocol  string            `json:"protocol" doc:"The language that the client speaks."`
	Host      []string          `json:"host" doc:"The hosts that it matches; none means any."`
	Path      string            `json:"path" doc:"The path that it matches; empty means any."`
	Method    []string          `json:"method" doc:"The methods that it matches; none means any."`
	Headers   map[string]string `json:"headers" doc:"Headers that the request must have."`
	Query     map[string]string `json:"query" doc:"Query parameters that the request must have."`
	When      string            `json:"when" doc:"A condition in CEL; empty if there is none."`
	Policies  []string          `json:"policies" doc:"In the order in which they run."`
	Upstreams []string          `json:"upstreams" doc:"Who may answer."`
	How       string            `json:"how" doc:"How one of several upstreams is chosen; empty if there is no choice."`
}

// Routes lists the routes of the live configuration as the file does; none before the
// first. It waits for nothing.
func (a *App) Routes() []Route {
	gen := a.gateway.acquire()
	defer gen.release()
	c := gen.config
	if c == nil || len(gen.routes) != len(c.Routes) {
		return []Route{}
	}
	out := make([]Route, 0, len(c.Routes))
	for i, r := range gen.routes {
		out = append(out, routeShown(c, &c.Routes[i], r))
	}
	return out
}

func routeShown(c *config.Config, rc *config.Route, r *compiled) Route {
	return Route{
		Name: r.name, At: rc.At.String(), Protocol: rc.Protocol,
		Host: allShown(c, rc.Host), Path: c.Shown(rc.Path), Method: allShown(c, rc.Method),
		Headers: pairsShown(c, rc.Headers), Query: pairsShown(c, rc.Query), When: c.Shown(rc.When),
		Policies: append([]string{}, r.policies...), Upstreams: append([]string{}, r.targets...), How: r.how,
	}
}

func allShown(c *config.Config, values []string) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		out = append(out, c.Shown(v))
	}
	return out
}

func pairsShown(c *config.Config, pairs map[string]string) map[string]string {
	out := make(map[string]string, len(pairs))
	for _, k := range slices.Sorted(maps.Keys(pairs)) {
		out[c.Shown(k)] = c.Shown(pairs[k])
	}
	return out
}

// A Listening is an address where clients connect.
type Listening struct {
	Address   string   `json:"address" doc:"Host and port that are open."`
	TLS       bool     `json:"tls" doc:"Whether clients speak TLS to it."`
	Protocols []string `json:"protocols" doc:"The versions of HTTP that are spoken: h1, h2, h3."`
	Redirect  bool     `json:"redirect" doc:"Whether every client is sent to https."`
}

// Listening lists the open addresses, sorted; none before the first configuration.
func (a *App) Listening() []Listening {
	open, c := a.Addrs(), a.Config()
	out := []Listening{}
	if c == nil {
		return out
	}
	for i := range c.Listen {
		l := &c.Listen[i]
		if at := open[l.Address]; at != nil {
			out = append(out, Listening{Address: at.String(), TLS: l.TLS != nil, Protocols: append([]string{}, l.Protocols...), Redirect: l.Redirect != ""})
		}
	}
	slices.SortFunc(out, func(a, b Listening) int { return cmp.Compare(a.Address, b.Address) })
	return out
}

// Masked returns text without what came into the configuration by references, as the log
// shows it.
func (a *App) Masked(text string) string { return a.mask.Replace(text) }
