package discover

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A Parse checks the URL of an endpoint and returns it in its one form. Its errors say
// what is wrong as "must begin with http://".
type Parse func(string) (*url.URL, error)

// maxLevel is how deep mappings and lists of a file may stand in each other.
const maxLevel = 16

// parseFile reads a list of endpoints, YAML or JSON, which is YAML. An element is
//
//	http://10.0.0.1:9000/base                            a URL, or
//	10.0.0.1:9000                                        a host with a port,
//	{url: http://10.0.0.1:9000, weight: 2, zone: a}      the same with more, or
//	{targets: ["10.0.0.1:9000"], labels: {zone: a}}      a group, as Prometheus's file_sd has it.
//
// An error names the line, and nothing of the file is used then.
func parseFile(text []byte, f form) (set []Endpoint, err error) {
	defer func() { // whatever happens in the parser, a file is only refused
		if r := recover(); r != nil {
			set, err = nil, errors.New("the file cannot be read as YAML")
		}
	}()
	root, err := parseYAML(text)
	if err != nil {
		return nil, err
	}
	if root.Kind != yaml.SequenceNode {
		return nil, wrong(root, "expected a list of endpoints")
	}
	for _, n := range root.Content {
		if err := f.element(n); err != nil {
			return nil, err
		}
	}
	return f.set, nil
}

func parseYAML(text []byte) (*yaml.Node, error) {
	loader, err := yaml.NewLoader(bytes.NewReader(text), yaml.WithPlugin(levels{}))
	if err != nil {
		return nil, err
	}
	var first, second yaml.Node
	if err := loader.Load(&first); errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty: write [] for no endpoint")
	} else if err != nil {
		return nil, syntax(err)
	}
	if err := loader.Load(&second); err == nil {
		return nil, wrong(&second, "a second document begins here")
	} else if !errors.Is(err, io.EOF) {
		return nil, syntax(err)
	}
	if first.Kind != yaml.DocumentNode || len(first.Content) != 1 {
		return nil, errors.New("the file is empty: write [] for no endpoint")
	}
	return first.Content[0], nil
}

// levels stops the parser before it goes too deep.
type levels struct{}

// CheckDepth refuses a depth beyond the bound.
func (levels) CheckDepth(depth int, _ *yaml.DepthContext) error {
	if depth > maxLevel {
		return errors.New("mappings and lists stand in each other too deep")
	}
	return nil
}

// CheckAlias allows every alias: none is followed, they are refused where they stand.
func (levels) CheckAlias(int, int) error { return nil }

// syntax names the line of an error of the parser.
func syntax(err error) error {
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		return fmt.Errorf("line %d: %s", max(e.Mark.Line, 1), strings.TrimSpace(e.Message+" "+e.ContextMsg))
	}
	return err
}

func wrong(n *yaml.Node, format string, args ...any) error {
	return fmt.Errorf("line %d: %w", n.Line, fmt.Errorf(format, args...))
}

// A form gathers the endpoints of a file.
type form struct {
	scheme string // of hosts
	parse  Parse
	set    []Endpoint
}

func (f *form) element(n *yaml.Node) error {
	switch n.Kind {
	case yaml.ScalarNode:
		return f.add(n, Endpoint{Weight: 1})
	case yaml.MappingNode:
		if slices.ContainsFunc(keys(n), func(k string) bool { return k == "targets" }) {
			return f.group(n)
		}
		return f.single(n)
	}
	return wrong(n, "expected a URL, {url: ...} or {targets: [...]}")
}

func keys(n *yaml.Node) []string {
	var out []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		out = append(out, n.Content[i].Value)
	}
	return out
}

// single reads {url, weight, zone}.
func (f *form) single(n *yaml.Node) error {
	e := Endpoint{Weight: 1}
	var at *yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if v.Kind != yaml.ScalarNode {
			return wrong(v, "%.40q must be a single value", k.Value)
		}
		var err error
		switch k.Value {
		case "url":
			at = v
		case "weight":
			e.Weight, err = weight(v)
		case "zone":
			e.Zone, err = zone(v)
		default:
			err = wrong(k, "unknown key %.40q (url, weight and zone are known)", k.Value)
		}
		if err != nil {
			return err
		}
	}
	if at == nil {
		return wrong(n, "the url is missing")
	}
	return f.add(at, e)
}

// group reads {targets, labels}.
func (f *form) group(n *yaml.Node) error {
	e := Endpoint{Weight: 1}
	var targets *yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch k.Value {
		case "targets":
			if targets = v; v.Kind != yaml.SequenceNode {
				return wrong(v, "targets must be a list")
			}
		case "labels":
			if err := labels(v, &e); err != nil {
				return err
			}
		default:
			return wrong(k, "unknown key %.40q (targets and labels are known)", k.Value)
		}
	}
	for _, t := range targets.Content {
		if t.Kind != yaml.ScalarNode {
			return wrong(t, "a target must be a host with a port")
		}
		if err := f.add(t, e); err != nil {
			return err
		}
	}
	return nil
}

// labels takes weight and zone from the labels of a group. The others are for others.
func labels(n *yaml.Node, e *Endpoint) error {
	if n.Kind != yaml.MappingNode {
		return wrong(n, "labels must be a mapping")
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if v.Kind != yaml.ScalarNode {
			return wrong(v, "the label %.40q must be a single value", k.Value)
		}
		var err error
		switch k.Value {
		case "__weight__", "weight":
			e.Weight, err = weight(v)
		case "__zone__", "zone":
			e.Zone, err = zone(v)
		case "__scheme__":
			err = wrong(k, "the label __scheme__ is not heeded here: write the scheme in the url of the upstream")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// add adds e at the address in n.
func (f *form) add(n *yaml.Node, e Endpoint) error {
	text := n.Value
	whole := strings.Contains(text, "://")
	if !whole {
		if _, port, err := net.SplitHostPort(text); err != nil || port == "" {
			return wrong(n, "expected a URL, or a host with a port")
		}
		text = f.scheme + "://" + text
	}
	u, err := f.parse(text)
	if err != nil {
		return wrong(n, "the address %w", err)
	}
	e.Host = u.Host
	switch {
	case whole:
		e.Scheme, e.Path = u.Scheme, u.EscapedPath()
	case u.Path != "":
		return wrong(n, "expected a URL, or a host with a port")
	}
	if len(f.set) == MaxEndpoints {
		return wrong(n, "a list holds at most %d endpoints", MaxEndpoints)
	}
	f.set = append(f.set, e)
	return nil
}

func weight(n *yaml.Node) (int, error) {
	w, err := strconv.Atoi(n.Value)
	if err != nil || w < 1 || w > MaxWeight {
		return 0, wrong(n, "the weight must be 1 to %d", MaxWeight)
	}
	return w, nil
}

// maxZone bounds the name of a zone: it stands in logs and metrics.
const maxZone = 63

func zone(n *yaml.Node) (string, error) {
	if !zoneName(n.Value) {
		return "", wrong(n, "a zone has up to %d letters, digits, dots, hyphens and underscores", maxZone)
	}
	return n.Value, nil
}

func zoneName(s string) bool {
	return len(s) <= maxZone && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	})
}
