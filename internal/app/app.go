package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/edge"
	"github.com/airside-gateway/airside/internal/overload"
	"github.com/airside-gateway/airside/internal/telemetry"
	"github.com/airside-gateway/airside/internal/telemetry/metrics"
	"github.com/airside-gateway/airside/proto/web"
)

// An App is a gateway with its listeners.
type App struct {
	log      *slog.Logger
	mask     telemetry.Mask
	gateway  *gateway
	edge     *edge.Server
	guard    *overload.Guard
	metrics  *metrics.Metrics
	tracing  *tracing
	version  string
	ready    atomic.Bool // a configuration is in force
	refused  atomic.Bool // the last one was
	stopping atomic.Bool

	mu      sync.Mutex // serializes Apply and Shutdown
	stopped bool
	grace   time.Duration
	masked  []string // the words of mask
	applied atomic.Pointer[Applied]
}

// Applied says which configuration is in force.
type Applied struct {
	Hash string    `json:"hash"`       // short hash of the file's content
	At   time.Time `json:"since"`      // since when
	Nth  int       `json:"generation"` // how many were applied before, plus one
}

// Settings are what an app has of its own, beside its configuration.
type Settings struct {
	Log     *slog.Logger // must not be nil
	Version string       // of the program, for the metrics

	Observers []edge.Observer // are told of every exchange

	// Load says how the process stands, for the setting overload; nil asks the runtime.
	Load func() overload.Reading

	// Poison is for tests: what is used again after an exchange is overwritten first, so
	// that it shows who has kept it.
	Poison bool
}

// New returns an app that listens nowhere and knows no routes yet.
func New(s Settings) *App {
	a := &App{}
	a.log = slog.New(a.mask.Handler(s.Log.Handler()))
	a.gateway = newGateway(a.log)
	if s.Poison {
		a.gateway.poison()
	}
	a.version, a.tracing = s.Version, newTracing(a)
	a.metrics = a.newMetrics(s.Version)
	a.gateway.counts(a.metrics.Tries)
	a.guard = overload.New(a.log, s.Load)
	a.edge = edge.New(edge.Settings{Handler: a.gateway, Fallback: web.Protocol{}, Log: a.log, Shed: a.guard.Refuse, Observers: append([]edge.Observer{a.metrics}, s.Observers...), Tracer: a.tracing, Poison: s.Poison})
	return a
}

// Log is the log that [New] was given, without what came into the configuration by
// references.
func (a *App) Log() *slog.Logger { return a.log }

// ErrStopped is returned by [App.Apply] after [App.Shutdown].
var ErrStopped = errors.New("the gateway is shutting down")

// Apply builds everything that c asks for beside what runs now and, if all went
// well, puts it in place at once. Exchanges under way end in the generation they
// began in. On an error, which is a [config.Problems] where the file is to blame,
// nothing has changed.
func (a *App) Apply(c *config.Config) (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return ErrStopped
	}
	defer func() { a.refused.Store(err != nil) }()
	choice, err := logChoice(&c.Telemetry.Log)
	if err != nil {
		return err
	}
	words := a.hide(c)
	next, err := newGeneration(a.gateway, c)
	if err != nil {
		return err
	}
	change, err := a.edge.Prepare(listeners(c))
	if err != nil {
		next.retire()
		return listenProblems(c, err)
	}
	tracer, err := a.tracing.prepare(c.Telemetry.Traces)
	if err != nil {
		change.Discard()
		next.retire()
		return config.Problems{{Message: err.Error()}}
	}
	a.masked = words
	a.tracing.commit(tracer)
	a.gateway.swap(next)
	change.Commit()
	a.edge.SetChoice(choice)
	a.guard.Set(overloadMarks(&c.Overload))
	a.grace = c.Shutdown.Grace
	now := &Applied{Hash: c.Hash(), At: time.Now(), Nth: 1}
	if old := a.applied.Load(); old != nil {
		now.Nth = old.Nth + 1
	}
	a.applied.Store(now)
	a.metrics.Set(metricsOptions(c, next))
	a.ready.Store(true)
	return nil
}

// maxMasked bounds the words that the log does not hold, and what is written instead.
const maxMasked = 8192

// hide keeps the values of references of c out of the log, and those of the
// configurations before it, of which exchanges may be left. It returns the words.
func (a *App) hide(c *config.Config) []string {
	words := c.Masks()
	known := make(map[string]bool, len(words))
	for i := 0; i < len(words); i += 2 {
		known[words[i]] = true
	}
	for i := 0; i < len(a.masked) && len(words) < maxMasked; i += 2 {
		if !known[a.masked[i]] {
			words = append(words, a.masked[i], a.masked[i+1])
		}
	}
	a.mask.Set(words)
	return words
}

// Check builds everything that c asks for, without listening, and throws it away.
func Check(log *slog.Logger, c *config.Config) error {
	g := newGateway(log)
	gen, err := newGeneration(g, c)
	if err != nil {
		return err
	}
	gen.retire() // nothing uses it: it is closed at once
	if t := c.Telemetry.Traces; traces(t) {
		if _, _, err := tracesTLS(t.TLS); err != nil {
			return config.Problems{{Message: err.Error()}}
		}
	}
	var errs []error
	for i, l := range listeners(c) {
		if l.TLS == nil {
			continue
		}
		if err := l.TLS.Check(); err != nil {
			errs = append(errs, &edge.ListenerError{Index: i, Err: err})
		}
	}
	if err := errors.Join(errs...); err != nil {
		return listenProblems(c, err)
	}
	return nil
}

// listenProblems gives the errors of listeners their place in the file.
func listenProblems(c *config.Config, err error) error {
	var out config.Problems
	for _, e := range unjoin(err) {
		var at config.Position
		if le, ok := errors.AsType[*edge.ListenerError](e); ok {
			at = c.Listen[le.Index].At
		}
		out = append(out, config.Problem{At: at, Message: e.Error()})
	}
	return out.Sorted()
}

// Config is the configuration in force; nil before the first.
func (a *App) Config() *config.Config { return a.gateway.live.Load().config }

// Applied says which configuration is in force; nil before the first.
func (a *App) Applied() *Applied { return a.applied.Load() }

// Ready reports whether new requests are welcome: a configuration is in force, and
// the gateway is not about to stop.
func (a *App) Ready() bool { return a.ready.Load() && !a.stopping.Load() }

// Addrs returns the open addresses by the address of the configuration.
func (a *App) Addrs() map[string]net.Addr { return a.edge.Addrs() }

// linger is how long a stopping gateway goes on serving, so that clients learn of
// it by an answer.
const linger = time.Second

// Shutdown stops the gateway: readiness goes first, then every answer sends its
// client away, then the addresses are closed, and what is under way may end within
// the grace of the configuration. An error says that some did not.
func (a *App) Shutdown(ctx context.Context) error {
	a.stopping.Store(true)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return nil
	}
	a.stopped = true
	asked := ctx
	ctx, cancel := context.WithTimeout(asked, a.grace)
	defer cancel()
	err := a.edge.Shutdown(ctx, min(linger, a.grace/2))
	a.guard.Close()
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), linger) // what was cut needs a moment to notice
	defer stop()
	err = errors.Join(err, a.gateway.close(last))
	a.tracing.stop(ctx)
	if err != nil && asked.Err() != nil {
		return fmt.Errorf("not everything had ended when the shutdown was cut short: %w", err)
	}
	if err != nil {
		return fmt.Errorf("not everything ended within the grace of %s: %w", a.grace, err)
	}
	return nil
}
