// Package pool sends exchanges to agents: it chooses an endpoint, sends the
// request, bounds every stage in time, passes the answer on as it comes, and says
// in one way what went wrong.
//
// A [Pool] spreads exchanges over [Endpoint]s, which hold the connections and
// outlive a pool. [Retry] sends a request again where that is safe.
//
// Every failure is an [airside.Error]: 502 (upstream_failed) when an agent cannot
// be reached or breaks off, 504 (timeout) when it takes too long, 503 (unavailable)
// when there is no connection to be had, 499 (canceled) when the client left, and
// what [airside.Exchange.BodyErr] says, before everything else, when the client's
// body is at fault. The message names the stage and nothing of the inside.
package pool

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
)

// Settings are what a [Pool] is made of.
type Settings struct {
	Members []Member // 1 to MaxMembers
	Limits  Limits

	// Host is what agents see as the host they were asked for: HostUpstream,
	// HostPreserve, or the host itself.
	Host string

	// Retry, if not nil, sends requests again. Limits.Total spans all tries.
	Retry *Retry

	// Random yields numbers in [0, 1) for the pauses of Retry; nil means those of
	// math/rand.
	Random func() float64
}

// Which host an agent sees.
const (
	HostUpstream = "upstream" // the one of its address
	HostPreserve = "preserve" // the one that the client asked for
)

// A Member is an endpoint of a pool.
type Member struct {
	Endpoint *Endpoint
	Path     string // escaped; goes before the path of every request. "" and "/" add nothing
	Weight   int    // its share; 1 to MaxWeight
}

// A Pool is a handler that asks agents. It may be used by many goroutines at once.
type Pool struct {
	members []member
	wheel   *wheel
	limits  Limits
	host    string
	retry   airside.Middleware // or nil
	tries   tries
}

type member struct {
	*Endpoint
	path, escaped string // of the base, without a slash at the end
}

var errMembers = errors.New("pool: there must be 1 to 256 members with weights of 1 to 256")

// New returns a pool. It fails if the settings are out of bounds.
func New(s Settings) (*Pool, error) {
	if len(s.Members) == 0 || len(s.Members) > MaxMembers {
		return nil, errMembers
	}
	p := &Pool{limits: s.Limits, host: s.Host}
	weights := make([]int, 0, len(s.Members))
	for _, m := range s.Members {
		if m.Weight < 1 || m.Weight > MaxWeight {
			return nil, errMembers
		}
		escaped := strings.TrimRight(m.Path, "/")
		path, err := url.PathUnescape(escaped)
		if err != nil {
			return nil, fmt.Errorf("pool: path of an endpoint: %w", err)
		}
		escaped = (&url.URL{Path: path, RawPath: escaped}).EscapedPath() // in case it was not, wholly
		p.members = append(p.members, member{Endpoint: m.Endpoint, path: path, escaped: escaped})
		weights = append(weights, m.Weight)
	}
	p.wheel = newWheel(weights)
	if s.Retry != nil {
		p.retry = s.Retry.Middleware(s.Random)
	}
	return p, nil
}

// Handle asks an agent. The caller must close the body of the response, and may
// read it while the request body is still being sent; both are safe if it does not.
//
// The body of a 101 (Switching Protocols) is an [io.ReadWriteCloser]. The body of
// any other response ends in io.EOF only if the answer was complete; otherwise in
// an [airside.Error].
func (p *Pool) Handle(x *airside.Exchange) (*http.Response, error) {
	if err := x.CheckBody(); err != nil {
		return nil, err
	}
	if x.Request.Method == http.MethodConnect {
		return nil, airside.Errorf(airside.Unsupported, "this gateway is no tunnel: CONNECT is not supported")
	}
	var end time.Time
	if p.limits.Total > 0 {
		end = time.Now().Add(p.limits.Total)
	}
	if p.retry == nil {
		return p.ask(x, end)
	}
	return p.retry(airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) { return p.ask(x, end) })).Handle(x)
}

// ask makes one try.
func (p *Pool) ask(x *airside.Exchange, end time.Time) (*http.Response, error) {
	m, err := p.choose(x)
	if err != nil {
		return nil, err
	}
	t := p.newTry()
	t.x, t.parent, t.endpoint, t.method = x, x.Context(), m.Endpoint, x.Request.Method
	return t.run(m, end)
}

// choose takes a place at an endpoint: the next in turn that has one and was not
// asked for this exchange already, or else the next in turn that has one.
func (p *Pool) choose(x *airside.Exchange) (*member, error) {
	tried := triedOf(x.Context())
	i, ok := 0, false
	if tried != nil && len(tried.endpoints) > 0 {
		i, ok = p.wheel.pick(func(i int) bool {
			return !tried.has(p.members[i].Endpoint) && p.members[i].acquire()
		})
	}
	if !ok {
		i, ok = p.wheel.pick(func(i int) bool { return p.members[i].acquire() })
	}
	if !ok {
		return nil, (&failure{kind: full}).phrase()
	}
	m := &p.members[i]
	if tried != nil {
		tried.endpoints = append(tried.endpoints, m.Endpoint)
	}
	return m, nil
}
