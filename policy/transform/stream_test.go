package transform

import (
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/airside-gateway/airside"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var eventStream = http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}, "Etag": {`"1"`}, "Content-Length": {"9"}}

func stream(t *testing.T, src string, header http.Header, body io.Reader) (*http.Response, error) {
	t.Helper()
	m := build(t, func(c *Config) { c.Events, c.Max = filter(src), 290 })
	return m(&agent{t: t, header: header, body: io.NopCloser(body)}).Handle(post("{}"))
}

// TestEvents proves what becomes of the events of a stream.
func TestEvents(t *testing.T) {
	const in = ": ping\n\nid: 1\nevent: delta\ndata: {\"type\":\"delta\",\ndata: \"text\":\"a\"}\nx: y\n\ndata: {\"type\":\"stop\"}\n\nretry: 5\n\ndata: [DONE]\n\ndata: \n\ndata: rest"
	tests := []struct {
		name, src, want, told string
	}{
		{
			"change", `{t: .text}`,
			": ping\n\nid: 1\nevent: delta\ndata: {\"t\":\"a\"}\nx: y\n\ndata: {\"t\":null}\n\nretry: 5\n\ndata: [DONE]\n\ndata: \n\n", "",
		},
		{
			"drop", `select(.type == "delta")`,
			": ping\n\nid: 1\nevent: delta\ndata: {\"text\":\"a\",\"type\":\"delta\"}\nx: y\n\nretry: 5\n\ndata: [DONE]\n\ndata: \n\n", "",
		},
		{"null", `null`, ": ping\n\nretry: 5\n\ndata: [DONE]\n\ndata: \n\n", ""},
		{
			"facts", `[$event.type, $event.id, $response.status, $request.method]`,
			": ping\n\nid: 1\nevent: delta\ndata: [\"delta\",\"1\",200,\"POST\"]\nx: y\n\ndata: [\"\",\"\",200,\"POST\"]\n\nretry: 5\n\ndata: [DONE]\n\ndata: \n\n", "",
		},
		{
			"fails", `if .type == "stop" then error("secret") else . end`,
			": ping\n\nid: 1\nevent: delta\ndata: {\"text\":\"a\",\"type\":\"delta\"}\nx: y\n\n",
			"upstream_failed: the agent's answer does not have the form that is expected here",
		},
		{"several", `1, 2`, ": ping\n\n", "upstream_failed: the agent's answer does not have the form that is expected here"},
		{"large", `"x" * 300`, ": ping\n\n", "upstream_failed: the agent's answer is larger than the 290B that can be transformed here"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp, err := stream(t, tt.src, eventStream, strings.NewReader(in))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			if told(err) != tt.told {
				t.Errorf("told %q (%v), want %q", told(err), err, tt.told)
			}
			if string(got) != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if resp.ContentLength != -1 || resp.Header.Get("Content-Length")+resp.Header.Get("Etag") != "" {
				t.Errorf("left %d, %v", resp.ContentLength, resp.Header)
			}
			if err := resp.Body.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestHiddenEvents proves that what others read as JSON does not slip past.
func TestHiddenEvents(t *testing.T) {
	for _, data := range []string{`{"a":1,"a":2}`, `"\ud800"`, "\"\xff\"", strings.Repeat("[", 129) + strings.Repeat("]", 129)} {
		resp, err := stream(t, "null", eventStream, strings.NewReader("data: "+data+"\n\n"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if want := "upstream_failed: an event of the agent is not valid JSON"; told(err) != want || len(got) > 0 {
			t.Errorf("%.20q: got %q, told %q, want %q", data, got, told(err), want)
		}
	}
}

// TestPackedEvents proves that a compressed stream is read as it arrives, and that
// what is wrong with it is told.
func TestPackedEvents(t *testing.T) {
	packed := eventStream.Clone()
	packed.Set("Content-Encoding", "gzip")
	r, w := io.Pipe()
	resp, err := stream(t, ".n", packed, r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Content-Encoding") != "" {
		t.Error("the answer is said to be compressed")
	}
	written := make(chan error, 1)
	heard := make(chan struct{})
	go func() {
		z := gzip.NewWriter(w)
		_, err := z.Write([]byte("data: {\"n\":1}\n\n"))
		err = errors.Join(err, z.Flush())
		<-heard // the first event must be through before there is a second one
		_, err2 := z.Write([]byte("data: {\"n\":2}\n\n"))
		written <- errors.Join(err, err2, z.Close(), w.Close())
	}()
	p := make([]byte, 100)
	n, err := resp.Body.Read(p)
	close(heard)
	if got, want := string(p[:n]), "data: 1\n\n"; got != want || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	rest, err := io.ReadAll(resp.Body)
	if got, want := string(rest), "data: 2\n\n"; got != want || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if err := errors.Join(<-written, resp.Body.Close()); err != nil {
		t.Error(err)
	}

	bad := "upstream_failed: the agent's answer is not valid gzip, as it says"
	whole := zip("data: {\"n\":1}\n\n")
	for _, tt := range []struct {
		name, in string
		err      error
		want     string
	}{
		{"plain", "data: {\"n\":1}\n\n", io.EOF, bad},
		{"cut", whole[:len(whole)-4], io.EOF, bad},
		{"wrong", whole[:12] + "\xff\xff" + whole[14:], io.EOF, bad},
		{"nothing", "", io.EOF, ""},
		{"broken", whole[:20], airside.Errorf(airside.Timeout, "slow"), "timeout: slow"},
	} {
		resp, err := stream(t, ".n", packed, io.MultiReader(strings.NewReader(tt.in), failing{tt.err}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = io.ReadAll(resp.Body); told(err) != tt.want {
			t.Errorf("%s: told %q, want %q", tt.name, told(err), tt.want)
		}
	}

	packed.Set("Content-Encoding", "br")
	if _, err := stream(t, ".n", packed, strings.NewReader("")); told(err) != "upstream_failed: the agent's answer is compressed in a way that it was not asked for" {
		t.Errorf("told %q", told(err))
	}
}

// TestOtherStreams proves that a stream passes untouched where there is no filter
// for it, and is refused if that is strict.
func TestOtherStreams(t *testing.T) {
	for strict, want := range map[bool]string{false: "", true: "upstream_failed: the agent answered with something other than JSON"} {
		m := build(t, func(c *Config) { c.Response, c.Strict = filter("."), strict })
		resp, err := m(&agent{t: t, header: eventStream, body: io.NopCloser(strings.NewReader("data: 1"))}).Handle(post("{}"))
		if told(err) != want {
			t.Errorf("strict %v: told %q, want %q", strict, told(err), want)
		}
		if err != nil {
			continue
		}
		if got, err := io.ReadAll(resp.Body); string(got) != "data: 1" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

func BenchmarkEvents(b *testing.B) {
	const event = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" of the\"}}\n\n"
	in := strings.Repeat(event, 100)
	m := build(b, func(c *Config) { c.Events = filter(`.delta.text |= "x"`) })
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		resp, err := m(&agent{t: b, header: eventStream, body: io.NopCloser(strings.NewReader(in))}).Handle(post("{}"))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
	}
}
