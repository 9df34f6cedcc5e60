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
//	      balance: { by: peak_ewma, slow_start: 30s }
//	      timeout: 20s
//	      connections: { max: 100 }
//	      retry: { attempts: 3, on: [connect, reset, 503], per_try: 5s }
//	      hedge: { after: p95 }
//	      deadline: { header: Request-Timeout }
//	  symptoms:
//	    http:
//	      url: http://127.0.0.1:9003/agents/symptoms
//	      first_byte: 2m
//	      first_event: 30s
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
//	503 unavailable      connections.max is reached, or health, eject or breaker
//	                     leave nobody to be asked; Retry-After says when to try again
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
// balance says how an endpoint is chosen. round_robin goes by weight alone. least_request
// and peak_ewma look at how endpoints do, too, and suit agents whose answers take now long
// and now short: least_request counts what is under way, and peak_ewma how long answers
// took to begin lately as well, so that it leaves an endpoint sooner that has become slow.
// One that takes ten times as long as the others gets less than a tenth of its share of
// either. With hash what belongs together goes to the same endpoint, say a conversation to
// the one that remembers it:
//
//	upstreams:
//	  tutors:
//	    http:
//	      endpoints:
//	        - { url: http://127.0.0.1:9001, zone: eu-1 }
//	        - { url: http://127.0.0.1:9002, zone: eu-1 }
//	        - { url: http://127.0.0.1:9003, zone: eu-2 }
//	      balance: { hash: 'request.headers["x-conversation"]', zone: eu-1, slow_start: 30s }
//	routes:
//	  - { path: /tutors/*, to: tutors }
//
// An endpoint that comes or goes moves the keys of its own share alone. One that holds a
// quarter more than its share of what is under way passes the key on to the next, always
// the same, until it has room again. Several gateways with the same endpoints choose alike.
//
// With balance.zone the endpoints of that zone get everything, as long as 70% of them, by
// weight, are well; below that as much less as there are fewer, and the other zones the
// rest. Where no endpoint stands in the zone, zones do not matter. Write zone:
// ${env:AIRSIDE_ZONE} where gateways of several zones share a file.
//
// hedge sends a request that may be repeated to a second endpoint when the first has not
// answered in time, and takes the answer that comes first; the other is given up. It
// helps where an agent is sometimes slow for reasons of its own.
//
// An agent that speaks gRPC is told by grpc-timeout how much time is left, if there is a
// bound; with deadline any agent is.
//
// health, eject and breaker each put endpoints aside that are not well, so that others
// are asked in their place: because a check says so, because exchanges fail, or to give
// an agent that fails a rest.
//
//	upstreams:
//	  pharmacy:
//	    http:
//	      endpoints: [http://127.0.0.1:9001, http://127.0.0.1:9002, http://127.0.0.1:9003]
//	      health: { path: /healthz, interval: 5s }
//	      eject: { errors: 5, rate: 50%, latency: 10, for: 30s, max: 50% }
//	      breaker: { errors: 20, for: 10s, half_open: 3 }
//	      panic: 25%
//	      retry: { on: [connect] }
//	  triage:
//	    http: { url: http://127.0.0.1:9004, health: { protocol: grpc, service: clinic.Triage } }
//	routes:
//	  - { path: /pharmacy/*, to: pharmacy }
//	  - { path: /triage/*, to: triage }
//
// What counts as a failure: no connection, no TLS, an answer that is late, breaks off or is
// no HTTP, and 5xx. What does not: 501 and 505; 429, and 503 with a Retry-After, by which
// an agent says in order when to come back; a client that left, that broke its own
// request or asked for less time than the agent takes; and tries that the gateway gave up,
// say for a faster one. A time-out of the route counts if the agent was silent for 250ms
// or more, up to its head; timeout of the upstream if one silence took most of it.
//
// When its time is over an endpoint is tried by half_open exchanges. If one fails it is left
// aside for longer, if all succeed it is back, and slow_start begins. An endpoint that is
// ejected or unhealthy is asked nevertheless if fewer than panic are usable; one whose
// breaker is open never. Each change is a line in the log. What is known about
// endpoints outlives a reload that does not change these settings.
//
// With discover the endpoints are found while the gateway runs: by DNS, in a file, in
// Consul or in Kubernetes. The url then says what they have in common: scheme, path, the
// host that agents are asked for, and the name in their certificates.
//
//	upstreams:
//	  labs:
//	    http:
//	      url: http://labs.example:9000/v1
//	      discover: { dns: { max_ttl: 30s } }
//	  wards:
//	    http:
//	      url: https://wards.example
//	      discover: { kubernetes: { namespace: clinic, service: wards, port: https } }
//	routes:
//	  - { path: /labs/*, to: labs }
//	  - { path: /wards/*, to: wards }
//
// While what is asked for endpoints is away, those that were found last are used. An
// endpoint that is not listed any more ends what it has begun. Requests that come before
// the first endpoints are known wait for them (wait, 2s); after that, and while none is
// listed, the client gets 503. Checking a configuration asks nobody.
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
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/pool"
	"github.com/airside-gateway/airside/internal/pool/health"
)

