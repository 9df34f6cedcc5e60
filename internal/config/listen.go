package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
)

// A Listen is an address where clients connect, and how they are served there.
// It may be written as its address alone.
type Listen struct {
	// Address is host:port. ":8080" is every interface, "127.0.0.1:8080" this
	// machine only. Port 0 is any free port.
	Address string `yaml:"address,required"`

	// TLS makes the listener speak TLS. The default is plain.
	TLS *TLS `yaml:"tls"`

	// Redirect answers every request by sending the client to https. It needs a
	// listener without tls.
	Redirect string `yaml:"redirect" enum:"https"`

	// Engine is what serves HTTP/1.1 and HTTP/2: fast, the gateway's own, or std, those of
	// the Go standard library. fast costs less, reads more strictly, and phrases and logs every
	// refusal; std is there to compare with, and to fall back on. The default is fast.
	Engine string `yaml:"engine" enum:"fast,std"`

	// Protocols are the versions of HTTP that are spoken: h1, h2, and h3. Without tls,
	// h2 is spoken by prior knowledge (h2c). h3 needs tls, and h1 or h2 beside it, whose
	// answers tell clients of it (Alt-Svc); it is spoken over UDP, at the same host and
	// port. The default is [h1, h2].
	Protocols []string `yaml:"protocols" enum:"h1,h2,h3"`

	// Limits bound what a client may take.
	Limits Limits `yaml:"limits"`

	// Trust lists addresses and networks of proxies whose X-Forwarded headers and
	// PROXY lines are believed. The default is none.
	Trust []Network `yaml:"trust"`

	// ProxyProtocol accepts the PROXY protocol, version 1 or 2, from the addresses
	// under trust. The default is false.
	ProxyProtocol bool `yaml:"proxy_protocol"`

	// At is where the listener stands in the file.
	At Position `yaml:"-"`
}

// Limits bound what a client may take.
type Limits struct {
	// Headers bounds the head of a request, from 1KiB to 16MiB. Over HTTP/1.1 with the
	// engine fast, the request line has at most 16KiB of it, and there are at most 256
	// lines. The default is 64KiB.
	Headers airside.Size `yaml:"headers"`

	// Body bounds the body of a request; 0 is no bound. The default is 10MiB.
	Body airside.Size `yaml:"body"`

	// Connections bounds the connections open at a time; 0 is no bound. One more is
	// closed at once, without an answer. The default is 10000.
	Connections int `yaml:"connections"`

	// Idle is how long a connection may wait for its next request. The default is
	// 2m.
	Idle time.Duration `yaml:"idle"`

	// HeaderTimeout is how long the head of a request may take, and how long a new
	// connection may wait before it sends one. The default is 10s.
	HeaderTimeout time.Duration `yaml:"header_timeout"`

	// BodyTimeout is the longest pause between two reads of a request body. The
	// default is 30s.
	BodyTimeout time.Duration `yaml:"body_timeout"`

	// WriteTimeout is how long one write to the client may take. The default is
	// 30s.
	WriteTimeout time.Duration `yaml:"write_timeout"`
}

// TLS is what a listener proves itself by. Exactly one of cert with key, certs,
// and self_signed is needed.
type TLS struct {
	// Cert is a file with the certificate and its chain, in PEM. It is watched: a
	// renewed file is taken without a restart.
	Cert string `yaml:"cert,path"`

	// Key is a file with the private key of cert, in PEM.
	Key string `yaml:"key,path"`

	// Certs are several certificates, of which the name the client asks for (SNI)
	// chooses. The first is for clients that name none.
	Certs []Cert `yaml:"certs"`

	// SelfSigned makes a certificate when the gateway starts, for development.
	SelfSigned bool `yaml:"self_signed"`

	// ACME obtains certificates. A later version brings it.
	ACME airside.Later `yaml:"acme"`

	// Clients asks clients for certificates (mTLS). The default is not to.
	Clients *Clients `yaml:"clients"`

	// Min is the least version of TLS, "1.2" or "1.3". The default is "1.2".
	Min string `yaml:"min" enum:"1.2,1.3"`
}

// A Cert is a certificate with its key.
type Cert struct {
	// Cert is a file with the certificate and its chain, in PEM.
	Cert string `yaml:"cert,required,path"`

	// Key is a file with its private key, in PEM.
	Key string `yaml:"key,required,path"`
}

// Clients says what is asked of the certificates of clients. Exactly one of
// require and optional is needed.
type Clients struct {
	// CA is a file with the certificates, in PEM, that must have signed those of
	// clients.
	CA string `yaml:"ca,required,path"`

	// Require refuses clients without a certificate.
	Require bool `yaml:"require"`

	// Optional admits clients without a certificate. One that is sent must be good.
	Optional bool `yaml:"optional"`
}

// A Network is an IP address or a network in CIDR notation.
type Network struct{ netip.Prefix }

// UnmarshalText reads an address or a network.
func (n *Network) UnmarshalText(b []byte) error {
	s := string(b)
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return fmt.Errorf("%q is not an IP address or a network such as 10.0.0.0/8", cut(s, 60))
		}
		n.Prefix = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return fmt.Errorf("%q is not an IP address or a network such as 10.0.0.0/8", cut(s, 60))
	}
	if p != p.Masked() {
		return fmt.Errorf("%q is an address within a network (write %q for the network)", s, p.Masked())
	}
	n.Prefix = p
	return nil
}

func defaultListen() Listen {
	l := Listen{Address: "127.0.0.1:8080"}
	l.Defaults()
	l.Limits.Defaults()
	return l
}

