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
		args := strings.Join(w.arguments((&options{}).times(), 20000, false, p, "/cert.pem"), " ")
		for _, tt := range []struct {
			want string
			when bool
		}{
			{"-url http://127.0.0.1:1/v1/", !w.tls},
			{"-url https://127.0.0.1:2/v1/", w.tls},
			{"-ca /cert.pem", w.tls},
			{"-mode streams", w.kind == report.Streams},
			{"-mode idle", w.kind == report.Idle},
			{"-c 4000", w.name == "idle"},
			{"-rate 5000", w.name == "rate"},
		} {
			if strings.Contains(args, tt.want) != tt.when {
				t.Errorf("%s: %q in it: want %t: %s", w.name, tt.want, tt.when, args)
			}
		}
	}
}

func TestStreamsFitTheOpenFiles(t *testing.T) {
	w := workload{streams: 4000}
	for _, tt := range []struct {
		files int
		quick bool
		want  int
	}{{20000, false, 4000}, {20000, true, 1000}, {4096, false, 1798}, {1024, true, 262}} {
		if got := w.connections(tt.files, tt.quick); got != tt.want {
			t.Errorf("%d files, quick %t: got %d, want %d", tt.files, tt.quick, got, tt.want)
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
		text := strings.Join(args, " ")
		if p.config != "" {
			b, err := os.ReadFile(filepath.Join(f.Dir, p.config))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(text, filepath.Join(f.Dir, p.config)) {
				t.Errorf("%s: the arguments do not name the configuration: %s", p.name, text)
			}
			text = string(b)
		}
		for _, want := range []string{f.Plain, f.TLS, f.Agent} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %s is not in\n%s", p.name, want, text)
			}
		}
		for _, left := range []string{"{{", "<no value>", "CONFIG", "PLAIN", "AGENT"} {
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
