package discover_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/config"
	"github.com/airside-gateway/airside/internal/discover"
	"github.com/airside-gateway/airside/internal/pool"
)

// agentAt is an agent at an address of this machine that answers with its address.
func agentAt(t *testing.T, l net.Listener) string {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		fmt.Fprint(w, l.Addr().String())
	}))
	s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	return l.Addr().String()
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// twins are two agents with the same port at two addresses of this machine.
func twins(t *testing.T) (one, two, port string) {
	t.Helper()
	for {
		a := listen(t, "127.0.0.11:0")
		_, port, err := net.SplitHostPort(a.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if b, err := net.Listen("tcp", "127.0.0.12:"+port); err == nil {
			return agentAt(t, a), agentAt(t, b), port
		}
		a.Close()
	}
}

// A load asks the gateway over and over, from several clients, until it is stopped.
type load struct {
	t      *testing.T
	wg     sync.WaitGroup
	end    chan struct{}
	asked  atomic.Int64
	failed atomic.Int64

	mu    sync.Mutex
	took  []time.Duration
	last  map[string]time.Time // answer -> when a request began that got it
	heard chan struct{}        // closed and made anew with every answer
}

func begin(t *testing.T, g *airsidetest.Gateway, clients int) *load {
	l := &load{t: t, end: make(chan struct{}), last: map[string]time.Time{}, heard: make(chan struct{})}
	for i := range clients {
		mode := []airsidetest.Mode{airsidetest.H1, airsidetest.H1Std}[i%2]
		client, url := g.Client(mode), g.URL(mode, "/x")
		l.wg.Go(func() {
			for {
				select {
				case <-l.end:
					return
				default:
					l.ask(client, url)
				}
			}
		})
	}
	t.Cleanup(l.stop)
	return l
}

func (l *load) ask(client *http.Client, url string) {
	begin := time.Now()
	l.asked.Add(1)
	resp, err := client.Post(url, "text/plain", strings.NewReader("a question"))
	if err != nil {
		l.failed.Add(1)
		l.t.Error(err)
		return
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK {
		if l.failed.Add(1) < 10 {
			l.t.Errorf("got %d %s, %v", resp.StatusCode, b, err)
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = append(l.took, time.Since(begin))
	l.last[string(b)] = begin
	close(l.heard)
	l.heard = make(chan struct{})
}

// until waits until ok is true of the times at which the last request began that an agent
// answered.
func (l *load) until(what string, ok func(last map[string]time.Time) bool) {
	l.t.Helper()
	limit := time.After(30 * time.Second)
	for {
		l.mu.Lock()
		heard, done := l.heard, ok(l.last)
		l.mu.Unlock()
		if done {
			return
		}
		select {
		case <-heard:
		case <-limit:
			l.t.Fatalf("it did not come to this: %s", what)
		}
	}
}

func (l *load) stop() {
	select {
	case <-l.end:
	default:
		close(l.end)
	}
	l.wg.Wait()
}

// p99 is the time within which 99 of 100 answers came since the last call.
func (l *load) p99() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.took) == 0 {
		return 0
	}
	slices.Sort(l.took)
	p := l.took[len(l.took)*99/100]
	l.took = nil
	return p
}

var engines = []string{"fast", "std"}

// TestChangedName proves that an A record that changes is followed under load without an
// error (bars.md R6), and that DNS that fails then changes nothing.
func TestChangedName(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			one, two, port := twins(t)
			dns := discover.Serve(t, "agent.example. A 1 127.0.0.11")
			g := airsidetest.Start(t, fmt.Sprintf(`
upstreams:
  agent: { http: { url: "http://agent.example:%s", engine: %s, discover: { dns: { servers: %q } } } }
routes:
  - { path: /*, to: agent }
`, port, engine, dns.Addr()))
			l := begin(t, g, 4)
			l.until("the first is asked", func(last map[string]time.Time) bool { return !last[one].IsZero() })
			dns.Change("agent.example. A 1 127.0.0.12")
			changed := time.Now()
			l.until("the second is asked", func(last map[string]time.Time) bool { return !last[two].IsZero() })
			followed := time.Now()
			t.Logf("followed after %s, with a TTL of 1 s", followed.Sub(changed).Round(time.Millisecond))
			l.until("only the second is asked", func(last map[string]time.Time) bool { return last[two].Sub(last[one]) > 200*time.Millisecond })
			dns.Fail()
			for asked := dns.Asked(); dns.Asked() < asked+3; {
				<-time.After(10 * time.Millisecond)
			}
			at := time.Now()
			l.until("the second is asked while DNS fails", func(last map[string]time.Time) bool { return last[two].After(at) })
			l.stop()
			if n := l.failed.Load(); n > 0 {
				t.Errorf("%d of %d requests failed", n, l.asked.Load())
			}
			t.Logf("%d requests", l.asked.Load())
		})
	}
}

