package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/airside-gateway/airside/bench/internal/sample"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent answers 1 KiB, or three events of 512 bytes on /sse, or what the test is about.
func agent(t *testing.T) http.Handler {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1", func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil || len(b) != 1024 || r.Header.Get("Authorization") != "Bearer "+key {
			t.Errorf("got %d bytes, %v, key %q", len(b), err, r.Header.Get("Authorization"))
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 1024))
	})
	mux.HandleFunc("GET /short", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	mux.HandleFunc("GET /close", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, strings.Repeat("x", 1024))
	})
	mux.HandleFunc("GET /sse", func(w http.ResponseWriter, r *http.Request) {
		for range 3 {
			_, _ = io.WriteString(w, "data: "+strings.Repeat("x", 504)+"\n\n")
			_ = http.NewResponseController(w).Flush()
		}
		if r.URL.RawQuery == "hold" {
			<-r.Context().Done()
		}
	})
	return mux
}

func load(t *testing.T, args ...string) sample.Sample {
	t.Helper()
	var out bytes.Buffer
	self := strconv.Itoa(os.Getpid())
	if err := run(t.Context(), append([]string{"-c", "4", "-warm", "20ms", "-d", "150ms", "-pids", self}, args...), &out); err != nil {
		t.Fatal(err)
	}
	var s sample.Sample
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRequestsClosedLoop(t *testing.T) {
	ts := httptest.NewServer(agent(t))
	defer ts.Close()
	s := load(t, "-url", ts.URL+"/v1")
	if s.Mode != "requests" || s.Errors != 0 || s.Units < 10 || s.Rate < 50 || s.CPU <= 0 || s.Busy <= 0 || s.RSS <= 0 {
		t.Errorf("%+v", s)
	}
	if s.P50 <= 0 || s.P50 > s.P90 || s.P90 > s.P99 || s.P99 > s.P999 || s.P999 > s.Max {
		t.Errorf("the quantiles are not in order: %+v", s)
	}
}

// A fixed rate is kept, however fast the answers come.
func TestRequestsAtAFixedRate(t *testing.T) {
	ts := httptest.NewServer(agent(t))
	defer ts.Close()
	s := load(t, "-url", ts.URL+"/v1", "-rate", "200", "-d", "500ms")
	if s.Errors != 0 || s.Units < 60 || s.Units > 110 {
		t.Errorf("got %d requests in half a second, want about 100: %+v", s.Units, s)
	}
}

// In an open loop a stall counts against every request that was due in it.
func TestAStallIsNotHidden(t *testing.T) {
	var stalled atomic.Bool
	release := make(chan struct{})
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if stalled.CompareAndSwap(false, true) {
			select { // one answer is held back until the client gives up on it
			case <-release:
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 1024))
	}))
	defer ts.Close()
	defer close(release)
	s := load(t, "-url", ts.URL+"/x", "-c", "1", "-rate", "1000", "-warm", "0s", "-d", "100ms")
	if s.Units != 0 {
		t.Errorf("got %d requests past a connection that stalled, want none", s.Units)
	}
}

func TestRequestsOverTLS(t *testing.T) {
	ts := httptest.NewTLSServer(agent(t))
	defer ts.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ts.Certificate().Raw})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	s := load(t, "-url", ts.URL+"/v1", "-ca", file, "-host", "example.com")
	if s.Errors != 0 || s.Units < 10 {
		t.Errorf("%+v", s)
	}
}

// secure serves h over TLS and HTTP/2, and returns the arguments to ask it.
func secure(t *testing.T, h http.Handler) (*httptest.Server, []string) {
	t.Helper()
	ts := httptest.NewUnstartedServer(h)
	ts.EnableHTTP2 = true
	ts.StartTLS()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ts.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return ts, []string{"-ca", file, "-host", "example.com", "-c", "2", "-m", "8"}
}

