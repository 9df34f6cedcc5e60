package cmd

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/airside-gateway/airside/internal/admin"
)

// A view is what top shows, and how: it knows no terminal.
type view struct {
	mark   styled
	ascii  bool
	last   *sample
	rates  *rates // nil before the second sample
	errors []admin.Exchange
	err    error // why there was no answer; nil if there was
	paused bool
	sort   order
	top    int // first line of the body that is shown
}

// An order is what routes are sorted by.
type order int

const (
	byRate order = iota
	byFailed
	byLatency
	byName
	orders
)

func (o order) String() string {
	switch o {
	case byRate:
		return "rate"
	case byFailed:
		return "errors"
	case byLatency:
		return "p99"
	case byName, orders:
	}
	return "name"
}

// keptErrors is how many errors are shown at most.
const keptErrors = 20

// take shows s.
func (v *view) take(s *sample) {
	if v.last != nil {
		v.rates = between(v.last, s)
		v.errors = append(slices.Clone(v.rates.Errors), v.errors...)
	} else {
		v.errors = slices.Clone(s.Errors.Exchanges)
	}
	v.errors = v.errors[:min(len(v.errors), keptErrors)]
	v.last = s
}

// A key is one that was pressed.
type key int

const (
	keyNone key = iota
	keyQuit
	keyPause
	keySort
	keyUp
	keyDown
	keyPageUp
	keyPageDown
	keyHome
	keyEnd
)

// press does what k asks for on a screen of that height. It reports whether that is to
// quit.
func (v *view) press(k key, height int) (quit bool) {
	page := max(height-chrome, 1)
	switch k {
	case keyQuit:
		return true
	case keyPause:
		v.paused = !v.paused
	case keySort:
		v.sort = (v.sort + 1) % orders
	case keyUp:
		v.top--
	case keyDown:
		v.top++
	case keyPageUp:
		v.top -= page
	case keyPageDown:
		v.top += page
	case keyHome:
		v.top = 0
	case keyEnd:
		v.top = len(v.body())
	case keyNone:
	}
	v.top = max(v.top, 0) // frame bounds it from above
	return false
}

// chrome is how many lines of a frame are no part of its body.
const chrome = 4

// A row is a line with its style.
type row struct{ style, text string }

// frame is what a screen of that size shows: exactly height lines, of at most width
// characters.
func (v *view) frame(width, height int) []string {
	width, height = max(width, 1), max(height, 1)
	body := v.body()
	room := max(height-chrome, 0)
	v.top = min(v.top, max(len(body)-room, 0))
	rows := append(v.head(), row{})
	rows = append(rows, body[v.top:min(v.top+room, len(body))]...)
	for len(rows) < height-1 {
		rows = append(rows, row{})
	}
	rows = append(rows[:min(len(rows), height-1)], v.foot(len(body), room))
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = v.mark.mark(r.style, v.fit(r.text, width))
	}
	return out
}

// whole is a frame as long as what there is to show.
func (v *view) whole() string {
	var b strings.Builder
	const wide = 500
	for _, r := range append(append(v.head(), row{}), v.body()...) {
		b.WriteString(v.mark.mark(r.style, strings.TrimRight(v.fit(r.text, wide), " ")) + "\n")
	}
	return b.String()
}

// fit makes text safe for the terminal, and cuts it.
func (v *view) fit(text string, width int) string {
	text = clean(text)
	if v.ascii {
		text = strings.Map(func(r rune) rune {
			if r > '~' {
				return '?'
			}
			return r
		}, text)
	}
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width])
}

func (v *view) head() []row {
	s := &v.last.Status
	state, style := "ready", bold
	if !s.Ready {
		state, style = "NOT READY", red
	}
	first := fmt.Sprintf("airside %s - %s - up %s", s.Version, state, age(s.Now.Sub(s.Started)))
	if s.Config != nil {
		first += fmt.Sprintf(" - config %s, generation %d", s.Config.Hash, s.Config.Nth)
	}
	if v.paused {
		first += " - PAUSED"
	}
	switch {
	case v.err != nil:
		return []row{{style, first}, {red, strings.ReplaceAll(v.err.Error(), "\n", " ")}}
	case !s.Recording:
		return []row{{style, first}, {yellow, "requests are not counted"}}
	case v.rates == nil:
		return []row{{style, first}, {"", "waiting for the first interval"}}
	}
	r := v.rates
	return []row{{style, first}, {"", fmt.Sprintf("%s requests/s   %s failed   p50 %s   p95 %s   p99 %s", count(r.Requests), percent(r.Failed), brief(r.P50), brief(r.P95), brief(r.P99))}}
}

func (v *view) foot(lines, room int) row {
	text := "q quit  p pause  s sort by " + ((v.sort + 1) % orders).String()
	if lines > room {
		text += fmt.Sprintf("  arrows scroll (%d-%d of %d)", v.top+1, min(v.top+room, lines), lines)
	}
	return row{bold, text}
}

