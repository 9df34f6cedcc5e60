package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start serves on a free port until the test ends.
func start(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// say sends raw requests on one connection and returns the answers, as net/http
// reads them.
func say(t *testing.T, raw string, answers int) []string {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", start(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(c)
	var bodies []string
	for range answers {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("status %d, %v", resp.StatusCode, err)
		}
		bodies = append(bodies, string(b))
	}
	return bodies
}

func TestAnswersOneAfterTheOther(t *testing.T) {
	got := say(t, "POST /v1?size=2000 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"+
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"+
		"GET /?delay=1ms&size=300 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 3)
	for i, want := range []int{2000, 1024, 300} {
		if len(got[i]) != want {
			t.Errorf("answer %d: got %d bytes, want %d", i, len(got[i]), want)
		}
	}
}

func TestStreamsEventsOfTheSizeAskedFor(t *testing.T) {
	got := say(t, "GET /x/sse?n=3&size=200&gap=1ms&hold=1ms HTTP/1.1\r\nHost: x\r\n\r\n", 1)[0]
	events := strings.SplitAfter(got, "\n\n")
	if len(events) != 4 || events[3] != "" {
		t.Fatalf("got %d events, want 3: %q", len(events)-1, got)
	}
	for _, e := range events[:3] {
		if len(e) != 200 || !strings.HasPrefix(e, "data: {") {
			t.Errorf("got %d bytes: %q", len(e), e)
		}
	}
}

// A stream on hold ends when the other side leaves: nothing waits for ten minutes.
func TestHoldEndsWhenTheOtherSideLeaves(t *testing.T) {
	here, there := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		newAgent().talk(t.Context(), there)
	}()
	if _, err := io.WriteString(here, "GET /sse?n=1&size=200&hold=10m HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(here), nil)
	if err != nil {
		t.Fatal(err)
	}
	event := make([]byte, 200)
	if _, err := io.ReadFull(resp.Body, event); err != nil {
		t.Fatal(err)
	}
	if err := here.Close(); err != nil {
		t.Fatal(err)
	}
	<-ended
}

func TestRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for _, raw := range []string{"\r\n", "GET\r\n\r\n", "GET /?size=-1 HTTP/1.1\r\n\r\n", "GET /?gap=x HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"} {
		if o, err := readOrder(bufio.NewReader(strings.NewReader(raw)), io.Discard); err == nil {
			t.Errorf("%q: got %+v, want an error", raw, o)
		}
	}
	if err := run(t.Context(), "0.0.0.0:0"); err == nil {
		t.Error("it listened on every interface")
	}
}

// Whatever a proxy sends is understood or refused.
func FuzzOrder(f *testing.F) {
	f.Add("POST /sse?n=3&size=200&gap=1ms HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	f.Fuzz(func(t *testing.T, raw string) {
		o, err := readOrder(bufio.NewReader(strings.NewReader(raw)), io.Discard)
		if err == nil && (o.size < 0 || o.size > maxSize) {
			t.Fatalf("%+v", o)
		}
	})
}
