package app

import (
	"crypto/tls"
	"net"
	"slices"
	"strconv"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/edge"
)

// listeners turns the listen part of a configuration into what the edge serves.
func listeners(c *config.Config) []*edge.Listener {
	var out []*edge.Listener
	securePort := 0
	for i := range c.Listen {
		if c.Listen[i].TLS != nil && securePort == 0 {
			securePort = port(c.Listen[i].Address)
		}
	}
	for i := range c.Listen {
		l := &c.Listen[i]
		e := &edge.Listener{
			Address: l.Address, Redirect: l.Redirect != "", RedirectPort: securePort,
			HTTP1: slices.Contains(l.Protocols, "h1"), HTTP2: slices.Contains(l.Protocols, "h2"), HTTP3: slices.Contains(l.Protocols, "h3"), Standard: l.Engine == "std",
			ProxyProtocol: l.ProxyProtocol,
			Limits: edge.Limits{
				Headers: int(l.Limits.Headers), Body: bodyLimit(l.Limits.Body), Connections: l.Limits.Connections,
				Idle: l.Limits.Idle, HeaderTimeout: l.Limits.HeaderTimeout,
				BodyTimeout: l.Limits.BodyTimeout, WriteTimeout: l.Limits.WriteTimeout,
			},
		}
		for _, n := range l.Trust {
			e.Trust = append(e.Trust, n.Prefix)
		}
		if l.TLS != nil {
			e.TLS = encryption(l.TLS)
		}
		out = append(out, e)
	}
	return out
}

// bodyLimit: 0 in the file means that there is no limit.
func bodyLimit(s airside.Size) int64 {
	if s == 0 {
		return airside.NoLimit
	}
	return int64(s)
}

func encryption(t *config.TLS) *edge.TLS {
	e := &edge.TLS{SelfSigned: t.SelfSigned, MinVersion: tls.VersionTLS12}
	if t.Min == "1.3" {
		e.MinVersion = tls.VersionTLS13
	}
	for _, p := range t.Pairs() {
		e.Pairs = append(e.Pairs, edge.Pair{Cert: p.Cert, Key: p.Key})
	}
	if t.Clients != nil {
		e.ClientCA, e.ClientRequired = t.Clients.CA, t.Clients.Require
	}
	return e
}

func port(address string) int {
	_, p, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(p)
	if err != nil {
		return 0
	}
	return n
}
