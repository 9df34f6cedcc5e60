package h3_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/quic-go/quicvarint"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/edge"
)

// TestLengths proves that a length which is no number, or is 0 before a body, reaches no
// handler: an agent would get it as a body that is another.
func TestLengths(t *testing.T) {
	var reached atomic.Bool
	_, addr, _ := gateway(t, func(x *airside.Exchange) (*http.Response, error) {
		reached.Store(true)
		return text("ok")(x)
	}, &edge.Listener{})
	conf := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{http3.NextProtoH3}}
	c, err := quic.DialAddr(t.Context(), addr, conf, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseWithError(0, "")
	for _, tt := range []struct {
		length string
		data   []string
		passes bool
	}{
		{"0", nil, true},
		{"0", []string{""}, true},
		{"5", []string{"hello"}, true},
		{"0", []string{"hello"}, false},
		{"0", []string{"", "", "hello"}, false},
		{"+5", []string{"hello"}, false},
		{"5, 5", []string{"hello"}, false},
		{"x", []string{"hello"}, false},
	} {
		reached.Store(false)
		str, err := c.OpenStreamSync(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var block strings.Builder
		enc := qpack.NewEncoder(&block)
		for _, f := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", addr}, {":path", "/"}, {"content-length", tt.length}} {
			enc.WriteField(qpack.HeaderField{Name: f[0], Value: f[1]})
		}
		str.Write(frame(1, block.String()))
		for _, d := range tt.data {
			str.Write(frame(0, d))
		}
		str.Close()
		str.SetReadDeadline(time.Now().Add(patient))
		kind, err := quicvarint.Read(quicvarint.NewReader(str)) // of the first frame
		_, reset := errors.AsType[*quic.StreamError](err)
		if !reset && (err != nil || kind != 1) {
			t.Fatalf("%q, %q: got a frame of kind %d, %v", tt.length, tt.data, kind, err)
		}
		if reached.Load() != tt.passes || tt.passes && reset {
			t.Errorf("%q, %q: reached %v, reset %v, want it to pass: %v", tt.length, tt.data, reached.Load(), reset, tt.passes)
		}
	}
}

// frame is one of HTTP/3, RFC 9114 section 7.1.
func frame(kind uint64, data string) []byte {
	b := quicvarint.Append(nil, kind)
	b = quicvarint.Append(b, uint64(len(data)))
	return append(b, data...)
}
