package health

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
)

// Bounds of the settings.
const (
	minInterval = 100 * time.Millisecond
	maxInterval = 24 * time.Hour
	maxChecks   = 100
	maxErrors   = 1000
	maxOf       = 100_000
	maxVolume   = 1_000_000
	maxHalfOpen = 1000
	minLatency  = 1.5
)

// A Check says how every endpoint of an upstream is asked regularly whether it is
// well. It is what the setting health of an upstream is made of. A path alone stands
// for a check by HTTP with the defaults.
//
// A check uses a connection of its own, not one of those that exchanges use, and TLS
// as they do. Checks of one endpoint never overlap.
type Check struct {
	// Protocol is what is asked. "http", the default: GET of path. "grpc": the standard
	// health service of gRPC (grpc.health.v1.Health/Check), over HTTP/2. "tcp": whether
	// a connection comes about, with TLS if the URL is https.
	Protocol string `yaml:"protocol" enum:"http,grpc,tcp"`

	// Path is what is asked for by HTTP, from the root of the host: the path of the url
	// does not go before it. It may hold a query. HTTP needs it.
	Path string `yaml:"path"`

	// Host is which host is asked for. The default is what the setting host of the
	// upstream says. If that is "preserve", it is the host of the URL.
	Host string `yaml:"host"`

	// Status lists the statuses that say that an endpoint is well, each one or a range
	// such as 200-299. The default is 200-399. Redirects are not followed.
	Status []Statuses `yaml:"status,single"`

	// Service is the name that is asked about by gRPC. The default is none: the server
	// as a whole.
	Service string `yaml:"service"`

	// Interval is the time from the end of a check to the next: 100ms to 24h. The
	// default is 10s.
	Interval time.Duration `yaml:"interval"`

	// Jitter is the share of the interval by which each is made longer or shorter at
	// random, so that gateways and endpoints do not fall into step. The default is 10%.
	Jitter Share `yaml:"jitter"`

	// Timeout bounds a check. The default is 2s.
	Timeout time.Duration `yaml:"timeout"`

	// Healthy is how many checks in a row must succeed until an endpoint that was not
	// well is asked again: 1 to 100. The default is 2.
	Healthy int `yaml:"healthy"`

	// Unhealthy is how many checks in a row must fail until an endpoint is not asked any
	// more: 1 to 100. The default is 3.
	Unhealthy int `yaml:"unhealthy"`

	// Initial is what a new endpoint is taken for until its first check, which decides
	// alone. "healthy", the default: it is asked. "unhealthy": it is not.
	Initial string `yaml:"initial" enum:"healthy,unhealthy"`
}

// What is asked by a [Check].
const (
	byHTTP = "http"
	byGRPC = "grpc"
	byTCP  = "tcp"
)

// Defaults sets every field to its default.
func (c *Check) Defaults() {
	*c = Check{
		Protocol: byHTTP, Status: []Statuses{{From: 200, To: 399}},
		Interval: 10 * time.Second, Jitter: 0.1, Timeout: 2 * time.Second,
		Healthy: 2, Unhealthy: 3, Initial: StateHealthy,
	}
}

// UnmarshalText reads a path alone, such as /healthz.
func (c *Check) UnmarshalText(text []byte) error {
	c.Path = string(text)
	return nil
}

