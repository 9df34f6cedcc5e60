package app

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/airside-gateway/airside/internal/config"
)

// authenticates lists the kinds of policies that find out who asks, and refuse
// nobody they do not know.
var authenticates = [...]string{"apikey", "basic", "jwt", "introspect", "oidc", "mtls"}

// Warnings are what is valid in c but likely to be regretted: routes that anybody
// may use, on an address that others can reach.
func Warnings(c *config.Config) config.Problems {
	out := append(suspicious(c), callerTooEarly(c)...)
	if d := &c.Admin; !d.Off && d.Token != nil && d.TLS == nil && !loopback(d.Address) {
		out = append(out, config.Problem{Message: "the admin token crosses the network in the clear: give admin tls, or an address of the loopback interface"})
	}
	open := openAddress(c)
	if open == "" || knowsCallers(c, c.Use) {
		return out
	}
	for i := range c.Routes {
		if r := &c.Routes[i]; !knowsCallers(c, r.Use) && len(r.To.Targets) > 0 {
			out = append(out, config.Problem{At: r.At, Message: fmt.Sprintf(
				"anybody who reaches %s may use the route %s: it has no authentication policy (such as apikey)", c.Shown(open), routeName(c, r))})
		}
	}
	return out
}

// suspicious are settings that mean something else than they seem to.
func suspicious(c *config.Config) config.Problems {
	var out config.Problems
	secure := slices.ContainsFunc(c.Listen, func(l config.Listen) bool { return l.TLS != nil })
	for i := range c.Listen {
		if c.Listen[i].Redirect != "" && !secure {
			out = append(out, config.Problem{At: c.Listen[i].At, Message: "clients are redirected to https, which no listener speaks: give one of them tls"})
		}
	}
	for i := range c.Routes {
		r := &c.Routes[i]
		for segment := range strings.SplitSeq(r.Path, "/") {
			if strings.HasPrefix(segment, ":") {
				out = append(out, config.Problem{At: r.Field("path"), Message: fmt.Sprintf("%q in the path is taken as it stands: a parameter is written {%s}", segment, segment[1:])})
			}
		}
	}
	return out
}

// openAddress is the first address that others can reach without a client
// certificate.
func openAddress(c *config.Config) string {
	for i := range c.Listen {
		l := &c.Listen[i]
		if l.Redirect != "" || l.TLS != nil && l.TLS.Clients != nil && l.TLS.Clients.Require || loopback(l.Address) {
			continue
		}
		return l.Address
	}
	return ""
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

func knowsCallers(c *config.Config, use []config.Part) bool {
	return slices.ContainsFunc(use, func(p config.Part) bool {
		kind := p.Kind
		for _, n := range c.Policies {
			if p.Ref != "" && n.Name == p.Ref {
				kind = n.Kind
			}
		}
		return slices.Contains(authenticates[:], kind)
	})
}
