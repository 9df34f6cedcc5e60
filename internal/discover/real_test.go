package discover

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// dnsmasq starts dnsmasq, a DNS server that nobody here wrote (Debian: dnsmasq-base), with
// a configuration of the test's on a free port of this machine. It needs no rights. It
// stops with the test.
func dnsmasq(t *testing.T, lines ...string) (address string) {
	t.Helper()
	path, err := exec.LookPath("dnsmasq")
	if err != nil {
		path = "/usr/sbin/dnsmasq" // which is not on everybody's path
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal("dnsmasq is missing: install it (Debian: apt-get install dnsmasq-base)")
	}
	said := ""
	for range 5 { // a port that is free may be somebody's before it is used
		address, out, ok := tryDnsmasq(t, path, lines)
		if ok {
			return address
		}
		said = out
	}
	t.Fatalf("dnsmasq does not start:\n%s", said)
	return ""
}

func tryDnsmasq(t *testing.T, path string, lines []string) (address, said string, ok bool) {
	t.Helper()
	l := listenAt(t, "127.0.0.1:0")
	address = l.Addr().String()
	l.Close()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(t.TempDir(), "dnsmasq.conf")
	writeFile(t, conf, strings.Join(append([]string{
		"port=" + port, "listen-address=127.0.0.1", "bind-interfaces", "no-resolv", "no-hosts", "no-daemon", "user=", "pid-file=",
	}, lines...), "\n")+"\n")
	cmd := exec.CommandContext(t.Context(), path, "--keep-in-foreground", "--log-facility=-", "--conf-file="+conf)
	out := &logged{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatalf("dnsmasq (Debian: apt-get install dnsmasq-base): %v", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // that it was killed is no news
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	for { // until it listens, or has ended
		select {
		case <-ended:
			return "", out.b.String(), false
		case <-time.After(10 * time.Millisecond):
		}
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return address, "", true
		}
	}
}

// TestDnsmasq proves that a real DNS server is understood: addresses with their TTL, over
// TCP where there are many, aliases, SRV records, and denials.
func TestDnsmasq(t *testing.T) {
	lines := []string{
		"local=/example/", "local-ttl=7", "neg-ttl=3", "auth-ttl=7",
		"host-record=agent.example,10.0.0.1,fd00::1", "host-record=agent.example,10.0.0.2",
		"host-record=other.example,10.0.0.3", "cname=www.example,agent.example",
		"srv-host=_http._tcp.records.example,agent.example,8001,10,3", "srv-host=_http._tcp.records.example,other.example,8002,20,1",
	}
	var many []string
	for i := range 150 {
		address := fmt.Sprintf("10.0.1.%d", i+1)
		lines, many = append(lines, "host-record=many.example,"+address), append(many, address)
	}
	address := dnsmasq(t, lines...)
	r := asking(t, serve(t, nil), "search example", "")
	r.servers = []string{address}
	for _, tt := range []struct {
		name, family string
		want         []string
	}{
		{"agent.example", "", []string{"10.0.0.1", "10.0.0.2"}},
		{"agent", "", []string{"10.0.0.1", "10.0.0.2"}},
		{"agent.example", FamilyIPv6, []string{"fd00::1"}},
		{"www.example", "", []string{"10.0.0.1", "10.0.0.2"}},
		{"many.example", "", many},
	} {
		got, ttl, err := r.addresses(t.Context(), tt.name, tt.family)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		all := addrs(got)
		slices.Sort(all)
		slices.Sort(tt.want)
		if diff := cmp.Diff(tt.want, all); diff != "" || ttl != 7*time.Second {
			t.Errorf("%s: a TTL of %s; %s", tt.name, ttl, diff)
		}
	}
	if _, _, err := r.addresses(t.Context(), "nobody.example.", ""); err == nil || err.Error() != `DNS knows nothing of this kind at "nobody.example."` {
		t.Errorf("got %v", err)
	}
	s := &srv{names: Names{}.bounded(), resolver: r, name: "_http._tcp.records.example"}
	set, _, err := s.look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got, _ := ordered(set)
	if diff := cmp.Diff([]string{"10.0.0.1:8001 *many", "10.0.0.2:8001 *many"}, shown(got)); diff != "" {
		t.Error(diff)
	}
}
