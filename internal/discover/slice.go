package discover

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
)

// A slice is the part of an EndpointSlice (discovery.k8s.io/v1) that is of use.
type slice struct {
	Metadata struct {
		Name            string `json:"name"`
		ResourceVersion string `json:"resourceVersion"`
		Labels          struct {
			Service string `json:"kubernetes.io/service-name"`
		} `json:"labels"`
	} `json:"metadata"`
	AddressType string             `json:"addressType"`
	Endpoints   few[sliceEndpoint] `json:"endpoints"`
	Ports       few[slicePort]     `json:"ports"`
}

func (slice) most() int { return maxSlices }

type slicePort struct {
	Name     *string `json:"name"`
	Port     *int    `json:"port"`
	Protocol *string `json:"protocol"`
}

type sliceEndpoint struct {
	Addresses  few[text] `json:"addresses"`
	Conditions struct {
		Ready       *bool `json:"ready"`
		Serving     *bool `json:"serving"`
		Terminating *bool `json:"terminating"`
	} `json:"conditions"`
	Zone  *string `json:"zone"`
	Hints *struct {
		ForZones few[forZone] `json:"forZones"`
	} `json:"hints"`
}

type forZone struct {
	Name string `json:"name"`
}

// What the API allows: see EndpointSlice in its reference.
func (sliceEndpoint) most() int { return 1000 }
func (slicePort) most() int     { return 20_000 }
func (forZone) most() int       { return 8 }

// shed lets go of what is of no use, and could be long.
func (s *slice) shed() {
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		zone := e.zone()
		e.Zone, e.Hints = &zone, nil
		a, err := netip.ParseAddr(e.address())
		if e.Addresses = nil; err == nil && usable(a) {
			e.Addresses = few[text]{text(a.String())}
		}
	}
}

func (e *sliceEndpoint) address() string {
	if len(e.Addresses) == 0 {
		return ""
	}
	return string(e.Addresses[0])
}

// endpoints makes a set of slices: those that are ready, or if none is, those that still
// serve while they end, as kube-proxy has it.
func endpoints(all map[string]slice, port, family string) ([]Endpoint, error) {
	var ready, ending []found
	var failed error
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		if s.AddressType != "IPv4" && s.AddressType != "IPv6" {
			continue // names are out of use there, and nothing says how long they hold
		}
		n, err := s.port(port)
		if err != nil {
			failed = err
			continue
		}
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			switch {
			case e.ready():
				ready = e.add(ready, n)
			case e.serves():
				ending = e.add(ending, n)
			}
		}
	}
	if len(ready) == 0 {
		ready = ending
	}
	if len(ready) == 0 && failed != nil {
		return nil, failed
	}
	return chosen(ready, family), nil
}

// port returns the number of the port that is meant; 0 where the slice does not have it.
func (s *slice) port(want string) (int, error) {
	number, err := strconv.Atoi(want)
	numeric := err == nil
	var fit []int
	for _, p := range s.Ports {
		if p.Port == nil || p.Protocol != nil && *p.Protocol != "TCP" {
			continue
		}
		if want == "" || numeric && *p.Port == number || !numeric && p.Name != nil && *p.Name == want {
			fit = append(fit, *p.Port)
		}
	}
	switch {
	case len(s.Endpoints) == 0:
		return 0, nil
	case len(fit) == 0 && want == "":
		return 0, errors.New("the EndpointSlices of the service name no TCP port")
	case len(fit) == 0:
		return 0, fmt.Errorf("the EndpointSlices of the service have no TCP port %q", want)
	case len(fit) > 1:
		return 0, errors.New("the EndpointSlices of the service have several TCP ports: say which one, by the setting port")
	case fit[0] < 1 || fit[0] > 65535:
		return 0, errNoPort
	}
	return fit[0], nil
}

// ready reports whether the endpoint may be asked. Not known is ready, says the API.
func (e *sliceEndpoint) ready() bool { return e.Conditions.Ready == nil || *e.Conditions.Ready }

// serves reports whether the endpoint, which is about to end, still answers.
func (e *sliceEndpoint) serves() bool {
	c := &e.Conditions
	return c.Terminating != nil && *c.Terminating && c.Serving != nil && *c.Serving
}

// zone is whom the endpoint is meant for, or else where it stands.
func (e *sliceEndpoint) zone() string {
	z := ""
	switch {
	case e.Hints != nil && len(e.Hints.ForZones) > 0:
		z = e.Hints.ForZones[0].Name
	case e.Zone != nil:
		z = *e.Zone
	}
	if !zoneName(z) {
		return ""
	}
	return z
}

// found is an address of a slice.
type found struct {
	addr netip.Addr
	port int
	zone string
}

// add adds the address of e. There is one: the others of the list mean the same endpoint.
func (e *sliceEndpoint) add(to []found, port int) []found {
	a, err := netip.ParseAddr(e.address())
	if err != nil || !usable(a) {
		return to
	}
	return append(to, found{a, port, e.zone()})
}

// chosen makes endpoints of those that are of the family.
func chosen(all []found, family string) []Endpoint {
	var addrs []netip.Addr
	for _, f := range all {
		addrs = append(addrs, f.addr)
	}
	fit := map[netip.Addr]bool{}
	for _, a := range ofFamily(addrs, family) {
		fit[a] = true
	}
	out := make([]Endpoint, 0, len(all))
	for _, f := range all {
		if fit[f.addr] {
			out = append(out, Endpoint{Host: hostPort(f.addr, f.port), Weight: 1, Zone: f.zone})
		}
	}
	return out
}
