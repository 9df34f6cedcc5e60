package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// What make slow changes: many more connections, held to the second, and attacked
// by slowhttptest where it is installed.
var (
	slowConns = flag.Int("slow", 200, "connections of each attack in TestSlowAttacks; from 2000 on its bars are strict")
	slowTool  = flag.String("slowhttptest", "", "attack by this program, in TestSlowAttacks")
)

const (
	slowLimit   = 3 * time.Second // of everything that an attacker draws out
	slowRate    = 1000            // connections opened each second
	strictConns = 2000
	slowFill    = 15 * time.Second // how long it may take until all buffers on the way to attackers are full
)

// An attack is a way to hold connections open at little cost: one part of a request
// or an answer is drawn out.
type attack struct {
	name string
	open string   // what is sent first
	more string   // what is sent each second
	read bool     // or some bytes are read
	tool []string // the same by slowhttptest; nil: it cannot
}

var attacks = []attack{
	{
		name: "head that never comes", open: "GET /n HTTP/1.1\r\nHost: h\r\nX-A",
		tool: []string{"-H", "-i", "60", "-u", "/n"},
	},
	{
		name: "head, a line a second", open: "GET /n HTTP/1.1\r\nHost: h\r\n", more: "X-A: b\r\n",
		tool: []string{"-H", "-i", "1", "-u", "/n"},
	},
	{
		name: "body that never comes", open: "POST /n HTTP/1.1\r\nHost: h\r\nContent-Length: 8192\r\n\r\nabc",
		tool: []string{"-B", "-i", "60", "-s", "8192", "-u", "/n"},
	},
	{
		name: "body, a byte a second, where the whole exchange is bounded", open: "POST /bounded HTTP/1.1\r\nHost: h\r\nContent-Length: 8192\r\n\r\nabc", more: "x",
		tool: []string{"-B", "-i", "1", "-s", "8192", "-x", "2", "-u", "/bounded"},
	},
	{
		name: "chunks that never come", open: "POST /n HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	},
	{
		name: "answer that is hardly read", open: "GET /large HTTP/1.1\r\nHost: h\r\n\r\n", read: true,
		tool: []string{"-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "32", "-u", "/large"},
	},
}

// A besieged gateway has an agent, which counts what it sends of large answers.
type besieged struct {
	*process
	sent  atomic.Int64
	quiet times // of a regular client, without an attack
}

func newBesieged(t *testing.T, engine string) *besieged {
	g := new(besieged)
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b [16 << 10]byte
		for r.URL.Path == "/large" {
			if _, err := w.Write(b[:]); err != nil {
				return
			}
			g.sent.Add(1)
		}
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "ok")
	}))
	t.Cleanup(agent.Close)
	g.process = run(t, fmt.Sprintf(`listen: { address: '127.0.0.1:0', engine: %s, limits: { idle: %[2]s, header_timeout: %[2]s, body_timeout: %[2]s, write_timeout: %[2]s } }
upstreams: { agent: { http: { url: '%[3]s', connections: { idle: 16, idle_timeout: 1s } } } }
routes:
  - { path: /*, to: agent }
  - { path: /bounded, timeout: %[2]s, to: agent }
`, engine, slowLimit, agent.URL))
	calm := newRegular(t, g.addr)
	pause(t.Context(), 2*time.Second)
	if g.quiet = calm.stop(); g.quiet.failed > 0 || len(g.quiet.took) < 50 {
		t.Fatalf("%s: without an attack %d were answered, %d failed", engine, len(g.quiet.took), g.quiet.failed)
	}
	return g
}

// However an attacker draws things out, his connections are closed when the limit
// has passed, and whoever else asks hardly notices.
func TestSlowAttacks(t *testing.T) {
	for _, engine := range engines {
		for _, a := range attacks {
			if *slowTool != "" && a.tool == nil {
				continue
			}
			t.Run(engine+"/"+a.name, func(t *testing.T) {
				if *slowConns < strictConns {
					t.Parallel()
				}
				newBesieged(t, engine).stand(t, a)
			})
		}
	}
}

// stand attacks the gateway, and holds it to the bars: of the connections, from when
// the last was opened, or, where buffers are full only then, from when the agent
// could send no more; of the regular client, all the time but while buffers fill,
// which is work for the machine like any other.
func (g *besieged) stand(t *testing.T, a attack) {
	grace, floor := 10*time.Second, 250*time.Millisecond // what a machine that is busy with tests may add
	if *slowConns >= strictConns {
		grace, floor = 2*time.Second, 5*time.Millisecond
	}
	begin, sent := g.descriptors(), g.sent.Load()
	client := newRegular(t, g.addr)
	ctx, stop := context.WithCancel(t.Context())
	var attackers sync.WaitGroup
	defer attackers.Wait()
	defer stop()
	started := time.Now()
	opened := started.Add(g.attack(t, ctx, &attackers, a))
	held, inPlace := 0, opened
	for time.Now().Before(inPlace.Add(slowLimit + grace)) {
		now := g.descriptors() - begin
		held = max(held, now)
		if now <= slack && held > *slowConns/2 && time.Now().After(opened) {
			break
		}
		if n := g.sent.Load(); a.read && n != sent && time.Since(opened) < slowFill {
			sent, inPlace = n, time.Now()
		}
		pause(t.Context(), 20*time.Millisecond)
	}
	left, took := g.descriptors()-begin, time.Since(inPlace)
	busy := client.stop()
	if a.read {
		busy = busy.since(inPlace)
	}
	t.Logf("%d descriptors were held, %d were left %.1f s after the last connection was in place, %.1f s after the first; a regular client's p99 went from %s to %s",
		held, left, took.Seconds(), time.Since(started).Seconds(), g.quiet.p99(), busy.p99())
	if held < *slowConns*9/10 {
		t.Errorf("%d descriptors were held: that was no attack with %d connections", held, *slowConns)
	}
	if left > slack {
		t.Errorf("%d descriptors are still held, %s after the limit of %s", left, grace, slowLimit)
	}
	if busy.failed > 0 || busy.p99() > max(2*g.quiet.p99(), floor) {
		t.Errorf("%d requests of a regular client failed; p99 went from %s to %s", busy.failed, g.quiet.p99(), busy.p99())
	}
}

