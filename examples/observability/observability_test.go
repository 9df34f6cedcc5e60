// Package observability tests the dashboard, the alerts and the metrics that they are made
// of with the tools of Prometheus itself.
package observability

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// An exposition is what is told: for each name of a sample the labels with their values.
type exposition map[string]map[string]map[string]bool

var (
	sampleLine = regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*?)\})? \S+`)
	labelPair  = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)
)

func parse(text string) exposition {
	e := exposition{}
	for _, m := range sampleLine.FindAllStringSubmatch(text, -1) {
		if e[m[1]] == nil {
			e[m[1]] = map[string]map[string]bool{}
		}
		for _, l := range labelPair.FindAllStringSubmatch(m[2], -1) {
			if e[m[1]][l[1]] == nil {
				e[m[1]][l[1]] = map[string]bool{}
			}
			e[m[1]][l[1]][l[2]] = true
		}
	}
	return e
}

// A rule is one alert.
type rule struct {
	Alert, Expr         string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) []rule {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal([]byte(read(t, "alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	return file.Groups[0].Rules
}

// dashboardQueries are the expressions of the dashboard, and the queries of its variables.
func dashboardQueries(t *testing.T) (queries, variables []string) {
	t.Helper()
	var file any
	if err := json.Unmarshal([]byte(read(t, "dashboard.json")), &file); err != nil {
		t.Fatal(err)
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if s, ok := v["expr"].(string); ok {
				queries = append(queries, s)
			}
			if s, ok := v["definition"].(string); ok {
				variables = append(variables, s)
			}
			for _, k := range slices.Sorted(maps.Keys(v)) {
				walk(v[k])
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(file)
	return queries, variables
}

var (
	quoted    = regexp.MustCompile(`"[^"]*"`)
	selector  = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{[^}]*\})?`)
	grouping  = regexp.MustCompile(`\b(?:by|without|on|ignoring|label_values)\s*\(([^)]*)\)`)
	matcher   = regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	duration  = regexp.MustCompile(`\[[^\]]*\]`)
	variable  = regexp.MustCompile(`\$[a-z_]+`)
	mentioned = regexp.MustCompile(`\$labels\.([a-z_]+)`)
)

// A use is a metric that an expression names, with the labels by which it is chosen.
type use struct {
	metric string
	labels map[string]string
}

// uses finds the metrics of an expression, and the labels that it groups by.
func uses(expr string) (found []use, groups []string) {
	for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
		for l := range strings.SplitSeq(m[1], ",") {
			groups = append(groups, strings.TrimSpace(l))
		}
	}
	bare := duration.ReplaceAllString(grouping.ReplaceAllString(expr, ""), "")
	for _, m := range selector.FindAllStringSubmatchIndex(bare, -1) {
		name := bare[m[2]:m[3]]
		before := strings.TrimRight(bare[:m[2]], " \n")
		rest := strings.TrimLeft(bare[m[1]:], " \n")
		if strings.HasPrefix(rest, "(") || slices.Contains([]string{"or", "and", "unless", "e", "sum", "max", "min"}, name) ||
			before != "" && strings.ContainsAny(before[len(before)-1:], "0123456789.") || inside(bare, m[2]) {
			continue
		}
		u := use{metric: name, labels: map[string]string{}}
		if m[4] >= 0 {
			for _, l := range matcher.FindAllStringSubmatch(bare[m[4]:m[5]], -1) {
				u.labels[l[1]] = l[3]
			}
		}
		found = append(found, u)
	}
	return found, groups
}

// inside reports whether a place lies within the braces of a selector.
func inside(expr string, at int) bool {
	text := quoted.ReplaceAllStringFunc(expr, func(s string) string { return strings.Repeat("x", len(s)) })
	return strings.LastIndexByte(text[:at], '{') > strings.LastIndexByte(text[:at], '}')
}

// foreign are metrics and labels that Prometheus makes itself.
var foreign = []string{"up", "job", "instance", "le"}

// check says what of an expression is not in e: metrics, labels, and plain values of
// labels.
func (e exposition) check(t *testing.T, expr string) []use {
	t.Helper()
	found, groups := uses(expr)
	if len(found) == 0 {
		t.Errorf("no metric was found in %s", expr)
	}
	known := map[string]bool{}
	for _, u := range found {
		labels, ok := e[u.metric]
		if !ok && !slices.Contains(foreign, u.metric) {
			t.Errorf("the gateway does not tell of %s, which is used in %s", u.metric, expr)
		}
		for l := range labels {
			known[l] = true
		}
		for l, v := range u.labels {
			if labels[l] == nil && !slices.Contains(foreign, l) {
				t.Errorf("%s has no label %s, which is used in %s", u.metric, l, expr)
			}
			for value := range strings.SplitSeq(v, "|") {
				if l == "state" && !labels[l][value] {
					t.Errorf("%s is never %q, which is used in %s", l, value, expr)
				}
			}
		}
	}
	for _, g := range groups {
		if !known[g] && !slices.Contains(foreign, g) {
			t.Errorf("no metric has the label %s, which is grouped by in %s", g, expr)
		}
	}
	return found
}

// What the dashboard and the alerts name is what a running gateway tells, and the alerts
// tell apart what they speak of: a label that a text mentions is one of the result.
func TestDashboardAndAlertsNameWhatIsThere(t *testing.T) {
	g := serve(t)
	g.use(t)
	e := parse(g.metrics(t))
	queries, variables := dashboardQueries(t)
	if len(queries) < 30 || len(variables) < 3 {
		t.Fatalf("%d queries and %d variables were found in the dashboard", len(queries), len(variables))
	}
	named := map[string]bool{}
	for _, q := range queries {
		for _, u := range e.check(t, variable.ReplaceAllString(q, "1m")) {
			named[u.metric] = true
		}
	}
	for _, v := range variables {
		name, label, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(v, "label_values("), ")"), ", ")
		name, _, _ = strings.Cut(name, "{")
		if e[name] == nil || e[name][label] == nil && !slices.Contains(foreign, label) {
			t.Errorf("the gateway does not tell of %s by %s, which is used in %s", name, label, v)
		}
	}
	for _, r := range rules(t) {
		found := e.check(t, r.Expr)
		_, groups := uses(r.Expr)
		for _, text := range r.Annotations {
			for _, m := range mentioned.FindAllStringSubmatch(text, -1) {
				has := slices.Contains(groups, m[1])
				for _, u := range found {
					has = has || len(groups) == 0 && (e[u.metric][m[1]] != nil || slices.Contains(foreign, m[1]))
				}
				if !has {
					t.Errorf("%s speaks of the label %s, which its result does not have", r.Alert, m[1])
				}
			}
		}
		for _, u := range found {
			named[u.metric] = true
		}
		if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s has no severity, summary or description", r.Alert)
		}
	}
	for name := range e {
		if strings.HasPrefix(name, "airside_upstream_") && !named[name] && !slices.Contains([]string{"airside_upstream_endpoint_weight"}, name) {
			t.Errorf("neither the dashboard nor an alert shows %s", name)
		}
	}
}

// A name that is not there is found, so that the test above can fail.
func TestCheckFindsWhatIsMissing(t *testing.T) {
	e := parse("a_total{state=\"up\"} 1\n")
	found, groups := uses(`sum by (job, route) (rate(a_total{state=~"up|down"}[5m])) / b > 0.5e3 or c{x!=""}`)
	var names []string
	for _, u := range found {
		names = append(names, u.metric)
	}
	if got := strings.Join(names, " "); got != "a_total b c" || !slices.Equal(groups, []string{"job", "route"}) {
		t.Errorf("found %s, grouped by %q", got, groups)
	}
	if !e["a_total"]["state"]["up"] || e["b"] != nil {
		t.Errorf("parsed %v", e)
	}
}

// Prometheus's own checker has nothing to say about the metrics, the rules and the
// configuration.
func TestPromtool(t *testing.T) {
	promtool := tool(t, "promtool")
	g := serve(t)
	g.use(t)
	for _, tt := range []struct {
		name  string
		input string
		args  []string
	}{
		{"metrics", g.metrics(t), []string{"check", "metrics"}},
		{"rules", "", []string{"check", "rules", "alerts.yml"}},
		{"config", "", []string{"check", "config", "prometheus.yml"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command(promtool, tt.args...)
			cmd.Stdin = strings.NewReader(tt.input)
			out, err := cmd.CombinedOutput()
			if err != nil || tt.name == "metrics" && len(bytes.TrimSpace(out)) > 0 {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// Every metric that a gateway tells of is in docs/METRICS.md with its type and labels, and
// nothing else is.
func TestTableOfMetrics(t *testing.T) {
	g := serve(t)
	g.use(t)
	text := g.metrics(t)
	e := parse(text)
	table := map[string][]string{}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\| (\\w+) \\| (.*?) \\| (.+) \\|$")
	for _, m := range row.FindAllStringSubmatch(read(t, "../../docs/METRICS.md"), -1) {
		table[m[1]] = m[1:]
	}
	told := regexp.MustCompile(`(?m)^# TYPE (\S+) (\w+)$`).FindAllStringSubmatch(text, -1)
	for _, m := range told {
		r := table[m[1]]
		if r == nil {
			t.Errorf("%s is not in docs/METRICS.md", m[1])
			continue
		}
		if r[1] != m[2] {
			t.Errorf("%s is a %s, not a %s", m[1], m[2], r[1])
		}
		samples := e[m[1]]
		if m[2] == "histogram" {
			samples = e[m[1]+"_count"]
		}
		for l := range samples {
			if !strings.Contains(r[2], "`"+l+"`") && l != "quantile" {
				t.Errorf("%s: the label %s is not in docs/METRICS.md", m[1], l)
			}
		}
		delete(table, m[1])
	}
	for name := range table {
		if !absent(name) {
			t.Errorf("%s is in docs/METRICS.md, but the gateway does not tell of it", name)
		}
	}
}

// absent says of a metric that it is told of only at times.
func absent(name string) bool { return strings.HasPrefix(name, "airside_upstream_endpoint_latency") }

// The alert of a configuration that was refused goes by a metric that says so.
func TestRefusedConfigurationIsTold(t *testing.T) {
	g := serve(t)
	good := read(t, g.file)
	write := func(text string) {
		if err := os.WriteFile(g.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	has := func(line string) {
		until(t, line, func() (bool, string) {
			text := g.metrics(t)
			return strings.Contains(text, line+"\n"), text[:200]
		})
	}
	has("airside_config_last_reload_success 1")
	write("routes: 7\n")
	has("airside_config_last_reload_success 0")
	write(good + "shutdown: { grace: 1s }\n")
	has("airside_config_last_reload_success 1")
	has("airside_config_generation 2")
}
