// Package http is the upstream kind http: an agent, or anything else, that speaks
// HTTP at one or several addresses. The request goes on as it came, byte for byte
// in path, query and body, and the answer comes back as it is, while it comes.
//
// A URL where an upstream is expected is an upstream of this kind with defaults. Name
// one to set time-outs, to spread over several endpoints, to send requests again, or
// to speak TLS with certificates of your own:
//
//	upstreams:
//	  records:
//	    http:
//	      endpoints:
//	        - http://127.0.0.1:9001
//	        - { url: http://127.0.0.1:9002, weight: 2 }
//	      timeout: 20s
//	      connections: { max: 100 }
//	      retry: { attempts: 3, on: [connect, reset, 503] }
//	  symptoms:
//	    http:
//	      url: http://127.0.0.1:9003/agents/symptoms
//	      first_byte: 2m
//	      fallback_on: [502, 503]
//	routes:
//	  - { path: /records/*, to: records }
//	  - { path: /symptoms/*, to: [symptoms, records] }
//
// What the agent gets: the path after the path of the url, the query, and the headers
// without those about the client's connection. The Host is that of the url, unless
// host says otherwise; X-Forwarded-Host tells the agent what the client asked for.
// The gateway adds no User-Agent and no Accept-Encoding, uses no proxy, and follows
// no redirects. Upgrades (WebSocket), trailers, Expect: 100-continue and interim
// answers (1xx, the first 5 of an exchange) pass through. An agent that answers
// before it has read the request is heard at once.
//
// What the client sees when the agent fails, in the words of its protocol:
//
//	502 upstream_failed  the agent refused the connection, cannot be reached, or its
//	                     name cannot be resolved; its certificate is not valid, or
//	                     TLS failed otherwise; it broke off before it answered; it
//	                     answered what is not HTTP, or a head of more than 256KiB
//	503 unavailable      connections.max is reached; Retry-After says when to try
//	                     again
//	504 timeout          connect_timeout, tls_timeout, first_byte or timeout passed
//	501 unsupported      an upgrade to an agent that speaks HTTP/2 only
//
// An answer that breaks off, or that is silent for longer than stream_idle, ends as
// the client's protocol ends a broken answer: an event stream by an error event, if
// the protocol has one, any other answer by a cut, so that half of it is not taken
// for the whole. What is wrong with a client's request is never an agent's fault.
//
// A request that an idle connection swallowed, because the agent had just closed it,
// is sent again by itself: if nothing of it was sent, or if it may be repeated (GET,
// HEAD, OPTIONS, PUT, DELETE, TRACE, or an Idempotency-Key). Everything else is sent
// again only if retry says so, and goes to the next upstream of the route's list only
// if the route says so, by repeat.
//
// Connections outlive a reload that does not change their settings. Files of tls are
// read when the configuration is loaded.
//
// Bounds: 256 endpoints; 64KiB of a request body are kept for the case that a request
// must be sent again (with retry: its setting body); an HTTP/2 agent sends at most
// 256KiB of an answer ahead.
package http

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool"
)

func init() { airside.RegisterUpstream("http", New) }

// Config is the settings of the upstream.
type Config struct {
	// URL is the address of the agent: http or https, a host, a port where it is not
	// the usual one, and a path, which goes before the path of every request. It holds
	// no user name, query or fragment. Write either url or endpoints.
	URL string `yaml:"url"`

	// Endpoints are the addresses of the agent if it has several, at most 256: each a
	// URL, or a mapping of url and weight.
	Endpoints []Endpoint `yaml:"endpoints"`

	// Balance says how an endpoint is chosen. The default is round_robin: in turn, each
	// as often as its weight says, evenly.
	Balance Balance `yaml:"balance"`

	// Timeout bounds the whole exchange with the agent, retries included, up to the
	// last byte of the answer. Event streams (text/event-stream) and upgrades are
	// bounded up to their beginning. The default is 0: no bound.
	Timeout time.Duration `yaml:"timeout"`

	// ConnectTimeout bounds the resolution of the name and the connection together.
	// The default is 2s; 0 means no bound.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`

	// TLSTimeout bounds the TLS handshake. The default is 5s; 0 means no bound.
	TLSTimeout time.Duration `yaml:"tls_timeout"`

	// FirstByte bounds how long the agent may take until the head of its answer,
	// counted in every try from its beginning, or from the last piece of the request
	// body: while the client is awaited, it does not run. The default is 60s; 0 means
	// no bound.
	FirstByte time.Duration `yaml:"first_byte"`

	// StreamIdle is the longest silence within an answer; of an upgraded connection,
	// in both directions. The default is 5m; 0 means no bound.
	StreamIdle time.Duration `yaml:"stream_idle"`

	// Connections bounds the connections to each endpoint.
	Connections Connections `yaml:"connections"`

	// Retry sends requests again that failed. Left out, none are. Write {} for its
	// defaults.
	Retry *pool.Retry `yaml:"retry"`

	// FallbackOn lists the statuses (400 to 599) that make the next upstream of a
	// route's "to" be asked, if the request may be repeated: see "repeat" of a route. The
	// default is none: only failures do.
	FallbackOn []int `yaml:"fallback_on,single"`

	// TLS says how https is spoken. The default is TLS 1.2 or newer with AEAD cipher
	// suites, and the authorities of the system.
	TLS *TLS `yaml:"tls"`

	// Protocol is the version of HTTP. "auto", the default: HTTP/1.1 to http URLs, and
	// to https URLs what the agent prefers of HTTP/2 and HTTP/1.1. "h1": HTTP/1.1.
	// "h2": HTTP/2, https only. "h2c": HTTP/2 without TLS, http only.
	Protocol string `yaml:"protocol" enum:"auto,h1,h2c,h2"`

	// Engine is what speaks HTTP/1.1 to the agent: fast, the default, is the gateway's
	// own; std is that of the Go standard library, which takes more of the processor and
	// reads answers less strictly. HTTP/2 is always that of the standard library.
	Engine string `yaml:"engine" enum:"fast,std"`

	// Host is which host the agent is asked for. "upstream", the default: the one of
	// its URL. "preserve": the one that the client asked for. Anything else: that very
	// host, with a port if there is a colon.
	Host string `yaml:"host"`

	// Discover finds the endpoints by DNS, in a file, or in Kubernetes.
	Discover airside.Later `yaml:"discover"`

	// Health asks every endpoint regularly whether it is well.
	Health airside.Later `yaml:"health"`

	// Eject leaves endpoints aside that fail.
	Eject airside.Later `yaml:"eject"`

	// Breaker refuses at once while the agent fails.
	Breaker airside.Later `yaml:"breaker"`

	// Auth proves to the agent who asks.
	Auth airside.Later `yaml:"auth"`
}

