package e2e

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"testing"

	"github.com/airside-gateway/airside/airsidetest"
)

const huge = 100 << 20

var cells = []cell{
	{"get", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, r.Header.Get("X-Mine"))
	}, func(t *testing.T, k call) {
		req := request(t, "GET", k.url, nil)
		req.Header.Set("X-Mine", "yes")
		resp := do(t, k, req)
		wantBody(t, resp, 200, "GET /cell?q=1 yes")
		if resp.Header.Get("X-Request-Id") == "" {
			t.Error("the answer has no request id")
		}
	}},
	{"post with length", describeBody, func(t *testing.T, k call) {
		wantBody(t, do(t, k, request(t, "POST", k.url, strings.NewReader("hello"))), 200, "5:hello")
	}},
	{"post of unknown length", describeBody, func(t *testing.T, k call) {
		wantBody(t, do(t, k, request(t, "POST", k.url, io.MultiReader(strings.NewReader("hel"), strings.NewReader("lo")))), 200, "-1:hello")
	}},
	{"post of nothing", describeBody, func(t *testing.T, k call) {
		wantBody(t, do(t, k, request(t, "POST", k.url, http.NoBody)), 200, "0:")
	}},
	{"100 MiB up", func(w http.ResponseWriter, r *http.Request) {
		n, sum := digest(r.Body)
		fmt.Fprintf(w, "%d %x", n, sum)
	}, func(t *testing.T, k call) {
		_, sum := digest(pattern())
		wantBody(t, do(t, k, request(t, "POST", k.url, pattern())), 200, fmt.Sprintf("%d %x", huge, sum))
	}},
	{"100 MiB down", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(huge))
		io.Copy(w, pattern())
	}, func(t *testing.T, k call) {
		resp := do(t, k, request(t, "GET", k.url, nil))
		n, got := digest(resp.Body)
		if _, want := digest(pattern()); n != huge || got != want || resp.ContentLength != huge {
			t.Errorf("got %d bytes (announced %d), digest %x, want %d, %x", n, resp.ContentLength, got, huge, want)
		}
	}},
	{"head", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "12345")
	}, func(t *testing.T, k call) {
		resp := do(t, k, request(t, "HEAD", k.url, nil))
		if resp.StatusCode != 200 || resp.ContentLength != 12345 {
			t.Errorf("got %d with length %d, want 200 with 12345", resp.StatusCode, resp.ContentLength)
		}
	}},
	{"204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, func(t *testing.T, k call) {
		wantBody(t, do(t, k, request(t, "DELETE", k.url, nil)), 204, "")
	}},
	{"304", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", r.Header.Get("If-None-Match"))
		w.WriteHeader(304)
	}, func(t *testing.T, k call) {
		req := request(t, "GET", k.url, nil)
		req.Header.Set("If-None-Match", `"v1"`)
		resp := do(t, k, req)
		wantBody(t, resp, 304, "")
		if got := resp.Header.Get("Etag"); got != `"v1"` {
			t.Errorf("got etag %q", got)
		}
	}},
	{"trailers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.Copy(w, r.Body)
		w.Header().Set("X-Sum", "sum of "+r.Trailer.Get("X-Up"))
		w.Header().Set(http.TrailerPrefix+"X-Late", "unannounced")
	}, func(t *testing.T, k call) {
		req := request(t, "POST", k.url, io.MultiReader(strings.NewReader("body")))
		req.Trailer = http.Header{"X-Up": {"me"}}
		resp := do(t, k, req)
		wantBody(t, resp, 200, "body")
		if got := resp.Trailer.Get("X-Sum"); got != "sum of me" {
			t.Errorf("got trailer %q, want %q", got, "sum of me")
		}
		if got := resp.Trailer.Get("X-Late"); got != "unannounced" {
			t.Errorf("got late trailer %q", got)
		}
	}},
	{"1xx", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a.css>")
		w.WriteHeader(103)
		w.Header().Set("Link", "</b.css>")
		w.WriteHeader(103)
		w.Header().Del("Link")
		fmt.Fprint(w, "done")
	}, func(t *testing.T, k call) {
		var early []string
		req := request(t, "GET", k.url, nil)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			early = append(early, fmt.Sprint(code, h.Get("Link")))
			return nil
		}}))
		resp := do(t, k, req)
		wantBody(t, resp, 200, "done")
		if got, want := strings.Join(early, " "), "103</a.css> 103</b.css>"; got != want || resp.Header.Get("Link") != "" {
			t.Errorf("got %q and then Link %q, want %q and none", got, resp.Header.Get("Link"), want)
		}
	}},
	{"expect 100-continue", describeBody, func(t *testing.T, k call) {
		req := request(t, "POST", k.url, strings.NewReader("hello"))
		req.Header.Set("Expect", "100-continue")
		wantBody(t, do(t, k, req), 200, "5:hello")
	}},
	{"expectation refused", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(417)
	}, func(t *testing.T, k call) {
		req := request(t, "POST", k.url, strings.NewReader("hello"))
		req.Header.Set("Expect", "100-continue")
		wantBody(t, do(t, k, req), 417, "")
	}},
	{"upgrade", upgradeAgent, upgradeClient},
	{"1,000 events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 1000 {
			fmt.Fprintf(w, "id: %d\ndata: event %d\n\n", i, i)
			http.NewResponseController(w).Flush()
		}
		<-r.Context().Done() // the stream stays open: each event must arrive by itself
	}, func(t *testing.T, k call) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		resp := do(t, k, request(t, "GET", k.url, nil).WithContext(ctx))
		br := bufio.NewReader(resp.Body)
		for i := range 1000 {
			var event string
			for range 3 {
				line, err := br.ReadString('\n')
				if err != nil {
					t.Fatalf("event %d: %v", i, err)
				}
				event += line
			}
			if want := fmt.Sprintf("id: %d\ndata: event %d\n\n", i, i); event != want {
				t.Fatalf("got %q, want %q", event, want)
			}
		}
	}},
	{"early answer", func(w http.ResponseWriter, _ *http.Request) {
		if http.NewResponseController(w).EnableFullDuplex() != nil {
			w.Header().Set("Connection", "close")
		}
		w.WriteHeader(413)
		io.WriteString(w, "too much for me")
	}, func(t *testing.T, k call) {
		for range 10 {
			earlyAnswer(t, k)
		}
	}},
	{"client gone", func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}, func(t *testing.T, k call) {
		ctx, cancel := context.WithCancel(t.Context())
		resp := do(t, k, request(t, "GET", k.url, nil).WithContext(ctx))
		cancel()
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Error("the body ended well")
		}
		k.gateway.WaitExchange(func(l airsidetest.Line) bool { return l["err"] != nil }) // the agent was let go
	}},
	{"client gone before the answer", func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}, func(t *testing.T, k call) {
		ctx, cancel := context.WithCancel(t.Context())
		req := request(t, "GET", k.url, nil)
		req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { cancel() }}))
		if resp, err := k.Do(req); err == nil {
			resp.Body.Close()
			t.Errorf("got an answer %d", resp.StatusCode)
		}
	}},
	{"agent gone before the head", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, func(t *testing.T, k call) {
		resp := do(t, k, request(t, "POST", k.url, strings.NewReader("x")))
		b := read(t, resp)
		if resp.StatusCode != 502 || !strings.Contains(b, `"code":"upstream_failed"`) {
			t.Errorf("got %d %s, want 502 upstream_failed", resp.StatusCode, b)
		}
	}},
	{"agent gone after the head", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}, func(t *testing.T, k call) {
		resp := do(t, k, request(t, "GET", k.url, nil))
		if b := read(t, resp); resp.StatusCode != 502 || !strings.Contains(b, "upstream_failed") {
			t.Errorf("got %d %s, want 502: nothing of the answer had been sent", resp.StatusCode, b)
		}
	}},
	{"agent gone within the body", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100000")
		w.Write(make([]byte, 50000))
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}, wantCut},
	{"agent gone within a body of unknown length", func(w http.ResponseWriter, _ *http.Request) {
		w.Write(make([]byte, 50000))
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}, wantCut},
	{"agent gone within events", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n\n")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}, wantCut},
}

