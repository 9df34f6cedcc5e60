package discover

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestUsable is the table of addresses that whoever answers may not send the gateway to.
func TestUsable(t *testing.T) {
	for address, want := range map[string]bool{
		"10.0.0.1": true, "127.0.0.1": true, "::1": true, "fd00::1": true, "2001:db8::1": true, "100.64.0.1": true,
		"::ffff:10.0.0.1": true, "64:ff9b::a00:1": true,
		"0.0.0.0": false, "::": false, "::ffff:0.0.0.0": false, "255.255.255.255": false, "224.0.0.1": false, "ff02::1": false,
		"169.254.169.254": false, "::ffff:169.254.169.254": false, "64:ff9b::a9fe:a9fe": false, "fe80::1": false, "fe80::1%eth0": false,
	} {
		if got := usable(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: got %v, want %v", address, got, want)
		}
	}
}

// hostile is a control plane that answers as f does.
func hostile(t *testing.T, f http.HandlerFunc) *url.URL {
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// pour writes head, and then one thing again and again, until nobody reads it, and at most
// megabytes of it.
func pour(w io.Writer, head, again string, megabytes int) {
	_, _ = io.WriteString(w, head)
	part := strings.Repeat(again, 1<<20/len(again))
	for range megabytes {
		if _, err := io.WriteString(w, part); err != nil {
			return
		}
	}
}

// TestHostile proves that answers that have no end, or that say little in much, end a
// source with an error and cost it memory near their bound at most.
func TestHostile(t *testing.T) {
	const labels = `"labels":{"kubernetes.io/service-name":"s"}`
	for _, tt := range []struct {
		name   string
		source func(*url.URL) Source
		answer http.HandlerFunc
		err    string
	}{
		{"instances", consulSource, func(w http.ResponseWriter, _ *http.Request) { pour(w, "[{}", ",{}", 64) }, "a list holds more than 10000"},
		{"metadata", consulSource, func(w http.ResponseWriter, _ *http.Request) { pour(w, `[{"x":[0`, ",0", 64) }, "unexpected EOF"},
		{"white space", consulSource, func(w http.ResponseWriter, _ *http.Request) { pour(w, "[", " ", 64) }, "unexpected EOF"},
		{"slices", slicesSource, func(w http.ResponseWriter, _ *http.Request) { pour(w, `{"items":[{}`, ",{}", 100) }, "a list holds more than 1000"},
		{"endpoints", slicesSource, func(w http.ResponseWriter, _ *http.Request) { pour(w, `{"items":[{"endpoints":[{}`, ",{}", 100) }, "a list holds more than 1000"},
		{"addresses", slicesSource, func(w http.ResponseWriter, _ *http.Request) {
			pour(w, `{"items":[{"endpoints":[{"addresses":[""`, `,""`, 100)
		}, "a list holds more than 100"},
		{"an event", slicesSource, func(w http.ResponseWriter, r *http.Request) {
			if !r.URL.Query().Has("watch") {
				_, _ = io.WriteString(w, `{"metadata":{"resourceVersion":"1"},"items":[]}`)
				return
			}
			pour(w, `{"type":"ADDED","object":{"x":"`, "x", 1024)
		}, "an event is too long"},
		{"pages", slicesSource, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"metadata":{"resourceVersion":"1","continue":"more"},"items":[{"metadata":{"name":"a",`+labels+`}}]}`)
		}, "does not end within 1000 pages"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var before, after runtime.MemStats
			source := tt.source(hostile(t, tt.answer))
			runtime.ReadMemStats(&before)
			err := source.Run(t.Context(), newTold())
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
			if got, want := after.TotalAlloc-before.TotalAlloc, uint64(96<<20); got > want {
				t.Errorf("%d MiB were allocated", got>>20)
			}
		})
	}
}

func consulSource(u *url.URL) Source { return Consul(Catalog{URL: u, Service: "s", Token: "hush"}) }

func slicesSource(u *url.URL) Source {
	return Kubernetes(Slices{URL: u, Service: "s", Namespace: "n", Token: "hush"})
}

// TestFlapping proves that changes that come without a pause are told now and then, and
// the last of them for certain.
func TestFlapping(t *testing.T) {
	const events = 20_000
	item := func(version int, address string) string {
		return fmt.Sprintf(`{"metadata":{"name":"a","resourceVersion":"%d","labels":{"kubernetes.io/service-name":"s"}},"addressType":"IPv4","endpoints":[{"addresses":["%s"]}],"ports":[{"port":80}]}`, version, address)
	}
	u := hostile(t, func(w http.ResponseWriter, r *http.Request) {
		if !r.URL.Query().Has("watch") {
			fmt.Fprintf(w, `{"metadata":{"resourceVersion":"1"},"items":[%s]}`, item(1, "10.0.0.1"))
			return
		}
		for i := range events {
			fmt.Fprintf(w, `{"type":"MODIFIED","object":%s}`, item(i+2, fmt.Sprintf("10.0.0.%d", 2+i%2)))
		}
		fmt.Fprintf(w, `{"type":"MODIFIED","object":%s}`, item(events+2, "10.0.0.9"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	sink, done := newTold(), make(chan error, 1)
	begin := time.Now()
	go func() { done <- slicesSource(u).Run(ctx, sink) }()
	told := 1
	for !slices.Equal(sink.next(t), []string{"10.0.0.9:80"}) {
		told++
	}
	if most := 2 + int(time.Since(begin)/tellEvery); told > most {
		t.Errorf("%d sets were told, at most %d are due", told, most)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRedirects proves that nobody is followed elsewhere, least of all with the token.
func TestRedirects(t *testing.T) {
	for _, source := range []func(*url.URL) Source{consulSource, slicesSource} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			var asked atomic.Int64
			thief := hostile(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
			from := hostile(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", thief.String())
				w.WriteHeader(status)
			})
			err := source(from).Run(t.Context(), newTold())
			if err == nil || !strings.HasSuffix(err.Error(), fmt.Sprintf("it answered %d", status)) {
				t.Errorf("got %v", err)
			}
			if n := asked.Load(); n != 0 {
				t.Errorf("%d: %d requests to another host", status, n)
			}
		}
	}
}

// TestLongStatus proves that what a control plane says for itself does not get into the
// log.
func TestLongStatus(t *testing.T) {
	u := hostile(t, func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "HTTP/1.1 500 \x1b[31m%s\r\nContent-Length: 0\r\n\r\n", strings.Repeat("x", 2000))
	})
	for _, source := range []func(*url.URL) Source{consulSource, slicesSource} {
		if err := source(u).Run(t.Context(), newTold()); err == nil || len(err.Error()) > 100 {
			t.Errorf("got %v", err)
		}
	}
}

// TestGuesses proves that who guesses ids of questions has few tries: then they are asked
// where guessing does not help.
func TestGuesses(t *testing.T) {
	s := serve(t, zoneOf("agent.example. A 60 10.0.0.1"))
	s.mu.Lock()
	s.strays = 10 * maxStrays
	s.mu.Unlock()
	r := resolver{servers: []string{s.addr}, conf: filepath.Join(t.TempDir(), "none")}
	got, _, err := r.addresses(t.Context(), "agent.example.", FamilyIPv4)
	if err != nil || !slices.Equal(addrs(got), []string{"10.0.0.1"}) {
		t.Errorf("got %v, %v", got, err)
	}
	if asked := s.questions(); !slices.Equal(asked, []string{"udp A agent.example.", "tcp A agent.example."}) {
		t.Errorf("asked %q", asked)
	}
}

// TestManyTargets proves that what a zone says does not make many questions of one.
func TestManyTargets(t *testing.T) {
	var records []string
	for i := range 1000 {
		records = append(records, fmt.Sprintf("_a._tcp.example. SRV 0 %d 1 80 gone-%d.example.", i, i))
	}
	s := serve(t, zoneOf(records...))
	look := SRV("_a._tcp.example.", Names{Servers: []string{s.addr}, Family: FamilyIPv4}).(*srv)
	if set, _, err := look.look(t.Context()); err == nil {
		t.Errorf("got %v", set)
	}
	if n := len(s.questions()); n > 2+maxTargets {
		t.Errorf("%d questions were asked", n)
	}
}