// Validate says what is wrong with the fields, each as an [airside.FieldError].
func (c *Check) Validate() error {
	w := &wrong{}
	byPath := c.Protocol == byHTTP
	w.when(byPath && c.Path == "", "path", "a check by HTTP needs a path, such as /healthz")
	w.when(byPath && c.Path != "" && !validPath(c.Path), "path", "must begin with /, without spaces and without a fragment")
	w.when(!byPath && c.Path != "", "path", "is for checks by HTTP only")
	w.when(c.Protocol != byGRPC && c.Service != "", "service", "is for checks by gRPC only")
	w.when(len(c.Service) > maxService, "service", "must be at most %d bytes", maxService)
	w.when(c.Protocol == byTCP && c.Host != "", "host", "is for checks by HTTP and gRPC only")
	w.when(strings.ContainsAny(c.Host, "/?#@ \t\r\n"), "host", "is a host, with a port where that is needed")
	for i, s := range c.Status {
		w.when(s.From < 100 || s.To > 599 || s.From > s.To, fmt.Sprintf("status[%d]", i), "must be a status from 100 to 599, or a range of them")
	}
	w.when(byPath && len(c.Status) == 0, "status", "needs a status at least")
	w.when(c.Interval < minInterval || c.Interval > maxInterval, "interval", "must be %s to 24h", minInterval)
	w.when(c.Timeout <= 0 || c.Timeout > maxInterval, "timeout", "must be more than 0, and at most 24h")
	w.when(!c.Jitter.valid(), "jitter", "is a share: 0%% to 100%%")
	w.when(c.Healthy < 1 || c.Healthy > maxChecks, "healthy", "must be 1 to %d", maxChecks)
	w.when(c.Unhealthy < 1 || c.Unhealthy > maxChecks, "unhealthy", "must be 1 to %d", maxChecks)
	return w.joined()
}

func validPath(s string) bool {
	return s[0] == '/' && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' })
}

// An Eject says when an endpoint is left aside for a while because of its own answers.
// It is what the setting eject of an upstream is made of.
//
// After its time an endpoint is tried: half_open exchanges are let through, and if all
// of them succeed it is back. If one fails it is left aside for longer.
type Eject struct {
	// On lists what counts against an endpoint. "connect": no connection came about, or no
	// TLS. "reset": the connection broke before the end of the answer, or it was no HTTP.
	// "timeout": the answer did not begin in time, or stopped for too long. A status: the
	// agent answered it ("5xx" is every status from 500 on, but 501, 505, and 503 with a
	// Retry-After). The default is connect, reset, timeout and 5xx.
	On []Cause `yaml:"on,single" enum:"connect,reset,timeout,5xx,500,502,503,504"`

	// Errors is how many failures in a row eject an endpoint, or how many among the last
	// exchanges if there is an "of": 0 to 1000. The default is 5; 0 means that failures
	// are not counted so.
	Errors int `yaml:"errors"`

	// Of is among how many of its last exchanges the errors are counted. The default is
	// 0: they must be in a row.
	Of int `yaml:"of"`

	// Rate is the share of the exchanges within the window that must fail to eject an
	// endpoint. The default is 0: the share does not count.
	Rate Share `yaml:"rate"`

	// Window is the time that rate and latency look back on: 1s to 1h. The default is
	// 10s.
	Window time.Duration `yaml:"window"`

	// Volume is how many exchanges an endpoint must have had within the window before
	// it is judged by rate or by latency. The default is 20.
	Volume int `yaml:"volume"`

	// Latency ejects an endpoint whose answers take this many times as long to begin as
	// the median of the others: 1.5 or more. A difference of less than 10ms ejects
	// nobody. The default is 0: latency does not count.
	Latency float64 `yaml:"latency"`

	// For is how long an endpoint is left aside the first time; the second time in a row
	// twice that, and so on. The default is 30s.
	For time.Duration `yaml:"for"`

	// MaxFor is what that time does not grow beyond. The default is 5m, or "for" if that
	// is longer.
	MaxFor time.Duration `yaml:"max_for"`

	// Max is the share of the endpoints that may be left aside at the same time, rounded
	// down, but one if there are two or more; the only endpoint is left aside only if
	// that is 100%. The default is 50%.
	Max Share `yaml:"max"`

	// HalfOpen is how many exchanges try an endpoint before it is back: 1 to 1000. The
	// default is 1.
	HalfOpen int `yaml:"half_open"`
}

// Defaults sets every field to its default.
func (e *Eject) Defaults() {
	*e = Eject{
		On: causes(), Errors: 5, Window: 10 * time.Second, Volume: 20,
		For: 30 * time.Second, Max: 0.5, HalfOpen: 1,
	}
}