// Connections bounds the connections to each endpoint.
type Connections struct {
	// Max is how many exchanges with one endpoint may be under way at the same time;
	// over HTTP/1.1 each has a connection. Beyond it the next endpoint that has room is
	// asked, and if none has, the client gets 503. The default is 0: no bound.
	Max int `yaml:"max"`

	// Idle is how many connections that are not in use are kept. The default is 256; 0
	// keeps none.
	Idle int `yaml:"idle"`

	// IdleTimeout is how long a connection that is not in use is kept. Keep it below
	// the agent's own. The default is 90s; 0 means for ever.
	IdleTimeout time.Duration `yaml:"idle_timeout"`

	// Queue lets exchanges wait for a connection.
	Queue airside.Later `yaml:"queue"`
}

// Defaults sets every field to its default.
func (c *Config) Defaults() {
	*c = Config{
		ConnectTimeout: 2 * time.Second, TLSTimeout: 5 * time.Second, FirstByte: time.Minute, StreamIdle: 5 * time.Minute,
		Connections: Connections{Idle: 256, IdleTimeout: 90 * time.Second},
		Protocol:    pool.Auto, Engine: pool.EngineFast, Host: pool.HostUpstream,
	}
}

// New returns the upstream. It reads the files of the setting tls, and dials nothing.
func New(env *airside.Env, c Config) (airside.Handler, error) {
	addresses, err := c.addresses()
	if err != nil {
		return nil, err
	}
	cfg, digest, err := c.TLS.load()
	if err != nil {
		return nil, err
	}
	host, err := c.host()
	if err != nil {
		return nil, err
	}
	s := pool.Settings{
		Limits: pool.Limits{Total: c.Timeout, FirstByte: c.FirstByte, StreamIdle: c.StreamIdle},
		Host:   host, Retry: c.Retry,
	}
	for _, a := range addresses {
		e, err := c.open(env, a, cfg, digest)
		if err != nil {
			return nil, err
		}
		s.Members = append(s.Members, pool.Member{Endpoint: e, Path: a.url.EscapedPath(), Weight: a.weight})
	}
	p, err := pool.New(s)
	if err != nil {
		return nil, err
	}
	return &upstream{Pool: p, fallback: c.FallbackOn}, nil
}

// open opens an endpoint, or takes over the one of the last generation if everything
// that its connections depend on is as it was.
func (c *Config) open(env *airside.Env, a address, cfg *tls.Config, digest [sha256.Size]byte) (*pool.Endpoint, error) {
	l := pool.Link{
		Protocol: c.Protocol, Engine: c.Engine, Connect: c.ConnectTimeout, Handshake: c.TLSTimeout,
		Idle: c.Connections.IdleTimeout, MaxActive: c.Connections.Max, MaxIdle: c.Connections.Idle,
		Poison: poisons(env),
	}
	key := fmt.Sprintf("%s endpoint %s://%s %+v %x", env.Where, a.url.Scheme, a.url.Host, l, digest)
	l.TLS = cfg
	return airside.Keep(env, key, func() (*pool.Endpoint, error) { return pool.Open(a.url, l) })
}

// poisons reports whether the gateway is one under test that spoils what is used again.
// Only such a one keeps a value by that name.
func poisons(env *airside.Env) bool {
	_, err := env.Keep("poison", func() (any, error) { return nil, errNotPoisoned })
	return err == nil
}

var errNotPoisoned = errors.New("http: what is used again is used as it is")

// An upstream is a pool that also says which answers are as good as none.
type upstream struct {
	*pool.Pool
	fallback []int
}

// FallbackOn reports whether an answer of this status makes the next upstream of a
// route be asked.
func (u *upstream) FallbackOn(status int) bool { return slices.Contains(u.fallback, status) }

// Balance says how an endpoint is chosen.
type Balance struct {
	// Hash sends what has the same value of an expression to the same endpoint.
	Hash airside.Later `yaml:"hash"`
}

// UnmarshalText reads the name of a way to choose.
func (*Balance) UnmarshalText(text []byte) error {
	switch name := string(text); name {
	case "round_robin":
		return nil
	case "least_request", "peak_ewma", "random", "hash":
		return fmt.Errorf("%s is not yet supported by this version; round_robin is", name)
	}
	return fmt.Errorf("expected round_robin, found %q", strings.ToValidUTF8(fmt.Sprintf("%.40s", text), "?"))
}
