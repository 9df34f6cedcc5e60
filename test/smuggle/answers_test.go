package smuggle

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
)

// A scripted agent answers /attack with the bytes of a case, and everything else for
// itself.
type scripted struct {
	*agent
	mu     sync.Mutex
	now    *attack
	on     net.Conn      // where the case was answered
	gone   chan struct{} // closed when that connection is
	reused bool          // another request came on it
}

func newScripted(t *testing.T) *scripted {
	s := &scripted{agent: newSilent(t)}
	s.accept(s.serve)
	return s
}

// begin makes k the case that is answered.
func (s *scripted) begin(k *attack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now, s.on, s.gone, s.reused = k, nil, nil, false
}

func (s *scripted) serve(c net.Conn) {
	defer s.drop(c)
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.on == c {
			close(s.gone)
			s.on = nil
		}
	}()
	r := &reader{r: bufio.NewReader(c), canonical: true}
	for {
		m, err := r.request()
		if d, ok := errors.AsType[dirt](err); ok {
			s.blame(nil, d)
		}
		if err != nil {
			return
		}
		answer, last := s.answer(c, m)
		if _, err := c.Write(answer); err != nil || last {
			return
		}
	}
}

func (s *scripted) answer(c net.Conn, m *message) (answer []byte, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reused = s.reused || s.on == c
	if m.target != "/attack" {
		return echo(m), false
	}
	s.on, s.gone = c, make(chan struct{}) // a GET may come twice
	return s.now.reply, s.now.closes
}

// after says that the exchange with the case is over, and returns when the agent has
// sent what it sends then. An engine that watches its connections must notice.
func (s *scripted) after(t *testing.T, e engine) {
	s.mu.Lock()
	k, c, gone := s.now, s.on, s.gone
	s.mu.Unlock()
	if c != nil && len(k.later) > 0 {
		c.Write(k.later)
	}
	if !e.watches || !k.unused || c == nil {
		return
	}
	select {
	case <-gone:
	case <-time.After(patience):
		t.Error("the connection to the agent stays open, though it cannot be used again")
	}
}

// Whatever an agent answers, the client gets a proper answer, a 502, or a connection
// that is cut, and never a part that looks like the whole; and the next exchange gets
// nothing of what was left.
func TestAnswers(t *testing.T) {
	classes := corpus(t, "answers")
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			s := newScripted(t)
			g := airsidetest.Start(t, e.config(idle), s.address)
			var from addresses
			for _, c := range classes {
				for _, k := range c.cases {
					t.Run(c.name+"/"+k.name, func(t *testing.T) { k.ask(t, e, s, g.Addr, from.next()) })
				}
			}
			for _, stray := range s.strays() {
				t.Error(stray)
			}
		})
	}
}

// ask makes the exchange, and the next ones.
func (k *attack) ask(t *testing.T, e engine, s *scripted, gateway string, from net.IP) {
	s.open(from.String())
	s.begin(k)
	cl, err := dial(t, gateway, from)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.close()
	method := "GET"
	if k.head {
		method = "HEAD"
	}
	fmt.Fprintf(cl.conn, "%s /attack HTTP/1.1\r\nHost: clinic.example\r\n\r\n", method)
	m, err := cl.r.answer(method)
	got := outcomeOf(m, err)
	want := k.replies
	if !e.strict && len(k.stdReply) > 0 {
		want = k.stdReply
	}
	if !slices.ContainsFunc(want, func(w string) bool { return got == w || w == "502" && strings.HasPrefix(got, "502 ") }) {
		t.Errorf("%s: got %s (%v), want %s\nthe agent answered %.600q", k.where, got, err, strings.Join(want, " or "), k.reply)
	}
	for _, name := range k.never {
		if m != nil && len((&message{fields: slices.Concat(m.fields, m.trailer)}).values(strings.ToLower(name))) > 0 {
			t.Errorf("%s: the client got %s: %v %v", k.where, name, m.fields, m.trailer)
		}
	}
	s.after(t, e)
	if err != nil || m.last {
		cl.close()
		if cl, err = dial(t, gateway, from); err != nil {
			t.Fatal(err)
		}
		defer cl.close()
	}
	for range 3 {
		k.next(t, cl)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.unused && s.reused {
		t.Errorf("%s: the connection to the agent was used again", k.where)
	}
}

// next makes an exchange that must get its own answer.
func (k *attack) next(t *testing.T, cl *client) {
	t.Helper()
	if _, err := io.WriteString(cl.conn, nextGet); err != nil {
		t.Fatal(err)
	}
	m, err := cl.r.answer("GET")
	if err != nil {
		t.Fatalf("%s: the next exchange: %v", k.where, err)
	}
	if id := m.value("x-request-id"); m.status != 200 || id == "" || m.value("x-saw") != id || string(m.body) != "saw "+id+"\n" {
		t.Errorf("%s: the next exchange got %v %v, which is not its own answer", k.where, m, m.fields)
	}
}

// outcomeOf says what the client got, in the words of the cases.
func outcomeOf(m *message, err error) string {
	switch {
	case timedOut(err):
		return "nothing"
	case err == nil:
		return fmt.Sprintf("%d %q", m.status, m.body)
	case ended(err) == nil, errors.Is(err, errCut):
		return "cut"
	}
	return "nonsense"
}