func (v *view) body() []row {
	r := v.rates
	if r == nil {
		r = &rates{}
		if v.last != nil {
			r = between(v.last, v.last)
		}
	}
	out := v.routeRows(r)
	out = append(out, row{}, row{bold, fmt.Sprintf("%-32s %-16s %-9s %7s %9s %9s %8s", "ENDPOINT", "UPSTREAM", "STATE", "ACTIVE", "REQ/S", "FAIL/S", "LATENCY")})
	for i := range r.Endpoints {
		e := &r.Endpoints[i]
		style := stateStyle(e.State)
		if e.State == "healthy" {
			style = ""
		}
		text := fmt.Sprintf("%s %s %-9s %7d %9s %9s %8s", column(e.Address, 32), column(e.Upstream, 16), e.State, e.Active, count(e.Requests), count(e.Failures), brief(e.Latency))
		if e.Why != "" {
			text += "  " + e.Why
		}
		out = append(out, row{style, text})
	}
	out = append(out, row{}, row{bold, "NEWEST ERRORS"})
	for i := range v.errors {
		out = append(out, row{"", errorText(&v.errors[i])})
	}
	if len(v.errors) == 0 {
		out = append(out, row{"", "none"})
	}
	return out
}

func (v *view) routeRows(r *rates) []row {
	routes := slices.Clone(r.Routes)
	slices.SortStableFunc(routes, func(a, b routeRates) int {
		name := cmp.Compare(a.Route, b.Route)
		switch v.sort {
		case byRate:
			return cmp.Or(cmp.Compare(b.Requests, a.Requests), name)
		case byFailed:
			return cmp.Or(cmp.Compare(b.Failed*b.Requests, a.Failed*a.Requests), cmp.Compare(b.Requests, a.Requests), name)
		case byLatency:
			return cmp.Or(cmp.Compare(b.P99, a.P99), name)
		case byName, orders:
		}
		return name
	})
	out := []row{{bold, fmt.Sprintf("%-32s %9s %8s %8s %8s %8s %12s", "ROUTE by "+v.sort.String(), "REQ/S", "FAILED", "P50", "P95", "P99", "TOTAL")}}
	for i := range routes {
		t := &routes[i]
		style := ""
		if t.Failed > 0 {
			style = red
		}
		out = append(out, row{style, fmt.Sprintf("%s %9s %8s %8s %8s %8s %12d", column(cmp.Or(t.Route, "(none)"), 32), count(t.Requests), percent(t.Failed), brief(t.P50), brief(t.P95), brief(t.P99), t.Total)})
	}
	return out
}

// column pads or cuts text to n characters, so that the columns after it stay in place.
func column(text string, n int) string {
	text = clean(text)
	if utf8.RuneCountInString(text) > n {
		return string([]rune(text)[:n-1]) + "~"
	}
	return text + strings.Repeat(" ", n-utf8.RuneCountInString(text))
}

func count(n float64) string {
	if n > 0 && n < 99.95 {
		return fmt.Sprintf("%.1f", n)
	}
	return fmt.Sprintf("%.0f", n)
}

func percent(f float64) string {
	if f > 0 && f < 0.0995 {
		return fmt.Sprintf("%.2g%%", 100*f)
	}
	return fmt.Sprintf("%.0f%%", 100*f)
}

// escapes are what terminals send for keys that are no characters.
func escapes() []struct {
	text string
	key  key
} {
	return []struct {
		text string
		key  key
	}{
		{"\x1b[A", keyUp},
		{"\x1b[B", keyDown},
		{"\x1bOA", keyUp},
		{"\x1bOB", keyDown},
		{"\x1b[5~", keyPageUp},
		{"\x1b[6~", keyPageDown},
		{"\x1b[H", keyHome},
		{"\x1b[F", keyEnd},
		{"\x1bOH", keyHome},
		{"\x1bOF", keyEnd},
		{"\x1b[1~", keyHome},
		{"\x1b[4~", keyEnd},
	}
}

// nextKey takes the first key from what a terminal has sent. It always takes something.
func nextKey(in []byte) (k key, rest []byte) {
	for _, e := range escapes() {
		if rest, ok := strings.CutPrefix(string(in), e.text); ok {
			return e.key, []byte(rest)
		}
	}
	switch in[0] {
	case 'q', 'Q', 0x03, 0x04: // Ctrl-C and Ctrl-D come as bytes
		k = keyQuit
	case 'p', 'P', ' ':
		k = keyPause
	case 's', 'S':
		k = keySort
	case 'k':
		k = keyUp
	case 'j':
		k = keyDown
	case 'g':
		k = keyHome
	case 'G':
		k = keyEnd
	case 0x1b:
		return keyNone, afterEscape(in)
	}
	return k, in[1:]
}

// afterEscape is what follows an escape sequence that means nothing here.
func afterEscape(in []byte) []byte {
	if len(in) < 2 || in[1] != '[' && in[1] != 'O' {
		return in[1:]
	}
	for i := 2; i < len(in); i++ {
		if in[i] >= '@' && in[i] <= '~' {
			return in[i+1:]
		}
	}
	return nil
}
