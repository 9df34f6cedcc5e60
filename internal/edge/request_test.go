package edge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/airside-gateway/airside"
)

// Methods pass as they are, or not at all; TRACE would show what the gateway adds.
func TestMethods(t *testing.T) {
	for _, standard := range []bool{false, true} {
		_, addr := start(t, &Listener{Standard: standard}, echo)
		for _, tt := range []struct {
			method string
			status int
		}{
			{"GET", 200},
			{"PATCH", 200},
			{"QUERY", 200},
			{"PROPFIND", 200},
			{"x-own", 200},
			{"get", 400},
			{"Post", 400},
			{"trace", 400},
			{"TRACE", 405},
			{"CONNECT", 405},
		} {
			resp, b := raw(t, addr, tt.method+" /a HTTP/1.1\r\nHost: h\r\n\r\n")
			if resp.StatusCode != tt.status {
				t.Errorf("standard=%v: %s: got %d %s, want %d", standard, tt.method, resp.StatusCode, b, tt.status)
			}
			if allow := resp.Header.Get("Allow"); (allow != "") != (tt.status == 405) || strings.Contains(allow, tt.method) {
				t.Errorf("standard=%v: %s: got Allow: %q", standard, tt.method, allow)
			}
		}
	}
}

// byHand sends one request of HTTP/2 without the care of a library, and returns its
// status and body; "reset" if the stream was.
func byHand(t *testing.T, addr string, fields ...string) (status string, body []byte) {
	t.Helper()
	c := connect(t, addr)
	defer c.Close()
	io.WriteString(c, http2.ClientPreface)
	fr := http2.NewFramer(c, c)
	fr.WriteSettings()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := 0; i < len(fields); i += 2 {
		enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatalf("%q: no answer: %v", fields, err)
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			return "reset", nil
		case *http2.MetaHeadersFrame:
			status = f.PseudoValue("status")
		case *http2.DataFrame:
			body = append(body, f.Data()...)
		}
		if f.Header().StreamID == 1 && f.Header().Flags.Has(http2.FlagDataEndStream) {
			return status, body
		}
	}
}

// What HTTP/2 can say and HTTP/1.1 cannot is refused too: a method of any bytes, and
// two hosts.
func TestAmbiguousHTTP2(t *testing.T) {
	for _, ours := range []bool{false, true} {
		_, addr := start(t, &Listener{Standard: !ours}, echo)
		ambiguousHTTP2(t, addr)
	}
}

func ambiguousHTTP2(t *testing.T, addr string) {
	t.Helper()
	for _, tt := range []struct {
		method, authority, host string
		status                  string
	}{
		{"GET", "h.example", "", "200"},
		{"GET", "h.example", "h.example", "200"},
		{"GET", "h.example", "H.Example.", "200"},
		{"GET", "", "h.example", "200"},
		{"GET", "h.example", "evil.example", "400"},
		{"GET", "h.example", "h.example:81", "400"},
		{"GET", "h.example", "h.example, evil.example", "400"},
		{"GE T", "h.example", "", "400"},
		{"GET /x HTTP/1.1\r\nX: y", "h.example", "", "reset"},
		{"G@T", "h.example", "", "400"},
		{"get", "h.example", "", "400"},
		{"TRACE", "h.example", "", "405"},
	} {
		fields := []string{":method", tt.method, ":scheme", "http", ":path", "/a"}
		if tt.authority != "" {
			fields = append(fields, ":authority", tt.authority)
		}
		if tt.host != "" {
			fields = append(fields, "host", tt.host)
		}
		status, body := byHand(t, addr, fields...)
		if status != tt.status {
			t.Errorf("%q: got %s %s, want %s", fields, status, body, tt.status)
		}
		if status != "200" {
			continue
		}
		var got echoed
		if err := json.Unmarshal(body, &got); err != nil || got.Host != "h.example" || got.Header["Host"] != nil {
			t.Errorf("%q: the agent sees %q and the header %q, %v", fields, got.Host, got.Header["Host"], err)
		}
	}
}

// The forwarding headers cost one piece of memory, and no client can set them.
func TestForwardedIsOurs(t *testing.T) {
	for _, lines := range []string{"", "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n"} {
		seen := make(chan http.Header, 1)
		_, addr := start(t, &Listener{}, func(x *airside.Exchange) (*http.Response, error) {
			seen <- x.Request.Header.Clone()
			return echo(x)
		})
		raw(t, addr, "GET / HTTP/1.1\r\nHost: h\r\n"+lines+"\r\n")
		h := <-seen
		if got := fmt.Sprint(h["X-Forwarded-For"], h["X-Forwarded-Proto"], h["X-Forwarded-Host"], h["X-Forwarded-Port"]); got != "[127.0.0.1] [http] [h] []" {
			t.Errorf("%q: got %s", lines, got)
		}
	}
}