// attack opens all connections and holds them until ctx ends. It returns how long
// opening them takes.
func (g *besieged) attack(t *testing.T, ctx context.Context, wg *sync.WaitGroup, a attack) time.Duration { //nolint:revive // t first, as everywhere in tests
	t.Helper()
	if *slowTool != "" {
		return g.attackByTool(t, ctx, wg, a)
	}
	begun := time.Now()
	var open sync.WaitGroup
	for i := range *slowConns {
		pause(ctx, time.Until(begun.Add(time.Duration(i)*time.Second/slowRate)))
		open.Add(1)
		wg.Go(func() {
			c, err := dialNarrow(ctx, g.addr)
			if err == nil {
				_, err = io.WriteString(c, a.open)
			}
			if err != nil {
				t.Errorf("an attacker: %v", err)
			}
			open.Done()
			if c != nil {
				a.hold(ctx, c)
				c.Close()
			}
		})
	}
	open.Wait()
	return time.Since(begun)
}

// hold draws things out until ctx or the connection ends.
func (a attack) hold(ctx context.Context, c net.Conn) {
	b := make([]byte, 32)
	var err error
	for err == nil && pause(ctx, time.Second) {
		switch {
		case a.read:
			_, err = c.Read(b)
		case a.more != "":
			_, err = io.WriteString(c, a.more)
		}
	}
}

// dialNarrow connects with the smallest window, so that an answer that is not read
// stays with the gateway; and with the segments of an Ethernet, since the kernel gives
// a connection of the loopback interface buffers of megabytes.
func dialNarrow(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var window, segment error
		err := c.Control(func(fd uintptr) {
			window = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2048)
			segment = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1448)
		})
		return errors.Join(err, window, segment)
	}}
	return d.DialContext(ctx, "tcp", addr)
}

func (g *besieged) attackByTool(t *testing.T, ctx context.Context, wg *sync.WaitGroup, a attack) time.Duration { //nolint:revive // t first, as everywhere in tests
	t.Helper()
	args := slices.Clone(a.tool)
	path := len(args) - 1
	args[path] = "http://" + g.addr + args[path]
	args = append(args, "-c", strconv.Itoa(*slowConns), "-r", strconv.Itoa(slowRate), "-l", "60", "-p", "30")
	cmd := exec.CommandContext(ctx, *slowTool, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 5 * time.Second
	out := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		if err := cmd.Wait(); err != nil && ctx.Err() == nil {
			t.Errorf("%s: %v\n%s", *slowTool, err, out)
		}
	})
	return time.Duration(*slowConns) * time.Second / slowRate
}

// times is when requests of a regular client began, and how long they took.
type times struct {
	began  []time.Time
	took   []time.Duration
	failed int
}

func (s times) p99() time.Duration {
	if len(s.took) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(s.took))[len(s.took)*99/100].Round(10 * time.Microsecond)
}

// since are the requests that began at that time or later, and all failures.
func (s times) since(when time.Time) times {
	for i, began := range s.began {
		if !began.Before(when) {
			return times{s.began[i:], s.took[i:], s.failed}
		}
	}
	return times{failed: s.failed}
}

// A regular client asks every few milliseconds on one connection.
type regular struct {
	times
	cancel context.CancelFunc
	done   chan struct{}
}

func newRegular(t *testing.T, addr string) *regular {
	ctx, cancel := context.WithCancel(t.Context())
	r := &regular{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		tr := &http.Transport{}
		defer tr.CloseIdleConnections()
		v := &visitor{addr: addr}
		for pause(ctx, 5*time.Millisecond) {
			begun := time.Now()
			if err := v.exchange(t.Context(), &http.Client{Transport: tr}, "GET", "/n", nil, "ok"); err != nil {
				r.failed++
				t.Logf("a regular client: %v", err)
			}
			r.began, r.took = append(r.began, begun), append(r.took, time.Since(begun))
		}
	}()
	t.Cleanup(func() { r.stop() })
	return r
}

// stop ends the client and returns its times.
func (r *regular) stop() times {
	r.cancel()
	<-r.done
	return r.times
}
