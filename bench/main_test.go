package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/airside-gateway/airside/bench/internal/report"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want options
	}{
		{nil, options{rounds: 5}},
		{[]string{"-syscalls"}, options{rounds: 5, syscalls: true}},
		{[]string{"-quick"}, options{quick: true, rounds: 1}},
		{[]string{"-quick", "-rounds", "3", "-json"}, options{quick: true, rounds: 3, json: true}},
		{[]string{"-only", "post,tls", "-proxies", "nginx"}, options{rounds: 5, only: []string{"post", "tls"}, proxies: []string{"nginx"}}},
	} {
		got, err := parse(tt.args, io.Discard)
		if err != nil {
			t.Errorf("%q: %v", tt.args, err)
			continue
		}
		if diff := cmp.Diff(&tt.want, got, cmp.AllowUnexported(options{})); diff != "" {
			t.Errorf("%q (-want +got)\n%s", tt.args, diff)
		}
	}
	for _, args := range [][]string{{"-only", "nothing"}, {"-proxies", "envoy"}, {"-rounds", "-1"}, {"-rounds", "101"}, {"post"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%q was understood", args)
		}
	}
	if _, err := parse([]string{"-h"}, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: got %v", err)
	}
}

// Each round begins with another proxy, and has all of them.
func TestRotated(t *testing.T) {
	list := []*entrant{{name: "a"}, {name: "b"}, {name: "c"}}
	for round, want := range []string{"abc", "bca", "cab", "abc"} {
		got := ""
		for _, e := range rotated(list, round) {
			got += e.name
		}
		if got != want {
			t.Errorf("round %d: got %s, want %s", round, got, want)
		}
	}
	if got := rotated(nil, 3); got != nil {
		t.Errorf("of none: got %v", got)
	}
}

func TestArguments(t *testing.T) {
	p := ports{plain: "127.0.0.1:1", tls: "127.0.0.1:2"}
	for _, w := range workloads {
		args := strings.Join(w.arguments((&options{}).times(), 40000, p, "/cert.pem"), " ")
		for _, tt := range []struct {
			want string
			when bool
		}{
			{"-url http://127.0.0.1:1/v1/", !w.tls},
			{"-url https://127.0.0.1:2/v1/", w.tls},
			{"-ca /cert.pem", w.tls},
			{"-mode streams", w.kind == report.Streams},
			{"-mode idle", w.kind == report.Idle},
			{"-c 10000", w.name == "idle"},
			{"-m 8", w.name == "h2"},
			{"-rate 5000", w.name == "rate"},
		} {
			if strings.Contains(args, tt.want) != tt.when {
				t.Errorf("%s: %q in it: want %t: %s", w.name, tt.want, tt.when, args)
			}
		}
	}
}

// A promise is about what is measured.
func TestPromisesNameWhatThereIs(t *testing.T) {
	for _, p := range promises {
		if !slices.Contains(workloadNames(), p.Workload) || !slices.Contains(proxyNames(), p.Proxy) || p.Most <= 0 {
			t.Errorf("%+v", p)
		}
	}
}

// The table is one of strace 6.1.
func TestParseCalls(t *testing.T) {
	each, failed := parseCalls([]byte("% time     seconds  usecs/call     calls    errors syscall\n"+
		"------ ----------- ----------- --------- --------- ----------------\n"+
		" 60.00    0.600000          30      2000       500 read\n"+
		" 40.00    0.400000          40      1000           write\n"+
		"------ ----------- ----------- --------- --------- ----------------\n"+
		"100.00    1.000000          33      3000       500 total\n"), 1000)
	if diff := cmp.Diff(map[string]float64{"read": 2, "write": 1}, each); diff != "" || failed != 0.5 {
		t.Errorf("failed %v (-want +got)\n%s", failed, diff)
	}
}

func TestStreamsFitTheOpenFiles(t *testing.T) {
	w := workload{streams: 10000}
	for _, tt := range []struct{ files, want int }{{40000, 10000}, {20400, 10000}, {20000, 9900}, {1024, 412}} {
		if got := w.connections(tt.files); got != tt.want {
			t.Errorf("%d files: got %d, want %d", tt.files, got, tt.want)
		}
	}
}

// Every template is filled in whole, and every argument.
func TestCommands(t *testing.T) {
	f := fill{Dir: t.TempDir(), Plain: "127.0.0.1:1111", TLS: "127.0.0.1:2222", Agent: "127.0.0.1:3333", Cert: "/c.pem", Key: "/k.pem", Both: "/b.pem", Files: 20000}
	for _, p := range proxies {
		args, err := p.command(f)
		if err != nil {
			t.Errorf("%s: %v", p.name, err)
			continue
		}
		text := strings.Join(append(args, p.environment(f)...), " ")
		if p.config != "" {
			file := filepath.Join(f.Dir, p.name+filepath.Ext(p.config))
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(text, file) {
				t.Errorf("%s: the arguments do not name the configuration: %s", p.name, text)
			}
			text += string(b)
		}
		for _, want := range []string{"1111", "2222", f.Agent, "engine: " + p.engine} {
			if !strings.Contains(text, want) && want != "engine: " {
				t.Errorf("%s: %s is not in\n%s", p.name, want, text)
			}
		}
		for _, left := range []string{"{{", "<no value>", "CONFIG", "PLAIN", "AGENT", "=DIR"} {
			if strings.Contains(text, left) {
				t.Errorf("%s: %s is left in\n%s", p.name, left, text)
			}
		}
	}
}

func TestCertificateIsGoodForTheHostOfTheLoad(t *testing.T) {
	c, err := newCertificate(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.LoadX509KeyPair(c.both, c.both); err != nil {
		t.Errorf("both in one file: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: "gateway.example", Roots: roots}); err != nil {
		t.Error(err)
	}
}

func TestFreePortsAreOfLoopbackAndDiffer(t *testing.T) {
	list, err := freePorts(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Sort(list); len(slices.Compact(slices.Clone(list))) != 5 {
		t.Errorf("got %v", list)
	}
	for _, a := range list {
		ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", a)
		if err != nil || !strings.HasPrefix(a, "127.0.0.1:") {
			t.Errorf("%s: %v", a, err)
			continue
		}
		_ = ln.Close()
	}
}

func TestAskOnceWantsA200(t *testing.T) {
	status := http.StatusServiceUnavailable
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	defer ts.Close()
	address := ts.Listener.Addr().String()
	if err := askOnce(t.Context(), address); err == nil {
		t.Error("503 was enough")
	}
	status = http.StatusOK
	if err := askOnce(t.Context(), address); err != nil {
		t.Errorf("200: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := askOnce(ctx, address); err == nil {
		t.Error("it asked after the end")
	}
}
