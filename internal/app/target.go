package app

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/pool"
)

// A target is an upstream with its name, which the log shows.
type target struct {
	airside.Handler
	name, kind string
}

// named gives an upstream its name, and lists it.
func (b *builder) named(h airside.Handler, name, kind string) *target {
	t := &target{Handler: h, name: name, kind: kind}
	b.gen.targets = append(b.gen.targets, t)
	return t
}

// Handle asks the upstream.
func (t *target) Handle(x *airside.Exchange) (*http.Response, error) {
	x.Upstream = t.name
	return t.Handler.Handle(x)
}

// FallbackOn reports whether an answer of this status makes the next of a list be
// asked.
func (t *target) FallbackOn(status int) bool {
	f, ok := t.Handler.(interface{ FallbackOn(status int) bool })
	return ok && f.FallbackOn(status)
}

// target builds the end of a route. The policies are asked whether one of them
// answers, where the route has no upstream.
func (b *builder) target(rc *config.Route, r *compiled, chain []used) airside.Handler {
	var handlers []*target
	for _, t := range rc.To.Targets {
		h, err := b.upstream(t.Name)
		if err != nil {
			b.targetError(rc, t, err)
			continue
		}
		if tt, ok := h.(*target); ok {
			handlers = append(handlers, tt)
			r.targets = append(r.targets, tt.name)
		}
	}
	switch {
	case len(rc.To.Targets) == 0:
		return b.answered(rc, r, chain)
	case len(handlers) != len(rc.To.Targets):
		return nil // the problems say why
	case rc.To.Weighted:
		r.how = "by weight " + weights(rc.To.Targets)
		return newWeighted(handlers, rc.To.Targets)
	case len(handlers) > 1:
		r.how = "the first that answers"
		return fallback(handlers, pool.Repeat(rc.Repeat))
	}
	return handlers[0]
}

func weights(ts []config.Target) string {
	var s []string
	for _, t := range ts {
		s = append(s, strconv.Itoa(t.Weight))
	}
	return strings.Join(s, ":")
}

// targetError reports what is wrong with an upstream of to, without the value of a
// reference.
func (b *builder) targetError(rc *config.Route, t config.Target, err error) {
	for _, e := range unjoin(err) {
		if e == errReported { //nolint:errorlint // never wrapped
			continue
		}
		for _, p := range rc.Locate(&airside.FieldError{Field: "to", Err: e}) {
			b.problems = append(b.problems, config.Problem{At: t.At, Message: strings.TrimPrefix(p.Message, "to: ")})
		}
	}
}

// answered is the end of a route whose last policy answers everything.
func (b *builder) answered(rc *config.Route, r *compiled, chain []used) airside.Handler {
	if len(rc.Use) > 0 && len(chain) > 0 && chain[len(chain)-1].kind == "static" {
		r.how = "a policy answers"
	} else if len(rc.Use) == 0 || len(chain) > 0 {
		b.problem(rc.At, `the route leads nowhere: give it "to", or the policy static as the last in "use"`)
	}
	return airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
		return nil, airside.Errorf(airside.NotFound, "the route has no upstream")
	})
}

var errStrip = errors.New("must be a plain beginning of the route's path, in whole segments")

// checkStrip reports a prefix that the route's path does not begin with.
func (b *builder) checkStrip(rc *config.Route) bool {
	prefix := strings.TrimSuffix(rc.Strip, "/")
	rest, ok := strings.CutPrefix(rc.Path, prefix)
	if rc.Strip == "" || ok && strings.HasPrefix(prefix, "/") && !strings.ContainsAny(prefix, "*{}%") && (rest == "" || rest[0] == '/') {
		return true
	}
	b.field(rc, "strip", errStrip)
	return false
}

// strip removes a prefix of the path before the upstream is asked.
func (b *builder) strip(rc *config.Route, next airside.Handler) airside.Handler {
	prefix := strings.TrimSuffix(rc.Strip, "/")
	if prefix == "" || next == nil || !b.checkStrip(rc) {
		return next
	}
	return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
		whole := x.Request
		u := *whole.URL
		rest, ok := strings.CutPrefix(u.Path, prefix)
		if !ok || rest != "" && rest[0] != '/' {
			return next.Handle(x)
		}
		stripPath(&u, prefix, rest)
		req := *whole
		req.URL, x.Request = &u, &req
		resp, err := next.Handle(x)
		x.Request = whole // a retry begins with what this one began with
		return resp, err
	})
}

// stripPath keeps the escaped form of what is left. The prefix is plain, so it is
// the same in both forms.
func stripPath(u *url.URL, prefix, rest string) {
	if u.RawPath != "" {
		u.RawPath = strings.TrimPrefix(u.RawPath, prefix)
	}
	u.Path = rest
	if rest == "" {
		u.Path, u.RawPath = "/", ""
	}
}

// keepForFallback is how much of a request body is kept to be sent again to the
// next upstream.
const keepForFallback = 64 << 10

// fallback asks hs in order until one answers, as long as the request may be repeated.
func fallback(hs []*target, repeat pool.Repeat) airside.Handler {
	return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
		x.KeepBody(keepForFallback)
		first, restore := x.Request, x.Save()
		for _, h := range hs[:len(hs)-1] {
			resp, err := h.Handle(x)
			if !passOver(h, resp, err) || !repeat.Allows(first, err) || first.Context().Err() != nil || !restore() {
				return resp, err
			}
			x.Failures = append(x.Failures, pool.Failed(h.name, resp, err))
			x.Trace.Event("fallback", slog.String("airside.upstream", h.name))
			if resp != nil {
				_ = resp.Body.Close() // nobody wants it
			}
		}
		return hs[len(hs)-1].Handle(x)
	})
}

// passOver reports whether what h gave is as good as no answer. Whether the request may
// be sent once more is another question.
func passOver(h *target, resp *http.Response, err error) bool {
	if err == nil {
		return h.FallbackOn(resp.StatusCode)
	}
	switch airside.AsError(err).Code {
	case airside.Unavailable, airside.Timeout, airside.UpstreamFailed:
		return !pool.OutOfTime(err)
	default:
		return false
	}
}

// A weighted handler spreads exchanges over upstreams by weight.
type weighted struct {
	targets []*target
	upTo    []uint64 // sums of the weights
	n       atomic.Uint64
}

func newWeighted(hs []*target, ts []config.Target) *weighted {
	w := &weighted{targets: hs}
	var sum uint64
	for _, t := range ts {
		sum += uint64(max(t.Weight, 0))
		w.upTo = append(w.upTo, sum)
	}
	return w
}

// Handle asks the next upstream. The shares are exact in the long run and close to
// it in any short one: multiples of the golden ratio fall evenly into the unit
// interval (Weyl's sequence), with no lock and no dice.
func (w *weighted) Handle(x *airside.Exchange) (*http.Response, error) {
	const golden = 0x9E3779B97F4A7C15
	unit := w.n.Add(1) * golden >> 32 // in 2^-32ths
	point := unit * w.upTo[len(w.upTo)-1] >> 32
	for i, end := range w.upTo {
		if point < end {
			return w.targets[i].Handle(x)
		}
	}
	return nil, airside.Errorf(airside.Internal, "").Because(errNoTarget(point))
}

type errNoTarget uint64

func (e errNoTarget) Error() string {
	return "no target for point " + strconv.FormatUint(uint64(e), 10)
}