// Eight requests are under way on a connection, never more, and all are answered.
func TestRequestsOverHTTP2(t *testing.T) {
	var now, most atomic.Int64
	h := agent(t)
	ts, args := secure(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			continue
		}
		if r.ProtoMajor != 2 || r.Host != "example.com" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got %s, host %q, %v", r.Proto, r.Host, r.Header)
		}
		h.ServeHTTP(w, r)
	}))
	defer ts.Close()
	s := load(t, append(args, "-url", ts.URL+"/v1")...)
	if s.Errors != 0 || s.Units < 10 || s.Total < s.Units || s.P50 <= 0 || s.TLS != "TLS 1.3, TLS_AES_128_GCM_SHA256, h2" {
		t.Errorf("%+v", s)
	}
	if got := most.Load(); got < 2 || got > 16 {
		t.Errorf("at most %d requests at a time, want up to 16", got)
	}
}

// Over HTTP/2 the same is an error as over HTTP/1.1.
func TestErrorsOverHTTP2(t *testing.T) {
	h := agent(t)
	ts, args := secure(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/reset" {
			panic(http.ErrAbortHandler)
		}
		h.ServeHTTP(w, r)
	}))
	defer ts.Close()
	for _, path := range []string{"/short", "/nothing", "/reset"} {
		if s := load(t, append(args, "-method", "GET", "-body", "0", "-url", ts.URL+path)...); s.Errors == 0 {
			t.Errorf("%s: no error: %+v", path, s)
		}
	}
	old := httptest.NewTLSServer(agent(t))
	defer old.Close()
	if s := load(t, append(args, "-url", old.URL+"/v1")...); s.Errors != 2 || s.Units != 0 {
		t.Errorf("a server without HTTP/2: %+v", s)
	}
}

func TestAnswersOfTheProxyItselfAreErrors(t *testing.T) {
	ts := httptest.NewServer(agent(t))
	defer ts.Close()
	for _, path := range []string{"/short", "/nothing"} {
		if s := load(t, "-method", "GET", "-body", "0", "-url", ts.URL+path); s.Errors == 0 {
			t.Errorf("%s: no error: %+v", path, s)
		}
	}
}

func TestClosedConnectionsAreOpenedAnew(t *testing.T) {
	ts := httptest.NewServer(agent(t))
	defer ts.Close()
	if s := load(t, "-method", "GET", "-body", "0", "-url", ts.URL+"/close"); s.Errors != 0 || s.Units < 10 {
		t.Errorf("%+v", s)
	}
}

func TestStreamsCountEvents(t *testing.T) {
	ts := httptest.NewServer(agent(t))
	defer ts.Close()
	s := load(t, "-mode", "streams", "-method", "GET", "-body", "0", "-event", "512", "-url", ts.URL+"/sse")
	if s.Mode != "streams" || s.Errors != 0 || s.Units < 10 || s.Chunks < s.Units/3 || s.P50 <= 0 || s.Open == 0 {
		t.Errorf("%+v", s)
	}
}

func TestIdleStreamsAreHeld(t *testing.T) {
	ts := httptest.NewServer(agent(t))
	defer ts.Close()
	s := load(t, "-mode", "idle", "-settle", "20ms", "-method", "GET", "-body", "0", "-c", "20", "-url", ts.URL+"/sse?hold")
	if s.Mode != "idle" || s.Errors != 0 || s.Units != 20 || s.RSS == 0 {
		t.Errorf("%+v", s)
	}
}

func TestRunRefuses(t *testing.T) {
	for _, args := range [][]string{
		{"-url", "http://192.0.2.1:80/"},
		{"-url", "http://localhost:80/"},
		{"-url", "https://127.0.0.1:1/", "-ca", "/nonexistent"},
		{"-mode", "nothing"},
		{"-c", "0"},
		{"-rate", "-1"},
		{"-m", "-1"},
		{"-m", "8"},
		{"-pids", "x"},
		{"extra"},
		{"-unknown"},
		{"-url", ":"},
	} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%q: it ran", args)
		}
	}
}
