package discover

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A control stands for the API server of Kubernetes, which cannot be had where these tests
// run. It speaks what the API documents of list and watch (limit and continue,
// resourceVersion, bookmarks, 410) and holds the client to it: what it does not know it
// refuses, and the test fails.
type control struct {
	t *testing.T

	mu       sync.Mutex
	token    string
	version  int
	oldest   int               // versions before it are forgotten
	slices   map[string]string // name -> JSON
	log      []change
	news     chan struct{}
	lists    int
	watches  int
	pageSize int
	cut      bool // watches end at once
}

type change struct {
	version int
	event   string
}

func newControl(t *testing.T) *control {
	return &control{t: t, token: "t1", version: 100, oldest: 1, slices: map[string]string{}, news: make(chan struct{}), pageSize: 1000}
}

func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if r.Method != http.MethodGet || r.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/ward/endpointslices" {
		c.t.Errorf("%s %s", r.Method, r.URL)
	}
	if q.Get("labelSelector") != "kubernetes.io/service-name=records" {
		c.t.Errorf("the selector %q", q.Get("labelSelector"))
	}
	c.mu.Lock()
	token := c.token
	c.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	known := []string{"labelSelector", "limit", "continue"}
	if q.Has("watch") {
		known = []string{"labelSelector", "watch", "resourceVersion", "allowWatchBookmarks", "timeoutSeconds"}
	}
	for name := range q {
		if !slices.Contains(known, name) {
			c.t.Errorf("the query %s", r.URL.RawQuery)
		}
	}
	if q.Has("watch") {
		c.watch(w, r, q)
		return
	}
	c.list(w, q)
}

func (c *control) list(w http.ResponseWriter, q url.Values) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists++
	if n, err := strconv.Atoi(q.Get("limit")); err != nil || n < 1 {
		c.t.Errorf("the limit %q", q.Get("limit"))
	}
	from, _ := strconv.Atoi(strings.TrimPrefix(q.Get("continue"), "page-"))
	names := []string{}
	for n := range c.slices {
		names = append(names, n)
	}
	slices.Sort(names)
	items, next := []string{}, ""
	for i := from; i < len(names); i++ {
		if len(items) == c.pageSize {
			next = fmt.Sprintf("page-%d", i)
			break
		}
		items = append(items, c.slices[names[i]])
	}
	fmt.Fprintf(w, `{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","metadata":{"resourceVersion":"%d","continue":"%s"},"items":[%s]}`,
		c.version, next, strings.Join(items, ","))
}

