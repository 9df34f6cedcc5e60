package app

import (
	"log/slog"
	"net/http"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/edge"
	"github.com/airside-gateway/airside/internal/route"
	"github.com/airside-gateway/airside/proto/web"
)

// An Explanation says what would become of a request.
type Explanation struct {
	Request   string       `json:"request"`           // as the gateway reads it: method and canonical URL
	Refused   string       `json:"refused,omitempty"` // why it never reaches a route
	Status    int          `json:"status,omitempty"`  // of the refusal
	Route     string       `json:"route,omitempty"`   // name of the route that matches
	At        string       `json:"at,omitempty"`      // where the route stands in the file
	Policies  []string     `json:"policies"`          // in the order in which they run
	Upstreams []string     `json:"upstreams"`         // who may answer
	How       string       `json:"how,omitempty"`     // how one of several upstreams is chosen
	Steps     []Considered `json:"considered"`        // the routes that were considered, in order
}

// A Considered route is one that might have matched, and why it did or did not.
type Considered struct {
	Route   string `json:"route"`
	Matched bool   `json:"matched"`
	Why     string `json:"why"`
}

// Explain says what would become of r, which is as a server receives it, if c were
// in force. Nothing is sent to anyone.
func Explain(log *slog.Logger, c *config.Config, r *http.Request) (*Explanation, error) {
	g := newGateway(log)
	gen, err := newGeneration(g, c)
	if err != nil {
		return nil, err
	}
	defer gen.retire()
	out := &Explanation{Policies: []string{}, Upstreams: []string{}}
	x, err := edge.Canonical(r, listeners(c))
	if err != nil {
		out.refuse(err)
		return out, nil //nolint:nilerr // the refusal is the answer
	}
	x.Protocol = web.Protocol{}
	out.Request = x.Request.Method + " " + x.Client.Scheme + "://" + x.Request.Host + x.Request.URL.RequestURI()
	if ls := listeners(c); edge.Redirected(r, ls) {
		out.Status, out.Refused = http.StatusPermanentRedirect, "the listener sends every request to https"
		return out, nil
	}
	masked := strings.NewReplacer(c.Masks()...)
	for _, s := range gen.table.Explain(x) {
		out.Steps = append(out.Steps, Considered{Route: s.Entry.Name, Matched: s.Matched, Why: masked.Replace(s.Why)})
	}
	entry, result, err := gen.table.Match(x)
	if err == nil && entry == nil && len(out.Steps) == 0 {
		out.missed(c)
	}
	if err == nil && entry == nil {
		err = noRoute(gen, x, result)
	}
	if err != nil {
		out.refuse(err)
		return out, nil
	}
	out.follow(c, entry)
	return out, nil
}

// missed says of the first routes that their path is another one.
func (o *Explanation) missed(c *config.Config) {
	const most = 20
	for i := range c.Routes[:min(len(c.Routes), most)] {
		o.Steps = append(o.Steps, Considered{Route: routeName(c, &c.Routes[i]), Why: "the path does not fit"})
	}
}

func (o *Explanation) refuse(err error) {
	e := airside.AsError(err)
	o.Refused, o.Status = e.Message, e.Code.Status()
}

func (o *Explanation) follow(c *config.Config, entry *route.Entry) {
	r, ok := entry.Value.(*compiled)
	if !ok {
		return
	}
	o.Route, o.How = r.name, r.how
	o.Policies = append(o.Policies, r.policies...)
	o.Upstreams = append(o.Upstreams, r.targets...)
	for i := range c.Routes {
		if routeName(c, &c.Routes[i]) == r.name && c.Routes[i].Path == entry.Match.Path {
			o.At = c.Routes[i].At.String()
		}
	}
}