// Defaults sets what is not written.
func (l *Listen) Defaults() { l.Engine, l.Protocols = "fast", []string{"h1", "h2"} }

// Defaults sets what is not written.
func (l *Limits) Defaults() {
	*l = Limits{
		Headers: 64 << 10, Body: 10 << 20, Connections: 10_000, Idle: 2 * time.Minute,
		HeaderTimeout: 10 * time.Second, BodyTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second,
	}
}

// Defaults sets what is not written.
func (t *TLS) Defaults() { t.Min = "1.2" }

// UnmarshalText reads an address.
func (l *Listen) UnmarshalText(b []byte) error {
	l.Address = string(b)
	return nil
}

func (l *Listen) place(d *document, n *node) { l.At = d.position(n) }

// Validate checks the address, and what contradicts itself.
func (l *Listen) Validate() error {
	errs := []error{inField("address", checkAddress(l.Address))}
	if l.Redirect != "" && l.TLS != nil {
		errs = append(errs, airside.FieldErrorf("redirect", "a listener with tls cannot redirect to https: leave one of them out"))
	}
	if len(l.Protocols) == 0 {
		errs = append(errs, airside.FieldErrorf("protocols", "at least one is needed"))
	}
	for i, p := range l.Protocols {
		field := fmt.Sprintf("protocols[%d]", i)
		if p == "h3" {
			errs = append(errs, inField(field, l.checkHTTP3()))
		}
		if slices.Contains(l.Protocols[:i], p) {
			errs = append(errs, airside.FieldErrorf(field, "%q stands here twice", p))
		}
	}
	if l.ProxyProtocol && len(l.Trust) == 0 {
		errs = append(errs, airside.FieldErrorf("proxy_protocol", "it is accepted from trusted addresses only: list them under trust"))
	}
	return errors.Join(errs...)
}

// checkHTTP3 says what h3 lacks.
func (l *Listen) checkHTTP3() error {
	switch {
	case l.TLS == nil:
		return errors.New(`"h3" needs tls`)
	case !slices.Contains(l.Protocols, "h1") && !slices.Contains(l.Protocols, "h2"):
		return errors.New(`"h3" needs "h1" or "h2" beside it, by which clients learn of it (write [h1, h2, h3])`)
	case l.ProxyProtocol:
		return errors.New(`"h3" does not go with proxy_protocol, which is not spoken over UDP`)
	}
	return nil
}

// Validate checks the ranges.
func (l *Limits) Validate() error {
	var errs []error
	if l.Headers < 1<<10 || l.Headers > 16<<20 {
		errs = append(errs, airside.FieldErrorf("headers", "must be from 1KiB to 16MiB"))
	}
	if l.Connections < 0 {
		errs = append(errs, airside.FieldErrorf("connections", "must not be negative (0 is no bound)"))
	}
	for _, t := range []struct {
		key   string
		value time.Duration
	}{
		{"idle", l.Idle},
		{"header_timeout", l.HeaderTimeout},
		{"body_timeout", l.BodyTimeout},
		{"write_timeout", l.WriteTimeout},
	} {
		if t.value == 0 {
			errs = append(errs, airside.FieldErrorf(t.key, "must be more than 0"))
		}
	}
	return errors.Join(errs...)
}

// Pairs returns the certificates that are read from files, the first of which is
// for clients that name no host.
func (t *TLS) Pairs() []Cert {
	if t.Cert != "" {
		return []Cert{{Cert: t.Cert, Key: t.Key}}
	}
	return t.Certs
}

// Validate checks that there is one source of certificates.
func (t *TLS) Validate() error {
	var errs []error
	switch {
	case t.Cert != "" && t.Key == "":
		errs = append(errs, airside.FieldErrorf("cert", `its "key" is missing`))
	case t.Cert == "" && t.Key != "":
		errs = append(errs, airside.FieldErrorf("key", `its "cert" is missing`))
	}
	sources := 0
	for _, is := range []bool{t.Cert != "" || t.Key != "", len(t.Certs) > 0, t.SelfSigned} {
		if is {
			sources++
		}
	}
	switch {
	case sources == 0:
		errs = append(errs, errors.New("tls needs cert and key, or certs, or self_signed: true"))
	case sources > 1:
		errs = append(errs, errors.New("tls takes one of cert with key, certs, and self_signed: true"))
	}
	return errors.Join(errs...)
}

// Validate checks that there is one mode.
func (c *Clients) Validate() error {
	if c.Require == c.Optional {
		return errors.New("clients needs one of require: true and optional: true")
	}
	return nil
}

// inField says which field err is about; nil stays nil.
func inField(name string, err error) error {
	if err == nil {
		return nil
	}
	return &airside.FieldError{Field: name, Err: err}
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,253}[A-Za-z0-9])?$`)

// checkAddress refuses what nobody can listen at.
func checkAddress(s string) error {
	if _, err := strconv.ParseUint(s, 10, 16); err == nil {
		return fmt.Errorf(`a port alone is no address: write ":%s" for every interface, or "127.0.0.1:%s" for this machine only`, s, s)
	}
	if _, rest, ok := strings.Cut(s, "://"); ok {
		return fmt.Errorf("an address is host:port, without a scheme: write %q", cut(rest, 60))
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf(`%q is not an address such as ":8080" or "127.0.0.1:8080"`, cut(s, 60))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("%q is not a port: it is a number from 0 to 65535", cut(port, 60))
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !hostForm.MatchString(host) {
		return fmt.Errorf("%q is not an IP address or the name of a host", cut(host, 60))
	}
	return nil
}
