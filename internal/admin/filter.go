package admin

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of what may be asked for.
const (
	defaultLimit = 100
	maxLimit     = 20_000
	maxParameter = 256 // bytes of a value
)

// A filter says which exchanges are asked for. The zero filter takes all.
type filter struct {
	route, caller, method, upstream, endpoint string

	hasRoute bool // an empty route is that of exchanges which no route took
	prefix   string
	status   int // 0: any
	class    int // 5 for 5xx; 0: any
	failed   bool
	since    time.Time
	after    uint64
}

// takes is called with the lock of s held.
func (f *filter) takes(s *slot) bool {
	switch {
	case f.status != 0 && s.status != f.status,
		f.class != 0 && s.status/100 != f.class,
		f.failed && !s.failed,
		!f.since.IsZero() && s.at.Before(f.since),
		f.hasRoute && string(s.part(textRoute)) != f.route:
		return false
	}
	same := func(i int, want string) bool { return want == "" || string(s.part(i)) == want }
	return same(textCaller, f.caller) && same(textMethod, f.method) && same(textUpstream, f.upstream) && same(textEndpoint, f.endpoint) &&
		strings.HasPrefix(string(s.part(textPath)), f.prefix)
}

// A query is what a request for exchanges asks for.
type query struct {
	filter filter
	limit  int
	follow bool
}

// parseQuery reads the query of a request. What is not known is refused, so that nobody
// takes an answer for what was not asked.
func parseQuery(values url.Values) (*query, error) {
	q := &query{limit: defaultLimit}
	for name, vs := range values {
		if len(vs) != 1 || len(vs[0]) > maxParameter {
			return nil, fmt.Errorf("%s is to be given once, with at most %d bytes", strconv.Quote(name), maxParameter)
		}
		if err := q.set(name, vs[0]); err != nil {
			return nil, err
		}
	}
	q.filter.cut()
	return q, nil
}

// cut shortens what is asked for as the texts are that it is compared with.
func (f *filter) cut() {
	longest := lengths()
	for _, t := range []struct {
		text *string
		i    int
	}{
		{&f.route, textRoute},
		{&f.caller, textCaller},
		{&f.method, textMethod},
		{&f.upstream, textUpstream},
		{&f.endpoint, textEndpoint},
		{&f.prefix, textPath},
	} {
		*t.text = (*t.text)[:min(len(*t.text), int(longest[t.i]))]
	}
}

func (q *query) set(name, value string) error {
	f := &q.filter
	var err error
	switch name {
	case "route":
		f.route, f.hasRoute = value, true
	case "caller":
		f.caller = value
	case "method":
		f.method = value
	case "upstream":
		f.upstream = value
	case "endpoint":
		f.endpoint = value
	case "path":
		f.prefix = value
	case "status":
		f.status, f.class, err = parseStatus(value)
	case "since":
		f.since, err = parseSince(value, time.Now())
	case "after":
		if f.after, err = strconv.ParseUint(value, 10, 64); err != nil {
			err = fmt.Errorf("after is the number of an exchange, not %q", value)
		}
	case "limit":
		if q.limit, err = strconv.Atoi(value); err != nil || q.limit < 1 || q.limit > maxLimit {
			err = fmt.Errorf("limit is a number from 1 to %d, not %q", maxLimit, value)
		}
	case "failed":
		f.failed, err = parseBool(name, value)
	case "follow":
		q.follow, err = parseBool(name, value)
	default:
		err = fmt.Errorf("%q is not known; there are %s", name, strings.Join(parameterNames(), ", "))
	}
	return err
}

func parseBool(name, value string) (bool, error) {
	if value != "true" && value != "false" {
		return false, fmt.Errorf("%s is true or false, not %q", name, value)
	}
	return value == "true", nil
}

// parseStatus reads "503" or "5xx".
func parseStatus(value string) (status, class int, err error) {
	if len(value) == 3 && strings.EqualFold(value[1:], "xx") && value[0] >= '1' && value[0] <= '5' {
		return 0, int(value[0] - '0'), nil
	}
	status, err = strconv.Atoi(value)
	if err != nil || status < 100 || status > 599 {
		return 0, 0, fmt.Errorf("status is a number such as 503, or a class such as 5xx, not %q", value)
	}
	return status, 0, nil
}

// parseSince reads a time, or how long ago it was.
func parseSince(value string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(value); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return time.Time{}, fmt.Errorf("since is a time such as %s or a duration such as 5m, not %q", "2026-01-02T15:04:05Z", value)
	}
	return t, nil
}

func parameterNames() []string {
	var out []string
	for _, p := range exchangeParameters() {
		out = append(out, p.name)
	}
	return slices.Sorted(slices.Values(out))
}
