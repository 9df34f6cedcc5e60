package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/airside-gateway/airside/airsidetest"
)

// upgradeAgent speaks a protocol of its own: it greets, and then echoes in capitals.
func upgradeAgent(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "shout" || !strings.EqualFold(r.Header.Get("Connection"), "upgrade") {
		http.Error(w, fmt.Sprintf("not an upgrade: %v", r.Header), http.StatusBadRequest)
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer c.Close()
	fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: shout\r\nConnection: Upgrade\r\nX-Agent: me\r\n\r\nHELLO\n")
	rw.Flush()
	for {
		line, err := rw.ReadString('\n')
		if err != nil {
			return
		}
		rw.WriteString(strings.ToUpper(line))
		rw.Flush()
	}
}

// upgradeClient changes the protocol where the client's allows it, which HTTP/2
// does not (RFC 9113 section 8.6), and HTTP/3 neither (RFC 9114 section 4.5).
func upgradeClient(t *testing.T, k call) {
	if k.mode == airsidetest.H3 {
		refusedConnect(t, k)
		return
	}
	if strings.HasPrefix(string(k.mode), "h2") {
		refusedUpgrade(t, k)
		return
	}
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", k.gateway.Addr)
	if k.mode == airsidetest.H1TLS {
		c, err = (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", k.gateway.TLS)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	host := k.gateway.Addr
	if k.mode == airsidetest.H1TLS {
		host = k.gateway.TLS
	}
	fmt.Fprintf(c, "GET /x HTTP/1.1\r\nHost: %s\r\nConnection: keep-alive, Upgrade\r\nUpgrade: shout\r\n\r\n", host)
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "shout" || resp.Header.Get("X-Agent") != "me" {
		t.Fatalf("got %d %v", resp.StatusCode, resp.Header)
	}
	if got, err := br.ReadString('\n'); got != "HELLO\n" {
		t.Fatalf("got greeting %q, %v", got, err)
	}
	for _, s := range []string{"one", strings.Repeat("two ", 30000)} {
		fmt.Fprintf(c, "%s\n", s)
		if got, err := br.ReadString('\n'); got != strings.ToUpper(s)+"\n" {
			t.Fatalf("got %d bytes, %v, want %d", len(got), err, len(s)+1)
		}
	}
}

// refusedConnect asks for what HTTP/3 has instead of an upgrade, a tunnel (RFC 9220). The
// gateway is none. That the headers of an upgrade are refused is shown where a client
// can be made by hand, in internal/edge/h3.
func refusedConnect(t *testing.T, k call) {
	for _, protocol := range []string{"HTTP/1.1", "websocket"} {
		req := request(t, "CONNECT", k.url, nil)
		req.Proto = protocol
		if resp := do(t, k, req); resp.StatusCode != 405 {
			t.Errorf("%s: got %d, want 405", protocol, resp.StatusCode)
		}
	}
}

// refusedUpgrade sends the header that HTTP/2 forbids, by hand, since no library
// would. The stream must fail, and the agent must not see an upgrade.
func refusedUpgrade(t *testing.T, k call) {
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", k.gateway.Addr)
	authority, scheme := k.gateway.Addr, "http"
	if k.mode == airsidetest.H2 || k.mode == airsidetest.H2Std {
		authority, scheme = k.gateway.TLS, "https"
		c, err = (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}).DialContext(t.Context(), "tcp", k.gateway.TLS)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(c, http2.ClientPreface)
	fr := http2.NewFramer(c, c)
	fr.WriteSettings()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", scheme}, {":authority", authority}, {":path", "/x"}, {"connection", "upgrade"}, {"upgrade", "shout"}} {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			t.Fatalf("no answer: %v", err)
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			return
		case *http2.MetaHeadersFrame:
			if got := f.PseudoValue("status"); got != "400" {
				t.Errorf("got status %s, want 400 or a reset", got)
			}
			return
		}
	}
}
