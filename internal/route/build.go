package route

import (
	"fmt"
	"maps"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/airside-gateway/airside/proto/web"
)

// A builder makes a table of entries.
type builder struct {
	t    *Table
	errs []*EntryError
	ids  map[string]int // of the names of headers and query parameters
}

func (b *builder) fail(index int, field, format string, args ...any) {
	b.errs = append(b.errs, &EntryError{Index: index, Field: field, Err: fmt.Errorf(format, args...)})
}

// add compiles an entry and puts it where it is found.
func (b *builder) add(index int, e *Entry) {
	before := len(b.errs)
	r := &rule{entry: e, index: index, methods: e.Match.Methods}
	var err error
	if r.pattern, err = parsePath(e.Match.Path); err != nil {
		b.fail(index, "path", "path %q: %w", e.Match.Path, err)
	}
	for i, method := range r.methods {
		if err := checkMethod(method); err != nil {
			b.fail(index, "method", "method %q: %w", method, err)
		}
		if slices.Contains(r.methods[:i], method) {
			b.fail(index, "method", "method %q is given twice", method)
		}
	}
	r.headers = b.conds(index, "headers", e.Match.Headers, checkHeader, textproto.CanonicalMIMEHeaderKey)
	r.query = b.conds(index, "query", e.Match.Query, checkParameter, func(s string) string { return s })
	r.exact = countExact(r.headers) + countExact(r.query)
	r.key = condKey(r.headers) + "?" + condKey(r.query)
	trees := b.trees(index, e.Match.Hosts, len(b.errs) == before)
	if len(b.errs) > before {
		return
	}
	b.t.rules = append(b.t.rules, r)
	for _, t := range trees {
		if l := t.place(&r.pattern); l != nil {
			l.rules = append(l.rules, r)
			r.places++
			continue
		}
		if !t.full {
			b.fail(index, "path", "path %q: the routes up to here arrange parameters and literals in more than %d ways; give them a common form", e.Match.Path, maxShapes)
		}
		t.full = true
	}
}

// trees finds or makes the trees of the hosts of an entry; it makes none unless
// the entry is good so far.
func (b *builder) trees(index int, hosts []string, good bool) []*tree {
	if len(hosts) == 0 {
		return []*tree{b.t.any}
	}
	var trees []*tree
	seen := make(map[string]bool, len(hosts))
	for _, host := range hosts {
		name, wild, err := parseHost(host)
		if err != nil {
			b.fail(index, "host", "host %q: %w", host, err)
			continue
		}
		key := name
		byName := b.t.hosts
		if wild {
			key, byName = "*."+name, b.t.wild
		}
		if seen[key] {
			b.fail(index, "host", "host %q is given twice", host)
		}
		seen[key] = true
		if !good {
			continue
		}
		if byName[name] == nil {
			byName[name] = &tree{}
		}
		trees = append(trees, byName[name])
	}
	return trees
}

// conds compiles conditions on headers or on the query.
func (b *builder) conds(index int, field string, values map[string]string, check func(name, value string) error, canonical func(string) string) []cond {
	if len(values) == 0 {
		return nil
	}
	conds := make([]cond, 0, len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values[name]
		if err := check(name, value); err != nil {
			b.fail(index, field, "%s %q: %w", field, name, err)
			continue
		}
		name = canonical(name)
		if slices.ContainsFunc(conds, func(c cond) bool { return c.name == name }) {
			b.fail(index, field, "%s %q is given twice, in different spelling", field, name)
		}
		conds = append(conds, cond{name: name, value: value, any: value == "*", id: b.id(field + " " + name)})
	}
	sortConds(conds)
	return conds
}

// id numbers names from 1.
func (b *builder) id(name string) int {
	id, ok := b.ids[name]
	if !ok {
		id = len(b.ids) + 1
		b.ids[name] = id
	}
	return id
}

// checkHeader refuses conditions that no request can fulfil. Its errors do not
// repeat the name.
func checkHeader(name, value string) error {
	switch canonical := textproto.CanonicalMIMEHeaderKey(name); {
	case !web.Token(name):
		return fmt.Errorf("no header has this name")
	case canonical == "Host":
		return fmt.Errorf("use host to match it")
	case slices.Contains([]string{"Connection", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Trailer", "Transfer-Encoding", "Upgrade"}, canonical):
		return fmt.Errorf("it is about the connection and taken away before routes are matched")
	}
	if i := strings.IndexFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }); i >= 0 {
		return fmt.Errorf("the value has a control character, which no request can have")
	}
	if strings.Trim(value, " \t") != value {
		return fmt.Errorf("the value begins or ends with a space, which no request can have")
	}
	return nil
}

// checkParameter refuses conditions that no request can fulfil.
func checkParameter(name, value string) error {
	if strings.ContainsRune(name+value, 0) {
		return fmt.Errorf("it has a NUL, which no request can have")
	}
	if name == "" {
		return fmt.Errorf("the name is empty")
	}
	return nil
}

func countExact(conds []cond) int {
	n := 0
	for _, c := range conds {
		if !c.any {
			n++
		}
	}
	return n
}

// condKey is equal for equal conditions.
func condKey(conds []cond) string {
	if len(conds) == 0 {
		return ""
	}
	var b strings.Builder
	for _, c := range conds {
		b.WriteString(strconv.Quote(c.name) + "=" + strconv.Quote(c.value) + ",")
	}
	return b.String()
}

// finish orders the rules of each leaf, and reports those that can never match.
func (b *builder) finish() {
	order := func(l *leaf) {
		slices.SortFunc(l.rules, compareRules)
		if len(l.rules) > 1 {
			l.findShadowed()
		}
	}
	b.t.any.each(order)
	for _, t := range b.t.hosts {
		t.each(order)
	}
	for _, t := range b.t.wild {
		t.each(order)
	}
	for _, r := range b.t.rules {
		if r.shadows > 0 && r.shadows == r.places {
			b.fail(r.index, "path", "route %s can never match: route %s has the same host, path, method, headers and query", r.title(), r.shadow.title())
		}
	}
}

// findShadowed counts for each rule that another comes before it whenever its
// own conditions hold.
func (l *leaf) findShadowed() {
	type claim struct{ key, method string }
	claimed := map[claim]*rule{}
	for _, r := range l.rules {
		if r.entry.Match.When != nil {
			continue // it comes before those without, and what it asks is not known
		}
		methods := r.methods
		if len(methods) == 0 {
			methods = []string{""}
		}
		var by *rule
		all := true
		for _, method := range methods {
			c := claim{r.key, method}
			earlier := claimed[c]
			if earlier == nil {
				all = false
				claimed[c] = r
			} else if by == nil || earlier.index < by.index {
				by = earlier
			}
		}
		if !all {
			continue
		}
		r.shadows++
		if r.shadow == nil || by.index < r.shadow.index {
			r.shadow = by
		}
	}
}

// title names a route in a message.
func (r *rule) title() string {
	if r.entry.Name == "" {
		return fmt.Sprintf("routes[%d]", r.index)
	}
	return fmt.Sprintf("%q (routes[%d])", r.entry.Name, r.index)
}
