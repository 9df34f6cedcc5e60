package app

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/edge"
	"github.com/airside-gateway/airside/internal/expr"
)

// logChoice turns the log part of a configuration into what the edge takes; nil if
// everything is logged as usual.
func logChoice(l *config.Log) (*edge.Choice, error) {
	names := logNames(&l.Fields)
	sample := l.Sample
	if sample == 0 { // it was not read from a file
		sample = 1
	}
	if l.Filter == "" && sample == 1 && len(l.Add)+len(names)+len(l.Fields.Request)+len(l.Fields.Response) == 0 {
		return nil, nil //nolint:nilnil // there is no choice
	}
	c := &edge.Choice{
		Faults: l.Errors != "filtered", Sample: sample, Names: names,
		Request: headerFields("request", l.Fields.Request), Response: headerFields("response", l.Fields.Response),
	}
	for _, name := range slices.Sorted(maps.Keys(l.Add)) {
		p, err := expr.Compile(l.Add[name], expr.String, expr.At("telemetry.log.add."+name))
		if err != nil {
			return nil, fmt.Errorf("telemetry.log.add.%s: %w", name, err)
		}
		c.Add = append(c.Add, edge.AddedField{Name: name, Text: func(x *airside.Exchange) (string, bool) {
			text, err := p.Text(x)
			return text, err == nil // what is not there is no field
		}})
	}
	if l.Filter == "" {
		return c, nil
	}
	p, err := expr.Compile(l.Filter, expr.Bool, expr.WithOutcome(), expr.At("telemetry.log.filter"))
	if err != nil {
		return nil, fmt.Errorf("telemetry.log.filter: %w", err)
	}
	c.Keep = func(x *airside.Exchange, o *airside.Outcome) bool {
		after := expr.Answer{Status: o.Status, Took: o.Duration}
		if o.Err != nil {
			after.Code = string(airside.AsError(o.Err).Code)
		}
		keep, err := p.BoolAfter(x, after)
		return keep && err == nil
	}
	return c, nil
}

// logNames are the fields with another name, or none.
func logNames(f *config.LogFields) map[string]string {
	names := map[string]string{}
	for _, name := range config.LogNames() {
		if other, ok := f.Rename[name]; ok {
			names[name] = other
		}
		if len(f.Include) > 0 && !slices.Contains(f.Include, name) || slices.Contains(f.Exclude, name) {
			names[name] = ""
		}
	}
	return names
}

func headerFields(of string, names []string) []edge.HeaderField {
	var out []edge.HeaderField
	for _, name := range names {
		out = append(out, edge.HeaderField{Header: http.CanonicalHeaderKey(name), Name: of + ".header." + strings.ToLower(name)})
	}
	return out
}
