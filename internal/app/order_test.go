package app_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/config"
)

// checked is what airside check says of a file: what is wrong, and what it warns of.
func checked(t *testing.T, text string) (wrong, warnings []string) {
	t.Helper()
	c, err := app.Parse("airside.yaml", []byte(text), config.Lookup{})
	if err == nil {
		err = app.Check(slog.New(slog.DiscardHandler), c)
	}
	if err != nil {
		return strings.Split(err.Error(), "\n"), nil
	}
	for _, w := range app.Warnings(c) {
		warnings = append(warnings, w.String())
	}
	return nil, warnings
}

// TestParametersOfTheRoute proves that a policy which stands for parameters of the path
// is refused, with its place, on a route whose path has not got them.
func TestParametersOfTheRoute(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"in place", `routes:
  - { path: "/a/{id}", use: [{ rewrite: { path: "/b/{id}" } }], to: http://127.0.0.1:1 }
  - { path: "/c/{id}/*", use: [{ rewrite: { path: "/b/{id}/{case}", query: { set: { a: "{id}", b: "{who}" } } } }], to: http://127.0.0.1:1 }
`, []string{
			"airside.yaml:3:51: path: the path of the route /c/{id}/* (at 3:5) has no {case}",
			"airside.yaml:3:99: query.set.b: the path of the route /c/{id}/* (at 3:5) has no {who}",
		}},
		{"with a name, on several routes", `policies:
  to-b:
    rewrite:
      path: "/b/{id}"
routes:
  - { path: "/a/{id}", use: [to-b], to: http://127.0.0.1:1 }
  - { name: plain, path: /a/*, use: [to-b], to: http://127.0.0.1:1 }
  - { path: "/{identity}", use: [to-b], to: http://127.0.0.1:1 }
`, []string{
			"airside.yaml:4:13: path: the path of the route /{identity} (at 8:5) has no {id}",
			"airside.yaml:4:13: path: the path of the route plain (at 7:5) has no {id}",
		}},
		{"on every route", `use: [{ rewrite: { path: "/b/{id}" } }]
routes:
  - { path: "/a/{id}", to: http://127.0.0.1:1 }
  - { host: x.example, to: http://127.0.0.1:1 }
`, []string{"airside.yaml:1:26: path: the path of the route x.example (at 4:5) has no {id}"}},
		{"no parameters", `routes: [{ path: /a, use: [{ rewrite: { prefix: { from: /a, to: /b } } }, { rewrite: { query: { set: { a: b } } } }], to: http://127.0.0.1:1 }]`, nil},
		{"wrong in itself", `routes: [{ path: /a, use: [{ rewrite: { path: "/{" } }], to: http://127.0.0.1:1 }]`, []string{`airside.yaml:1:47: path: "/{" has a { without a }`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _ := checked(t, tt.text)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestCallerTooEarly proves that a rule which reads caller before anybody finds out who
// that is brings a warning, and no other rule does.
func TestCallerTooEarly(t *testing.T) {
	const head = `policies:
  staff: { apikey: { keys: { ward: 8vYq2mZc7nRt4KpX9sLd } } }
  known: { allow: has(caller.id) }
  local: { allow: 'request.remote == "127.0.0.1" || request.path == "/caller"' }
  each: { ratelimit: { limit: 1, per: 1s } }
`
	const warning = " nobody is known yet where this reads caller: put an authentication policy (such as apikey) before it"
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"after", "routes:\n  - { path: /a, use: [staff, local, known, each], to: http://127.0.0.1:1 }\n", nil},
		{"before", "routes:\n  - { path: /a, use: [each, known, local, staff], to: http://127.0.0.1:1 }\n", []string{"airside.yaml:7:29: on the route /a" + warning}},
		{"in place", "routes:\n  - { name: a, use: [local, each, { allow: { rule: 'caller.claims.x == 1' } }, staff, known], to: http://127.0.0.1:1 }\n", []string{"airside.yaml:7:35: on the route a" + warning}},
		{"without", "routes:\n  - { path: /a, use: [known, local, each], to: http://127.0.0.1:1 }\n  - { path: /b, use: [staff], to: http://127.0.0.1:1 }\n", []string{"airside.yaml:7:23: on the route /a" + warning}},
		{"first on every route", "use: [staff]\nroutes:\n  - { path: /a, use: [known, local, each], to: http://127.0.0.1:1 }\n", nil},
		{"before, on every route", "use: [known]\nroutes:\n  - { path: /a, use: [staff, local, each], to: http://127.0.0.1:1 }\n", []string{"airside.yaml:6:7: on the route /a" + warning}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wrong, got := checked(t, head+tt.text)
			if len(wrong) > 0 {
				t.Fatal(wrong)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
