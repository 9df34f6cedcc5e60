package smuggle

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A trial is one connection whose outcome nobody has written down: what the strict
// reader makes of it says what may become of it.
type trial struct {
	result
	sent  []byte
	asked []*message // what the client asked for, as the RFC has it
	stop  error      // why there is no more; see meaning
	cut   bool       // the client ended the sending before the gateway was done
}

// faults returns what went wrong. Whatever was sent, every request is either refused
// and not seen by the agent, or seen as the client meant it and answered for itself;
// and nothing else is seen or answered.
func (r *trial) faults(e engine) []string {
	out := slices.Clone(r.dirty)
	switch {
	case timedOut(r.end):
		return append(out, "a hang: the connection was not closed")
	case r.end != nil && !(errors.Is(r.end, errCut) && r.cut):
		return append(out, fmt.Sprintf("an answer that is no HTTP: %v", r.end))
	}
	seen := 0
	for i, a := range r.answers {
		if i > 0 && r.answers[i-1].last {
			out = append(out, fmt.Sprintf("answer %d comes after one that ends the connection", i+1))
		}
		if len(a.values("x-saw")) > 0 {
			out = append(out, r.passed(e, i, seen, a)...)
			seen++
			continue
		}
		out = append(out, r.declined(e, i, a)...)
		if seen < len(r.seen) && r.given(e, i, a, r.seen[seen]) {
			seen++
		}
	}
	return append(out, r.remaining(e, seen)...)
}

// passed checks an answer that the agent gave.
func (r *trial) passed(e engine, i, n int, a *message) []string {
	if n >= len(r.seen) {
		return []string{fmt.Sprintf("desync: answer %d is the agent's, who saw no such request", i+1)}
	}
	m := r.seen[n]
	if id := m.value("x-request-id"); a.value("x-saw") != id || a.value("x-request-id") != id {
		return []string{fmt.Sprintf("desync: answer %d is that to another request", i+1)}
	}
	return r.meant(e, i, m)
}

// meant checks that request i of the client is m. Of a lax engine nothing is known
// from the first request on that is ambiguous.
func (r *trial) meant(e engine, i int, m *message) []string {
	switch {
	case i == len(r.asked) && m.target == early:
		return nil // its head was whole
	case i >= len(r.asked) && e.strict:
		return []string{fmt.Sprintf("desync: the agent saw %v for request %d, which is ambiguous: %v", m, i+1, r.stop)}
	case i >= len(r.asked):
		return nil
	case r.asked[i].refused != "" && e.strict:
		return []string{fmt.Sprintf("the agent saw %v, which must be refused: %s", m, r.asked[i].refused)}
	}
	if d := different(r.asked[i], m); d != "" {
		return []string{"desync: " + d}
	}
	return nil
}

// declined checks an answer of the gateway itself.
func (r *trial) declined(e engine, i int, a *message) []string {
	var out []string
	if a.status < 400 || a.status >= 500 && a.status != 501 && a.status != 505 {
		out = append(out, fmt.Sprintf("answered %d", a.status))
	}
	if i >= len(r.asked) && e.strict && (!a.last || i+1 < len(r.answers)) {
		out = append(out, fmt.Sprintf("the connection goes on after request %d, which is ambiguous: %v", i+1, r.stop))
	}
	return out
}

// given reports whether the agent may have seen request i although the gateway answered
// it: the client had left, or the agent does not wait for the body, which was broken.
func (r *trial) given(e engine, i int, a, m *message) bool {
	if id := a.value("x-request-id"); id != "" && id != m.value("x-request-id") {
		return false // it saw another
	}
	if m.target == early && (i >= len(r.asked) || r.asked[i].target == early) {
		return true
	}
	return a.status == 499 && r.cut && len(r.meant(e, i, m)) == 0
}

// remaining checks what the agent saw that was not answered, and what was not answered
// at all.
func (r *trial) remaining(e engine, seen int) []string {
	var out []string
	rest := r.seen[min(seen, len(r.seen)):]
	switch {
	case len(rest) == 1 && (r.cut || rest[0].target == early) && !slices.ContainsFunc(r.answers, func(a *message) bool { return a.last }):
		if i := len(r.answers); i < len(r.asked) || rest[0].target != early {
			out = append(out, r.meant(e, i, rest[0])...) // its client had left
		}
	case len(rest) > 0:
		out = append(out, fmt.Sprintf("desync: the agent saw %v, but the client got no answer to it", rest))
	}
	n := len(r.answers)
	if e.strict && n < len(r.asked) && !r.cut && (n == 0 || !r.answers[n-1].last) {
		out = append(out, fmt.Sprintf("request %d was not answered: %v", n+1, r.asked[n]))
	}
	return out
}

// different returns in what the request that the agent saw is not the one that the
// client sent.
func different(asked, seen *message) string {
	if asked.method != seen.method || canonical(asked.target) != seen.target || string(asked.body) != string(seen.body) && asked.target != early {
		return fmt.Sprintf("the agent saw %v, the client had sent %v", seen, asked)
	}
	if f, ok := invented(seen.fields, asked.fields); ok {
		return fmt.Sprintf("the agent saw %s: %q, which the client had not sent", f.name, f.value)
	}
	if f, ok := invented(seen.trailer, asked.trailer); ok {
		return fmt.Sprintf("the agent saw the trailer %s: %q, which the client had not sent", f.name, f.value)
	}
	return ""
}

// invented finds a field of seen that is not in asked, the gateway's own left out.
func invented(seen, asked []field) (field, bool) {
	for _, f := range seen {
		name := strings.ToLower(f.name)
		if owned(name) || name == "cookie" {
			continue
		}
		if !slices.ContainsFunc(asked, func(g field) bool { return strings.ToLower(g.name) == name && g.value == f.value }) {
			return f, true
		}
	}
	return field{}, false
}

// canonical is how a gateway writes a target: origin-form, escapes in capitals, and
// none of characters that need none.
func canonical(target string) string {
	if target[0] != '/' {
		_, target, _ = strings.Cut(target, "://")
		i := strings.IndexAny(target, "/?")
		if i < 0 {
			return "/"
		}
		if target = target[i:]; target[0] == '?' {
			target = "/" + target
		}
	}
	path, query, found := strings.Cut(target, "?")
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' || i+2 >= len(path) {
			b.WriteByte(path[i])
			continue
		}
		var c byte
		if _, err := fmt.Sscanf(path[i+1:i+3], "%02x", &c); err == nil && (alphanumeric(c) || strings.IndexByte("-._~", c) >= 0) {
			b.WriteByte(c)
		} else {
			b.WriteString(strings.ToUpper(path[i : i+3]))
		}
		i += 2
	}
	if found {
		b.WriteString("?" + query)
	}
	return b.String()
}

// method is that of request i, as far as it is known. What net/http refuses itself, it
// refuses with a body, also a HEAD; the connection ends with it.
func (r *trial) method(e engine, i int) string {
	if i < len(r.asked) && (e.strict && !r.asked[i].late || r.asked[i].method != "HEAD") {
		return r.asked[i].method
	}
	return ""
}

// open reports whether the connection can go on after all that was asked for, or would
// with what is missing.
func (r *trial) open() bool { return r.stop == nil || errors.Is(r.stop, errCut) }

// closing reports whether the client asked for the end.
func (r *trial) closing() bool { return errors.Is(r.stop, io.EOF) }
