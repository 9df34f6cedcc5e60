package health

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

// TestValidate is the table of settings that are refused, and of some that are not.
func TestValidate(t *testing.T) {
	type validator interface{ Validate() error }
	check := func(f func(*Check)) validator {
		c := &Check{}
		c.Defaults()
		c.Path = "/healthz"
		f(c)
		return c
	}
	eject := func(f func(*Eject)) validator { return ejecting(f) }
	breaker := func(f func(*Breaker)) validator { return breaking(f) }
	tests := []struct {
		name string
		v    validator
		want string // the field; empty is none
	}{
		{"check", check(func(*Check) {}), ""},
		{"no path", check(func(c *Check) { c.Path = "" }), "path"},
		{"a path that is none", check(func(c *Check) { c.Path = "healthz" }), "path"},
		{"a path with a line", check(func(c *Check) { c.Path = "/a\r\nX: y" }), "path"},
		{"a fragment", check(func(c *Check) { c.Path = "/a#b" }), "path"},
		{"a query", check(func(c *Check) { c.Path = "/a?b=c" }), ""},
		{"tcp", check(func(c *Check) { c.Protocol, c.Path = byTCP, "" }), ""},
		{"tcp with a path", check(func(c *Check) { c.Protocol = byTCP }), "path"},
		{"tcp with a host", check(func(c *Check) { c.Protocol, c.Path, c.Host = byTCP, "", "a" }), "host"},
		{"grpc", check(func(c *Check) { c.Protocol, c.Path, c.Service = byGRPC, "", "a.B" }), ""},
		{"a long service", check(func(c *Check) { c.Protocol, c.Path, c.Service = byGRPC, "", strings.Repeat("a", 2000) }), "service"},
		{"service by http", check(func(c *Check) { c.Service = "a.B" }), "service"},
		{"a URL as host", check(func(c *Check) { c.Host = "http://a" }), "host"},
		{"no status", check(func(c *Check) { c.Status = nil }), "status"},
		{"a status of no use", check(func(c *Check) { c.Status = []Statuses{{200, 200}, {700, 700}} }), "status[1]"},
		{"too often", check(func(c *Check) { c.Interval = time.Millisecond }), "interval"},
		{"no time", check(func(c *Check) { c.Timeout = 0 }), "timeout"},
		{"never healthy", check(func(c *Check) { c.Healthy = 0 }), "healthy"},
		{"never unhealthy", check(func(c *Check) { c.Unhealthy = 101 }), "unhealthy"},
		{"jitter", check(func(c *Check) { c.Jitter = 1.5 }), "jitter"},
		{"eject", eject(func(*Eject) {}), ""},
		{"eject by nothing", eject(func(e *Eject) { e.Errors = 0 }), "errors"},
		{"eject by rate", eject(func(e *Eject) { e.Errors, e.Rate = 0, 0.5 }), ""},
		{"negative errors", eject(func(e *Eject) { e.Errors = -1 }), "errors"},
		{"of less", eject(func(e *Eject) { e.Of = 4 }), "of"},
		{"of as many", eject(func(e *Eject) { e.Of = 5 }), ""},
		{"window", eject(func(e *Eject) { e.Window = time.Millisecond }), "window"},
		{"volume", eject(func(e *Eject) { e.Volume = 0 }), "volume"},
		{"latency", eject(func(e *Eject) { e.Latency = 1 }), "latency"},
		{"for", eject(func(e *Eject) { e.For = 0 }), "for"},
		{"max_for", eject(func(e *Eject) { e.MaxFor = time.Second }), "max_for"},
		{"max", eject(func(e *Eject) { e.Max = 0 }), "max"},
		{"half_open", eject(func(e *Eject) { e.HalfOpen = 0 }), "half_open"},
		{"breaker", breaker(func(*Breaker) {}), ""},
		{"breaker without errors", breaker(func(b *Breaker) { b.Errors = 0 }), "errors"},
		{"breaker for no time", breaker(func(b *Breaker) { b.For = -1 }), "for"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.v.Validate()
			got := ""
			if f, ok := errors.AsType[*airside.FieldError](err); ok {
				got = f.Field
			} else if err != nil {
				t.Fatalf("got %v, want the error of a field", err)
			}
			if got != tt.want {
				t.Errorf("got %q (%v), want %q", got, err, tt.want)
			}
		})
	}
}

// TestText proves how shares, statuses and causes are written.
func TestText(t *testing.T) {
	type result struct {
		Value any
		Fails bool
	}
	share := func(s string) result {
		var v Share
		err := v.UnmarshalText([]byte(s))
		return result{float64(v), err != nil}
	}
	statuses := func(s string) result {
		var v Statuses
		err := v.UnmarshalText([]byte(s))
		return result{v, err != nil}
	}
	cause := func(s string) result {
		var v Cause
		err := v.UnmarshalText([]byte(s))
		return result{v, err != nil}
	}
	tests := []struct {
		text string
		read func(string) result
		want result
	}{
		{"50%", share, result{0.5, false}},
		{"0.25", share, result{0.25, false}},
		{"1", share, result{1.0, false}},
		{"0", share, result{0.0, false}},
		{"50", share, result{0.0, true}},
		{"101%", share, result{0.0, true}},
		{"-1%", share, result{0.0, true}},
		{"NaN", share, result{0.0, true}},
		{"half", share, result{0.0, true}},
		{"", share, result{0.0, true}},
		{"204", statuses, result{Statuses{204, 204}, false}},
		{"200-299", statuses, result{Statuses{200, 299}, false}},
		{"299-200", statuses, result{Statuses{}, true}},
		{"99", statuses, result{Statuses{}, true}},
		{"2xx", statuses, result{Statuses{}, true}},
		{"5xx", cause, result{On5xx, false}},
		{"503", cause, result{On503, false}},
		{"429", cause, result{Cause(""), true}},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.read(tt.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got, want := fmt.Sprint(Share(0.25)), "25%"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var c Check
	if err := c.UnmarshalText([]byte("/ok")); err != nil || c.Path != "/ok" {
		t.Errorf("got %q, %v, want the path", c.Path, err)
	}
}
