package transform

import (
	"errors"
	"testing"

	"github.com/airside-gateway/airside"
)

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"nothing", func(*Config) {}, "transform needs at least one of request, response, events"},
		{"max", func(c *Config) { c.Request, c.Max = filter("."), 1<<30 }, "max: must be from 1 to 64MiB"},
		{"status", func(c *Config) { c.Request, c.Status = filter("."), nil }, "status: must not be empty; leave it out for 2xx"},
		{"empty", func(c *Config) { c.Request = filter("") }, "request: must not be empty"},
		{"all", func(c *Config) { c.Request, c.Response, c.Events = filter("]"), filter("$event"), filter("input") }, "request: jq: line 1, column 1: unexpected token \"]\"\n" +
			"response: jq: variable not defined: $event\nevents: jq: input is not available here"},
		{"no answer yet", func(c *Config) { c.Request = filter("$response") }, "request: jq: variable not defined: $response"},
		{"params", func(c *Config) { c.Request = filter("$params") }, "request: jq: $params can only be used as $params.name"},
	}
	for _, tt := range tests {
		c := settings(tt.change)
		err := c.Validate()
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
		if _, ok := errors.AsType[*airside.FieldError](err); !ok && tt.name != "nothing" {
			t.Errorf("%s: got %#v, want a FieldError", tt.name, err)
		}
	}
	if _, err := New(environment(), settings(func(c *Config) { c.Request = filter("]") })); err == nil {
		t.Error("New takes what is no filter")
	}
}

func TestSettingsAsText(t *testing.T) {
	var f Filter
	if err := f.UnmarshalText([]byte(".a")); err != nil || f.Body != ".a" {
		t.Errorf("got %q, %v", f.Body, err)
	}
	for in, want := range map[string]Status{"2xx": {200, 299}, "404": {404, 404}, "5xx": {500, 599}, "200": {200, 200}} {
		var s Status
		if err := s.UnmarshalText([]byte(in)); err != nil || s != want {
			t.Errorf("%s: got %v, %v", in, s, err)
		}
		if b, err := s.MarshalText(); err != nil || string(b) != in {
			t.Errorf("%s: written as %s, %v", in, b, err)
		}
	}
	for _, in := range []string{"", "2x", "2xxx", "1xx", "6xx", "xxx", "20x", "99", "2.4", "-04"} {
		var s Status
		if err := s.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q was taken", in)
		}
	}
}
