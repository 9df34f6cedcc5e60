package discover

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A catalog stands for Consul, which cannot be had where these tests run. It speaks what
// Consul documents of /v1/health/service (index, wait, X-Consul-Index, X-Consul-Token) and
// holds the client to it: what it does not know it refuses, and the test fails.
type catalog struct {
	t     *testing.T
	token string

	mu      sync.Mutex
	index   uint64
	body    string
	status  int // instead of an answer
	news    chan struct{}
	waiting chan struct{} // told when a question begins to wait
}

func newCatalog(t *testing.T) *catalog {
	return &catalog{t: t, token: "hush", index: 10, body: "[]", news: make(chan struct{}), waiting: make(chan struct{}, 1000)}
}

func (c *catalog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if r.Method != http.MethodGet || r.URL.Path != "/base/v1/health/service/records" {
		c.t.Errorf("%s %s", r.Method, r.URL)
	}
	if got := r.Header.Get("X-Consul-Token"); got != c.token {
		http.Error(w, "ACL not found", http.StatusForbidden)
		return
	}
	for name, values := range q {
		if len(values) != 1 || !slices.Contains([]string{"passing", "index", "wait", "tag", "dc", "stale"}, name) {
			c.t.Errorf("the query %s=%q", name, values)
		}
	}
	if q.Get("passing") != "1" || q.Get("tag") != "blue" || q.Get("dc") != "dc2" || !q.Has("stale") || q.Has("index") != q.Has("wait") {
		c.t.Errorf("the query %s", r.URL.RawQuery)
	}
	index, wait := uint64(0), time.Minute
	if q.Has("index") {
		var err error
		if index, err = strconv.ParseUint(q.Get("index"), 10, 64); err != nil || index == 0 {
			c.t.Errorf("the index %q", q.Get("index"))
		}
		if wait, err = time.ParseDuration(q.Get("wait")); err != nil || wait > 10*time.Minute {
			c.t.Errorf("the wait %q", q.Get("wait"))
		}
	}
	if !c.block(r, index, wait) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status != 0 {
		w.WriteHeader(c.status)
		return
	}
	w.Header().Set("X-Consul-Index", strconv.FormatUint(c.index, 10))
	w.Write([]byte(c.body))
}

// block waits until there is something newer than index, as Consul does; an index that is
// larger than its own it takes for one of another life, and answers.
func (c *catalog) block(r *http.Request, index uint64, wait time.Duration) bool {
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	for {
		c.mu.Lock()
		news, old := c.news, c.index == index && c.status == 0
		c.mu.Unlock()
		if !old {
			return true
		}
		c.waiting <- struct{}{}
		select {
		case <-news:
		case <-timeout.C:
			return true
		case <-r.Context().Done():
			return false
		}
	}
}

func (c *catalog) change(index uint64, instances ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index, c.body, c.status = index, "["+strings.Join(instances, ",")+"]", 0
	close(c.news)
	c.news = make(chan struct{})
}

func (c *catalog) fail(status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = status
	close(c.news)
	c.news = make(chan struct{})
}

func passing(address string, port int) string {
	return `{"Node":{"Node":"n1","Address":"10.9.9.9","Datacenter":"dc2"},"Service":{"ID":"r","Service":"records","Address":"` + address +
		`","Port":` + strconv.Itoa(port) + `,"Weights":{"Passing":1,"Warning":1}},"Checks":[{"Status":"passing"}]}`
}

func (c *catalog) source(t *testing.T, server string) Source {
	t.Helper()
	u, err := url.Parse(server + "/base")
	if err != nil {
		t.Fatal(err)
	}
	return Consul(Catalog{URL: u, Service: "records", Tag: "blue", Datacenter: "dc2", Token: c.token, Stale: true})
}

// TestConsul proves that changes are followed as they happen, that an index that goes
// backwards begins anew, and what ends the source.
func TestConsul(t *testing.T) {
	c := newCatalog(t)
	s := httptest.NewServer(c)
	defer s.Close()
	sink := newTold()
	c.change(10, passing("10.0.0.1", 80))
	done := running(t, c.source(t, s.URL), sink)
	sink.until(t, "10.0.0.1:80")
	<-c.waiting
	c.change(11, passing("10.0.0.1", 80), passing("", 81))
	sink.until(t, "10.0.0.1:80", "10.9.9.9:81")
	<-c.waiting
	c.change(3, passing("10.0.0.3", 83)) // it was restored from a copy
	sink.until(t, "10.0.0.3:83")
	<-c.waiting // the question without an index was answered, and the next one waits
	c.change(4)
	sink.until(t)
	<-c.waiting
	c.fail(http.StatusInternalServerError)
	if err := <-done; err == nil || err.Error() != "asking Consul: it answered 500" {
		t.Errorf("got %v", err)
	}
}

