package pool

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/proto/web"
)

// Deadline says how agents are told how much time they have left, and whether clients may
// say it. Where gRPC is spoken the header grpc-timeout is always lowered to what is left,
// or set.
type Deadline struct {
	// Header is the name of the header that tells the agent, in every try, how much time
	// is left of the time-outs of the exchange: that of the upstream, of the route, of
	// retry's per_try, and of the client's own. Without any of them it is left as it is.
	// The default is none: nothing is sent but to agents that speak gRPC.
	Header string `yaml:"header"`

	// Format is how the header is written. "ms", the default: milliseconds, as for
	// X-Envoy-Expected-Rq-Timeout-Ms. "s": seconds, with decimals. "grpc": as
	// grpc-timeout, such as 1500m.
	Format string `yaml:"format" enum:"ms,s,grpc"`

	// FromClient lets a client bound its exchange by the same header, and by grpc-timeout
	// where it speaks gRPC: from the first byte to the last, streams included. It can only
	// shorten what the gateway allows, so it needs no trust. When that time is over nobody
	// else is asked: neither by retry nor by a route's "to". The default is false: what a
	// client says there is not heeded.
	FromClient bool `yaml:"from_client"`
}

// The formats of a [Deadline]. The empty format is FormatMilliseconds.
const (
	FormatMilliseconds = "ms"
	FormatSeconds      = "s"
	FormatGRPC         = "grpc"
)

const (
	grpcTimeout = "Grpc-Timeout"

	maxTimeout = 1000 * time.Hour // what a client asks for beyond it is no bound
)

// Validate says what is wrong with the fields, each as an [airside.FieldError].
func (d *Deadline) Validate() error {
	var errs []error
	if d.Header != "" && !validDeadlineName(d.Header) {
		errs = append(errs, airside.FieldErrorf("header", "must be the name of a header that is about time, such as Request-Timeout"))
	}
	switch d.Format {
	case "", FormatMilliseconds, FormatSeconds, FormatGRPC:
	default:
		errs = append(errs, airside.FieldErrorf("format", "expected ms, s or grpc"))
	}
	return errors.Join(errs...)
}

// validDeadlineName reports whether a header may be given to agents anew.
func validDeadlineName(name string) bool {
	for i := range len(name) {
		c := name[i] | 0x20
		if (c < 'a' || c > 'z') && (name[i] < '0' || name[i] > '9') && name[i] != '-' {
			return false
		}
	}
	key := http.CanonicalHeaderKey(name)
	return !dropped(key) && !forbidden(key)
}

// tryEnd is where a context keeps when the present try is given up.
type tryEnd struct{}

// endingAt notes that the try that ctx is for is given up at end, unless its answer has
// begun by then.
func endingAt(ctx context.Context, end time.Time) context.Context {
	return context.WithValue(ctx, tryEnd{}, end)
}

// left is when the time of a try is over: the earliest of the bounds there are. Zero
// if there are none.
func left(ctx context.Context, end time.Time) time.Time {
	earlier := func(t time.Time, ok bool) {
		if ok && (end.IsZero() || t.Before(end)) {
			end = t
		}
	}
	earlier(ctx.Deadline())
	t, ok := ctx.Value(tryEnd{}).(time.Time)
	earlier(t, ok)
	return end
}

// tell returns the request of x with the headers that tell the agent how much time is
// left, if there is something to tell, and otherwise the request as it is. End is when
// Limits.Total is over.
func (d *Deadline) tell(x *airside.Exchange, end time.Time) *http.Request {
	in := x.Request
	grpc := isGRPC(in.Header)
	if !grpc && d.Header == "" {
		return in
	}
	end = left(x.Context(), end)
	if end.IsZero() {
		return in
	}
	rest := max(time.Until(end), time.Millisecond)
	out := *in
	out.Header = in.Header.Clone()
	if grpc {
		lowered := rest
		if asked, ok := parseTimeout(out.Header.Get(grpcTimeout), FormatGRPC); ok {
			lowered = min(rest, max(asked, time.Millisecond))
		}
		web.SetHeader(out.Header, grpcTimeout, writeTimeout(lowered, FormatGRPC))
	}
	if d.Header != "" {
		web.SetHeader(out.Header, d.Header, writeTimeout(rest, d.Format))
	}
	return &out
}

// heed bounds the exchange by what its client asks for, if it may.
func (d *Deadline) heed(x *airside.Exchange) {
	if !d.FromClient {
		return
	}
	asked := d.asked(x.Request.Header)
	if asked == 0 {
		return
	}
	late := airside.Errorf(airside.Timeout, "the agent did not finish its answer within the %s that the request allows", spell(asked)).Because(errAsked)
	ctx, cancel := context.WithTimeoutCause(x.Context(), asked, late)
	x.OnDone(func(airside.Outcome) { cancel() })
	x.Request = x.Request.WithContext(ctx)
}

// OutOfTime reports whether err says that the time which the client asked for is over. Then
// nobody else is to be asked: the client waits no longer.
func OutOfTime(err error) bool { return errors.Is(err, errAsked) }

// asked is the time that a client allows; 0 if it does not say, or not in a way that can
// be understood.
func (d *Deadline) asked(h http.Header) (least time.Duration) {
	if v := h[http.CanonicalHeaderKey(d.Header)]; d.Header != "" && len(v) == 1 {
		least, _ = parseTimeout(v[0], d.Format)
	}
	if v := h[grpcTimeout]; len(v) == 1 && isGRPC(h) {
		if t, ok := parseTimeout(v[0], FormatGRPC); ok && (least == 0 || t < least) {
			least = t
		}
	}
	return least
}

// grpcUnits are those of grpc-timeout, the finest first (gRPC over HTTP2, "Requests").
var grpcUnits = [...]struct {
	letter byte
	length time.Duration
}{
	{'n', time.Nanosecond},
	{'u', time.Microsecond},
	{'m', time.Millisecond},
	{'S', time.Second},
	{'M', time.Minute},
	{'H', time.Hour},
}

const grpcDigits = 8 // of a grpc-timeout at most

// parseTimeout reads a time that is more than 0. Longer ones than maxTimeout are that.
func parseTimeout(s, format string) (time.Duration, bool) {
	switch format {
	case FormatSeconds:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || !(f > 0) {
			return 0, false
		}
		return max(time.Duration(min(f, maxTimeout.Seconds())*float64(time.Second)), 1), true
	case FormatGRPC:
		return parseGRPC(s)
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		return 0, false
	}
	return time.Duration(min(n, uint64(maxTimeout/time.Millisecond))) * time.Millisecond, true
}

func parseGRPC(s string) (time.Duration, bool) {
	if len(s) < 2 || len(s) > grpcDigits+1 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if err != nil || n == 0 {
		return 0, false
	}
	for _, u := range grpcUnits {
		if u.letter == s[len(s)-1] {
			return time.Duration(min(n, uint64(maxTimeout/u.length))) * u.length, true //nolint:gosec // it is small
		}
	}
	return 0, false
}

// writeTimeout writes a time of a millisecond or more, never more than d.
func writeTimeout(d time.Duration, format string) string {
	switch format {
	case FormatSeconds:
		return strconv.FormatFloat(d.Truncate(time.Millisecond).Seconds(), 'f', -1, 64)
	case FormatGRPC:
		for _, u := range grpcUnits[2:] {
			if n := int64(d / u.length); n < 100_000_000 {
				return strconv.FormatInt(n, 10) + string(u.letter)
			}
		}
	}
	return strconv.FormatInt(d.Milliseconds(), 10)
}
