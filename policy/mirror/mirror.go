// Package mirror sends a copy of requests to another upstream and throws the answers
// away.
//
// Use it to try a new version of an agent with real requests before any client
// depends on it.
//
//	policies:
//	  shadow: { mirror: { to: next, share: 10 } }
//
//	upstreams:
//	  next: { http: { url: http://127.0.0.1:9002 } }
//
//	routes:
//	  - { path: /agent1/*, use: [shadow], to: http://127.0.0.1:9001 }
//	  - { path: /agent2/*, use: [{ mirror: { to: http://127.0.0.1:9003, max: 10 } }], to: http://127.0.0.1:9001 }
//
// The copy leaves at the same time as the request, as the request is where this
// policy stands: with the changes of the policies before it and without those of the
// ones after it. Behind a retry policy each try is copied. The copy bears the header
// X-Airside-Mirror: 1. It has a life of its own: it does not end when the client
// leaves, and whatever becomes of it, the exchange is answered as if there were no
// copy.
//
// # What is not copied
//
// A request with a body is copied only if it announces a length, of at most body;
// such a body is then read as a whole before the request goes on. A body of unknown
// length, or a longer one, streams through, and no copy is made; nor is one of an
// upgrade (WebSocket), and of what is a copy already: a request with X-Airside-Mirror,
// which the edge believes of trusted proxies only.
//
// Unless credentials is true, the copy goes without the headers that prove who asks:
// Authorization, Proxy-Authorization, Cookie, X-Api-Key, Api-Key and
// X-Goog-Api-Key. A secret in the query is not recognised and goes along. Agents
// that act (send, book, pay) act twice: mirror to one that only pretends to.
//
// # What the client sees
//
// Nothing.
//
// # Bounds
//
// At most max copies are under way; while there are as many, no more are made. Each
// ends after timeout at the latest. Of an answer at most 1MiB is read. A reload, and
// the end of the gateway, end those under way. How many copies were answered, failed
// and were left out is logged when the configuration that made them is left; failures
// one by one at the level debug.
package mirror

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/airside-gateway/airside"
)

func init() { airside.RegisterPolicy("mirror", New) }

// Config is the settings of the policy.
type Config struct {
	// To is the upstream that gets the copies: a name, or a URL.
	To string `yaml:"to,required"`
	// Share is how many per cent of the requests are copied, drawn at random: 0 to
	// 100. Default 100.
	Share float64 `yaml:"share"`
	// Max is how many copies can be under way at once: 1 to 100000. Default 100.
	Max int `yaml:"max"`
	// Body is the largest request body that is copied, at most 16MiB. Default 64KiB.
	Body airside.Size `yaml:"body"`
	// Timeout is how long a copy may take, at most 1h. Default 10s.
	Timeout time.Duration `yaml:"timeout"`
	// Credentials says whether the copy keeps the headers that prove who asks.
	// Default false.
	Credentials bool `yaml:"credentials"`
}

const (
	maxMax     = 100_000
	maxBody    = 16 << 20
	maxTimeout = time.Hour

	// drained is how much of an answer is read, so that the connection can be used
	// again.
	drained = 1 << 20
)

// Defaults fills in what is usually left out.
func (c *Config) Defaults() {
	c.Share, c.Max, c.Body, c.Timeout = 100, 100, 64<<10, 10*time.Second
}

// Validate refuses settings that cannot work.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(bad bool, field, message string) {
		if bad {
			errs = append(errs, airside.FieldErrorf(field, "%s", message))
		}
	}
	wrong(!(c.Share >= 0 && c.Share <= 100), "share", "must be from 0 to 100") // NaN is refused too
	wrong(c.Max < 1 || c.Max > maxMax, "max", "must be from 1 to 100000")
	wrong(c.Body < 0 || c.Body > maxBody, "body", "must be at most 16MiB")
	wrong(c.Timeout <= 0 || c.Timeout > maxTimeout, "timeout", "must be more than 0s and at most 1h")
	return errors.Join(errs...)
}

// New returns the policy.
func New(env *airside.Env, c Config) (airside.Middleware, error) {
	to, err := env.Upstream(c.To)
	if err != nil {
		return nil, &airside.FieldError{Field: "to", Err: err}
	}
	m := &mirror{Config: c, to: to, log: env.Log, random: rand.Float64, flights: map[*airside.Exchange]context.CancelFunc{}}
	env.OnClose(m.close)
	return func(next airside.Handler) airside.Handler {
		return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
			m.send(x)
			return next.Handle(x)
		})
	}, nil
}

