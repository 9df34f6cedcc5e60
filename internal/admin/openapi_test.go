package admin

import (
	"encoding/json"
	"maps"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/airside-gateway/airside/airsidetest"
	"github.com/airside-gateway/airside/internal/config"
)

// TestDescription proves that the description is valid OpenAPI 3.1, and that it and the
// table of routes tell of the same.
func TestDescription(t *testing.T) {
	s := start(t, plain, config.Admin{}).admin
	_, body := ask(t, s, "/api/v1/openapi.json", nil)
	doc := parse(t, body)
	meta, err := os.ReadFile("testdata/openapi-3.1.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	const id = "https://spec.openapis.org/oas/3.1/schema/2022-10-07"
	if err := c.AddResource(id, parse(t, string(meta))); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(doc); err != nil {
		t.Errorf("the description is not valid: %v", err)
	}
	paths := doc.(map[string]any)["paths"].(map[string]any)
	var served []string
	for i := range s.table {
		served = append(served, s.table[i].path)
	}
	slices.Sort(served)
	if described := slices.Sorted(maps.Keys(paths)); !slices.Equal(described, served) {
		t.Errorf("described: %q\nserved: %q", described, served)
	}
	delete(doc.(map[string]any), "info")
	if schema.Validate(doc) == nil {
		t.Error("anything is valid")
	}
}

// TestAnswersAreAsDescribed proves that every route answers what the description says,
// with traffic and without, when it is right and when it is wrong.
func TestAnswersAreAsDescribed(t *testing.T) {
	agent := airsidetest.Upstream(t, airsidetest.Echo)
	g := start(t, "routes: [{ path: /a/*, query: { x: y }, to: '"+agent+"' }, { path: /down, to: 'http://127.0.0.1:1' }]\n", config.Admin{Token: secret(token)})
	fresh := start(t, "", config.Admin{Token: secret(token)})
	g.send("POST", "/a/b?x=y", "hello")
	g.send("GET", "/none", "")
	g.send("GET", "/down", "")
	_, text := ask(t, g.admin, "/api/v1/openapi.json", authorized)
	d := &described{t: t, doc: parse(t, text), c: jsonschema.NewCompiler()}
	if err := d.c.AddResource("doc.json", d.doc); err != nil {
		t.Fatal(err)
	}
	for i := range g.admin.table {
		path := g.admin.table[i].path
		query := ""
		if path == "/debug/pprof/profile" || path == "/debug/pprof/trace" {
			query = "?seconds=1"
		}
		for _, s := range []*Server{g.admin, fresh.admin} {
			d.check(s, path, query, authorized)
			d.check(s, path, query, nil)
		}
		d.check(g.admin, path, "?nothing=1", authorized)
	}
	d.check(g.admin, "/debug/pprof/heap", "?debug=1", authorized)
	for _, form := range metricsAnswers()[:3] {
		d.check(g.admin, "/metrics", "", func(r *http.Request) {
			authorized(r)
			r.Header.Set("Accept", form.media)
		})
	}
	d.check(g.admin, "/api/v1/exchanges", "?status=5xx&failed=true&limit=1", authorized)
	if d.bodies < 15 {
		t.Errorf("%d answers were held to a schema", d.bodies)
	}
}

func authorized(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }

type described struct {
	t      *testing.T
	doc    any
	c      *jsonschema.Compiler
	bodies int // answers that were held to a schema
}

// at follows keys into the description.
func at(v any, keys ...string) any {
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

func (d *described) check(s *Server, path, query string, change func(*http.Request)) {
	d.t.Helper()
	resp, body := ask(d.t, s, path+query, change)
	media := resp.Header.Get("Content-Type")
	status := strconv.Itoa(resp.StatusCode)
	if at(d.doc, "paths", path, "get", "responses", status) == nil {
		if resp.StatusCode < 400 || path == "/healthz" {
			d.t.Errorf("%s%s: %s is not described", path, query, status)
			return
		}
		status = "default"
	}
	content, _ := at(d.doc, "paths", path, "get", "responses", status, "content").(map[string]any)
	if content[media] == nil {
		d.t.Errorf("%s%s: %s as %s is not described", path, query, status, media)
		return
	}
	kind, _, err := mime.ParseMediaType(media)
	if err != nil || !strings.HasSuffix(kind, "json") {
		return
	}
	escape := strings.NewReplacer("~", "~0", "/", "~1").Replace
	schema, err := d.c.Compile("doc.json#/paths/" + escape(path) + "/get/responses/" + status + "/content/" + escape(media) + "/schema")
	if err != nil {
		d.t.Fatal(err)
	}
	if err := schema.Validate(parse(d.t, body)); err != nil {
		d.t.Errorf("%s%s: the answer is not as described: %v\n%s", path, query, err, body)
	}
	d.bodies++
}

func parse(t *testing.T, text string) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if !json.Valid([]byte(text)) {
		t.Fatalf("no JSON: %s", text)
	}
	return v
}
