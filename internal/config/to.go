package config

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// The bounds of where a route leads.
const (
	maxWeight  = 1_000_000
	maxTargets = 256
)

// to reads where a route leads.
func (d *decoder) to(n *node, t *To) bool {
	*t = To{}
	switch n.kind {
	case text:
		return d.target(n, 0, t)
	case list:
		ok := true
		for i := range n.in {
			if e := &n.in[i]; e.kind == text {
				ok = d.target(e, 0, t) && ok
			} else if !e.bad {
				ok = d.expected(e, "the name of an upstream, or a URL", "")
			}
		}
		if len(n.in) == 0 {
			return d.fail(n, "expected at least one upstream, found an empty list")
		}
		return ok
	case mapping:
		t.Weighted = true
		return d.weights(n, t)
	case null, boolean, whole, float:
	}
	return d.expected(n, "the name of an upstream, a URL, a list of them, or a mapping of them to weights", "")
}

// weights reads targets with their weights.
func (d *decoder) weights(n *node, t *To) bool {
	ok, sum := true, 0
	for k, v := range n.pairs() {
		w, err := strconv.Atoi(v.text)
		switch {
		case v.bad:
			ok = false
		case v.kind != whole && !v.ref || err != nil || w < 0 || w > maxWeight || !decimal.MatchString(v.text):
			ok = d.expected(v, fmt.Sprintf("a weight from 0 to %d", maxWeight), hintWeight(v))
		}
		sum += max(w, 0)
		ok = d.target(k, w, t) && ok
	}
	switch {
	case len(n.in) == 0 && !n.bad:
		return d.fail(n, "expected at least one upstream, found an empty mapping")
	case sum == 0 && ok:
		return d.fail(n, "one of the weights must be more than 0")
	}
	return ok
}

func hintWeight(v *node) string {
	if v.kind == text && decimal.MatchString(v.text) {
		return " (leave out the quotes)"
	}
	if percent, ok := strings.CutSuffix(v.text, "%"); ok && v.kind == text && decimal.MatchString(percent) {
		return fmt.Sprintf(" (write %s)", percent)
	}
	return ""
}

// target adds what name calls.
func (d *decoder) target(name *node, weight int, t *To) bool {
	if name.bad {
		return false
	}
	if len(t.Targets) == maxTargets {
		t.Targets = append(t.Targets, Target{At: d.doc.position(name)})
		return d.fail(name, fmt.Sprintf("a route has at most %d targets", maxTargets))
	}
	if len(t.Targets) > maxTargets {
		return false
	}
	for _, other := range t.Targets {
		if other.Name == name.text {
			return d.fail(name, "this target stands here twice")
		}
	}
	t.Targets = append(t.Targets, Target{Name: name.text, Weight: weight, At: d.doc.position(name), node: name})
	if strings.Contains(name.text, "://") {
		return d.url(name)
	}
	return true
}

// url checks a URL that stands for an upstream.
func (d *decoder) url(n *node) bool {
	u, err := url.Parse(n.text)
	var what string
	switch {
	case err != nil:
		what = "expected a URL such as http://127.0.0.1:9001, found "
	case u.Scheme != "http" && u.Scheme != "https":
		what = "expected a URL that begins with http:// or https://, found "
	case u.Hostname() == "":
		what = "expected a URL with a host, found "
	case u.Fragment != "":
		what = "expected a URL without a fragment (#), found "
	default:
		return true
	}
	return d.fail(n, what+n.found())
}