type mirror struct {
	Config
	to     airside.Handler
	log    *slog.Logger
	random func() float64 // in [0, 1)

	mu       sync.Mutex
	closed   bool
	flights  map[*airside.Exchange]context.CancelFunc // the copies under way
	ended    sync.WaitGroup                           // of all of them
	answered int64
	failed   int64
	left     int64 // left out, since there were too many
}

// send sends a copy of x, if it is to have one. It returns at once, but for reading
// a body that is short.
func (m *mirror) send(x *airside.Exchange) {
	if !m.wants(x.Request) || m.full() {
		return
	}
	var body []byte
	if x.Request.ContentLength > 0 {
		b, err := x.ReadBody(int64(m.Body))
		if err != nil {
			return // whoever reads it next finds the same, and says so to the client
		}
		body = b
	}
	ctx, cancel := context.WithTimeout(apart{context.WithoutCancel(x.Context())}, m.Timeout)
	c := duplicate(ctx, x, body)
	m.label(c.Request.Header)
	if m.start(c, cancel) {
		go m.fly(c)
	} else {
		cancel()
	}
}

// wants reports whether r is to be copied.
func (m *mirror) wants(r *http.Request) bool {
	switch {
	case r.Method == http.MethodConnect, len(r.Header["Upgrade"]) > 0, len(r.Header[markHeader]) > 0,
		r.ContentLength > int64(m.Body),
		r.ContentLength < 0 && r.Body != nil && r.Body != http.NoBody:
		return false
	}
	return m.random()*100 < m.Share
}

// full reports whether there are as many copies as may be, and counts the one that
// is left out.
func (m *mirror) full() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fullLocked()
}

func (m *mirror) fullLocked() bool {
	if m.closed || len(m.flights) >= m.Max {
		m.left++
		return true
	}
	return false
}

// start registers c, if there is room for it by now.
func (m *mirror) start(c *airside.Exchange, cancel context.CancelFunc) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fullLocked() {
		return false
	}
	m.flights[c] = cancel
	m.ended.Add(1)
	return true
}

// fly sends c to its end.
func (m *mirror) fly(c *airside.Exchange) {
	defer m.ended.Done()
	start := time.Now()
	status, err := m.ask(c)
	c.Finish(airside.Outcome{Status: status, Received: c.Request.ContentLength, Duration: time.Since(start), Err: err})
	m.land(c, err)
	if err != nil {
		m.log.LogAttrs(c.Context(), slog.LevelDebug, "a copy failed", slog.String("id", c.ID), slog.String("err", err.Error()))
	}
}

// ask has c answered. Nothing panics past it: there is nobody above who could bear
// it.
func (m *mirror) ask(c *airside.Exchange) (status int, err error) {
	defer func() {
		if p := recover(); p != nil {
			m.log.LogAttrs(c.Context(), slog.LevelError, "panic", slog.Any("value", p), slog.String("stack", string(debug.Stack())))
			err = airside.Errorf(airside.Internal, "")
		}
	}()
	resp, err := m.to.Handle(c)
	if err != nil {
		return 0, err
	}
	if resp.Body == nil {
		return resp.StatusCode, nil
	}
	_, err = io.CopyN(io.Discard, resp.Body, drained)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return resp.StatusCode, cmp.Or(err, resp.Body.Close())
}

// land takes c off the list.
func (m *mirror) land(c *airside.Exchange, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.flights[c]()
	delete(m.flights, c)
	if err != nil {
		m.failed++
		return
	}
	m.answered++
}

// close ends the copies under way and waits until they have ended.
func (m *mirror) close() error {
	m.mu.Lock()
	m.closed = true
	for _, cancel := range m.flights {
		cancel()
	}
	m.mu.Unlock()
	m.ended.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed+m.left > 0 {
		m.log.LogAttrs(context.Background(), slog.LevelInfo, "copies of requests",
			slog.Int64("answered", m.answered), slog.Int64("failed", m.failed), slog.Int64("left_out", m.left))
	}
	return nil
}
