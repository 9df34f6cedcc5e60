package expr

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/airside-gateway/airside"
)

// TestFailuresShowNothing proves that the error of an expression names its place and
// the kind of failure, and shows neither the expression nor the request.
func TestFailuresShowNothing(t *testing.T) {
	const canary = "canary"
	x := exchange("/" + canary + "?a=" + canary + "&n=12345678")
	x.Caller.Claims = map[string]any{"n": 12345678, "s": canary, "list": []any{canary}, "m": map[string]any{canary: 1}}
	x.Request.Header.Set("X-Canary", canary)
	for _, tt := range []struct{ src, want string }{
		{`request.headers["canary-missing"] == "x"`, "no such key"},
		{`caller.claims.canary == "x"`, "no such key"},
		{`caller.claims[request.path] == "x"`, "no such key"},
		{`caller.claims.s + 1 == 2`, "no such overload"},
		{`caller.claims.s.canary == 2`, "no such"},
		{`int(caller.claims.s + "canary") == 2`, "type conversion error"},
		{`timestamp(caller.claims.s) == timestamp("2026-01-01T00:00:00Z")`, "type conversion error"},
		{`duration(caller.claims.s) == duration("1s")`, "type conversion error"},
		{`caller.claims.list[12345678] == "canary"`, "index out of range"},
		{`request.path.charAt(12345678) == "canary"`, "index out of range"},
		{`request.path.matches("(" + request.path)`, "a pattern is no regular expression"},
		{`12345678 / (size(request.method) - 4) == 1`, "division by zero"},
		{`12345678 % (size(request.method) - 4) == 1`, "modulus by zero"},
		{`9223372036854775807 + size(request.path) == 12345678`, "integer overflow"},
		{`request.headers[?"canary"].value() == "x"`, "optional.none"},
		{`cidr(request.path).containsIP("10.0.0.1")`, "it cannot be evaluated"},
		{`ip(request.path).isLoopback()`, "it cannot be evaluated"},
		{`caller.claims.s`, "a condition (true or false) is needed"},
		{`caller.claims.m`, "a condition (true or false) is needed"},
	} {
		p, err := Compile(tt.src, Bool, At("policies.p"))
		if err != nil {
			t.Errorf("Compile(%s): %v", tt.src, err)
			continue
		}
		x.Request.Method = "POST"
		_, err = p.Bool(x)
		if err == nil {
			t.Errorf("%s: no error", tt.src)
			continue
		}
		if got := err.Error(); !strings.HasPrefix(got, "policies.p: ") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got %s, want %s", tt.src, got, tt.want)
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if got := strings.ToLower(e.Error()); strings.Contains(got, canary) || strings.Contains(got, "12345678") || strings.Contains(got, "request.") {
				t.Errorf("%s: the error shows what it should not: %s", tt.src, e)
			}
		}
	}
}

// TestFailureOfText proves the same of expressions for text and for values.
func TestFailureOfText(t *testing.T) {
	x := exchange("/")
	x.Caller.Claims = map[string]any{"list": []any{"canary"}, "s": "canary"}
	x.Request.URL = &url.URL{Path: "/"}
	for kind, src := range map[Kind]string{String: `caller.claims.list`, Any: `{"canary": dyn(request)}`} {
		p, err := Compile(src, kind)
		if err != nil {
			t.Fatal(err)
		}
		if kind == String {
			_, err = p.Text(x)
		} else {
			_, err = p.Value(x)
		}
		if err == nil || !strings.HasPrefix(err.Error(), "the expression: ") || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v", src, err)
		}
		if _, blamed := errors.AsType[*airside.Error](err); blamed {
			t.Errorf("%s: the client is blamed: %v", src, err)
		}
	}
}
