// Package conformance tests what goes over the wire, byte for byte.
package conformance

import (
	"bufio"
	"bytes"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/airside-gateway/airside/airsidetest"
)

var update = flag.Bool("update", false, "write what is expected anew")

// TestWire runs the archives of testdata. Each holds
//
//	airside.yaml  the configuration, in which $1 is the agent
//	request       what the client sends
//	agent         what the agent answers, as soon as it has read a request
//	seen          what the agent must have seen; empty if it must not be asked
//	answer        what the client must get
//
// A line end in an archive is CRLF on the wire, but for the last of each file,
// which is none. What differs from run to run is written ID, DATE and PORT. Each is run
// by our own engine and by that of net/http.
func TestWire(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d archives, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			for _, m := range []airsidetest.Mode{airsidetest.H1, airsidetest.H1Std} {
				t.Run(string(m), func(t *testing.T) {
					t.Parallel()
					wire(t, file, m)
				})
			}
		})
	}
}

func wire(t *testing.T, file string, mode airsidetest.Mode) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	part := map[string]*txtar.File{}
	for i := range archive.Files {
		part[archive.Files[i].Name] = &archive.Files[i]
	}
	agent := newAgent(t, onWire(part["agent"].Data))
	g := airsidetest.Start(t, string(part["airside.yaml"].Data), agent.address)
	address, _, _ := strings.Cut(strings.TrimPrefix(g.URL(mode, "/"), "http://"), "/")
	answer := exchange(t, address, onWire(part["request"].Data))
	for name, got := range map[string]string{"seen": inArchive(agent.seen()), "answer": inArchive(answer)} {
		want := inOrder(string(part[name].Data))
		if *update {
			part[name].Data = []byte(got)
			continue
		}
		if d := cmp.Diff(want, inOrder(got)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func onWire(text []byte) []byte {
	return bytes.ReplaceAll(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"), []byte("\r\n"))
}

// varying is what differs from run to run.
var varying = []struct {
	pattern *regexp.Regexp
	word    string
}{
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "ID"},
	{regexp.MustCompile(`(?m)^Date: .*$`), "Date: DATE"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:PORT"},
}

func inArchive(b []byte) string {
	s := strings.ReplaceAll(string(b), "\r\n", "\n")
	for _, v := range varying {
		s = v.pattern.ReplaceAllString(s, v.word)
	}
	if s != "" {
		s += "\n"
	}
	return s
}

// inOrder is text with the fields of its heads in the order of their names: the order in
// which fields of different names come says nothing (RFC 9110 section 5.3), and the
// engines have each their own.
func inOrder(text string) string {
	lines := strings.Split(text, "\n")
	for at := 0; at < len(lines) && (at == 0 || strings.HasPrefix(lines[at], "HTTP/1.")); {
		end := at
		for end < len(lines) && lines[end] != "" {
			end++
		}
		slices.SortStableFunc(lines[min(at+1, end):end], func(a, b string) int {
			nameA, _, _ := strings.Cut(a, ":")
			nameB, _, _ := strings.Cut(b, ":")
			return strings.Compare(nameA, nameB)
		})
		at = end + 1
	}
	return strings.Join(lines, "\n")
}

// exchange sends a request on a connection of its own and returns all that comes
// back until the answer is whole.
func exchange(t *testing.T, addr string, request []byte) []byte {
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	br := bufio.NewReader(io.TeeReader(c, &got))
	method, _, _ := strings.Cut(string(request), " ")
	for {
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%v after %q", err, got.String())
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatalf("%v after %q", err, got.String())
		}
		if resp.StatusCode >= 200 {
			return got.Bytes()
		}
	}
}

// An agent gives one answer to each request, whatever it is, and remembers what it
// saw.
type agent struct {
	address string
	bytes   bytes.Buffer
	ln      net.Listener
	done    chan struct{}
}

func newAgent(t *testing.T, answer []byte) *agent {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{address: "http://" + ln.Addr().String(), ln: ln, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			a.serve(c, answer)
		}
	}()
	t.Cleanup(func() { a.seen() })
	return a
}

func (a *agent) serve(c net.Conn, answer []byte) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(c, &a.bytes)))
	if err != nil {
		return
	}
	if _, err := io.Copy(io.Discard, req.Body); err != nil {
		return
	}
	c.Write(answer)
}

// seen ends the agent and returns what it saw.
func (a *agent) seen() []byte {
	a.ln.Close()
	<-a.done
	return a.bytes.Bytes()
}
