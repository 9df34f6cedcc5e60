package discover

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

// asking is a resolver that asks s, by a resolv.conf of the test's own.
func asking(t *testing.T, s *server, conf, hosts string) resolver {
	t.Helper()
	dir := t.TempDir()
	r := resolver{servers: []string{s.addr}, conf: filepath.Join(dir, "resolv.conf"), hosts: filepath.Join(dir, "hosts")}
	if hosts != "" {
		r.servers = nil // hosts are looked at where no servers are named
	}
	for path, text := range map[string]string{r.conf: conf, r.hosts: hosts} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func addrs(all []netip.Addr) []string {
	var out []string
	for _, a := range all {
		out = append(out, a.String())
	}
	return out
}

// TestAddresses is the table of names, what a server answers, and what comes of it.
func TestAddresses(t *testing.T) {
	many := []string{}
	for i := range 120 {
		many = append(many, fmt.Sprintf("many.example. A 9 10.0.1.%d", i+1))
	}
	both := []string{"agent.example. A 60 10.0.0.1", "agent.example. AAAA 30 fd00::1"}
	tests := []struct {
		name, ask, conf, family string
		records                 []string
		want                    []string
		ttl                     time.Duration
		asked                   []string
	}{
		{"A", "agent.example", "", "", both, []string{"10.0.0.1"}, 60 * time.Second, []string{"udp A agent.example."}},
		{"AAAA only", "six.example", "", "", []string{"six.example. AAAA 30 fd00::1"}, []string{"fd00::1"}, 30 * time.Second, []string{"udp A six.example.", "udp AAAA six.example."}},
		{"both", "agent.example", "", FamilyBoth, both, []string{"10.0.0.1", "fd00::1"}, 30 * time.Second, []string{"udp A agent.example.", "udp AAAA agent.example."}},
		{"IPv6", "agent.example", "", FamilyIPv6, both, []string{"fd00::1"}, 30 * time.Second, []string{"udp AAAA agent.example."}},
		{"least TTL", "agent.example", "", "", []string{"agent.example. A 60 10.0.0.1", "agent.example. A 7 10.0.0.2"}, []string{"10.0.0.1", "10.0.0.2"}, 7 * time.Second, []string{"udp A agent.example."}},
		{"alias", "www.example", "", "", []string{"www.example. CNAME 5 a.example.", "a.example. CNAME 60 b.example.", "b.example. A 60 10.0.0.9"}, []string{"10.0.0.9"}, 5 * time.Second, []string{"udp A www.example."}},
		{"upper case", "AGENT.Example", "", "", both, []string{"10.0.0.1"}, 60 * time.Second, []string{"udp A AGENT.Example."}},
		{"search", "agent", "search nowhere.example example", "", both, []string{"10.0.0.1"}, 60 * time.Second, []string{"udp A agent.nowhere.example.", "udp A agent.example."}},
		{"ndots", "agent.svc", "search example\noptions ndots:2", "", []string{"agent.svc.example. A 60 10.0.0.3"}, []string{"10.0.0.3"}, 60 * time.Second, []string{"udp A agent.svc.example."}},
		{"full", "agent.example.", "search example", "", both, []string{"10.0.0.1"}, 60 * time.Second, []string{"udp A agent.example."}},
		{"over TCP", "many.example", "", "", many, nil, 9 * time.Second, []string{"udp A many.example.", "tcp A many.example."}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, zoneOf(tt.records...))
			r := asking(t, s, tt.conf, "")
			got, ttl, err := r.addresses(t.Context(), tt.ask, tt.family)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == nil && len(got) != len(tt.records) {
				t.Errorf("got %d addresses, want %d", len(got), len(tt.records))
			}
			if diff := cmp.Diff(tt.want, addrs(got)); tt.want != nil && diff != "" {
				t.Error(diff)
			}
			if ttl != tt.ttl {
				t.Errorf("got a TTL of %s, want %s", ttl, tt.ttl)
			}
			if diff := cmp.Diff(tt.asked, s.questions()); diff != "" {
				t.Error(diff)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.edns != len(s.asked) {
				t.Errorf("%d of %d questions had EDNS", s.edns, len(s.asked))
			}
		})
	}
}

