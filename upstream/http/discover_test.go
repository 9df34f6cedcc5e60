package http

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/airside-gateway/airside/internal/discover"
	"github.com/airside-gateway/airside/internal/pool"
)

// defaulted is a value with its defaults, changed.
func defaulted[T any, P interface {
	*T
	Defaults()
}](change func(P)) *T {
	v := P(new(T))
	v.Defaults()
	if change != nil {
		change(v)
	}
	return v
}

// TestDiscoverValidate is the table of ways of discovery that are refused, and of some
// that are not.
func TestDiscoverValidate(t *testing.T) {
	dns := func(f func(*DNS)) *Discover { return &Discover{DNS: defaulted(f)} }
	srv := func(f func(*SRV)) *Discover { return &Discover{SRV: defaulted(f)} }
	consul := func(f func(*Consul)) *Discover { return &Discover{Consul: defaulted(f)} }
	kube := func(f func(*Kubernetes)) *Discover { return &Discover{Kubernetes: defaulted(f)} }
	named := func(c *Consul) { c.Service = "records" }
	const url = "http://records.example:9000/api"
	tests := []struct {
		name, url string
		discover  *Discover
		want      string // empty: good
	}{
		{"dns", url, dns(nil), ""},
		{"dns without url", "", dns(nil), "discover needs a url: it says the scheme, the path and the host that agents are asked for"},
		{"dns of an address", "http://127.0.0.1:9001", dns(nil), "discover.dns.name: is missing, and the host of the url is not a name"},
		{"dns by another name", "http://127.0.0.1:9001", dns(func(d *DNS) { d.Name = "agents.internal." }), ""},
		{"name", url, dns(func(d *DNS) { d.Name = "a b" }), "name: is not a name that DNS can look up"},
		{"port in the name", url, dns(func(d *DNS) { d.Name = "a:80" }), "name: is not a name that DNS can look up"},
		{"port", url, dns(func(d *DNS) { d.Port = 65536 }), "port: must be 1 to 65535"},
		{"servers", url, dns(func(d *DNS) { d.Servers = []string{"10.0.0.1", "[::1]:53", "fd00::1"} }), ""},
		{"bad server", url, dns(func(d *DNS) { d.Servers = []string{"ns.example"} }), "servers[0]: must be an IP address, with or without a port"},
		{"bad port of a server", url, dns(func(d *DNS) { d.Servers = []string{"10.0.0.1:0"} }), "servers[0]: must be an IP address, with or without a port"},
		{"servers", url, dns(func(d *DNS) { d.Servers = strings.Fields("::1 ::2 ::3 ::4") }), "servers: must be at most 3"},
		{"min_ttl", url, dns(func(d *DNS) { d.MinTTL = 999 * time.Millisecond }), "min_ttl: must be at least 1s"},
		{"max_ttl", url, dns(func(d *DNS) { d.MinTTL, d.MaxTTL = time.Minute, time.Second }), "max_ttl: must be at least min_ttl, and at most 1h"},
		{"srv", url, srv(func(s *SRV) { s.Name = "_http._tcp.records.example" }), ""},
		{"srv without name", url, srv(nil), "name: must be a name such as _http._tcp.records.example"},
		{"file", "", &Discover{File: &File{Path: "x"}}, ""},
		{"consul", url, consul(named), ""},
		{"consul without service", url, consul(nil), "service: must be 1 to 128 letters, digits, dots, hyphens and underscores"},
		{"service", url, consul(func(c *Consul) { c.Service = "../x" }), "service: must be 1 to 128 letters, digits, dots, hyphens and underscores"},
		{"url of consul", url, consul(func(c *Consul) { named(c); c.URL = "consul:8500" }), "url: must begin with http:// or https://"},
		{"tls of consul", url, consul(func(c *Consul) { named(c); c.TLS = &TLS{} }), "tls: the url is not https"},
		{"kubernetes", url, kube(func(k *Kubernetes) { k.Service = "records" }), ""},
		{"namespace", url, kube(func(k *Kubernetes) { k.Service, k.Namespace = "records", "A/b" }), "namespace: must be 1 to 63 lower-case letters, digits and hyphens"},
		{"url of kubernetes", url, kube(func(k *Kubernetes) { k.Service, k.URL = "records", "x" }), "url: must begin with http:// or https://"},
		{"tls of kubernetes", url, kube(func(k *Kubernetes) { k.Service, k.URL, k.TLS = "records", "http://127.0.0.1:8001", &TLS{} }), "tls: the url is not https"},
		{"none", url, &Discover{}, "write one of dns, srv, file, consul and kubernetes"},
		{"two", url, &Discover{File: &File{Path: "x"}, DNS: defaulted[DNS](nil)}, "write one of dns, srv, file, consul and kubernetes"},
		{"wait", url, &Discover{File: &File{Path: "x"}, Wait: 2 * time.Minute}, "wait: must be 0s to 1m"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, v := range parts(tt.discover, config(func(c *Config) { c.URL, c.Discover = tt.url, tt.discover })) {
				if err := v.Validate(); err != nil {
					got = append(got, err.Error())
				}
			}
			if s := strings.Join(got, "\n"); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
}

type validator interface{ Validate() error }

// parts lists what is validated of an upstream with d, as the configuration does.
func parts(d *Discover, c Config) []validator {
	out := []validator{&c, d}
	if d.DNS != nil {
		out = append(out, d.DNS)
	}
	if d.SRV != nil {
		out = append(out, d.SRV)
	}
	if d.Consul != nil {
		out = append(out, d.Consul)
	}
	if d.Kubernetes != nil {
		out = append(out, d.Kubernetes)
	}
	return out
}

// TestDiscoverBeside proves what discover cannot stand beside.
func TestDiscoverBeside(t *testing.T) {
	file := &Discover{File: &File{Path: "x"}}
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"endpoints", func(c *Config) { c.Endpoints = []Endpoint{{URL: "http://a", Weight: 1}} }, "endpoints: write either discover or endpoints"},
		{"h2 of http", func(c *Config) { c.URL, c.Protocol = "http://a", "h2" }, "protocol: h2 needs https URLs (without TLS it is h2c)"},
		{"tls of http", func(c *Config) { c.URL, c.TLS = "http://a", &TLS{} }, "tls: no URL is https"},
		{"tls, and URLs in the file", func(c *Config) { c.TLS = &TLS{} }, ""},
	} {
		c := config(func(c *Config) { c.Discover = file }, tt.change)
		got := ""
		if err := c.Validate(); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestTemplate proves what the url of an upstream gives to the endpoints that are found,
// and what a file without one has by itself.
func TestTemplate(t *testing.T) {
	for _, tt := range []struct{ name, url, host, file, want string }{
		{"hosts", "http://records.example:9000/api", "", "[a:80]", "http://a:80 /api for records.example:9000"},
		{"host by setting", "http://records.example/api", "asked.example", "[a:80]", "http://a:80 /api for asked.example"},
		{"host of the client", "http://records.example/api", "preserve", "[a:80]", "http://a:80 /api for preserve"},
		{"URLs", "http://records.example/api", "", "['http://a:80/own']", "http://a:80 /own for records.example"},
		{"no url", "", "", "['https://a/own']", "https://a /own for upstream"},
		{"no url, hosts", "", "", "[a:80]", "http://a:80  for upstream"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "agents")
			writeFile(t, path, []byte(tt.file))
			c := config(func(c *Config) {
				c.URL, c.Discover = tt.url, &Discover{File: &File{Path: path}}
				if tt.host != "" {
					c.Host = tt.host
				}
			})
			d, found := follow(t, c)
			u, base := d.address(found[0])
			if got := fmt.Sprintf("%s %s for %s", u, base, c.seen(t)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if s := d.Snapshot(); len(s.Endpoints) != 1 || s.Endpoints[0].State != pool.StateHealthy {
				t.Errorf("got %+v", s)
			}
		})
	}
}

// seen is the host that agents see, as a setting of the pool.
func (c *Config) seen(t *testing.T) string {
	t.Helper()
	addresses, err := c.addresses()
	if err != nil {
		t.Fatal(err)
	}
	s := pool.Settings{Host: c.Host}
	c.lend(addresses, &s, pool.TLSConfig())
	return s.Host
}

// follow builds an upstream, starts it, and waits for its first set.
func follow(t *testing.T, c Config) (*discovered, []discover.Endpoint) {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	k := &kept{values: map[string]any{}}
	env := k.env("upstreams.agent")
	var closers []func() error
	env.OnClose = func(f func() error) { closers = append(closers, f) }
	h, err := New(env, c)
	if err != nil {
		t.Fatal(err)
	}
	d := h.(*discovered)
	t.Cleanup(func() {
		for _, f := range slices.Backward(closers) {
			if err := f(); err != nil {
				t.Error(err)
			}
		}
		for _, v := range k.values {
			if c, ok := v.(io.Closer); ok {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	})
	d.Start()
	select {
	case <-d.follower.Known():
	case <-time.After(20 * time.Second):
		t.Fatalf("nothing was found: %v", d.Discovery().Err)
	}
	var found []discover.Endpoint
	d.follower.Subscribe(func(set []discover.Endpoint) { found = set })()
	return d, found
}