func (c *control) watch(w http.ResponseWriter, r *http.Request, q url.Values) {
	at, err := strconv.Atoi(q.Get("resourceVersion"))
	seconds, serr := strconv.Atoi(q.Get("timeoutSeconds"))
	if err != nil || serr != nil || seconds < 60 || q.Get("watch") != "1" || q.Get("allowWatchBookmarks") != "true" {
		c.t.Errorf("the query %s", r.URL.RawQuery)
	}
	c.mu.Lock()
	c.watches++
	c.mu.Unlock()
	for {
		c.mu.Lock()
		news, forgotten, log, cut := c.news, at < c.oldest, slices.Clone(c.log), c.cut
		c.cut = false
		c.mu.Unlock()
		if forgotten {
			fmt.Fprintln(w, `{"type":"ERROR","object":{"kind":"Status","status":"Failure","reason":"Expired","code":410}}`)
			return
		}
		for _, e := range log {
			if e.version > at {
				fmt.Fprintln(w, e.event)
				at = e.version
			}
		}
		w.(http.Flusher).Flush()
		if cut {
			return
		}
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
}

// apply changes things and tells who watches. An event may be empty.
func (c *control) apply(f func() (event string)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	if e := f(); e != "" {
		c.log = append(c.log, change{c.version, e})
	}
	close(c.news)
	c.news = make(chan struct{})
}

func (c *control) put(typ, name string, addresses ...string) {
	c.apply(func() string {
		c.slices[name] = c.slice(name, addresses)
		return fmt.Sprintf(`{"type":"%s","object":%s}`, typ, c.slices[name])
	})
}

func (c *control) drop(name string) {
	c.apply(func() string {
		last := c.slice(name, nil)
		delete(c.slices, name)
		return fmt.Sprintf(`{"type":"DELETED","object":%s}`, last)
	})
}

func (c *control) slice(name string, addresses []string) string {
	var all []string
	for _, a := range addresses {
		all = append(all, fmt.Sprintf(`{"addresses":["%s"],"conditions":{"ready":true,"serving":true,"terminating":false}}`, a))
	}
	return fmt.Sprintf(`{"metadata":{"name":"%s","resourceVersion":"%d","labels":{"kubernetes.io/service-name":"records"}},"addressType":"IPv4",
		"endpoints":[%s],"ports":[{"name":"http","port":8000,"protocol":"TCP"}]}`, name, c.version, strings.Join(all, ","))
}

func (c *control) counts() (lists, watches int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lists, c.watches
}

// inPod is a source as in a pod of its own: the account's files in a folder, the address in
// the environment.
func inPod(t *testing.T, s *httptest.Server, token string) (source *kubernetes, account string) {
	t.Helper()
	account = t.TempDir()
	writeFile(t, filepath.Join(account, "token"), token+"\n")
	writeFile(t, filepath.Join(account, "namespace"), "ward\n")
	writeFile(t, filepath.Join(account, "ca.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"KUBERNETES_SERVICE_HOST": u.Hostname(), "KUBERNETES_SERVICE_PORT": u.Port()}
	return &kubernetes{Service: "records", account: account, env: func(k string) string { return env[k] }}, account
}

// TestKubernetes proves that slices are listed page by page and followed as they change;
// that a watch that ends is taken up where it stood; that what the server has forgotten is
// listed anew; and that a token that was renewed is used.
func TestKubernetes(t *testing.T) {
	c := newControl(t)
	s := httptest.NewTLSServer(c)
	defer s.Close()
	c.pageSize = 1
	c.put("ADDED", "records-a", "10.0.0.1", "10.0.0.2")
	c.put("ADDED", "records-b", "10.0.0.3")
	source, account := inPod(t, s, "t1")
	sink := newTold()
	done := running(t, source, sink)
	sink.until(t, "10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000")
	c.put("MODIFIED", "records-a", "10.0.0.2")
	sink.until(t, "10.0.0.2:8000", "10.0.0.3:8000")
	c.drop("records-b")
	sink.until(t, "10.0.0.2:8000")
	c.put("ADDED", "records-c", "10.0.0.4")
	sink.until(t, "10.0.0.2:8000", "10.0.0.4:8000")
	if lists, watches := c.counts(); lists != 2 || watches != 1 {
		t.Errorf("%d lists, %d watches", lists, watches)
	}

	c.apply(func() string { // a bookmark moves the version on; then the watch ends, and the token is another
		c.cut, c.token = true, "t2"
		writeFile(t, filepath.Join(account, "token"), "t2\n")
		return fmt.Sprintf(`{"type":"BOOKMARK","object":{"kind":"EndpointSlice","metadata":{"resourceVersion":"%d"}}}`, c.version)
	})
	for watches := 0; watches < 2; _, watches = c.counts() {
		if !wait(t.Context(), time.Millisecond) {
			t.Fatal("it does not watch any more")
		}
	}
	c.put("MODIFIED", "records-c", "10.0.0.5")
	sink.until(t, "10.0.0.2:8000", "10.0.0.5:8000")
	if lists, watches := c.counts(); lists != 2 || watches != 2 {
		t.Errorf("after the watch had ended: %d lists, %d watches", lists, watches)
	}

	c.apply(func() string { // all is forgotten, and meanwhile another
		c.oldest = c.version + 1
		c.version++
		c.slices = map[string]string{"records-d": c.slice("records-d", []string{"10.0.0.6"})}
		return ""
	})
	sink.until(t, "10.0.0.6:8000")
	if lists, _ := c.counts(); lists != 3 {
		t.Errorf("after all was forgotten: %d lists", lists)
	}
	c.apply(func() string {
		return `{"type":"ERROR","object":{"code":500,"reason":"InternalError"}}`
	})
	if err := <-done; err == nil || err.Error() != "the watch of Kubernetes ended: 500 InternalError" {
		t.Errorf("got %v", err)
	}
}

// TestKubernetesRefused proves what the source says when it may not look, or cannot.
func TestKubernetesRefused(t *testing.T) {
	c := newControl(t)
	s := httptest.NewTLSServer(c)
	defer s.Close()
	source, account := inPod(t, s, "wrong")
	if err := source.Run(t.Context(), newTold()); err == nil || err.Error() != "asking Kubernetes: it answered 401" {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(filepath.Join(account, "token")); err != nil {
		t.Fatal(err)
	}
	if err := source.Run(t.Context(), newTold()); err == nil || !strings.Contains(err.Error(), "reading the token of the service account") {
		t.Errorf("got %v", err)
	}
	source.env = func(string) string { return "" }
	if err := source.Run(t.Context(), newTold()); err == nil || !strings.Contains(err.Error(), "name the url of the API server") {
		t.Errorf("got %v", err)
	}
}

// TestSlices is the table of EndpointSlices and what is made of them.
func TestSlices(t *testing.T) {
	const http = `[{"name":"http","port":80,"protocol":"TCP"}]`
	end := func(address, more string) string {
		return fmt.Sprintf(`{"addresses":["%s"],"conditions":{%s}}`, address, more)
	}
	v4 := func(ports string, ends ...string) string {
		return fmt.Sprintf(`{"addressType":"IPv4","ports":%s,"endpoints":[%s]}`, ports, strings.Join(ends, ","))
	}
	v6 := `{"addressType":"IPv6","ports":` + http + `,"endpoints":[` + end("fd00::1", "") + `]}`
	two := `[{"name":"http","port":80},{"name":"admin","port":81},{"name":"dns","port":53,"protocol":"UDP"}]`
	tests := []struct {
		name, port, family string
		slices             []string
		want               []string
		err                string
	}{
		{"ready", "", "", []string{v4(http, end("10.0.0.1", `"ready":true`), end("10.0.0.2", `"ready":false`))}, []string{"10.0.0.1:80"}, ""},
		{"not known", "", "", []string{v4(http, end("10.0.0.1", ""))}, []string{"10.0.0.1:80"}, ""},
		{"ending beside ready", "", "", []string{v4(http, end("10.0.0.1", `"ready":true`), end("10.0.0.2", `"ready":false,"serving":true,"terminating":true`))}, []string{"10.0.0.1:80"}, ""},
		{"all ending", "", "", []string{v4(http, end("10.0.0.1", `"ready":false,"serving":false,"terminating":true`), end("10.0.0.2", `"ready":false,"serving":true,"terminating":true`))}, []string{"10.0.0.2:80"}, ""},
		{"none", "", "", []string{v4(http)}, []string{}, ""},
		{"no slice", "", "", nil, []string{}, ""},
		{"empty, ports not set", "", "", []string{v4(`null`)}, []string{}, ""},
		{"in two slices", "", "", []string{v4(http, end("10.0.0.1", "")), v4(http, end("10.0.0.1", ""))}, []string{"10.0.0.1:80"}, ""},
		{"port by name", "admin", "", []string{v4(two, end("10.0.0.1", ""))}, []string{"10.0.0.1:81"}, ""},
		{"port by number", "81", "", []string{v4(two, end("10.0.0.1", ""))}, []string{"10.0.0.1:81"}, ""},
		{"port left open", "", "", []string{v4(two, end("10.0.0.1", ""))}, nil, "the EndpointSlices of the service have several TCP ports: say which one, by the setting port"},
		{"no such port", "grpc", "", []string{v4(two, end("10.0.0.1", ""))}, nil, `the EndpointSlices of the service have no TCP port "grpc"`},
		{"port of one slice only", "admin", "", []string{v4(two, end("10.0.0.1", "")), v4(http, end("10.0.0.2", ""))}, []string{"10.0.0.1:81"}, ""},
		{"both families", "", "", []string{v4(http, end("10.0.0.1", "")), v6}, []string{"10.0.0.1:80"}, ""},
		{"IPv6 only", "", "", []string{v6}, []string{"[fd00::1]:80"}, ""},
		{"family", "", FamilyBoth, []string{v4(http, end("10.0.0.1", "")), v6}, []string{"10.0.0.1:80", "[fd00::1]:80"}, ""},
		{"names", "", "", []string{`{"addressType":"FQDN","ports":` + http + `,"endpoints":[` + end("a.example", "") + `]}`}, []string{}, ""},
		{"no address", "", "", []string{v4(http, `{"addresses":[]}`, end("nonsense", ""), end("0.0.0.0", ""))}, []string{}, ""},
		{"zone", "", "", []string{v4(http, `{"addresses":["10.0.0.1"],"zone":"z1"}`)}, []string{"10.0.0.1:80 in z1"}, ""},
		{"hint", "", "", []string{v4(http, `{"addresses":["10.0.0.1"],"zone":"z1","hints":{"forZones":[{"name":"z2"}]}}`)}, []string{"10.0.0.1:80 in z2"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			all := map[string]slice{}
			for i, text := range tt.slices {
				var s slice
				if err := json.Unmarshal([]byte(text), &s); err != nil {
					t.Fatal(err)
				}
				all[strconv.Itoa(i)] = s
			}
			set, err := endpoints(all, tt.port, tt.family)
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, _ := ordered(set)
			if diff := cmp.Diff(tt.want, shown(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