// TestDenials proves which answers say that there is nothing, for how long, and which only
// that something is wrong.
func TestDenials(t *testing.T) {
	code := func(c dnsmessage.RCode) reply {
		return func(_ dnsmessage.Question, m *dnsmessage.Message) { m.RCode = c }
	}
	tests := []struct {
		name  string
		reply reply
		want  time.Duration // of the denial; 0: it is none
	}{
		{"no such name", zoneOf("example. SOA 3600 4"), 4 * time.Second},
		{"TTL of the SOA", zoneOf("example. SOA 3 3600"), 3 * time.Second},
		{"no address", zoneOf("agent.example. SRV 60 0 0 1 a.", "example. SOA 3600 6"), 6 * time.Second},
		{"nothing", code(dnsmessage.RCodeSuccess), denialTTL},
		{"alias to nothing", zoneOf("agent.example. CNAME 60 gone.example."), denialTTL},
		{"broken server", code(dnsmessage.RCodeServerFailure), 0},
		{"refused", code(dnsmessage.RCodeRefused), 0},
		{"cut, over TCP too", func(_ dnsmessage.Question, m *dnsmessage.Message) { m.Truncated = true }, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := asking(t, serve(t, tt.reply), "options attempts:1", "")
			_, _, err := r.addresses(t.Context(), "agent.example", FamilyIPv4)
			d, denied := errors.AsType[*denial](err)
			switch {
			case err == nil:
				t.Fatal("it was found")
			case denied != (tt.want > 0):
				t.Fatalf("got %v", err)
			case denied && d.ttl != tt.want:
				t.Errorf("denied for %s, want %s", d.ttl, tt.want)
			}
		})
	}
}

// TestOldServer proves that a server that knows no EDNS is asked without.
func TestOldServer(t *testing.T) {
	s := serve(t, nil)
	zone := zoneOf("agent.example. A 60 10.0.0.1")
	s.change(func(q dnsmessage.Question, m *dnsmessage.Message) {
		if s.edns == len(s.asked) { // all so far
			m.RCode = dnsmessage.RCodeFormatError
			return
		}
		zone(q, m)
	})
	r := asking(t, s, "", "")
	got, _, err := r.addresses(t.Context(), "agent.example", "")
	if err != nil || !slices.Equal(addrs(got), []string{"10.0.0.1"}) {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestForgery proves that answers to other questions, or under another id, are passed
// over, and the real one still heard.
func TestForgery(t *testing.T) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("agent.example."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	good := func() dnsmessage.Message {
		m := dnsmessage.Message{ID: 7, Response: true, Questions: []dnsmessage.Question{q}}
		zoneOf("agent.example. A 60 10.6.6.6", "other.example. A 60 10.6.6.7")(q, &m)
		return m
	}
	for _, tt := range []struct {
		name   string
		change func(*dnsmessage.Message)
		ours   bool
	}{
		{"real", func(*dnsmessage.Message) {}, true},
		{"id", func(m *dnsmessage.Message) { m.ID = 8 }, false},
		{"question itself", func(m *dnsmessage.Message) { m.Response = false }, false},
		{"name", func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("other.example.") }, false},
		{"type", func(m *dnsmessage.Message) { m.Questions[0].Type = dnsmessage.TypeAAAA }, false},
		{"class", func(m *dnsmessage.Message) { m.Questions[0].Class = dnsmessage.ClassCHAOS }, false},
		{"no question", func(m *dnsmessage.Message) { m.Questions = nil }, false},
		{"two questions", func(m *dnsmessage.Message) { m.Questions = append(m.Questions, q) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := good()
			tt.change(&m)
			b, err := m.Pack()
			if err != nil {
				t.Fatal(err)
			}
			a, err := parseAnswer(b, 7, q)
			if ours := err == nil && len(a.addrs) == 1; ours != tt.ours {
				t.Errorf("got %v, %v", a, err)
			}
		})
	}
	m := good()
	_, other := parseRecord("other.example. A 60 10.6.6.8") // of another name
	m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("other.example."), Class: dnsmessage.ClassINET}, Body: other})
	b, _ := m.Pack()
	if a, err := parseAnswer(b, 7, q); err != nil || !slices.Equal(addrs(a.addrs), []string{"10.6.6.6"}) {
		t.Errorf("records of another name were taken: %v, %v", a.addrs, err)
	}
}

