package edge

import (
	"slices"
	"strings"
)

// Connections is how many an address has, but for those of HTTP/3.
type Connections struct {
	Address string // as configured
	Open    int64
	Refused uint64 // closed at once, since there were too many; since the address was opened
}

// Connections counts those of the open addresses, by address.
func (s *Server) Connections() []Connections {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Connections, 0, len(s.sockets))
	for a, k := range s.sockets {
		out = append(out, Connections{Address: a, Open: k.open.Load(), Refused: k.refused.Load()})
	}
	slices.SortFunc(out, func(a, b Connections) int { return strings.Compare(a.Address, b.Address) })
	return out
}