// TestConsulAnswers is the table of instances and what is made of them.
func TestConsulAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       []string
		err        string
	}{
		{"none", `[]`, []string{}, ""},
		{"null", `null`, []string{}, ""},
		{"address of the node", `[{"Node":{"Address":"10.0.0.9"},"Service":{"Port":80}}]`, []string{"10.0.0.9:80"}, ""},
		{"IPv6", `[{"Service":{"Address":"fd00::1","Port":80}}]`, []string{"[fd00::1]:80"}, ""},
		{"name", `[{"Service":{"Address":"agent.example","Port":80}}]`, []string{"agent.example:80"}, ""},
		{"weight", `[{"Service":{"Address":"a","Port":80,"Weights":{"Passing":7}}}]`, []string{"a:80 *7"}, ""},
		{"locality", `[{"Node":{"Locality":{"Zone":"z2"}},"Service":{"Address":"a","Port":80,"Locality":{"Region":"r","Zone":"z1"},"Meta":{"zone":"z3"}}}]`, []string{"a:80 in z1"}, ""},
		{"metadata", `[{"Node":{"Meta":{"zone":"z4"}},"Service":{"Address":"a","Port":80}}]`, []string{"a:80 in z4"}, ""},
		{"no zone", `[{"Node":{"Meta":{"zone":"no zone"}},"Service":{"Address":"a","Port":80}}]`, []string{"a:80"}, ""},
		{"port", `[{"Service":{"Address":"a","Port":0}}]`, nil, "the port is not a number from 1 to 65535"},
		{"no address", `[{"Service":{"Port":80}}]`, nil, "an instance has no address"},
		{"address", `[{"Service":{"Address":"a b","Port":80}}]`, nil, "an instance has no address"},
		{"cut", `[{"Service":`, nil, "jsontext: unexpected EOF within \"/0/Service\" after offset 12"},
		{"one that is wrong", `[{"Service":{"Port":80}},{"Service":{"Address":"a","Port":0}},{"Service":{"Address":"b","Port":80}}]`, []string{"b:80"}, ""},
		{"one that is no name", `[{"Service":{"Address":"u@a","Port":80}},{"Service":{"Address":"a/b?c","Port":80}},{"Service":{"Address":"a:1","Port":80}},{"Service":{"Address":"127.1","Port":80}},{"Service":{"Address":"[::1]","Port":80}}]`, nil, "an instance has no address"},
		{"addresses that mean another", `[{"Service":{"Address":"0.0.0.0","Port":80}},{"Service":{"Address":"169.254.169.254","Port":80}},{"Service":{"Address":"::ffff:169.254.169.254","Port":80}},{"Service":{"Address":"fe80::1%eth0","Port":80}}]`, nil, "an instance has no address"},
		{"too many", "[{}" + strings.Repeat(",{}", maxInstances) + "]", nil, "a list holds more than 10000 elements"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := consulEndpoints(strings.NewReader(tt.body))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, shown(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestConsulAway proves that the last set stays while Consul is away, and that it is found
// again within the pause that there is between two tries.
func TestConsulAway(t *testing.T) {
	c := newCatalog(t)
	s := httptest.NewUnstartedServer(c)
	s.Start()
	address := s.Listener.Addr().String()
	c.change(10, passing("10.0.0.1", 80))
	f := Follow(c.source(t, s.URL), quiet())
	f.Start()
	defer f.Close()
	sets := make(chan []string, 100)
	defer f.Subscribe(func(set []Endpoint) { sets <- shown(set) })()
	if got := <-sets; !slices.Equal(got, []string{"10.0.0.1:80"}) {
		t.Errorf("got %v", got)
	}
	<-c.waiting
	s.Listener.Close() // so that nobody comes back before all have left
	s.CloseClientConnections()
	s.Close()
	for f.Status().Failures < 3 {
		if !wait(t.Context(), time.Millisecond) {
			t.Fatal("the test has ended")
		}
	}
	if len(sets) > 0 || f.Status().Endpoints != 1 || f.Status().Err == nil {
		t.Errorf("while Consul was away: %v, %+v", <-sets, f.Status())
	}
	c.change(20, passing("10.0.0.2", 80))
	again := httptest.NewUnstartedServer(c)
	again.Listener.Close()
	again.Listener = listenAt(t, address)
	back := time.Now()
	again.Start()
	defer again.Close()
	if got := <-sets; !slices.Equal(got, []string{"10.0.0.2:80"}) {
		t.Errorf("got %v", got)
	}
	t.Logf("Consul was found again after %s", time.Since(back))
	if err := f.Close(); err != nil { // before the server, whose answer it waits for
		t.Error(err)
	}
}

// TestConsulToken proves that without the right token the source says so, and does not
// say the token.
func TestConsulToken(t *testing.T) {
	c := newCatalog(t)
	s := httptest.NewServer(c)
	defer s.Close()
	source := c.source(t, s.URL)
	c.token = "another"
	err := source.Run(t.Context(), newTold())
	if err == nil || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), "hush") {
		t.Errorf("got %v", err)
	}
}