func init() { airside.RegisterUpstream("http", New) }

// Config is the settings of the upstream.
type Config struct {
	// URL is the address of the agent: http or https, a host, a port where it is not
	// the usual one, and a path, which goes before the path of every request. It holds
	// no user name, query or fragment. Write either url or endpoints.
	URL string `yaml:"url"`

	// Endpoints are the addresses of the agent if it has several, at most 256: each a
	// URL, or a mapping of url, weight and zone.
	Endpoints []Endpoint `yaml:"endpoints"`

	// Balance says how an endpoint is chosen: round_robin, the default, random,
	// least_request or peak_ewma, or a mapping.
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

	// FirstEvent bounds how long the first byte of an event stream (text/event-stream) is
	// awaited, counted from its head. Until it has come the client gets nothing, so that a
	// stream that does not begin, or breaks off before it does, can be asked for elsewhere
	// by retry or by the next of a route's "to". The default is 0: no bound, and the head is
	// passed on at once.
	FirstEvent time.Duration `yaml:"first_event"`

	// StreamIdle is the longest silence within an answer; of an upgraded connection,
	// in both directions. The default is 5m; 0 means no bound.
	StreamIdle time.Duration `yaml:"stream_idle"`

	// Connections bounds the connections to each endpoint.
	Connections Connections `yaml:"connections"`

	// Retry sends requests again that failed. Left out, none are. Write {} for its
	// defaults.
	Retry *pool.Retry `yaml:"retry"`

	// Hedge sends a request to a second endpoint when the first takes long, and takes the
	// answer that comes first. Left out, that is not done.
	Hedge *pool.Hedge `yaml:"hedge"`

	// Deadline says how the agent is told how much time it has left.
	Deadline pool.Deadline `yaml:"deadline"`

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

	// Discover finds the endpoints while the gateway runs: by DNS, in a file, in Consul
	// or in Kubernetes. It stands in the place of endpoints; url says what they have in
	// common.
	Discover *Discover `yaml:"discover"`

	// Health asks every endpoint regularly whether it is well; those that are not get no
	// exchanges. A path alone stands for a check by HTTP with the defaults.
	Health *health.Check `yaml:"health"`

	// Eject leaves endpoints aside for a while whose answers fail. Write {} for its
	// defaults.
	Eject *health.Eject `yaml:"eject"`

	// Breaker sends an endpoint nothing at all for a while if it fails; if there is no
	// other the client gets 503 at once. Write {} for its defaults.
	Breaker *health.Breaker `yaml:"breaker"`

	// Panic is the share of usable endpoints below which those are asked, too, that are
	// not well or left aside: then it is likelier that something else is wrong, and the
	// few that are left would not bear the load of all. The default is 25%; 0% means
	// never.
	Panic health.Share `yaml:"panic"`

	// Auth proves to the agent who asks.
	Auth airside.Later `yaml:"auth"`
}

