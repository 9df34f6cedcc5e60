package arch

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// layers says who may import whom, in the syntax of Go's own
// go/build/deps_test.go: "a, b < c, d;" lets c and d import a and b, and all
// that a and b may import. Packages of one list do not import each other. A
// star stands for any one element; a package that is named in full somewhere is
// not meant by a star. The root of the module is "airside".
//
// Tests are not held to it. They may use airsidetest, which imports the gateway.
const layers = `
NONE < airside, internal/watch, internal/http1, internal/edge/clock, internal/edge/lifetime;

# Bytes and meaning. Plain HTTP is what the other languages stand on.
airside
< proto/web
< proto/sse, proto/jsonrpc
< proto/*, llm;

# The parts inside. None of them knows the configuration file but config.
proto/*, llm, internal/watch
< internal/canon, internal/expr, internal/jq
< internal/store, internal/event, internal/flow, internal/route, internal/pool, internal/discover, internal/config, internal/telemetry;

# What users name in the file: never each other, never the edge, never the app.
internal/store, internal/event, internal/flow, internal/route, internal/pool, internal/discover, internal/config, internal/telemetry
< policy/*, upstream/*;

# The engines of HTTP/1.1 share one reader and writer of the wire.
internal/http1 < internal/pool, internal/edge;

# The one writer to clients knows no configuration.
proto/*, internal/canon, internal/telemetry, internal/watch, internal/http1, internal/edge/clock, internal/edge/lifetime
< internal/edge/h1
< internal/edge/h2
< internal/edge;

internal/config
< internal/kube;

airside
< internal/overload;

# What is counted of exchanges and upstreams.
internal/edge, internal/pool
< internal/telemetry/metrics
< internal/app;

# The only package that knows all parts.
policy/*, upstream/*, internal/edge, internal/watch, internal/overload
< internal/app
< internal/admin;

policy/*, upstream/*
< all;

internal/app, all
< airsidetest;

airside
< examples/*;

internal/admin, internal/kube, all, examples/*
< cmd
< cmd/*;

NONE < internal/tool/*;

# What measures stands outside: it sees the gateway as clients and agents do.
NONE
< bench/internal/hist, bench/internal/proc, bench/internal/wire
< bench/internal/sample
< bench/internal/report
< bench, bench/*;
`

// checkLayers holds the imports to the table.
func checkLayers(t *tree) []string {
	dag, err := parseLayers(layers)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for s := range t.code {
		me := packageName(s.dir)
		node := dag.node(me)
		if node == "" {
			out = append(out, fmt.Sprintf("%s: package %s is in no layer; add it to arch/layers_test.go", s.path, me))
			continue
		}
		for _, im := range s.ast.Imports {
			target := strings.Trim(im.Path.Value, `"`)
			if !ours(target) {
				if me == "airside" && thirdParty(target) {
					out = append(out, t.at(im, "the root imports the standard library only, not %s", target))
				}
				continue
			}
			dep := packageName(strings.TrimPrefix(strings.TrimPrefix(target, module), "/"))
			if !dag.below[node][dag.node(dep)] && !related(me, dep) {
				out = append(out, t.at(im, "%s may not import %s", me, dep))
			}
		}
	}
	return out
}

// related reports whether one package lies in the other's folder: edge may use
// edge/h1, and the compiler sees to it that there is no circle.
func related(a, b string) bool {
	return strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/")
}

func packageName(dir string) string {
	if dir == "." || dir == "" {
		return "airside"
	}
	return dir
}

// An order is the table, closed: below[x][y] means that x may import y.
type order struct {
	below map[string]map[string]bool
}

func parseLayers(text string) (*order, error) {
	o := &order{below: map[string]map[string]bool{}}
	var lines []string
	for line := range strings.Lines(text) {
		before, _, _ := strings.Cut(line, "#")
		lines = append(lines, before)
	}
	for statement := range strings.SplitSeq(strings.Join(lines, " "), ";") {
		var under []string
		for i, list := range strings.Split(statement, "<") {
			names := strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(", \t\n", r) })
			if len(names) == 0 && strings.TrimSpace(statement) != "" {
				return nil, fmt.Errorf("arch: an empty list in %q", statement)
			}
			if err := o.put(names, under, i == 0); err != nil {
				return nil, err
			}
			under = names
		}
	}
	o.close()
	for name, below := range o.below {
		if below[name] {
			return nil, fmt.Errorf("arch: %s is above itself", name)
		}
	}
	return o, nil
}

// put adds one list of a chain. The first list of a chain only repeats names
// that stand above something already, so that a typing error does not open a hole.
func (o *order) put(names, under []string, first bool) error {
	for _, n := range names {
		switch {
		case n == "NONE" && first:
			continue
		case o.below[n] == nil && first:
			return fmt.Errorf("arch: %s begins a chain and is nowhere above anything", n)
		case o.below[n] == nil:
			o.below[n] = map[string]bool{}
		}
		for _, u := range under {
			if u != "NONE" {
				o.below[n][u] = true
			}
		}
	}
	return nil
}

// close adds what is below what is below, until nothing changes.
func (o *order) close() {
	for changed := true; changed; {
		changed = false
		for _, below := range o.below {
			for _, b := range slices.Collect(maps.Keys(below)) {
				for bb := range o.below[b] {
					changed = changed || !below[bb]
					below[bb] = true
				}
			}
		}
	}
}

// node finds the name in the table that stands for a package: its own, its
// nearest folder's (edge/h1 is held to the rules of edge), or a pattern.
func (o *order) node(pkg string) string {
	for p := pkg; p != "."; p = path.Dir(p) {
		if o.below[p] != nil {
			return p
		}
		for _, name := range slices.Sorted(maps.Keys(o.below)) {
			if ok, err := path.Match(name, p); ok && err == nil {
				return name
			}
		}
	}
	return ""
}
