package http

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	nethttp "net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/discover"
	"github.com/airside-gateway/airside/internal/pool"
)

// A discovered upstream has endpoints that come and go.
type discovered struct {
	upstream
	follower *discover.Follower
	wait     time.Duration // after the start of the follower, for the first endpoints
	known    atomic.Bool   // the pool has had a set
	log      *slog.Logger

	template *url.URL   // what endpoints have in common; nil if nothing
	yard     *yard      // of all generations
	mine     []*located // of the yard; guarded by it
}

// discovers makes u one whose endpoints are found by the setting discover. The source and
// the endpoints outlive a reload that does not change what they depend on.
func (c *Config) discovers(env *airside.Env, u upstream, cfg *tls.Config, digest [sha256.Size]byte) (airside.Handler, error) {
	d := &discovered{upstream: u, wait: c.Discover.Wait, log: env.Log}
	if c.URL != "" {
		t, err := parse(c.URL)
		if err != nil {
			return nil, airside.FieldErrorf("url", "%w", err)
		}
		d.template = t
	}
	source, key, err := c.source(d.template)
	if err != nil {
		return nil, &airside.FieldError{Field: "discover", Err: err}
	}
	link := c.link(env)
	name := ""
	if d.template != nil {
		name = d.template.Host
	}
	d.yard, err = airside.Keep(env, fmt.Sprintf("%s yard %q %+v %x", env.Where, name, link, digest), func() (*yard, error) {
		link.TLS = cfg
		return &yard{link: link, places: map[string]*located{}}, nil
	})
	if err != nil {
		return nil, err
	}
	d.follower, err = airside.Keep(env, env.Where+" discovery "+key, func() (*discover.Follower, error) {
		return discover.Follow(source, env.Log), nil
	})
	if err != nil {
		return nil, err
	}
	stop := d.follower.Subscribe(d.set)
	env.OnClose(func() error {
		stop()
		d.set(nil)
		return d.Close()
	})
	return d, nil
}

// lend gives what will be found the host of the url, and the name in its certificate:
// they are addresses of it.
func (c *Config) lend(addresses []address, s *pool.Settings, cfg *tls.Config) {
	for _, a := range addresses { // one at most
		if s.Host == pool.HostUpstream {
			s.Host = a.url.Host
		}
		if cfg.ServerName == "" {
			cfg.ServerName = a.url.Hostname()
		}
	}
}

// Start begins to look for endpoints. It waits for nothing.
func (d *discovered) Start() {
	d.upstream.Start()
	d.follower.Start()
}

// Discovery says how the search for endpoints stands.
func (d *discovered) Discovery() discover.Status { return d.follower.Status() }

// Handle asks one of the endpoints. Right after the start it waits for the first.
func (d *discovered) Handle(x *airside.Exchange) (*nethttp.Response, error) {
	if !d.known.Load() {
		if err := d.await(x.Context()); err != nil {
			return nil, err
		}
	}
	return d.upstream.Handle(x)
}

func (d *discovered) await(ctx context.Context) error {
	d.follower.Start() // in case nobody has
	t := time.NewTimer(time.Until(d.follower.Begun().Add(d.wait)))
	defer t.Stop()
	select {
	case <-d.follower.Known():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
	}
	e := airside.Errorf(airside.Unavailable, "where the agent is has not been found out yet; try again soon")
	e.RetryAfter = time.Second
	return e.Because(d.follower.Status().Err)
}

// set makes the pool one of the endpoints that were found.
func (d *discovered) set(found []discover.Endpoint) {
	d.yard.mu.Lock()
	defer d.yard.mu.Unlock()
	var members []pool.Member
	var now []*located
	for _, f := range found {
		u, path := d.address(f)
		l, err := d.yard.take(u)
		if err != nil {
			d.log.Error("an endpoint that was found cannot be used", slog.String("endpoint", u.Redacted()), slog.Any("err", err))
			continue
		}
		now = append(now, l)
		members = append(members, pool.Member{Endpoint: l.endpoint, Path: path, Weight: f.Weight, Zone: f.Zone})
	}
	if err := d.Set(members); err != nil {
		d.log.Error("the endpoints that were found cannot be used", slog.Any("err", err))
		now, d.mine = d.mine, now // it goes on with those before
	}
	d.known.Store(true)
	for _, l := range d.mine {
		d.yard.leave(l)
	}
	d.mine = now
}