// TestConsulOut proves that Consul's absence changes nothing for clients, and that it is
// found again (bars.md R15).
func TestConsulOut(t *testing.T) {
	one, two := agentAt(t, listen(t, "127.0.0.1:0")), agentAt(t, listen(t, "127.0.0.1:0"))
	registry := discover.NewRegistry(t)
	registry.List(t, one)
	consul := httptest.NewServer(registry)
	address := consul.Listener.Addr().String()
	g := airsidetest.Start(t, withConsul("fast", consul.URL))
	l := begin(t, g, 4)
	l.until("the agent is asked", func(last map[string]time.Time) bool { return !last[one].IsZero() })
	<-registry.Waiting()
	<-time.After(500 * time.Millisecond)
	before := l.p99()
	consul.Listener.Close()
	consul.CloseClientConnections()
	consul.Close()
	<-time.After(time.Second)
	during := l.p99()
	registry.List(t, two)
	again := httptest.NewUnstartedServer(registry)
	again.Listener.Close()
	again.Listener = discover.ListenAt(t, address)
	again.Start()
	t.Cleanup(func() { again.CloseClientConnections(); again.Close() })
	back := time.Now()
	l.until("what is new in Consul is asked", func(last map[string]time.Time) bool { return !last[two].IsZero() })
	t.Logf("found again after %s; p99 %s before, %s while it was out", time.Since(back).Round(time.Millisecond), before, during)
	l.stop()
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d of %d requests failed", n, l.asked.Load())
	}
	if !strings.Contains(g.Log(), "discovery fails; what it found last stays in force") || !strings.Contains(g.Log(), "discovery is well again") {
		t.Error("the log does not say so")
	}
	if d := g.App.Upstreams()[0].Discovery; d == nil || d.Failures == 0 || d.Changes != 2 || d.Err != nil || d.Endpoints != 1 {
		t.Errorf("the status is %+v", d)
	}
	if strings.Contains(g.Log(), "hush") {
		t.Error("the log holds the token")
	}
}

func withConsul(engine, url string) string {
	return fmt.Sprintf(`
upstreams:
  agent:
    http:
      url: http://agent.example
      engine: %s
      discover: { consul: { url: %s/base, service: records, tag: blue, datacenter: dc2, token: hush } }
routes:
  - { path: /*, to: agent }
`, engine, url)
}

// TestComeAndGo proves that endpoints that come and go ten times a second, with reloads in
// between, drop no request.
func TestComeAndGo(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			var agents []string
			for range 4 {
				agents = append(agents, agentAt(t, listen(t, "127.0.0.1:0")))
			}
			registry := discover.NewRegistry(t)
			registry.List(t, agents...)
			consul := httptest.NewServer(registry)
			t.Cleanup(func() { consul.CloseClientConnections(); consul.Close() })
			g := airsidetest.Start(t, withConsul(engine, consul.URL))
			l := begin(t, g, 8)
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for i := range 30 {
				<-tick.C
				registry.List(t, agents[i%4], agents[(i+1+i/4%2)%4])
				if i%10 == 5 {
					if err := g.Apply(withConsul(engine, consul.URL) + fmt.Sprintf("  - { path: /reload%d, to: agent }\n", i)); err != nil {
						t.Fatal(err)
					}
				}
			}
			registry.List(t, agents[0])
			l.until("only the one that is left is asked", func(last map[string]time.Time) bool {
				return last[agents[0]].Sub(last[agents[1]]) > 100*time.Millisecond && last[agents[0]].Sub(last[agents[2]]) > 100*time.Millisecond &&
					last[agents[0]].Sub(last[agents[3]]) > 100*time.Millisecond
			})
			l.stop()
			if n := l.failed.Load(); n > 0 {
				t.Errorf("%d of %d requests failed", n, l.asked.Load())
			}
			t.Logf("%d requests", l.asked.Load())
		})
	}
}