// TestServers proves that a server that is silent or broken is passed over.
func TestServers(t *testing.T) {
	broken := serve(t, func(_ dnsmessage.Question, m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeServerFailure })
	well := serve(t, zoneOf("agent.example. A 60 10.0.0.1"))
	r := asking(t, well, "", "")
	r.servers = []string{broken.addr, well.addr}
	got, _, err := r.addresses(t.Context(), "agent.example", "")
	if err != nil || len(got) != 1 {
		t.Errorf("got %v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := r.addresses(ctx, "agent.example", ""); err == nil {
		t.Error("a lookup that was called off found something")
	}
}

// TestHosts proves that names of the file of hosts, and localhost, are found without DNS.
func TestHosts(t *testing.T) {
	s := serve(t, zoneOf())
	r := asking(t, s, "nameserver 127.0.0.9", "10.0.0.5 Agent.internal agent # a comment\n10.0.0.6 agent\nfd00::2 agent\nbad agent\n")
	for _, tt := range []struct{ name, family, want string }{
		{"agent", "", "10.0.0.5 10.0.0.6"},
		{"AGENT.internal.", "", "10.0.0.5"},
		{"agent", FamilyIPv6, "fd00::2"},
		{"localhost", "", "127.0.0.1"},
		{"10.1.2.3", "", "10.1.2.3"},
	} {
		got, ttl, err := r.addresses(t.Context(), tt.name, tt.family)
		if err != nil || strings.Join(addrs(got), " ") != tt.want || ttl <= 0 {
			t.Errorf("%s: got %v for %s, %v; want %s", tt.name, got, ttl, err, tt.want)
		}
	}
	if asked := s.questions(); len(asked) > 0 {
		t.Errorf("DNS was asked: %q", asked)
	}
}

// TestResolvConf proves what is read of resolv.conf(5).
func TestResolvConf(t *testing.T) {
	text := `# a comment
nameserver 10.0.0.1 ; first
nameserver fd00::53
nameserver nonsense
nameserver 10.0.0.2
nameserver 10.0.0.3
domain one.example
search two.example. three.example
options ndots:40 timeout:0 attempts:9 rotate edns0
`
	got, err := parseResolvConf(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want := resolvConf{
		servers: []string{"10.0.0.1:53", "[fd00::53]:53", "10.0.0.2:53"}, search: []string{"two.example", "three.example"},
		ndots: maxNdots, timeout: time.Second, attempts: maxAttempts, rotate: true,
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(resolvConf{})); diff != "" {
		t.Error(diff)
	}
	none, err := readResolvConf(filepath.Join(t.TempDir(), "none"))
	if err != nil || !slices.Equal(none.servers, []string{"127.0.0.1:53", "[::1]:53"}) {
		t.Errorf("without a file: %v, %v", none.servers, err)
	}
}

// TestDNS proves that a name is followed: what is new after the TTL, what stays in force
// while DNS fails or denies, and what does not if that is asked for.
func TestDNS(t *testing.T) {
	one, two := zoneOf("agent.example. A 0 10.0.0.1"), zoneOf("agent.example. A 0 10.0.0.1", "agent.example. A 0 10.0.0.2")
	none := zoneOf("example. SOA 0 0")
	n := Names{Least: 10 * time.Millisecond, Most: time.Second}
	t.Run("kept", func(t *testing.T) {
		s := serve(t, one)
		n := n
		n.Keep, n.Servers = true, []string{s.addr}
		sink := newTold()
		done := running(t, DNS("agent.example", 9000, n), sink)
		sink.until(t, "10.0.0.1:9000")
		s.change(two)
		sink.until(t, "10.0.0.1:9000", "10.0.0.2:9000")
		s.change(none)
		if got, want := sink.failure(t), `DNS knows nothing of this kind at "agent.example"`; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		for asked := len(s.questions()); len(s.questions()) < asked+5; { // it goes on asking
			if !wait(t.Context(), time.Millisecond) {
				t.Fatal("it does not ask any more")
			}
		}
		for len(sink.sets) > 0 {
			if got := sink.next(t); len(got) == 0 {
				t.Error("the set was emptied")
			}
		}
		if n := len(sink.failed); n > 0 {
			t.Errorf("the same was told %d more times", n)
		}
		s.change(one)
		sink.until(t, "10.0.0.1:9000")
		s.change(func(_ dnsmessage.Question, m *dnsmessage.Message) { m.RCode = dnsmessage.RCodeServerFailure })
		if err := <-done; err == nil || !strings.Contains(err.Error(), "looking up agent.example.") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("not kept", func(t *testing.T) {
		s := serve(t, one)
		n := n
		n.Servers = []string{s.addr}
		sink := newTold()
		running(t, DNS("agent.example", 9000, n), sink)
		sink.until(t, "10.0.0.1:9000")
		s.change(none)
		sink.until(t)
	})
}

// TestSRV is the table of SRV records and what they lead to.
func TestSRV(t *testing.T) {
	const name = "_http._tcp.agent.example"
	hosts := []string{"a.example. A 60 10.0.0.1", "b.example. A 60 10.0.0.2", "b.example. A 60 10.0.0.3", "c.example. A 60 10.0.0.4"}
	tests := []struct {
		name    string
		records []string
		want    []string
		ttl     time.Duration
	}{
		{"weights", []string{name + ". SRV 60 0 3 81 a.example.", name + ". SRV 60 0 1 82 c.example."}, []string{"10.0.0.1:81 *3", "10.0.0.4:82"}, time.Minute},
		{"no weight", []string{name + ". SRV 60 0 0 81 a.example.", name + ". SRV 60 0 0 82 c.example."}, []string{"10.0.0.1:81", "10.0.0.4:82"}, time.Minute},
		{"shared", []string{name + ". SRV 60 0 4 81 a.example.", name + ". SRV 60 0 4 82 b.example."}, []string{"10.0.0.1:81 *4", "10.0.0.2:82 *2", "10.0.0.3:82 *2"}, time.Minute},
		{"large", []string{name + ". SRV 60 0 60000 81 a.example.", name + ". SRV 60 0 1 82 c.example."}, []string{"10.0.0.1:81 *many", "10.0.0.4:82"}, time.Minute},
		{"priorities", []string{name + ". SRV 60 20 1 81 a.example.", name + ". SRV 60 10 1 82 c.example."}, []string{"10.0.0.4:82"}, time.Minute},
		{"first has no address", []string{name + ". SRV 60 20 1 81 a.example.", name + ". SRV 60 10 1 82 gone.example."}, []string{"10.0.0.1:81"}, 2 * time.Second},
		{"port 0", []string{name + ". SRV 60 0 1 0 a.example.", name + ". SRV 60 0 1 82 c.example."}, []string{"10.0.0.4:82"}, time.Minute},
		{"decidedly not there", []string{name + ". SRV 60 0 0 0 ."}, nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, zoneOf(append(tt.records, hosts...)...))
			r := SRV(name, Names{Servers: []string{s.addr}}).(*srv)
			set, ttl, err := r.look(t.Context())
			_, denied := errors.AsType[*denial](err)
			if err != nil && (tt.want != nil || !denied) {
				t.Fatal(err)
			}
			got, _ := ordered(set)
			if diff := cmp.Diff(tt.want, shown(got)); len(tt.want)+len(got) > 0 && diff != "" {
				t.Error(diff)
			}
			if want := min(time.Minute, tt.ttl); err == nil && ttl != want {
				t.Errorf("got a TTL of %s, want %s", ttl, want)
			}
		})
	}
	t.Run("addresses that came along", func(t *testing.T) {
		zone := zoneOf(name + ". SRV 60 0 1 81 a.example.")
		s := serve(t, func(q dnsmessage.Question, m *dnsmessage.Message) {
			zone(q, m)
			h, body := parseRecord("a.example. A 5 10.0.0.8")
			m.Additionals = append(m.Additionals, dnsmessage.Resource{Header: h, Body: body})
		})
		set, ttl, err := SRV(name, Names{Servers: []string{s.addr}}).(*srv).look(t.Context())
		if err != nil || !slices.Equal(shown(set), []string{"10.0.0.8:81"}) || ttl != 5*time.Second {
			t.Errorf("got %v for %s, %v", set, ttl, err)
		}
		if asked := s.questions(); len(asked) != 1 {
			t.Errorf("asked %q", asked)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("agent.example."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	for _, zone := range []reply{
		zoneOf("agent.example. A 60 10.0.0.1"), zoneOf("agent.example. CNAME 60 agent.example."),
		zoneOf("agent.example. CNAME 60 b.example.", "b.example. A 1 10.0.0.2"), zoneOf(),
	} {
		m := dnsmessage.Message{ID: 1, Response: true, Questions: []dnsmessage.Question{q}}
		zone(q, &m)
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, typ := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeSRV} {
			q.Type = typ
			a, err := parseAnswer(b, 1, q)
			if err != nil {
				continue
			}
			if a.ttl < 0 || a.ttl > (1<<31)*time.Second {
				t.Errorf("a TTL of %s", a.ttl)
			}
			for _, addr := range a.addrs {
				if !usable(addr) || addr.Is4() != (typ == dnsmessage.TypeA) {
					t.Errorf("the address %s for %v", addr, typ)
				}
			}
			if !a.empty() && a.code != dnsmessage.RCodeSuccess && a.code != dnsmessage.RCodeNameError {
				t.Errorf("records beside %v", a.code)
			}
		}
	})
}
