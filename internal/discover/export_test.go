package discover

import (
	"net"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// A NameServer is the DNS server of these tests, for those of the whole gateway.
type NameServer struct{ s *server }

// Serve starts one with the records of a zone.
func Serve(t *testing.T, records ...string) NameServer {
	return NameServer{serve(t, zoneOf(records...))}
}

func (n NameServer) Addr() string { return n.s.addr }

func (n NameServer) Change(records ...string) { n.s.change(zoneOf(records...)) }

// Fail makes all answers failures.
func (n NameServer) Fail() {
	n.s.change(func(_ dnsmessage.Question, m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeServerFailure })
}

// Asked counts the questions so far.
func (n NameServer) Asked() int { return len(n.s.questions()) }

// A Registry stands for Consul; see catalog.
type Registry struct{ *catalog }

// NewRegistry returns one that has no instances. It is served below /base.
func NewRegistry(t *testing.T) Registry { return Registry{newCatalog(t)} }

// List makes the instances at addresses those that pass their checks.
func (r Registry) List(t *testing.T, addresses ...string) {
	t.Helper()
	var all []string
	for _, a := range addresses {
		tcp, err := net.ResolveTCPAddr("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, passing(tcp.IP.String(), tcp.Port))
	}
	r.mu.Lock()
	next := r.index + 1
	r.mu.Unlock()
	r.change(next, all...)
}

// Waiting is told when a question begins to wait for news.
func (r Registry) Waiting() <-chan struct{} { return r.waiting }

// ListenAt listens at an address that was in use a moment ago.
func ListenAt(t *testing.T, address string) net.Listener { return listenAt(t, address) }