// TestReload proves that a reload has the endpoints at once, even while the source is away,
// and that the connections to them go on.
func TestReload(t *testing.T) {
	one, _, port := twins(t)
	dns := discover.Serve(t, "agent.example. A 1 127.0.0.11")
	yaml := fmt.Sprintf(`
upstreams:
  agent: { http: { url: "http://agent.example:%s", discover: { wait: 0s, dns: { servers: %q } } } }
routes:
  - { path: /*, to: agent }
`, port, dns.Addr())
	g := airsidetest.Start(t, yaml)
	l := begin(t, g, 0)
	client, url := g.Client(airsidetest.H1), g.URL(airsidetest.H1, "/x")
	for { // with a wait of 0s those that come too early are refused
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			break
		}
		if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
			t.Fatalf("got %d", resp.StatusCode)
		}
	}
	dns.Fail()
	if err := g.Apply(yaml + "  - { path: /reloaded, to: agent }\n"); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		l.ask(client, url)
	}
	if l.last[one].IsZero() {
		t.Error("the agent was not asked")
	}
}

// TestFirst proves that requests that come before the first set wait for it, and for how
// long if there is none.
func TestFirst(t *testing.T) {
	one := agentAt(t, listen(t, "127.0.0.1:0"))
	registry := discover.NewRegistry(t)
	gate := make(chan struct{})
	consul := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gate:
			registry.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { consul.CloseClientConnections(); consul.Close() })
	registry.List(t, one)
	yaml := strings.Replace(withConsul("fast", consul.URL), "discover: {", "discover: { wait: 60s,", 1)
	g := airsidetest.Start(t, yaml)
	asked := make(chan int, 1)
	client, url := g.Client(airsidetest.H1), g.URL(airsidetest.H1, "/x")
	var wg sync.WaitGroup
	wg.Go(func() {
		resp, err := client.Get(url)
		if err != nil {
			t.Error(err)
			asked <- 0
			return
		}
		resp.Body.Close()
		asked <- resp.StatusCode
	})
	select {
	case status := <-asked:
		t.Fatalf("got %d before there was an agent", status)
	case <-time.After(100 * time.Millisecond):
	}
	close(gate)
	if status := <-asked; status != http.StatusOK {
		t.Errorf("got %d", status)
	}
	wg.Wait()
	registry.List(t) // nobody is there any more
	for {
		resp, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusServiceUnavailable {
			if !strings.Contains(string(b), "no instance of the agent is known") {
				t.Errorf("got %s", b)
			}
			break
		}
	}
}

// TestCheck proves that checking a configuration asks nobody.
func TestCheck(t *testing.T) {
	dns := discover.Serve(t)
	c, err := app.Parse("airside.yaml", fmt.Appendf(nil, `
upstreams:
  agent: { http: { url: http://agent.example, discover: { dns: { servers: %q } } } }
routes:
  - { path: /*, to: agent }
`, dns.Addr()), config.Lookup{})
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Check(airsidetest.Start(t, "routes: [{ path: /x, to: http://127.0.0.1:9001 }]").App.Log(), c); err != nil {
		t.Fatal(err)
	}
	if n := dns.Asked(); n > 0 {
		t.Errorf("DNS was asked %d times", n)
	}
}

// TestLeaving proves that an endpoint that is not listed any more is shown as leaving while
// an exchange is under way there, that the exchange ends well, and that it is gone then.
func TestLeaving(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "first,")
		w.(http.Flusher).Flush()
		close(begun)
		<-end
		fmt.Fprint(w, "last")
	}))
	t.Cleanup(slow.Close)
	other := agentAt(t, listen(t, "127.0.0.1:0"))
	registry := discover.NewRegistry(t)
	registry.List(t, slow.Listener.Addr().String())
	consul := httptest.NewServer(registry)
	t.Cleanup(func() { consul.CloseClientConnections(); consul.Close() })
	g := airsidetest.Start(t, withConsul("fast", consul.URL))
	resp, err := g.Client(airsidetest.H1).Get(g.URL(airsidetest.H1, "/x"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	<-begun
	registry.List(t, other)
	states := func(want map[string]string) {
		t.Helper()
		limit := time.After(20 * time.Second)
		for {
			got := map[string]string{}
			for _, u := range g.App.Upstreams() {
				for _, e := range u.Pool.Endpoints {
					got[e.Address] = e.State
				}
			}
			if fmt.Sprint(got) == fmt.Sprint(want) {
				return
			}
			select {
			case <-time.After(5 * time.Millisecond):
			case <-limit:
				t.Fatalf("got %v, want %v", got, want)
			}
		}
	}
	states(map[string]string{slow.URL: pool.StateLeaving, "http://" + other: pool.StateHealthy})
	close(end)
	b, err := io.ReadAll(resp.Body)
	if err != nil || string(b) != "first,last" {
		t.Errorf("got %q, %v", b, err)
	}
	states(map[string]string{"http://" + other: pool.StateHealthy})
}