func describeBody(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprintf(w, "%d:%s", r.ContentLength, b)
}

// earlyAnswer sends a body that never ends before the answer has come.
func earlyAnswer(t *testing.T, k call) {
	t.Helper()
	pr, pw := io.Pipe()
	defer pw.Close()
	go func() {
		chunk := make([]byte, 16<<10)
		for {
			if _, err := pw.Write(chunk); err != nil {
				return
			}
		}
	}()
	resp := do(t, k, request(t, "POST", k.url, pr))
	wantBody(t, resp, 413, "too much for me")
	pr.CloseWithError(errors.New("answered"))
}

// wantCut asserts that an answer that broke off does not look whole.
func wantCut(t *testing.T, k call) {
	resp, err := k.Do(request(t, "GET", k.url, nil))
	if err != nil {
		return // cut before the head had arrived
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("%d bytes of a broken answer look whole (status %d)", len(b), resp.StatusCode)
	}
}

func request(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func do(t *testing.T, k call, req *http.Request) *http.Response {
	t.Helper()
	resp, err := k.Do(req)
	if err != nil {
		t.Fatalf("%v\n%s", err, k.gateway.Log())
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func read(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("reading the answer: %v", err)
	}
	return string(b)
}

func wantBody(t *testing.T, resp *http.Response, status int, body string) {
	t.Helper()
	if got := read(t, resp); resp.StatusCode != status || got != body {
		t.Errorf("got %d %q, want %d %q", resp.StatusCode, got, status, body)
	}
}

// pattern is 100 MiB that no two places of look alike.
func pattern() io.Reader { return io.LimitReader(new(counter), huge) }

type counter struct{ n uint64 }

func (c *counter) Read(p []byte) (int, error) {
	for i := range p {
		c.n = c.n*6364136223846793005 + 1442695040888963407
		p[i] = byte(c.n >> 56)
	}
	return len(p), nil
}

func digest(r io.Reader) (int64, [sha256.Size]byte) {
	h := sha256.New()
	n, _ := io.Copy(h, r)
	return n, [sha256.Size]byte(h.Sum(nil))
}
