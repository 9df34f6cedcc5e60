package discover

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// found is a sink of which a test waits for what it is told.
type told struct {
	sets   chan []Endpoint
	failed chan error
}

func newTold() *told {
	return &told{sets: make(chan []Endpoint, 1024), failed: make(chan error, 1024)}
}

func (s *told) Set(set []Endpoint) {
	set, _ = ordered(set)
	s.sets <- set
}

func (s *told) Failed(err error) { s.failed <- err }

// next waits for the next set.
func (s *told) next(t *testing.T) []string {
	t.Helper()
	select {
	case set := <-s.sets:
		return shown(set)
	case <-time.After(20 * time.Second):
		t.Fatal("no set was told")
		return nil
	}
}

// until waits for a set that is want.
func (s *told) until(t *testing.T, want ...string) {
	t.Helper()
	for {
		if got := s.next(t); slices.Equal(got, want) {
			return
		}
	}
}

// failure waits for the next failure.
func (s *told) failure(t *testing.T) string {
	t.Helper()
	select {
	case err := <-s.failed:
		return err.Error()
	case <-time.After(20 * time.Second):
		t.Fatal("no failure was told")
		return ""
	}
}

func shown(set []Endpoint) []string {
	out := make([]string, 0, len(set))
	for _, e := range set {
		s := e.Host
		if e.Scheme != "" {
			s = e.Scheme + "://" + e.Host + e.Path
		}
		if e.Weight != 1 {
			s += " *" + string(rune('0'+e.Weight%10))
			if e.Weight > 9 {
				s = s[:len(s)-1] + "many"
			}
		}
		if e.Zone != "" {
			s += " in " + e.Zone
		}
		out = append(out, s)
	}
	return out
}

// running runs s until the test ends, and returns the channel of its error.
func running(t *testing.T, s Source, sink Sink) <-chan error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { done <- s.Run(ctx, sink) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return done
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// logged is a log that a test reads.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

// listenAt listens at an address that was in use a moment ago.
func listenAt(t *testing.T, address string) net.Listener {
	t.Helper()
	for {
		l, err := net.Listen("tcp", address)
		if err == nil {
			return l
		}
		if !wait(t.Context(), 10*time.Millisecond) {
			t.Fatal(err)
		}
	}
}

func parseURL(s string) (*url.URL, error) { return url.Parse(s) }

// A server is a DNS server on this machine: UDP and TCP on one port. It answers as its
// function says.
type server struct {
	addr string
	mu   sync.Mutex
	reply
	asked  []string // network, type and name of every question
	edns   int      // questions with an OPT record
	strays int      // messages over UDP with wrong ids before each answer
}

type reply func(q dnsmessage.Question, m *dnsmessage.Message)

func serve(t *testing.T, f reply) *server {
	t.Helper()
	s := &server{reply: f}
	var pc net.PacketConn
	var l net.Listener
	for range 50 { // a port that is free for both
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if pc, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
			break
		}
		l.Close()
	}
	s.addr = l.Addr().String()
	var wg sync.WaitGroup
	wg.Go(func() { s.udp(pc) })
	wg.Go(func() { s.tcp(l) })
	t.Cleanup(func() { pc.Close(); l.Close(); wg.Wait() })
	return s
}

func (s *server) change(f reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reply = f
}

func (s *server) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *server) udp(pc net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		if out := s.answer("udp", buf[:n]); out != nil {
			for range s.strays {
				pc.WriteTo(append([]byte{^out[0], out[1]}, out[2:]...), from)
			}
			pc.WriteTo(out, from)
		}
	}
}

func (s *server) tcp(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err == nil {
			buf := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(c, buf); err == nil {
				out := s.answer("tcp", buf)
				c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
			}
		}
		c.Close()
	}
}

// answer makes the answer to a message; what is no good question gets none. Over UDP what
// is longer than the client takes is truncated, as RFC 6891 has it.
func (s *server) answer(network string, in []byte) []byte {
	var q dnsmessage.Message
	if err := q.Unpack(in); err != nil || len(q.Questions) != 1 || q.Response || !q.RecursionDesired {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	room := 512
	for _, r := range q.Additionals {
		if r.Header.Type == dnsmessage.TypeOPT {
			s.edns++
			room = int(r.Header.Class)
		}
	}
	s.asked = append(s.asked, network+" "+strings.TrimPrefix(q.Questions[0].Type.String(), "Type")+" "+q.Questions[0].Name.String())
	m := dnsmessage.Message{
		ID: q.ID, Response: true, RecursionDesired: true, RecursionAvailable: true,
		Questions: q.Questions,
	}
	s.reply(q.Questions[0], &m)
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	if network == "udp" && len(out) > room {
		m.Truncated, m.Answers, m.Authorities, m.Additionals = true, nil, nil, nil
		out, _ = m.Pack()
	}
	return out
}

// A zone answers from records: "name type ttl data".
func zoneOf(records ...string) reply {
	return func(q dnsmessage.Question, m *dnsmessage.Message) {
		name, there := strings.ToLower(q.Name.String()), false
		for again := 8; again > 0; {
			again--
			from := len(m.Answers)
			for _, r := range records {
				h, body := parseRecord(r)
				if strings.ToLower(h.Name.String()) != name {
					continue
				}
				there = true
				if h.Type != q.Type && h.Type != dnsmessage.TypeCNAME {
					continue
				}
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: body})
				if c, ok := body.(*dnsmessage.CNAMEResource); ok {
					name = strings.ToLower(c.CNAME.String())
					break
				}
			}
			if len(m.Answers) == from || m.Answers[from].Header.Type != dnsmessage.TypeCNAME {
				break
			}
		}
		if len(m.Answers) > 0 {
			return
		}
		if !there {
			m.RCode = dnsmessage.RCodeNameError
		}
		soa := "example. SOA 3600 2"
		for _, r := range records {
			if strings.Contains(r, " SOA ") {
				soa = r
			}
		}
		h, body := parseRecord(soa)
		m.Authorities = append(m.Authorities, dnsmessage.Resource{Header: h, Body: body})
	}
}

func parseRecord(text string) (dnsmessage.ResourceHeader, dnsmessage.ResourceBody) {
	w := strings.Fields(text)
	number := func(s string) (n uint32) {
		for _, c := range s {
			n = n*10 + uint32(c-'0')
		}
		return n
	}
	h := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(w[0]), Class: dnsmessage.ClassINET, TTL: number(w[2])}
	switch w[1] {
	case "A":
		h.Type = dnsmessage.TypeA
		return h, &dnsmessage.AResource{A: netip.MustParseAddr(w[3]).As4()}
	case "AAAA":
		h.Type = dnsmessage.TypeAAAA
		return h, &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(w[3]).As16()}
	case "CNAME":
		h.Type = dnsmessage.TypeCNAME
		return h, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(w[3])}
	case "SRV":
		h.Type = dnsmessage.TypeSRV
		return h, &dnsmessage.SRVResource{
			Priority: uint16(number(w[3])), Weight: uint16(number(w[4])), Port: uint16(number(w[5])), Target: dnsmessage.MustNewName(w[6]),
		}
	}
	h.Type = dnsmessage.TypeSOA
	return h, &dnsmessage.SOAResource{NS: dnsmessage.MustNewName("ns."), MBox: dnsmessage.MustNewName("m."), MinTTL: number(w[3])}
}
