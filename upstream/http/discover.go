package http

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/canon"
	"github.com/airside-gateway/airside/internal/discover"
)

// Discover finds the endpoints while the gateway runs. Exactly one of dns, srv, file,
// consul and kubernetes is written. The url of the upstream then is not an address but
// says what all endpoints have in common: the scheme, the path before the path of every
// request, the host that agents are asked for, and the name in their certificates.
//
// What was found last stays in force while the source is away. Endpoints that are not
// listed any more end what they have begun. Addresses of the link (169.254.0.0/16,
// fe80::/10) that DNS, Consul or Kubernetes tell are not used, nor 0.0.0.0 and the like.
type Discover struct {
	// DNS looks up a name: its A or AAAA records, whenever their TTL has passed.
	DNS *DNS `yaml:"dns"`

	// SRV looks up SRV records, which name hosts and ports.
	SRV *SRV `yaml:"srv"`

	// File reads a file, whenever it changes.
	File *File `yaml:"file"`

	// Consul asks Consul for the instances of a service that pass their checks.
	Consul *Consul `yaml:"consul"`

	// Kubernetes asks the API of Kubernetes for the EndpointSlices of a service.
	Kubernetes *Kubernetes `yaml:"kubernetes"`

	// Wait is how long after the start requests wait for the first endpoints. After
	// that they get 503 until there are some. The default is 2s.
	Wait time.Duration `yaml:"wait"`
}

// Defaults sets every field to its default.
func (d *Discover) Defaults() { *d = Discover{Wait: 2 * time.Second} }

// Validate says what is wrong with the fields, each as an [airside.FieldError].
func (d *Discover) Validate() error {
	n := 0
	for _, there := range []bool{d.DNS != nil, d.SRV != nil, d.File != nil, d.Consul != nil, d.Kubernetes != nil} {
		if there {
			n++
		}
	}
	if n != 1 {
		return errors.New("write one of dns, srv, file, consul and kubernetes")
	}
	if d.Wait < 0 || d.Wait > time.Minute {
		return airside.FieldErrorf("wait", "must be 0s to 1m")
	}
	return nil
}

// Names says how names are looked up.
type Names struct {
	// Servers are the DNS servers that are asked, each an IP address with or without a
	// port: at most 3. Left out, those of /etc/resolv.conf are asked, and /etc/hosts is
	// looked at before them.
	Servers []string `yaml:"servers,single"`

	// Family says which addresses are used. "auto", the default: IPv4, and IPv6 where
	// there is no IPv4. "both": all of them.
	Family string `yaml:"family" enum:"auto,both,ipv4,ipv6"`

	// MinTTL is the shortest time between two lookups, whatever the answer says: 1s,
	// the default, or more.
	MinTTL time.Duration `yaml:"min_ttl"`

	// MaxTTL is the longest time between two lookups: at most 1h. The default is 5m. A
	// name that does not exist is looked up again after 30s at the latest.
	MaxTTL time.Duration `yaml:"max_ttl"`

	// Keep says that a name that does not exist any more, or has no address any more,
	// leaves the last endpoints in force, for as long as that lasts: it is mostly DNS
	// that is at fault. The default is true. With false there are no endpoints then. A
	// lookup that fails leaves them in force in any case.
	Keep bool `yaml:"keep"`
}

func names() Names {
	return Names{Family: discover.FamilyAuto, MinTTL: time.Second, MaxTTL: 5 * time.Minute, Keep: true}
}

func (n *Names) validate() error {
	var errs []error
	if len(n.Servers) > 3 {
		errs = append(errs, airside.FieldErrorf("servers", "must be at most 3"))
	}
	for i, s := range n.Servers {
		if _, err := server(s); err != nil {
			errs = append(errs, airside.FieldErrorf(fmt.Sprintf("servers[%d]", i), "%w", err))
		}
	}
	if n.MinTTL < time.Second {
		errs = append(errs, airside.FieldErrorf("min_ttl", "must be at least 1s"))
	}
	if n.MaxTTL < n.MinTTL || n.MaxTTL > time.Hour {
		errs = append(errs, airside.FieldErrorf("max_ttl", "must be at least min_ttl, and at most 1h"))
	}
	return errors.Join(errs...)
}

