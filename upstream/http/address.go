package http

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/canon"
	"github.com/airside-gateway/airside/internal/pool"
)

// Endpoint is one address of the agent.
type Endpoint struct {
	// URL is the address, as the setting url of the upstream.
	URL string `yaml:"url,required"`

	// Weight is how often it is asked, in proportion to the others: 1 to 256. The
	// default is 1.
	Weight int `yaml:"weight"`

	// Zone is where it stands, for the setting balance.zone. The default is none.
	Zone string `yaml:"zone"`
}

// Defaults sets every field to its default.
func (e *Endpoint) Defaults() { *e = Endpoint{Weight: 1} }

// UnmarshalText takes a URL for the whole.
func (e *Endpoint) UnmarshalText(text []byte) error {
	*e = Endpoint{URL: string(text), Weight: 1}
	return nil
}

// An address is an endpoint that was checked.
type address struct {
	url    *url.URL
	weight int
	zone   string
}

// Validate says what is wrong with the fields, each as an [airside.FieldError].
func (c *Config) Validate() error {
	addresses, err := c.addresses()
	_, herr := c.host()
	errs := []error{err, herr}
	if c.Discover != nil && c.URL != "" {
		errs = append(errs, c.checkTemplate())
	}
	https := 0
	for _, a := range addresses {
		if a.url.Scheme == "https" {
			https++
		}
	}
	switch {
	case err != nil:
	case c.Protocol == pool.H2 && https < len(addresses):
		errs = append(errs, airside.FieldErrorf("protocol", "h2 needs https URLs (without TLS it is h2c)"))
	case c.Protocol == pool.H2C && https > 0:
		errs = append(errs, airside.FieldErrorf("protocol", "h2c needs http URLs (with TLS it is h2)"))
	case c.Discover != nil && c.URL == "": // each endpoint of the file has its own scheme
	case c.TLS != nil && https == 0:
		errs = append(errs, airside.FieldErrorf("tls", "no URL is https"))
	}
	for i, s := range c.FallbackOn {
		if s < 400 || s > 599 {
			errs = append(errs, airside.FieldErrorf(fmt.Sprintf("fallback_on[%d]", i), "must be a status from 400 to 599"))
		}
	}
	if c.Connections.Queue != nil && c.Connections.Max == 0 {
		errs = append(errs, airside.FieldErrorf("connections.queue", "needs connections.max: without it nobody waits"))
	}
	if c.Connections.Max < 0 {
		errs = append(errs, airside.FieldErrorf("connections.max", "must not be negative"))
	}
	if c.Connections.Idle < 0 {
		errs = append(errs, airside.FieldErrorf("connections.idle", "must not be negative"))
	}
	return errors.Join(errs...)
}

// addresses checks the URLs.
func (c *Config) addresses() ([]address, error) {
	switch {
	case c.Discover != nil && len(c.Endpoints) > 0:
		return nil, airside.FieldErrorf("endpoints", "write either discover or endpoints")
	case c.Discover != nil && c.URL == "":
		return nil, c.checkTemplate()
	case c.URL != "" && len(c.Endpoints) > 0:
		return nil, airside.FieldErrorf("endpoints", "write either url or endpoints")
	case c.URL == "" && len(c.Endpoints) == 0:
		return nil, errors.New("an http upstream needs a url, or endpoints")
	case c.URL != "":
		u, err := parse(c.URL)
		if err != nil {
			return nil, airside.FieldErrorf("url", "%w", err)
		}
		return []address{{url: u, weight: 1}}, nil
	case len(c.Endpoints) > pool.MaxMembers:
		return nil, airside.FieldErrorf("endpoints", "must be at most %d", pool.MaxMembers)
	}
	var out []address
	var errs []error
	seen := map[string]int{}
	for i, e := range c.Endpoints {
		field := fmt.Sprintf("endpoints[%d]", i)
		u, err := parse(e.URL)
		if err != nil {
			errs = append(errs, airside.FieldErrorf(field+".url", "%w", err))
			continue
		}
		if first, twice := seen[u.String()]; twice {
			errs = append(errs, airside.FieldErrorf(field, "is the same as endpoints[%d]; give one of them a weight", first))
		}
		if e.Weight < 1 || e.Weight > pool.MaxWeight {
			errs = append(errs, airside.FieldErrorf(field+".weight", "must be 1 to %d", pool.MaxWeight))
		}
		seen[u.String()] = i
		out = append(out, address{url: u, weight: e.Weight, zone: e.Zone})
	}
	return out, errors.Join(errs...)
}

// parse reads the URL of an endpoint. What is refused is not repeated: it may hold a
// secret.
func parse(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("is not a URL such as http://agent:8000")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("must begin with http:// or https://")
	case u.User != nil:
		return nil, errors.New("must not hold a user name or a password; auth is not yet supported by this version")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("must not hold a query")
	case strings.Contains(s, "#"):
		return nil, errors.New("must not hold a fragment")
	}
	host, err := canon.Host(u.Host)
	if err != nil {
		return nil, errors.New(airside.AsError(err).Message)
	}
	out := &url.URL{Scheme: u.Scheme, Host: host}
	whole := u.EscapedPath()
	if whole == "" {
		return out, nil
	}
	if _, _, err = canon.Path(whole); err != nil {
		return nil, errors.New(airside.AsError(err).Message)
	}
	if base := strings.TrimSuffix(whole, "/"); base != "" {
		if out.Path, out.RawPath, err = canon.Path(base); err != nil {
			return nil, errors.New(airside.AsError(err).Message)
		}
	}
	return out, nil
}

// host checks the setting host.
func (c *Config) host() (string, error) {
	if c.Host == pool.HostUpstream || c.Host == pool.HostPreserve {
		return c.Host, nil
	}
	h, err := canon.Host(c.Host)
	if err != nil {
		return "", airside.FieldErrorf("host", "must be upstream, preserve, or a host: %s", airside.AsError(err).Message)
	}
	return h, nil
}