// Validate says what is wrong with the fields, each as an [airside.FieldError].
func (e *Eject) Validate() error {
	w := &wrong{}
	validRule(w, e.Errors, e.Of, e.For, e.HalfOpen)
	w.when(e.Errors == 0 && e.Rate == 0 && e.Latency == 0, "errors", "without rate and latency it must be more than 0")
	w.when(!e.Rate.valid(), "rate", "is a share: 0%% to 100%%")
	w.when(e.Window < time.Second || e.Window > time.Hour, "window", "must be 1s to 1h")
	w.when(e.Volume < 1 || e.Volume > maxVolume, "volume", "must be 1 to %d", maxVolume)
	w.when(e.Latency != 0 && !(e.Latency >= minLatency && e.Latency <= math.MaxInt32), "latency", "must be %g or more, or 0", minLatency)
	w.when(e.MaxFor != 0 && (e.MaxFor < e.For || e.MaxFor > maxInterval), "max_for", "must be at least for, %s, and at most 24h", e.For)
	w.when(!e.Max.valid() || e.Max == 0, "max", "is a share: more than 0%%, up to 100%%")
	return w.joined()
}

// A Breaker says when an endpoint is sent nothing at all for a while. It is what the
// setting breaker of an upstream is made of. It is harder than [Eject]: neither a
// greatest share nor a panic lets anything through, so that an agent that cannot keep
// up gets a rest. What would have gone to the endpoint goes to another; if there is
// none the client gets 503 with a Retry-After.
type Breaker struct {
	// On lists what counts against an endpoint. "connect": no connection came about, or no
	// TLS. "reset": the connection broke before the end of the answer, or it was no HTTP.
	// "timeout": the answer did not begin in time, or stopped for too long. A status: the
	// agent answered it ("5xx" is every status from 500 on, but 501, 505, and 503 with a
	// Retry-After). The default is connect, reset, timeout and 5xx.
	On []Cause `yaml:"on,single" enum:"connect,reset,timeout,5xx,500,502,503,504"`

	// Errors is how many failures in a row open the breaker, or how many among the last
	// exchanges if there is an "of": 1 to 1000. The default is 10.
	Errors int `yaml:"errors"`

	// Of is among how many of its last exchanges the errors are counted. The default is
	// 0: they must be in a row.
	Of int `yaml:"of"`

	// For is how long the breaker stays open. The default is 10s.
	For time.Duration `yaml:"for"`

	// HalfOpen is how many exchanges are let through after that: 1 to 1000. If all of
	// them succeed the breaker closes, if one fails it opens again. The default is 1.
	HalfOpen int `yaml:"half_open"`
}

// Defaults sets every field to its default.
func (b *Breaker) Defaults() {
	*b = Breaker{On: causes(), Errors: 10, For: 10 * time.Second, HalfOpen: 1}
}

// Validate says what is wrong with the fields, each as an [airside.FieldError].
func (b *Breaker) Validate() error {
	w := &wrong{}
	validRule(w, b.Errors, b.Of, b.For, b.HalfOpen)
	w.when(b.Errors == 0, "errors", "must be 1 to %d", maxErrors)
	return w.joined()
}

// validRule checks what the two have in common.
func validRule(w *wrong, errs, of int, rest time.Duration, halfOpen int) {
	w.when(errs < 0 || errs > maxErrors, "errors", "must be at most %d, and not negative", maxErrors)
	w.when(of < 0 || of > maxOf || of > 0 && of < errs, "of", "must be at least errors, %d, and at most %d", errs, maxOf)
	w.when(rest <= 0 || rest > maxInterval, "for", "must be more than 0, and at most 24h")
	w.when(halfOpen < 1 || halfOpen > maxHalfOpen, "half_open", "must be 1 to %d", maxHalfOpen)
}

// wrong gathers what is wrong with settings.
type wrong struct{ errs []error }

