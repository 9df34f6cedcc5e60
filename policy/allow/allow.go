// Package allow lets a request through if a rule is true, and no other.
//
// Use it for who may do what: after an authentication policy, and as often as
// there are rules. A rule is an expression of CEL
// (https://github.com/google/cel-spec) over the request, the call and the caller.
//
//	policies:
//	  staff:   { apikey: { keys: { ward: { key: 8vYq2mZc7nRt4KpX9sLd, claims: { roles: [doctor] } } } } }
//	  doctors: { allow: '"doctor" in caller.claims.roles' }
//	  no-dispensing:
//	    allow:
//	      rule: call.target != "dispense"
//	      message: Drugs are dispensed at the counter only.
//
//	routes:
//	  - path: /agent1/*
//	    use: [staff, doctors, no-dispensing, { allow: 'cidr("10.0.0.0/8").containsIP(request.remote)' }]
//	    to: http://127.0.0.1:9001
//
// # What a rule sees
//
// request.method, request.path (decoded), request.host (without port),
// request.scheme, request.remote (the address of the client), request.headers and
// request.query; call.operation, call.target (the model, tool or skill) and
// call.id; caller.id and caller.claims. Names of headers are found in any case.
// A name that is misspelled, and a comparison of two types, are refused when the
// configuration is read.
//
// A key that is missing from headers, query or claims makes the rule fail, and
// the request is refused. Nobody is known before an authentication policy has run:
// put it before this one, or airside check warns. Ask has(caller.claims.roles), or write
// caller.claims[?"roles"].orValue([]), where that is not meant.
//
// # What the client sees
//
// 403, code denied, with the message; 401, code unauthenticated, if the rule
// looks at caller and nobody is authenticated. A rule that cannot be evaluated
// counts as false, and the log says of which policy it is and why, but not the rule
// and the values: either may hold a secret. A query that cannot be decoded, or that
// has twice a parameter that the rule asks for, is refused with 400.
//
// # Bounds
//
// A rule has at most 4 KiB. One that could never be evaluated within about ten
// milliseconds is refused when the configuration is read; one that takes longer
// because of what a request holds is stopped, and counts as false.
package allow

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/expr"
)

func init() { airside.RegisterPolicy("allow", New) }

// Config is the settings of the policy. It may be written as the rule alone.
type Config struct {
	// Rule is the CEL expression that must be true.
	Rule string `yaml:"rule,required"`
	// Message is what a refused client is told. Default: that the caller may not
	// do this here.
	Message string `yaml:"message"`
}

// Defaults fills in what is usually left out.
func (c *Config) Defaults() { c.Message = "the caller may not do this here" }

// UnmarshalText takes the rule alone.
func (c *Config) UnmarshalText(text []byte) error {
	c.Rule = string(text)
	return nil
}

// ReadsCaller reports whether the rule looks at who asks, which is known only behind an
// authentication policy.
func (c *Config) ReadsCaller() bool {
	if !strings.Contains(c.Rule, "caller") {
		return false
	}
	rule, err := expr.Compile(c.Rule, expr.Bool)
	return err == nil && rule.Uses("caller")
}

// New returns the policy.
func New(env *airside.Env, c Config) (airside.Middleware, error) {
	rule, err := expr.Compile(c.Rule, expr.Bool, expr.At(env.Where+" rule"))
	if err != nil {
		return nil, airside.FieldErrorf("rule", "%w", err)
	}
	g := &gate{where: env.Where, rule: rule, asksCaller: rule.Uses("caller"), message: c.Message}
	return func(next airside.Handler) airside.Handler {
		return airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
			if err := g.check(x); err != nil {
				return nil, err
			}
			return next.Handle(x)
		})
	}, nil
}

type gate struct {
	where      string
	rule       *expr.Program
	asksCaller bool
	message    string
}

// check returns nil if the request may pass.
func (g *gate) check(x *airside.Exchange) error {
	ok, err := g.rule.Bool(x)
	if ok && err == nil {
		return nil
	}
	if e := airside.AsError(err); err != nil && e.Code == airside.Invalid {
		return e
	}
	if g.asksCaller && x.Caller.ID == "" && len(x.Caller.Claims) == 0 {
		e := airside.Errorf(airside.Unauthenticated, "this needs a caller who is known: send credentials")
		e.Header = http.Header{"Www-Authenticate": {`Bearer realm="airside"`}} // RFC 9110 section 11.6.1 asks for one
		return e.Because(err)
	}
	if err == nil {
		err = fmt.Errorf("%s does not allow it", g.where)
	}
	return (&airside.Error{Code: airside.Denied, Message: g.message}).Because(err)
}