// server reads the address of a DNS server.
func server(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), "53"
	}
	if n, err := strconv.Atoi(port); net.ParseIP(host) == nil || err != nil || n < 1 || n > 65535 {
		return "", errors.New("must be an IP address, with or without a port")
	}
	return net.JoinHostPort(host, port), nil
}

func (n *Names) options() discover.Names {
	out := discover.Names{Family: n.Family, Least: n.MinTTL, Most: n.MaxTTL, Keep: n.Keep}
	for _, s := range n.Servers {
		if addr, err := server(s); err == nil { // it was checked
			out.Servers = append(out.Servers, addr)
		}
	}
	return out
}

// DNS looks up a name.
type DNS struct {
	// Name is what is looked up. The default is the host of the url.
	Name string `yaml:"name"`

	// Port is that of all endpoints. The default is that of the url.
	Port int `yaml:"port"`

	Names
}

// Defaults sets every field to its default.
func (d *DNS) Defaults() { *d = DNS{Names: names()} }

// Validate says what is wrong with the fields, each as an [airside.FieldError].
func (d *DNS) Validate() error {
	errs := []error{d.validate()}
	if d.Name != "" && !hostName(d.Name) {
		errs = append(errs, airside.FieldErrorf("name", "is not a name that DNS can look up"))
	}
	if d.Port < 0 || d.Port > 65535 {
		errs = append(errs, airside.FieldErrorf("port", "must be 1 to 65535"))
	}
	return errors.Join(errs...)
}

// hostName reports whether s is a name that can be looked up.
func hostName(s string) bool {
	_, err := canon.Host(strings.TrimSuffix(s, "."))
	return err == nil && !strings.ContainsAny(s, ":[]") && net.ParseIP(s) == nil
}

// SRV looks up SRV records (RFC 2782). Of the priorities only the first is used that has
// any address; weights are kept in proportion.
type SRV struct {
	// Name is that of the records, such as _http._tcp.records.example.
	Name string `yaml:"name,required"`

	Names
}

// Defaults sets every field to its default.
func (s *SRV) Defaults() { *s = SRV{Names: names()} }

