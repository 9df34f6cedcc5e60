package smuggle

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
)

// A replier answers /attack/N with reply N, and everything else for itself.
type replier struct {
	*agent
	replies []reply
}

// A reply is what the agent says, and what that means.
type reply struct {
	bytes  []byte
	means  *message
	wrong  error // why it means nothing
	closes bool  // the agent closes the connection after it
}

func newReply(b []byte) reply {
	m, err := (&reader{r: bufio.NewReader(bytes.NewReader(b)), agents: true}).answer("GET")
	r := reply{bytes: b, means: m, wrong: err}
	r.closes = err != nil || m.last
	return r
}

func (a *replier) serve(c net.Conn) {
	defer a.drop(c)
	r := &reader{r: bufio.NewReader(c), canonical: true}
	for {
		m, err := r.request()
		if err != nil {
			return
		}
		number, ok := strings.CutPrefix(m.target, "/attack/")
		if !ok {
			c.Write(echo(m))
			continue
		}
		n, err := strconv.Atoi(number)
		if err != nil || n >= len(a.replies) {
			return
		}
		c.Write(a.replies[n].bytes)
		if a.replies[n].closes {
			return
		}
	}
}

// However the answer of an agent is mutated, the client gets what it means, a 502 or a
// cut, and the next exchange its own answer. net/http looks
// for what an agent has sent too much only when the connection is free already, so under
// load the next exchange may be faster: it keeps no connections here, and [TestAnswers]
// lets it look.
func TestReplyMutations(t *testing.T) {
	var base [][]byte
	for _, c := range corpus(t, "answers") {
		for _, k := range c.cases {
			if 0 < len(k.reply) && len(k.reply) < 2000 {
				base = append(base, k.reply)
			}
		}
	}
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			start := time.Now()
			size := min(max(1, *mutations/4), 100_000) // one gateway, whose log is kept
			a := &replier{agent: newSilent(t)}
			for n := range size {
				a.replies = append(a.replies, newReply(mutant(*seed, uint64(*first+n), base)))
			}
			a.accept(a.serve)
			kept := idle
			if e.watches {
				kept = 0
			}
			g := airsidetest.Start(t, e.config(kept), a.address)
			var next atomic.Int64
			var wg sync.WaitGroup
			var whole, faults atomic.Int64
			for w := range 16 {
				wg.Go(func() {
					c := &asker{t: t, gateway: g.Addr, from: net.IPv4(127, 3, 0, byte(w)+1)}
					defer c.leave()
					for n := int(next.Add(1)) - 1; n < size; n = int(next.Add(1)) - 1 {
						got, f := c.try(e, n, &a.replies[n])
						if got {
							whole.Add(1)
						}
						if f != "" && faults.Add(1) <= 20 {
							t.Errorf("-seed %d -first %d -mutations 1: %s\nthe agent answered %.1000q, which means %v, %v", *seed, *first+n, f, a.replies[n].bytes, a.replies[n].means, a.replies[n].wrong)
						}
					}
				})
			}
			wg.Wait()
			t.Logf("seed %d, %d mutations, %d answers passed, %d faults, %.0f/s", *seed, size, whole.Load(), faults.Load(), float64(size)/time.Since(start).Seconds())
			if whole.Load() < int64(size/20) {
				t.Error("the mutations prove little")
			}
		})
	}
}

// An asker is a client who connects again when its connection has gone.
type asker struct {
	t       *testing.T
	gateway string
	from    net.IP
	cl      *client
}

func (c *asker) leave() {
	if c.cl != nil {
		c.cl.close()
		c.cl = nil
	}
}

func (c *asker) get(path string) (*message, error) {
	if c.cl == nil {
		cl, err := dial(c.t, c.gateway, c.from)
		if err != nil {
			return nil, err
		}
		c.cl = cl
	}
	c.cl.conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c.cl.conn, "GET "+path+" HTTP/1.1\r\nHost: clinic.example\r\n\r\n"); err != nil {
		c.leave()
		return nil, err
	}
	m, err := c.cl.r.answer("GET")
	if err != nil || m.last {
		c.leave()
	}
	return m, err
}

// try asks for reply n and then for something else. It reports whether the reply was
// passed on, and what went wrong.
func (c *asker) try(e engine, n int, r *reply) (passed bool, fault string) {
	m, err := c.get("/attack/" + strconv.Itoa(n))
	got := outcomeOf(m, err)
	switch {
	case got == "nothing" || got == "nonsense":
		return false, "the client got " + got
	case err != nil || m.status == 502:
	case r.wrong != nil && e.strict:
		return true, fmt.Sprintf("the client got %s for what means nothing", got)
	case r.wrong == nil && (m.status != r.means.status || !bytes.Equal(m.body, r.means.body)):
		return true, "the client got " + got
	default:
		passed = true
	}
	m, err = c.get("/next")
	if err != nil {
		return passed, fmt.Sprintf("the next exchange: %v", err)
	}
	if id := m.value("x-request-id"); m.status != 200 || id == "" || m.value("x-saw") != id || string(m.body) != "saw "+id+"\n" {
		return passed, fmt.Sprintf("the next exchange got %v %v", m, m.fields)
	}
	return passed, ""
}
