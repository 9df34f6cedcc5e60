package config

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
)

// The kinds below stand in for the real ones, with settings of every shape.

func init() {
	airside.RegisterPolicy("ratelimit", policyOf[ratelimit])
	airside.RegisterPolicy("allow", policyOf[allow])
	airside.RegisterPolicy("cors", policyOf[cors])
	airside.RegisterPolicy("headers", policyOf[headers])
	airside.RegisterPolicy("apikey", policyOf[apikey])
	airside.RegisterPolicy("static", policyOf[static])
	airside.RegisterPolicy("everything", policyOf[everything])
	airside.RegisterPolicy("note", policyOf[string])
	airside.RegisterUpstream("http", func(*airside.Env, httpUpstream) (airside.Handler, error) { return nil, errBuilt })
	airside.RegisterProtocol("web", protocol{})
}

var errBuilt = errors.New("nothing is built here")

func policyOf[C any](*airside.Env, C) (airside.Middleware, error) { return nil, errBuilt }

type protocol struct{}

func (protocol) Parse(*airside.Exchange) (airside.Call, error)         { return airside.Call{}, errBuilt }
func (protocol) Fail(*airside.Exchange, *airside.Error) *http.Response { return nil }
func (protocol) FailStream(*airside.Exchange, *airside.Error) []byte   { return nil }

type ratelimit struct {
	Limit int           `yaml:"limit,required"`
	Per   time.Duration `yaml:"per"`
	By    string        `yaml:"by"`
	On    []string      `yaml:"on,single" enum:"call,bytes,tokens"`
}

func (r *ratelimit) Defaults() { r.Per = time.Minute }

func (r *ratelimit) Validate() error {
	var errs []error
	if r.Limit <= 0 {
		errs = append(errs, airside.FieldErrorf("limit", "must be more than 0, not %d", r.Limit))
	}
	if r.Per > 24*time.Hour {
		errs = append(errs, airside.FieldErrorf("per", "must be at most 24h"))
	}
	return errors.Join(errs...)
}

type allow struct {
	When    string `yaml:"when,required"`
	Message string `yaml:"message"`
}

func (a *allow) UnmarshalText(b []byte) error {
	a.When = string(b)
	return nil
}

func (a *allow) Validate() error {
	if strings.Count(a.When, "(") != strings.Count(a.When, ")") {
		return airside.FieldErrorf("when", "mismatched parentheses in %q", a.When)
	}
	return nil
}

type cors struct {
	Origins []string      `yaml:"origins,single"`
	MaxAge  time.Duration `yaml:"max_age"`
}

func (c *cors) Defaults() { c.Origins = []string{"*"} }

type common struct {
	Direction string `yaml:"in" enum:"request,response"`
}

func (c *common) Defaults() { c.Direction = "request" }

type headers struct {
	common

	Set    map[string]string `yaml:"set"`
	Remove []string          `yaml:"remove,single"`
}

type apikey struct {
	Header string                    `yaml:"header"`
	Keys   map[string]airside.Secret `yaml:"keys,required"`
	Login  *login                    `yaml:"login"`
}

type login struct {
	User     string         `yaml:"user,required"`
	Password airside.Secret `yaml:"password,required"`
}

func (l *login) Validate() error {
	if len(l.Password) < 8 {
		return airside.FieldErrorf("password", "%q is too short", string(l.Password))
	}
	return nil
}

type static struct {
	Status int    `yaml:"status"`
	Body   string `yaml:"body"`
	JSON   any    `yaml:"json"`
}

type httpUpstream struct {
	URL       string        `yaml:"url"`
	Endpoints []endpoint    `yaml:"endpoints,single"`
	Timeout   time.Duration `yaml:"timeout"`
	Retry     *retry        `yaml:"retry"`
	TLS       *upstreamTLS  `yaml:"tls"`
	Auth      auth          `yaml:"auth"`
	Breaker   airside.Later `yaml:"breaker"`
}

func (h *httpUpstream) Defaults() { h.Timeout = time.Minute }

func (h *httpUpstream) Validate() error {
	switch {
	case h.URL == "" && len(h.Endpoints) == 0:
		return errors.New("it needs a url, or endpoints")
	case h.URL != "" && !strings.HasPrefix(h.URL, "http"):
		return airside.FieldErrorf("url", "%q does not begin with http:// or https://", h.URL)
	}
	return nil
}

type endpoint struct {
	URL    string `yaml:"url,required"`
	Weight uint8  `yaml:"weight"`
}

func (e *endpoint) Defaults() { e.Weight = 1 }

func (e *endpoint) UnmarshalText(b []byte) error {
	e.URL = string(b)
	return nil
}

type retry struct {
	On       []int   `yaml:"on,single"`
	Attempts int     `yaml:"attempts"`
	Jitter   float64 `yaml:"jitter"`
	Unsafe   bool    `yaml:"unsafe"`
}

func (r *retry) Defaults() { r.Attempts = 2 }

func (r *retry) Validate() error {
	var errs []error
	for i, s := range r.On {
		if s < 100 || s > 599 {
			errs = append(errs, airside.FieldErrorf(fmt.Sprintf("on[%d]", i), "%d is not an HTTP status", s))
		}
	}
	return errors.Join(errs...)
}

type upstreamTLS struct {
	CA         string `yaml:"ca,path"`
	ServerName string `yaml:"server_name"`
}

type auth struct {
	Bearer airside.Secret `yaml:"bearer"`
	Basic  *login         `yaml:"basic"`
}

type everything struct {
	Text     string              `yaml:"text"`
	Flag     bool                `yaml:"flag"`
	Int      int                 `yaml:"int"`
	Small    int8                `yaml:"small"`
	Unsigned uint16              `yaml:"unsigned"`
	Float    float32             `yaml:"float"`
	Wait     time.Duration       `yaml:"wait"`
	Size     airside.Size        `yaml:"size"`
	Secret   airside.Secret      `yaml:"secret"`
	Secrets  []airside.Secret    `yaml:"secrets"`
	Addr     netip.Addr          `yaml:"addr"`
	Any      any                 `yaml:"any"`
	Strings  map[string][]string `yaml:"strings,single"`
	Nested   map[string]endpoint `yaml:"nested"`
	Pointer  *int                `yaml:"pointer"`
	Deep     struct {
		Inner retry `yaml:"inner"`
	} `yaml:"deep"`
	Mode     mode            `yaml:"mode" enum:"one,two"`
	Later    airside.Later   `yaml:"later"`
	Laters   []airside.Later `yaml:"laters"`
	Hidden   string          `yaml:"-"`
	Untagged string
}

type mode string
