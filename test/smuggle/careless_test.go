package smuggle

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A careless gateway passes on what it does not understand: it ends lines at LF, takes
// the first Content-Length for the length whatever it is, knows no Transfer-Encoding,
// and refuses nothing.
type careless struct {
	ln net.Listener
	to string
	wg sync.WaitGroup
}

func newCareless(t *testing.T, agent string) *careless {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &careless{ln: ln, to: strings.TrimPrefix(agent, "http://")}
	g.wg.Go(func() {
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			g.wg.Go(func() { g.serve(c, n) })
		}
	})
	t.Cleanup(func() { ln.Close(); g.wg.Wait() })
	return g
}

func (g *careless) serve(c net.Conn, n int) {
	defer c.Close()
	up, err := net.Dial("tcp", g.to)
	if err != nil {
		return
	}
	defer up.Close()
	up.SetDeadline(time.Now().Add(time.Second)) // it has nothing to say to a request that does not end
	from, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	in, out := bufio.NewReader(c), bufio.NewReader(up)
	for i := 0; ; i++ {
		id := fmt.Sprintf("%d-%d", n, i)
		if !pass(up, in, "X-Forwarded-For: "+from+"\r\nX-Request-Id: "+id+"\r\n") || !pass(c, out, "X-Request-Id: "+id+"\r\n") {
			return
		}
	}
}

// pass passes one message on, with lines put in after its first.
func pass(to io.Writer, from *bufio.Reader, more string) bool {
	length := 0
	for i := 0; ; i++ {
		line, err := from.ReadString('\n')
		if err != nil {
			return false
		}
		if name, value, ok := strings.Cut(line, ":"); ok && strings.EqualFold(name, "content-length") && length == 0 {
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		}
		if i == 0 {
			line += more
		}
		if _, err := io.WriteString(to, line); err != nil {
			return false
		}
		if i > 0 && strings.Trim(line, "\r\n") == "" {
			break
		}
	}
	_, err := io.CopyN(to, from, int64(max(length, 0)))
	return err == nil
}

// The cases and the mutations find what a careless gateway does: a proof that they can
// fail.
func TestCarelessGatewayIsFound(t *testing.T) {
	a := newAgent(t)
	g := newCareless(t, a.address)
	strict := engine{strict: true}
	var attacks []*attack
	var trials []*trial
	var from addresses
	var wg sync.WaitGroup
	room := make(chan struct{}, atOnce)
	send := func(b []byte) {
		ip, r := from.next(), &trial{}
		trials = append(trials, r)
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			*r = try(t, strict, b, g.ln.Addr().String(), a, ip)
			r.page = a.read(ip.String())
		})
	}
	for _, c := range corpus(t, "requests") {
		for _, k := range c.cases {
			if k.want[0].method == "" && len(k.send) < 2000 { // the others would pass
				attacks = append(attacks, k)
				send(k.send)
			}
		}
	}
	base := seeds(t)
	for n := range uint64(1000) {
		send(mutant(1, n, base))
	}
	wg.Wait()
	found := 0
	for i, k := range attacks {
		if len(k.faults(strict, &trials[i].result)) > 0 {
			found++
		}
	}
	dirt, desync := 0, 0
	for _, r := range trials[len(attacks):] {
		f := strings.Join(r.faults(strict), " ")
		if len(r.dirty) > 0 {
			dirt++
		}
		if strings.Contains(f, "desync") {
			desync++
		}
	}
	t.Logf("%d of %d cases found something; of 1000 mutations %d were passed on dirty, %d desynchronised", found, len(attacks), dirt, desync)
	if found < len(attacks)*9/10 || dirt < 100 || desync < 5 {
		t.Error("that is too few")
	}
}

// The strict reader refuses each line of a request that has more than one reading, and
// takes what has one.
func TestReader(t *testing.T) {
	for _, c := range corpus(t, "requests") {
		for _, k := range c.cases {
			asked, stop := meaning(k.send)
			refused := stop != nil && stop != io.EOF
			for _, m := range asked {
				refused = refused || m.refused != ""
			}
			good := strings.HasPrefix(c.name, "good-")
			if good && refused && len(k.or) == 0 && k.want[len(k.want)-1].method != "" {
				t.Errorf("%s: the reader refuses what has one meaning: %v, %v", k.where, asked, stop)
			}
		}
	}
}
