package e2e

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// soakFor is how long the traffic of TestSoak lasts; make soak makes it ten minutes.
var soakFor = flag.Duration("soak", 10*time.Second, "how long TestSoak lasts")

const (
	visitors    = 24
	visitLimit  = 30 * time.Second // an exchange without an end by then has none
	settleLimit = time.Minute
	idleLimit   = 2 * time.Second // of connections, on both sides
	slack       = 5               // of goroutines and descriptors
)

// soaked is the configuration: every limit short, so that what is left behind ends
// soon, and the usual policies.
func soaked(engine, good, bad string) string {
	return fmt.Sprintf(`shutdown: { grace: 1s }
listen: { address: '127.0.0.1:0', engine: %[1]s, limits: { idle: %[4]s, header_timeout: 5s, body_timeout: 5s, write_timeout: 5s } }
upstreams:
  good: { http: { url: '%[2]s', connections: { idle_timeout: %[4]s } } }
  bad: { http: { url: '%[3]s', first_byte: 500ms, stream_idle: 500ms, connections: { idle_timeout: %[4]s } } }
policies:
  fair: { ratelimit: { limit: 1000000, per: 1s } }
  tell: { headers: { request: { set: { X-Via: { cel: request.method } } } } }
routes:
  - { path: /good/*, use: [fair, { allow: 'request.path != "/no"' }, tell], to: good }
  - { path: /bad/*, use: [fair, tell], to: bad }
`, engine, good, bad, idleLimit)
}

// engines lists those that serve HTTP/1.1.
var engines = []string{"fast", "std"}

// Mixed traffic with every fault of clients and agents: whoever behaves gets what he
// asked for, everybody gets an end, and afterwards the goroutines and descriptors of
// the gateway are as many as before.
func TestSoak(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			soak(t, engine)
		})
	}
}

func soak(t *testing.T, engine string) {
	file := soaked(engine, goodAgent(t), badAgent(t))
	fresh := run(t, file) // tells how many goroutines there are before
	h1, h2 := visit(t, fresh.addr, 1, 0)
	fresh.settle(fresh.descriptors(), h1, h2)
	before := fresh.goroutines()

	p := run(t, file)
	begin := p.descriptors()
	h1, h2 = visit(t, p.addr, visitors, *soakFor)
	during := p.descriptors()
	end := p.settle(begin, h1, h2)
	peak := p.peak()
	after := p.goroutines()
	t.Logf("descriptors: %d before, %d at the end of the traffic, %d after it; goroutines: %d before, %d after; peak %.1f MiB resident",
		begin, during, end, total(before), total(after), float64(peak)/(1<<20))
	if off := total(after) - total(before); off > slack || off < -slack {
		t.Errorf("%d goroutines before, %d after:\n%s", total(before), total(after), grown(before, after))
	}
}

// visit has n visitors do what they do until the time is over, and everything once
// at least. It returns the clients, whose connections are still open.
func visit(t *testing.T, addr string, n int, long time.Duration) (h1, h2 *http.Client) {
	t.Helper()
	// A POST on a connection that the gateway closes at that very moment, because it was
	// idle for too long, is lost by right (RFC 9112 section 9.6). So clients close first.
	h1 = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n, DisableCompression: true, IdleConnTimeout: idleLimit / 2}}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	h2 = &http.Client{Transport: &http.Transport{Protocols: protocols, DisableCompression: true}}
	ctx, stop := context.WithTimeout(t.Context(), long)
	defer stop()
	var mu sync.Mutex
	done, faults := map[string]int{}, 0
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			v := &visitor{addr: addr, rand: rand.New(rand.NewPCG(uint64(i), 27)), h1: h1, h2: h2}
			for k := 0; ctx.Err() == nil || k < len(visits); k++ {
				what := visits[(i+k)%len(visits)]
				err := v.once(t, what.do)
				mu.Lock()
				done[what.name]++
				if err != nil && faults < 20 {
					faults++
					t.Errorf("%s: %v", what.name, err)
				}
				mu.Unlock()
				pause(ctx, time.Duration(50+v.rand.IntN(50))*time.Millisecond) // so that ports do not run out
			}
		})
	}
	wg.Wait()
	for _, name := range slices.Sorted(maps.Keys(done)) {
		t.Logf("%6d × %s", done[name], name)
	}
	return h1, h2
}

func (v *visitor) once(t *testing.T, do func(*visitor, context.Context) error) error {
	ctx, cancel := context.WithTimeout(t.Context(), visitLimit)
	defer cancel()
	return do(v, ctx)
}

// descriptors counts what the gateway has open.
func (p *process) descriptors() int {
	p.t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	return len(list)
}

// settle closes the clients' connections and waits until the gateway has as many
// descriptors as at the beginning.
func (p *process) settle(begin int, clients ...*http.Client) int {
	p.t.Helper()
	for _, c := range clients {
		c.CloseIdleConnections()
	}
	now := p.descriptors()
	for deadline := time.Now().Add(settleLimit); now > begin+slack || now < begin-slack; now = p.descriptors() {
		if time.Now().After(deadline) {
			p.t.Errorf("%d descriptors, %s after the last request there are %d", begin, settleLimit, now)
			break
		}
		pause(p.t.Context(), 50*time.Millisecond)
	}
	pause(p.t.Context(), 2*idleLimit) // the last ones, which are within the slack, are idle at most
	return p.descriptors()
}

var (
	goroutine = regexp.MustCompile(`^goroutine \d+ .*\[`)
	created   = regexp.MustCompile(`^created by (\S+)`)
)

// goroutines ends the gateway by SIGQUIT, on which it writes down all of its
// goroutines, and counts them by who began them.
func (p *process) goroutines() map[string]int {
	p.t.Helper()
	p.Process.Signal(syscall.SIGQUIT)
	if err := p.waitEnd(settleLimit); err == nil {
		p.t.Fatal("SIGQUIT ended the gateway without a trace")
	}
	_, dump, ok := strings.Cut(p.text(), "SIGQUIT: quit")
	if !ok {
		p.t.Fatalf("no goroutines were written down:\n%.2000s", p.text())
	}
	count, by := map[string]int{}, ""
	for line := range strings.Lines(dump) {
		if goroutine.MatchString(line) {
			if by != "" {
				count[by]++
			}
			by = "the program"
		}
		if m := created.FindStringSubmatch(line); m != nil {
			by = m[1]
		}
	}
	if by != "" {
		count[by]++
	}
	if len(count) == 0 {
		p.t.Fatalf("no goroutine was found in\n%.2000s", dump)
	}
	return count
}

func total(count map[string]int) (n int) {
	for _, k := range count {
		n += k
	}
	return n
}

// grown says which goroutines there are more of.
func grown(before, after map[string]int) string {
	var b strings.Builder
	for _, by := range slices.Sorted(maps.Keys(after)) {
		if after[by] != before[by] {
			fmt.Fprintf(&b, "%s: %d before, %d after\n", by, before[by], after[by])
		}
	}
	return b.String()
}
