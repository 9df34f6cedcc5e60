package transform

import (
	"net/http"
	"slices"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/jq"
)

// factNames are the variables of filters. The first are known before the agent is
// asked, the next with the head of its answer, the last with each event.
var factNames = []string{"request", "call", "caller", "params", "response", "event"}

// given is how many of them are known before the agent is asked.
const given = 4

// facts says which variables have to be worth something.
type facts struct {
	used   [given]bool
	params []string // names of the path's parameters
}

// wanted lists what the filters use. A filter may be nil.
func wanted(filters ...*jq.Query) facts {
	var f facts
	for _, q := range filters {
		if q == nil {
			continue
		}
		for i, name := range factNames[:given] {
			f.used[i] = f.used[i] || q.Uses(name)
		}
		members, _ := q.Members("params")
		f.params = append(f.params, members...)
	}
	return f
}

// of returns what is known of x, in the order of factNames; nil where no filter
// asks for it.
func (f *facts) of(x *airside.Exchange) ([]any, error) {
	known := make([]any, given, len(factNames))
	if f.used[0] {
		known[0] = request(x.Request)
	}
	if f.used[1] {
		known[1] = call(x.Call)
	}
	if f.used[2] {
		claims, err := jq.Value(x.Caller.Claims)
		if err != nil {
			return nil, (&airside.Error{Code: airside.Internal}).Because(err)
		}
		known[2] = map[string]any{"id": x.Caller.ID, "claims": claims}
	}
	if f.used[3] {
		known[3] = params(x.Request, f.params)
	}
	return known, nil
}

func request(r *http.Request) any {
	query := map[string]any{}
	for name, values := range r.URL.Query() {
		query[name] = values[0]
	}
	return map[string]any{"method": r.Method, "path": r.URL.Path, "query": query, "headers": headers(r.Header)}
}

func headers(h http.Header) any {
	m := make(map[string]any, len(h))
	for name, values := range h {
		m[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	return m
}

// call is what the client asks for. The id of a protocol is JSON already.
func call(c airside.Call) any {
	id, err := jq.Decode([]byte(c.ID))
	if err != nil {
		id = nil
	}
	return map[string]any{"operation": c.Operation, "target": c.Target, "id": id}
}

func params(r *http.Request, names []string) any {
	m := make(map[string]any, len(names))
	for _, name := range names {
		if value := r.PathValue(name); value != "" {
			m[name] = value
		}
	}
	return m
}

func response(resp *http.Response) any {
	return map[string]any{"status": resp.StatusCode, "headers": headers(resp.Header)}
}

// with is known and one thing more, if q asks for it. It leaves known as it is.
func with(known []any, q *jq.Query, fact func() any) []any {
	known = slices.Clip(known)
	if !q.Uses(factNames[len(known)]) {
		return append(known, nil)
	}
	return append(known, fact())
}