// Connections bounds the connections to each endpoint.
type Connections struct {
	// Max is how many exchanges with one endpoint may be under way at the same time;
	// over HTTP/1.1 each has a connection. Beyond it the next endpoint that has room is
	// asked, and if none has, the exchange waits in queue, or the client gets 503. The
	// default is 0: no bound.
	Max int `yaml:"max"`

	// Idle is how many connections that are not in use are kept. The default is 256; 0
	// keeps none.
	Idle int `yaml:"idle"`

	// IdleTimeout is how long a connection that is not in use is kept. Keep it below
	// the agent's own. The default is 90s; 0 means for ever.
	IdleTimeout time.Duration `yaml:"idle_timeout"`

	// Queue lets exchanges wait while every endpoint has as many as max says: size of
	// them, first come first served, for as long as wait says. Then, or if the queue is
	// full, the client gets 503. Left out, nobody waits.
	Queue *pool.Queue `yaml:"queue"`
}

// Defaults sets every field to its default.
func (c *Config) Defaults() {
	*c = Config{
		ConnectTimeout: 2 * time.Second, TLSTimeout: 5 * time.Second, FirstByte: time.Minute, StreamIdle: 5 * time.Minute,
		Connections: Connections{Idle: 256, IdleTimeout: 90 * time.Second},
		Protocol:    pool.Auto, Engine: pool.EngineFast, Host: pool.HostUpstream, Panic: 0.25,
	}
	c.Balance.Defaults()
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
		Limits: pool.Limits{Total: c.Timeout, FirstByte: c.FirstByte, FirstEvent: c.FirstEvent, StreamIdle: c.StreamIdle},
		Host:   host, Retry: c.Retry, Queue: c.Connections.Queue, Hedge: c.Hedge, Deadline: c.Deadline, Tried: tried(env),
		Balance: c.Balance.settings(),
	}
	if s.Key, err = c.Balance.key(env); err != nil {
		return nil, err
	}
	if c.Discover != nil {
		c.lend(addresses, &s, cfg)
		addresses = nil // there are none before they are found
	}
	if s.Health, err = c.wellness(env, s.Host, cfg, digest); err != nil {
		return nil, err
	}
	for _, a := range addresses {
		e, err := c.open(env, a, cfg, digest)
		if err != nil {
			return nil, err
		}
		s.Members = append(s.Members, pool.Member{Endpoint: e, Path: a.url.EscapedPath(), Weight: a.weight, Zone: a.zone})
	}
	p, err := pool.New(s)
	if err != nil {
		return nil, err
	}
	env.OnClose(func() error {
		p.Retire()
		return nil
	})
	u := upstream{Pool: p, fallback: c.FallbackOn, health: s.Health}
	if c.Discover != nil {
		return c.discovers(env, u, cfg, digest)
	}
	return &u, nil
}

// open opens an endpoint, or takes over the one of the last generation if everything
// that its connections depend on is as it was.
func (c *Config) open(env *airside.Env, a address, cfg *tls.Config, digest [sha256.Size]byte) (*pool.Endpoint, error) {
	l := c.link(env)
	key := fmt.Sprintf("%s endpoint %s://%s %+v %x", env.Where, a.url.Scheme, a.url.Host, l, digest)
	l.TLS = cfg
	return airside.Keep(env, key, func() (*pool.Endpoint, error) { return pool.Open(a.url, l) })
}

// link is how connections are made, but for TLS.
func (c *Config) link(env *airside.Env) pool.Link {
	return pool.Link{
		Protocol: c.Protocol, Engine: c.Engine, Connect: c.ConnectTimeout, Handshake: c.TLSTimeout,
		Idle: c.Connections.IdleTimeout, MaxActive: c.Connections.Max, MaxIdle: c.Connections.Idle,
		Poison: poisons(env),
	}
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
	health   *health.Group // or nil
}

// FallbackOn reports whether an answer of this status makes the next upstream of a
// route be asked.
func (u *upstream) FallbackOn(status int) bool { return slices.Contains(u.fallback, status) }
