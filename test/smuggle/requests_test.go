package smuggle

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

// leastCases is how many cases the corpus promises; atOnce is how many connections are
// under way at a time.
const (
	leastCases = 150
	atOnce     = 48
)

// Every request that can be read in two ways is refused, with the status that the
// case names, and its connection closed; every other one arrives in one canonical way
// and is answered for itself.
func TestRequests(t *testing.T) {
	classes := corpus(t, "requests")
	n := 0
	for _, c := range classes {
		n += len(c.cases)
	}
	if n < leastCases {
		t.Errorf("%d cases, want at least %d", n, leastCases)
	}
	t.Logf("%d classes, %d cases", len(classes), n)
	each(t, func(t *testing.T, e engine, gateway string, a *agent) {
		var from addresses
		var wg sync.WaitGroup
		results := map[*attack]*result{}
		room := make(chan struct{}, atOnce)
		for _, c := range classes {
			for _, k := range c.cases {
				r := &result{}
				results[k] = r
				wg.Go(func() {
					room <- struct{}{}
					defer func() { <-room }()
					*r = k.play(t, e, gateway, a, from.next().String())
				})
			}
		}
		wg.Wait()
		for _, c := range classes {
			for _, k := range c.cases {
				t.Run(c.name+"/"+k.name, func(t *testing.T) { k.judge(t, e, results[k]) })
			}
		}
		for _, s := range a.strays() {
			t.Errorf("nobody sent this: %s", s)
		}
	})
}

// play sends the case from a client's address, and returns what became of it.
func (k *attack) play(t *testing.T, e engine, gateway string, a *agent, from string) result {
	a.open(from)
	cl, err := dial(t, gateway, net.ParseIP(from))
	if err != nil {
		return result{end: err}
	}
	defer cl.close()
	r := k.exchange(e, cl)
	r.strict = e.strict
	r.page = a.read(from)
	return r
}

// ways are the outcomes that the case allows the engine.
func (k *attack) ways(e engine) [][]outcome {
	switch {
	case !e.strict && len(k.std) > 0:
		return [][]outcome{k.std}
	case len(k.or) > 0:
		return [][]outcome{k.want, k.or}
	}
	return [][]outcome{k.want}
}

// judge tells what went wrong.
func (k *attack) judge(t *testing.T, e engine, got *result) {
	t.Helper()
	if f := k.faults(e, got); len(f) > 0 {
		t.Errorf("%s: %s\nsent %.600q\nanswers %v, then %v\nthe agent saw %v", k.where, strings.Join(f, "\nand: "), k.send, got.answers, got.end, got.seen)
	}
}

// faults compares what came of the case with each of its outcomes, and with what must
// never be.
func (k *attack) faults(e engine, got *result) []string {
	var out []string
	for _, w := range k.ways(e) {
		f := got.compare(w)
		if f == "" {
			out = nil
			break
		}
		out = append(out, f)
	}
	return append(out, got.always(k)...)
}

// A result is all that became of a connection.
type result struct {
	page
	answers  []*message
	end      error // after the answers; nil: closed between two
	finished bool  // we ended the sending before the gateway closed
	strict   bool  // it is of a strict engine
}

// exchange sends the case and reads what comes until the gateway closes the
// connection. If it need not, the client says after the last answer that it will send
// no more; or, where the case is about that, after the last good request was answered.
func (k *attack) exchange(e engine, cl *client) result {
	cl.send(k.send)
	var got result
	until := k.until(k.ways(e))
	for {
		if !got.finished && len(got.answers) == until {
			cl.finish()
			got.finished = true
		}
		m, err := cl.r.answer(k.method(e, len(got.answers)))
		if err != nil {
			got.end = ended(err)
			return got
		}
		got.answers = append(got.answers, m)
	}
}

// until is how many answers the client awaits before it ends the sending; -1 is that
// the gateway must close the connection.
func (k *attack) until(ways [][]outcome) int {
	n := -1
	for _, w := range ways {
		switch {
		case k.ends:
			n = max(n, slices.IndexFunc(append(slices.Clone(w), outcome{}), func(o outcome) bool { return o.method == "" }))
		case !w[len(w)-1].closes:
			n = max(n, len(w))
		}
	}
	return n
}