var serviceName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$`)

// Validate says what is wrong with the fields, each as an [airside.FieldError].
func (s *SRV) Validate() error {
	errs := []error{s.validate()}
	if len(s.Name) > 253 || !serviceName.MatchString(s.Name) {
		errs = append(errs, airside.FieldErrorf("name", "must be a name such as _http._tcp.records.example"))
	}
	return errors.Join(errs...)
}

// File lists endpoints: YAML or JSON, a list whose elements are a URL, a host with a
// port, a mapping of url, weight and zone, or a group as Prometheus's file_sd has it,
// {targets: [host:port], labels: {zone: a, weight: 2}}. A file with a mistake is refused
// whole, the log names the line, and what was there before stays in force.
type File struct {
	// Path is the file: at most 1MiB, at most 256 endpoints.
	Path string `yaml:"path,required,path"`
}

// Consul asks Consul's HTTP API for the instances of a service, and waits there for
// changes (blocking queries). The zone of an instance is its locality, or the key zone
// of the metadata of the service or of the node.
type Consul struct {
	// URL is the address of a Consul agent or server. The default is
	// http://127.0.0.1:8500.
	URL string `yaml:"url"`

	// Service is the name of the service.
	Service string `yaml:"service,required"`

	// Tag leaves out instances that do not have it.
	Tag string `yaml:"tag"`

	// Datacenter is where the service is. The default is that of the Consul agent.
	Datacenter string `yaml:"datacenter"`

	// Token is sent as X-Consul-Token.
	Token airside.Secret `yaml:"token"`

	// Stale lets any Consul server answer, not only the leader, so that discovery goes
	// on while there is none. The default is true.
	Stale bool `yaml:"stale"`

	// TLS says how https is spoken to Consul.
	TLS *TLS `yaml:"tls"`
}

// Defaults sets every field to its default.
func (c *Consul) Defaults() { *c = Consul{URL: "http://127.0.0.1:8500", Stale: true} }

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// Validate says what is wrong with the fields, each as an [airside.FieldError].
func (c *Consul) Validate() error {
	var errs []error
	if _, err := parse(c.URL); err != nil {
		errs = append(errs, airside.FieldErrorf("url", "%w", err))
	}
	for _, f := range []struct{ name, value string }{{"service", c.Service}, {"tag", c.Tag}, {"datacenter", c.Datacenter}} {
		if f.value != "" && !plainName.MatchString(f.value) || f.name == "service" && f.value == "" {
			errs = append(errs, airside.FieldErrorf(f.name, "must be 1 to 128 letters, digits, dots, hyphens and underscores"))
		}
	}
	if c.TLS != nil && !strings.HasPrefix(c.URL, "https:") {
		errs = append(errs, airside.FieldErrorf("tls", "the url is not https"))
	}
	return errors.Join(errs...)
}

// Kubernetes asks the API of Kubernetes for the EndpointSlices of a service, and watches
// them. Endpoints that are ready are used; if none is, those that still serve while they
// end. The gateway's service account needs the verbs list and watch for endpointslices
// of the group discovery.k8s.io. The zone of an endpoint is that of its first hint, or
// else its own.
type Kubernetes struct {
	// URL is the address of the API server. The default is that of the pod that the
	// gateway runs in, with the authority and the token of its service account.
	URL string `yaml:"url"`

	// Namespace is where the service is. The default is that of the pod, or "default".
	Namespace string `yaml:"namespace"`

	// Service is the name of the service.
	Service string `yaml:"service,required"`

	// Port is the name, or the number, of the port of the pods. It can be left out if
	// there is only one.
	Port string `yaml:"port"`

	// Family says which addresses are used. "auto", the default: IPv4, and IPv6 where
	// there is no IPv4. "both": all of them.
	Family string `yaml:"family" enum:"auto,both,ipv4,ipv6"`

	// Token is sent as a bearer token. The default is that of the service account, which
	// is read anew for every request.
	Token airside.Secret `yaml:"token"`

	// TLS says how https is spoken to the API server. The default trusts the authority
	// of the service account.
	TLS *TLS `yaml:"tls"`
}

// Defaults sets every field to its default.
func (k *Kubernetes) Defaults() { *k = Kubernetes{Family: discover.FamilyAuto} }

var labelName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Validate says what is wrong with the fields, each as an [airside.FieldError].
func (k *Kubernetes) Validate() error {
	var errs []error
	if k.URL != "" {
		if _, err := parse(k.URL); err != nil {
			errs = append(errs, airside.FieldErrorf("url", "%w", err))
		}
	}
	for _, f := range []struct{ name, value string }{{"namespace", k.Namespace}, {"service", k.Service}, {"port", k.Port}} {
		if f.value != "" && !labelName.MatchString(f.value) || f.name == "service" && f.value == "" {
			errs = append(errs, airside.FieldErrorf(f.name, "must be 1 to 63 lower-case letters, digits and hyphens"))
		}
	}
	if k.TLS != nil && strings.HasPrefix(k.URL, "http:") {
		errs = append(errs, airside.FieldErrorf("tls", "the url is not https"))
	}
	return errors.Join(errs...)
}

// checkTemplate says what the url of an upstream lacks for its way of discovery.
func (c *Config) checkTemplate() error {
	if c.URL == "" && c.Discover.File == nil {
		return errors.New("discover needs a url: it says the scheme, the path and the host that agents are asked for")
	}
	if d := c.Discover.DNS; d != nil && d.Name == "" {
		u, err := parse(c.URL)
		if err == nil && !hostName(u.Hostname()) {
			return airside.FieldErrorf("discover.dns.name", "is missing, and the host of the url is not a name")
		}
	}
	return nil
}

// portOf is the port of a URL.
func portOf(u *url.URL) int {
	if n, err := strconv.Atoi(u.Port()); err == nil {
		return n
	}
	if u.Scheme == "https" {
		return 443
	}
	return 80
}
