package edge

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/airside-gateway/airside"
)

// A target in absolute-form is of the scheme http or https, in any case, and HTTP/1 alone
// has it: what comes before "://" is not thrown away unseen.
func TestAbsoluteForm(t *testing.T) {
	for _, standard := range []bool{false, true} {
		_, addr := start(t, &Listener{Standard: standard}, echo)
		for target, want := range map[string]int{
			"http://h/a":         200,
			"HTTP://h/a":         200,
			"https://h/a":        200,
			"hTTps://h?b":        200,
			"/a?b=ftp://h/c":     200,
			"ftp://h/a":          400,
			"http:/tp://h/a":     400,
			"http:://h/a":        400,
			"a/http://h/a":       400,
			"://h/a":             400,
			"httpx://h/a":        400,
			"x?b=http://h/a":     400,
			"http://user@h/a":    400,
			"http://h/a?c=d://e": 200,
		} {
			if resp, b := raw(t, addr, "GET "+target+" HTTP/1.1\r\nHost: h\r\n\r\n"); resp.StatusCode != want {
				t.Errorf("standard=%v: %s: got %d %s, want %d", standard, target, resp.StatusCode, b, want)
			}
		}
	}
	for _, ours := range []bool{false, true} {
		_, addr := start(t, &Listener{Standard: !ours}, echo)
		if status, _ := byHand(t, addr, ":method", "GET", ":scheme", "http", ":authority", "h", ":path", "http://h/a"); status != "400" && status != "reset" {
			t.Errorf("HTTP/2, ours=%v: got %s, want it refused", ours, status)
		}
	}
}

// Trailers are announced by names that are tokens.
func TestNamesOfTrailers(t *testing.T) {
	for _, standard := range []bool{false, true} {
		_, addr := start(t, &Listener{Standard: standard}, echo)
		for names, want := range map[string]int{"X-Sum": 200, "x_sum, X-Two": 200, "X Sum": 400, "X-Sum:": 400, "\"x\"": 400, "x\xe9": 400, "X-Forwarded_For": 400} {
			if resp, b := raw(t, addr, "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: "+names+"\r\n\r\n0\r\n\r\n"); resp.StatusCode != want {
				t.Errorf("standard=%v: %q: got %d %s, want %d", standard, names, resp.StatusCode, b, want)
			}
		}
	}
}

// A length of HTTP/2 that is no number, or not that of the body, reaches no handler: an
// agent would get it as a body that is another.
func TestLengthOfHTTP2(t *testing.T) {
	for _, ours := range []bool{false, true} {
		var reached atomic.Bool
		_, addr := start(t, &Listener{Standard: !ours}, func(x *airside.Exchange) (*http.Response, error) {
			reached.Store(true)
			b, err := io.ReadAll(x.Request.Body)
			if err != nil {
				return nil, err
			}
			return &http.Response{StatusCode: 200, Header: http.Header{}, ContentLength: int64(len(b)), Body: io.NopCloser(strings.NewReader(string(b)))}, nil
		})
		for _, tt := range []struct {
			length string
			frames []string // of DATA; the last ends the stream, or the head does
			passes bool
		}{
			{"5", []string{"hello"}, true},
			{"5", []string{"hel", "lo", ""}, true},
			{"0", nil, true},
			{"0", []string{""}, true},
			{"", []string{"hello"}, false},
			{"0", []string{"hello"}, false},
			{"0", []string{"", "hello"}, false},
			{"5", nil, false},
			{"5", []string{""}, false},
			{"+5", []string{"hello"}, false},
			{"-5", []string{"hello"}, false},
			{"5, 5", []string{"hello"}, false},
			{"0x5", []string{"hello"}, false},
			{"x", []string{"hello"}, false},
			{"x", nil, false},
			{"18446744073709551621", []string{"hello"}, false},
		} {
			reached.Store(false)
			got := lengthened(t, addr, tt.length, tt.frames)
			want := "200 " + strings.Join(tt.frames, "")
			switch {
			case tt.passes && got != want:
				t.Errorf("ours=%v: %q, %q: got %s, want %s", ours, tt.length, tt.frames, got, want)
			case !tt.passes && (reached.Load() && tt.length != "5" || got != "reset" && !strings.HasPrefix(got, "400 ")):
				t.Errorf("ours=%v: %q, %q: got %s, reached %v, want it refused", ours, tt.length, tt.frames, got, reached.Load())
			}
		}
	}
}

// lengthened sends a request with a Content-Length, and returns what came of it: the
// status and the body, or "reset".
func lengthened(t *testing.T, addr, length string, frames []string) string {
	t.Helper()
	c := connect(t, addr)
	defer c.Close()
	io.WriteString(c, http2.ClientPreface)
	fr := http2.NewFramer(c, c)
	fr.WriteSettings()
	fr.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, EndHeaders: true, EndStream: len(frames) == 0,
		BlockFragment: fields(":method", "POST", ":scheme", "http", ":authority", "h", ":path", "/a", "content-length", length),
	})
	for i, data := range frames {
		fr.WriteData(1, i+1 == len(frames), []byte(data))
	}
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	status, body := "", ""
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatalf("%q, %q: no answer: %v", length, frames, err)
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			return "reset"
		case *http2.MetaHeadersFrame:
			status = f.PseudoValue("status")
		case *http2.DataFrame:
			body += string(f.Data())
		}
		if f.Header().StreamID == 1 && f.Header().Flags.Has(http2.FlagDataEndStream) {
			return fmt.Sprintf("%s %s", status, body)
		}
	}
}

// Who sends what net/http refuses by its first line gets to read that, though net/http
// closes the connection without having read the rest.
func TestRefusalIsRead(t *testing.T) {
	_, addr := start(t, &Listener{Standard: true}, echo)
	for range 20 {
		resp, b := raw(t, addr, "GET /a HTTP/1.10\r\nHost: h\r\nX-A: "+strings.Repeat("x", 2000)+"\r\n\r\n")
		if resp.StatusCode != 400 && resp.StatusCode != 505 {
			t.Fatalf("got %d %s", resp.StatusCode, b)
		}
	}
}

// What is ahead of a sniffed connection, and what follows, comes in order and whole, the
// end included.
func TestSniffedReads(t *testing.T) {
	_, addr := start(t, &Listener{Standard: true}, echo)
	for _, piece := range []int{1, 23, 24, 25, 1 << 10} {
		c := connect(t, addr)
		if status := ask1(c, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", piece); status != 200 {
			t.Errorf("in pieces of %d: got %d", piece, status)
		}
		if err := c.Close(); err != nil && !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	}
}