// method is the one of request i, which says how its answer is to be read; empty if it
// is not known. Who refuses a HEAD need not know that it is one, unless it is strict.
func (k *attack) method(e engine, i int) string {
	for _, w := range k.ways(e) {
		if i < len(w) && w[i].method != "" {
			return w[i].method
		}
	}
	if i == 0 && e.strict && bytes.HasPrefix(k.send, []byte("HEAD ")) {
		return "HEAD"
	}
	return ""
}

// compare returns how the result differs from the outcomes, or nothing.
func (r *result) compare(want []outcome) string {
	forwarded := 0
	for i, w := range want {
		if i >= len(r.answers) {
			switch {
			case slices.Contains(w.statuses, 0):
				return r.noMore(i, forwarded)
			case i > 0 && want[i-1].method == "" && r.answers[i-1].last:
				return r.noMore(i, forwarded) // the connection ended with a refusal, as it may
			}
			return fmt.Sprintf("answer %d is missing, want %v", i+1, &w)
		}
		a := r.answers[i]
		if !w.allows(a.status, r.strict) {
			return fmt.Sprintf("answer %d is %v, want %v", i+1, a, &w)
		}
		if w.method != "" {
			if f := r.forwarded(a, forwarded, &w); f != "" {
				return f
			}
			forwarded++
			continue
		}
		if len(a.values("x-saw")) > 0 {
			return fmt.Sprintf("answer %d is the agent's, want %v", i+1, &w)
		}
		if w.closes {
			return r.noMore(i+1, forwarded)
		}
	}
	return r.noMore(len(want), forwarded)
}

// forwarded compares what the agent saw with what it should.
func (r *result) forwarded(a *message, i int, w *outcome) string {
	if i >= len(r.seen) {
		return "the agent did not see the request"
	}
	m := r.seen[i]
	id := m.value("x-request-id")
	switch {
	case a.value("x-saw") != id || a.value("x-request-id") != id:
		return fmt.Sprintf("the answer is that to another request: %v", a.fields)
	case m.method != w.method || m.target != w.target || !w.anyBody && string(m.body) != w.body:
		return fmt.Sprintf("the agent saw %v, want %v", m, w)
	}
	return ""
}

// noMore checks that there were so many answers and requests, and no more.
func (r *result) noMore(answers, forwarded int) string {
	switch {
	case len(r.answers) > answers:
		return fmt.Sprintf("%d answers, want %d", len(r.answers), answers)
	case len(r.seen) > forwarded:
		return fmt.Sprintf("the agent saw %d requests, want %d", len(r.seen), forwarded)
	}
	return ""
}

// always returns what must never be, whatever the case.
func (r *result) always(k *attack) []string {
	out := slices.Clone(r.dirty)
	if timedOut(r.end) {
		out = append(out, "the connection was not closed")
	} else if r.end != nil && !errors.Is(r.end, errCut) {
		out = append(out, fmt.Sprintf("an answer is no HTTP: %v", r.end))
	}
	for _, a := range r.answers {
		if a.status >= 500 && a.status != 501 && a.status != 505 {
			out = append(out, fmt.Sprintf("answered %d", a.status))
		}
	}
	if len(r.seen) == 0 {
		return out
	}
	whole := &message{fields: slices.Concat(r.seen[0].fields, r.seen[0].trailer)}
	for _, f := range k.seen {
		if got := whole.values(strings.ToLower(f.name)); !slices.Equal(got, []string{f.value}) {
			out = append(out, fmt.Sprintf("the agent saw %s as %q, want %q", f.name, got, f.value))
		}
	}
	for _, name := range k.never {
		if got := whole.values(strings.ToLower(name)); len(got) > 0 {
			out = append(out, fmt.Sprintf("the agent saw %s: %s", name, got))
		}
	}
	return out
}