// address is where an endpoint is, and the path before that of every request.
func (d *discovered) address(e discover.Endpoint) (*url.URL, string) {
	switch {
	case e.Scheme != "":
		return &url.URL{Scheme: e.Scheme, Host: e.Host}, e.Path
	case d.template != nil:
		return &url.URL{Scheme: d.template.Scheme, Host: e.Host}, d.template.EscapedPath()
	}
	return &url.URL{Scheme: "http", Host: e.Host}, ""
}

// A yard has the endpoints that generations of an upstream share: one that both an old
// and a new one list keeps its connections. It is locked while the members of a pool
// change, since an endpoint that has left its last pool is not to be used again.
type yard struct {
	link pool.Link

	mu     sync.Mutex
	places map[string]*located
}

type located struct {
	endpoint *pool.Endpoint
	key      string
	users    int
}

// take is called with mu held.
func (y *yard) take(u *url.URL) (*located, error) {
	key := u.Scheme + "://" + u.Host
	l := y.places[key]
	if l == nil {
		e, err := pool.Open(u, y.link)
		if err != nil {
			return nil, err
		}
		l = &located{endpoint: e, key: key}
		y.places[key] = l
	}
	l.users++
	return l, nil
}

// leave is called with mu held, after the members of the pool have changed.
func (y *yard) leave(l *located) {
	if l.users--; l.users == 0 {
		delete(y.places, l.key)
	}
}

// source makes the source of the setting discover, and a key of all that it depends on.
func (c *Config) source(template *url.URL) (discover.Source, string, error) {
	switch d := c.Discover; {
	case d.DNS != nil:
		name, port := d.DNS.Name, d.DNS.Port
		if name == "" {
			name = template.Hostname()
		}
		if port == 0 {
			port = portOf(template)
		}
		return discover.DNS(name, port, d.DNS.options()), fmt.Sprintf("dns %q %d %+v", name, port, d.DNS.options()), nil
	case d.SRV != nil:
		return discover.SRV(d.SRV.Name, d.SRV.options()), fmt.Sprintf("srv %q %+v", d.SRV.Name, d.SRV.options()), nil
	case d.File != nil:
		scheme := "http"
		if template != nil {
			scheme = template.Scheme
		}
		return discover.File(d.File.Path, scheme, c.fits), fmt.Sprintf("file %q %s %s", d.File.Path, scheme, c.Protocol), nil
	case d.Consul != nil:
		return d.Consul.source()
	case d.Kubernetes != nil:
		return d.Kubernetes.source()
	}
	return nil, "", errors.New("write one of dns, srv, file, consul and kubernetes")
}

// fits is parse for the endpoints of a file, which must suit the protocol.
func (c *Config) fits(s string) (*url.URL, error) {
	u, err := parse(s)
	switch {
	case err != nil:
		return nil, err
	case c.Protocol == pool.H2 && u.Scheme != "https":
		return nil, errors.New("must begin with https://, since the protocol is h2")
	case c.Protocol == pool.H2C && u.Scheme != "http":
		return nil, errors.New("must begin with http://, since the protocol is h2c")
	}
	return u, nil
}

func (c *Consul) source() (discover.Source, string, error) {
	u, err := parse(c.URL)
	if err != nil {
		return nil, "", airside.FieldErrorf("consul.url", "%w", err)
	}
	cfg, sum, err := c.TLS.load()
	if err != nil {
		return nil, "", &airside.FieldError{Field: "consul", Err: err}
	}
	s := discover.Consul(discover.Catalog{
		URL: u, Service: c.Service, Tag: c.Tag, Datacenter: c.Datacenter, Token: string(c.Token), Stale: c.Stale, TLS: cfg,
	})
	return s, fmt.Sprintf("consul %q %q %q %q %v %x %x", u, c.Service, c.Tag, c.Datacenter, c.Stale, digest([]byte(c.Token)), sum), nil
}

func (k *Kubernetes) source() (discover.Source, string, error) {
	var u *url.URL
	var err error
	if k.URL != "" {
		if u, err = parse(k.URL); err != nil {
			return nil, "", airside.FieldErrorf("kubernetes.url", "%w", err)
		}
	}
	cfg, sum, err := k.TLS.load()
	if err != nil {
		return nil, "", &airside.FieldError{Field: "kubernetes", Err: err}
	}
	if k.TLS == nil {
		cfg = nil // that of the service account
	}
	s := discover.Kubernetes(discover.Slices{
		URL: u, Namespace: k.Namespace, Service: k.Service, Port: k.Port, Family: k.Family, Token: string(k.Token), TLS: cfg,
	})
	return s, fmt.Sprintf("kubernetes %q %q %q %q %s %x %x", k.URL, k.Namespace, k.Service, k.Port, k.Family, digest([]byte(k.Token)), sum), nil
}
