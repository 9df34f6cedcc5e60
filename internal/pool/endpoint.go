package pool

import (
	"crypto/tls"
	"errors"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool/balance"
)

// Versions of HTTP that a [Link] can be told to speak.
const (
	Auto = "auto" // HTTP/1.1 without TLS, and what the agent prefers with it
	H1   = "h1"   // HTTP/1.1
	H2   = "h2"   // HTTP/2 over TLS
	H2C  = "h2c"  // HTTP/2 without TLS, known beforehand
)

// Engines, by which a [Link] can be told to speak HTTP/1.1. HTTP/2 is that of net/http.
const (
	EngineFast = "fast" // our own
	EngineStd  = "std"  // that of net/http
)

// A Link is how connections to an endpoint are made and kept.
type Link struct {
	Protocol  string        // Auto, H1, H2 or H2C
	Engine    string        // EngineFast or EngineStd; empty is EngineFast
	Connect   time.Duration // bound of the name's resolution and the connection together; 0 none
	Handshake time.Duration // bound of the TLS handshake; 0 none
	Idle      time.Duration // how long an unused connection is kept; 0 for ever
	MaxActive int           // exchanges at the same time; 0 no bound
	MaxIdle   int           // unused connections that are kept; 0 none
	TLS       *tls.Config   // for https; nil means the defaults of [TLSConfig]
	Poison    bool          // for tests: spoil answers that were closed, so that it shows who keeps them
}

// TLSConfig returns a new configuration for connections to agents: TLS 1.2 at
// least, AEAD cipher suites only, the system's authorities.
func TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{ // of TLS 1.2; those of TLS 1.3 are all AEAD
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
}

// An Endpoint is one address of an upstream, with its connections and what is known
// about it. It may serve several pools, and outlive them: a reload keeps it.
type Endpoint struct {
	scheme, host, address string
	engine                engine
	std                   *std
	fast                  *fast // nil: engine is for everything
	protocol              string
	max                   int64
	stats                 *balance.Stats

	pools  atomic.Int32 // that have it among their members
	leaves atomic.Bool  // it has left the last of them
}

var errNoEndpoint = errors.New("pool: an endpoint is an http or https address with a host")

// Open returns the endpoint at the scheme and host of address. Nothing is dialed
// before it is needed.
func Open(address *url.URL, l Link) (*Endpoint, error) {
	if address.Host == "" || address.Scheme != "http" && address.Scheme != "https" {
		return nil, errNoEndpoint
	}
	s := newStd(address, l)
	return &Endpoint{
		scheme: address.Scheme, host: address.Host, address: address.Scheme + "://" + address.Host,
		protocol: l.Protocol, max: int64(l.MaxActive), engine: s, std: s, fast: newFast(address, l, s),
		stats: balance.NewStats(),
	}, nil
}

// Close closes the connections that are not in use. Those in use are closed when
// they come out of use.
func (e *Endpoint) Close() error {
	e.shut()
	e.wait()
	return nil
}

// wait waits for what is still sent of exchanges that are over; a few seconds at most.
func (e *Endpoint) wait() {
	e.fast.wait()
	e.std.wait()
}

// idle reports whether there is nothing to wait for.
func (e *Endpoint) idle() bool { return e.std.trips.none() && (e.fast == nil || e.fast.trips.none()) }

// shut closes the connections that are not in use, and waits for nobody.
func (e *Endpoint) shut() {
	e.fast.shut()
	e.std.shut()
}

// Address is the scheme, host and port of the endpoint.
func (e *Endpoint) Address() string { return e.address }

// Active is the number of exchanges that are under way.
func (e *Endpoint) Active() int { return e.stats.Active() }

// acquire takes a place for an exchange, and reports whether there was one.
func (e *Endpoint) acquire() bool {
	if e.stats.Enter(e.max) {
		return true
	}
	e.retire() // who left meanwhile may have taken this one for another
	return false
}

// release gives the place back.
func (e *Endpoint) release() {
	if e.stats.Leave() {
		e.retire()
	}
}

// enlist notes that a pool has the endpoint among its members.
func (e *Endpoint) enlist() {
	e.pools.Add(1)
	e.leaves.Store(false)
}

// delist notes that a pool has it no more. When it was the last, the endpoint is closed as
// soon as nothing is under way there.
func (e *Endpoint) delist() {
	if e.pools.Add(-1) == 0 {
		e.leaves.Store(true)
		e.retire()
	}
}

// retire closes an endpoint that has left, if nothing is under way there. From then on
// no place can be taken.
func (e *Endpoint) retire() {
	if e.leaves.Load() && e.stats.Retire() {
		e.shut()
	}
}

// canUpgrade fails for an endpoint that speaks HTTP/2 only, which has no upgrades
// (RFC 9113 section 8.6).
func (e *Endpoint) canUpgrade() error {
	if e.protocol == H2 || e.protocol == H2C {
		return airside.Errorf(airside.Unsupported, "the agent speaks HTTP/2 only, and no connection can be upgraded there")
	}
	return nil
}
