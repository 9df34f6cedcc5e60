// Package timeout bounds how long an exchange may take.
//
// Use it so that no client waits for ever for an agent that hangs. A route has a
// shorter way to write it, the key timeout, which is this policy put first.
//
//	policies:
//	  quick: { timeout: 5s }
//	  thinking: { timeout: { head: 1m } }
//	  both: { timeout: { head: 2s, total: 1m } }
//
//	routes:
//	  - { path: /agent1/*, use: [quick], to: http://127.0.0.1:9001 }
//	  - { path: /agent2/*, use: [thinking], to: http://127.0.0.1:9002 }
//	  - { path: /agent3/*, use: [both], to: http://127.0.0.1:9003 }
//	  - { path: /agent4/*, timeout: 20s, to: http://127.0.0.1:9004 }
//
// The clock starts when the request comes to this policy. total, or a time alone,
// is until the last byte of the answer; head is until its head is there. An event
// stream (text/event-stream) and an upgraded connection (WebSocket) are bounded up
// to their head only, since they last as long as there is something to say; what
// bounds their silences is the setting stream_idle of the upstream. A call by gRPC is
// bounded to its end.
//
// A retry policy further in tries within the time that is left, and does not begin
// what it cannot finish. Further out, it gives each try the whole time.
//
// # What the client sees
//
// If the head is late: 504 and the code timeout; but 408 and request_timeout if
// what was waited for was the client's own request body. If the head was sent
// already, the answer is broken off in the way of the client's protocol. The agent's
// side is given up at once.
package timeout

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

func init() { airside.RegisterPolicy("timeout", New) }

// Config is the settings of the policy: a time, which is total, or a mapping of
// which at least one key is needed.
type Config struct {
	// Total is how long the whole exchange may take, an event stream only up to the
	// head of the answer. Default: no bound.
	Total time.Duration `yaml:"total"`
	// Head is how long the head of the answer may take, at most total. Default: as
	// total.
	Head time.Duration `yaml:"head"`
}

// UnmarshalText reads a time alone, such as 5s.
func (c *Config) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 300ms or 20s", text)
	}
	c.Total = d
	return nil
}

// Validate refuses settings that cannot work.
func (c *Config) Validate() error {
	switch {
	case c.Total == 0 && c.Head == 0:
		return errors.New("timeout needs a time, such as timeout: 5s, that is more than 0")
	case c.Total < 0:
		return airside.FieldErrorf("total", "must be more than 0")
	case c.Head < 0:
		return airside.FieldErrorf("head", "must be more than 0")
	case c.Total > 0 && c.Head > c.Total:
		return airside.FieldErrorf("head", "must be at most total, %s", c.Total)
	}
	return nil
}

// New returns the policy.
func New(_ *airside.Env, c Config) (airside.Middleware, error) {
	if c.Head == 0 {
		c.Head = c.Total
	}
	return func(next airside.Handler) airside.Handler {
		return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) { return handle(x, next, c) })
	}, nil
}

func handle(x *airside.Exchange, next airside.Handler, c Config) (*http.Response, error) {
	parent, start := x.Context(), time.Now()
	w := newWatch(parent)
	x.OnDone(func(airside.Outcome) { w.release() })
	x.Request = x.Request.WithContext(w)
	defer func() { x.Request = x.Request.WithContext(parent) }() // a further try must not begin with a context that has ended
	awaiting := x.Awaiting()
	w.bound(c.Head, func() *airside.Error {
		if awaiting() {
			return airside.Errorf(airside.RequestTimeout, "the request did not arrive within %s", c.Head)
		}
		return airside.Errorf(airside.Timeout, "the agent did not answer within %s", c.Head)
	})

	resp, err := next.Handle(x)
	late := w.lift()
	if late != nil && err == nil {
		_ = resp.Body.Close() // nobody will read it
	}
	if late != nil || err != nil {
		w.release()
	}
	switch {
	case late != nil:
		return nil, late.because(err)
	case err != nil:
		return nil, err
	}
	w.follow(resp, c, start)
	return resp, nil
}

// follow goes over from waiting for the head to the body.
func (w *watch) follow(resp *http.Response, c Config, start time.Time) {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return // the body stays as it is, to be written to as well
	}
	if resp.Body == nil || resp.Body == http.NoBody {
		w.release()
		return
	}
	resp.Body = &body{ReadCloser: resp.Body, watch: w}
	if c.Total == 0 || web.EventStream(resp.Header) {
		return
	}
	w.bound(time.Until(start.Add(c.Total)), func() *airside.Error {
		return airside.Errorf(airside.Timeout, "the agent did not finish its answer within %s", c.Total)
	})
}

// A body is the body of an answer while its time runs.
type body struct {
	io.ReadCloser
	watch *watch
}

func (b *body) Read(p []byte) (int, error) {
	if late := b.watch.passed(); late != nil {
		return 0, late.because(nil)
	}
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.watch.lift() // what has been read is not late any more
		return n, err
	}
	if err == nil {
		return n, nil
	}
	if late := b.watch.passed(); late != nil {
		return n, late.because(err)
	}
	return n, err
}

// Close gives up what was not read.
func (b *body) Close() error {
	defer b.watch.release()
	return b.ReadCloser.Close()
}