func (w *wrong) when(bad bool, field, format string, args ...any) {
	if bad {
		w.errs = append(w.errs, airside.FieldErrorf(field, "%s", fmt.Sprintf(format, args...)))
	}
}

func (w *wrong) joined() error { return errors.Join(w.errs...) }

// A Cause is what counts against an endpoint. In the file a status may be written as a
// number.
type Cause string

// The causes.
const (
	OnConnect Cause = "connect" // no connection came about, or no TLS
	OnReset   Cause = "reset"   // the connection broke before the end of the answer, or it was no answer
	OnTimeout Cause = "timeout" // the answer did not begin in time, or stopped for too long
	On5xx     Cause = "5xx"     // 500 to 599, but 501, 505, and 503 with a Retry-After
	On500     Cause = "500"
	On502     Cause = "502"
	On503     Cause = "503" // with a Retry-After, too
	On504     Cause = "504"
)

func causes() []Cause { return []Cause{OnConnect, OnReset, OnTimeout, On5xx} }

// UnmarshalText takes one of the causes and refuses everything else.
func (c *Cause) UnmarshalText(text []byte) error {
	switch v := Cause(text); v {
	case OnConnect, OnReset, OnTimeout, On5xx, On500, On502, On503, On504:
		*c = v
		return nil
	}
	return errCause
}

var (
	errCause    = errors.New("expected one of connect, reset, timeout, 5xx, 500, 502, 503, 504")
	errShare    = errors.New("expected a share such as 50% or 0.5: from 0% to 100%, or from 0 to 1")
	errStatuses = errors.New("expected a status such as 204, or a range such as 200-399")
)

// A Share is a part of a whole, from 0 to 1, written 50% or 0.5.
type Share float64

// UnmarshalText reads a share.
func (s *Share) UnmarshalText(text []byte) error {
	number, percent := strings.CutSuffix(string(text), "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		f /= 100
	}
	if err != nil || !Share(f).valid() {
		return errShare
	}
	*s = Share(f)
	return nil
}

// String writes s as a percentage.
func (s Share) String() string { return strconv.FormatFloat(float64(s)*100, 'g', 4, 64) + "%" }

// valid reports whether s is a number from 0 to 1.
func (s Share) valid() bool { return s >= 0 && s <= 1 }

// Statuses is a range of statuses.
type Statuses struct{ From, To int }

// UnmarshalText reads one status, or a range of them.
func (s *Statuses) UnmarshalText(text []byte) error {
	low, high, ranged := strings.Cut(string(text), "-")
	if !ranged {
		high = low
	}
	from, err := strconv.Atoi(strings.TrimSpace(low))
	to, err2 := strconv.Atoi(strings.TrimSpace(high))
	if err != nil || err2 != nil || from < 100 || to > 599 || from > to {
		return errStatuses
	}
	s.From, s.To = from, to
	return nil
}

// verdicts of a rule on a result.
type verdict uint8

const (
	neutral verdict = iota
	good
	bad
)

// judge says what a result means to who counts the given causes.
func judge(on []Cause, r Result) verdict {
	listed := func(c Cause) verdict {
		if slices.Contains(on, c) {
			return bad
		}
		return neutral
	}
	switch r.Kind {
	case OK:
		return good
	case Connect:
		return listed(OnConnect)
	case Reset:
		return listed(OnReset)
	case Timeout:
		return listed(OnTimeout)
	case Answered:
		return judgeStatus(on, r)
	case Neutral:
	}
	return neutral
}

func judgeStatus(on []Cause, r Result) verdict {
	orderly := r.Status == http.StatusServiceUnavailable && r.Orderly
	switch {
	case r.Status == http.StatusTooManyRequests:
		return neutral
	case slices.Contains(on, Cause(strconv.Itoa(r.Status))):
		return bad
	case orderly:
		return neutral
	case r.Status < 500 || r.Status > 599 || r.Status == http.StatusNotImplemented || r.Status == http.StatusHTTPVersionNotSupported:
		return good
	case slices.Contains(on, On5xx):
		return bad
	}
	return good
}
