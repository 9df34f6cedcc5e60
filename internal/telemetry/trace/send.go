package trace

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/airside-gateway/airside"
)

// A Target is the collector, and how it is spoken to.
type Target struct {
	URL      string // http or https
	Protocol string // HTTP or GRPC
	Headers  map[string]airside.Secret
	TLS      *tls.Config // nil: the authorities of the system
	Plain    bool        // do not compress

	Timeout  time.Duration // of one export
	Interval time.Duration // how long a span waits for others
	Batch    int           // spans that are sent at once
	Queue    int           // exchanges that may wait
}

// A sender sends exports to a collector, one after the other.
type sender interface {
	send(ctx context.Context, message []byte) (outcome, error)
	close()
}

// An outcome is what a collector answered.
type outcome struct {
	rejected uint64        // spans of an export that it took
	final    bool          // with an error: it makes no sense to try again
	after    time.Duration // with an error: when to try again; 0: it did not say
}

const (
	maxAnswer = 64 << 10 // bytes of an answer that are read
	connect   = 5 * time.Second
)

var errTarget = errors.New("trace: the collector needs a URL with http or https and a host")

func (t *Target) sender() (sender, error) {
	u, err := url.Parse(t.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errTarget
	}
	p := new(http.Protocols)
	grpc := t.Protocol == GRPC
	p.SetHTTP1(!grpc)
	p.SetHTTP2(u.Scheme == "https")
	p.SetUnencryptedHTTP2(grpc && u.Scheme == "http")
	zip, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	c := &client{
		zip: zip, url: address(u, grpc), headers: http.Header{}, plain: t.Plain,
		transport: &http.Transport{
			Protocols: p, TLSClientConfig: t.TLS, TLSHandshakeTimeout: connect, MaxIdleConns: 1,
			IdleConnTimeout: time.Minute, DisableCompression: true, MaxResponseHeaderBytes: maxAnswer,
		},
	}
	for name, v := range t.Headers {
		c.headers.Set(name, string(v))
	}
	if grpc {
		return &overGRPC{c}, nil
	}
	return &overHTTP{c}, nil
}

const (
	httpPath = "/v1/traces"
	grpcPath = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
)

// address is where exports are sent to: below what is configured, unless that says it whole.
func address(u *url.URL, grpc bool) string {
	to := *u
	to.Path, to.RawPath = strings.TrimRight(u.Path, "/"), ""
	switch {
	case grpc:
		to.Path = grpcPath
	case !strings.HasSuffix(to.Path, httpPath):
		to.Path += httpPath
	}
	return to.String()
}

// A client is what both protocols have in common.
type client struct {
	transport *http.Transport
	url       string
	headers   http.Header
	plain     bool
	squeezed  bytes.Buffer
	zip       *gzip.Writer
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// squeeze returns b compressed. It is valid until the next call.
func (c *client) squeeze(b []byte) ([]byte, error) {
	if c.plain {
		return b, nil
	}
	c.squeezed.Reset()
	c.zip.Reset(&c.squeezed)
	if _, err := c.zip.Write(b); err != nil {
		return nil, err
	}
	err := c.zip.Close()
	return bytes.Clone(c.squeezed.Bytes()), err // net/http may look at it after an answer
}

// An answer is what a collector sent back.
type answer struct {
	status          int
	header, trailer http.Header
	body            []byte
}

// post sends body and reads the answer to its end.
func (c *client) post(ctx context.Context, body []byte, h http.Header) (*answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	maps.Copy(r.Header, c.headers)
	maps.Copy(r.Header, h)
	r.Header.Set("User-Agent", "airside")
	resp, err := c.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // what there was to say, Read has said
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return &answer{resp.StatusCode, resp.Header, resp.Trailer, b}, err
}

// overHTTP is OTLP/HTTP with binary protobuf.
type overHTTP struct{ *client }

func (c *overHTTP) send(ctx context.Context, message []byte) (outcome, error) {
	h := http.Header{"Content-Type": {"application/x-protobuf"}}
	if !c.plain {
		h["Content-Encoding"] = []string{"gzip"}
	}
	body, err := c.squeeze(message)
	if err != nil {
		return outcome{final: true}, err
	}
	a, err := c.post(ctx, body, h)
	if err != nil {
		return outcome{}, err
	}
	switch a.status {
	case http.StatusOK, http.StatusAccepted, http.StatusNoContent:
		return outcome{rejected: rejectedIn(a.body)}, nil
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return outcome{after: retryAfter(a.header)}, fmt.Errorf("the collector answered %d", a.status)
	}
	return outcome{final: true}, fmt.Errorf("the collector refused them with %d", a.status)
}

// retryAfter reads when to try again, RFC 9110 section 10.2.3: seconds, or a date.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.ParseInt(v, 10, 32); err == nil {
		return time.Duration(max(n, 0)) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

// overGRPC is OTLP/gRPC: one unary call a message.
type overGRPC struct{ *client }

// framePrefix is what comes before each message: whether it is compressed, and its length.
const framePrefix = 5

func (c *overGRPC) send(ctx context.Context, message []byte) (outcome, error) {
	h := http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	if deadline, ok := ctx.Deadline(); ok {
		h["Grpc-Timeout"] = []string{strconv.FormatInt(max(time.Until(deadline).Milliseconds(), 1), 10) + "m"}
	}
	squeezed := byte(0)
	if !c.plain {
		h["Grpc-Encoding"], squeezed = []string{"gzip"}, 1
	}
	body, err := c.squeeze(message)
	if err != nil {
		return outcome{final: true}, err
	}
	frame := make([]byte, framePrefix, framePrefix+len(body))
	frame[0] = squeezed
	binary.BigEndian.PutUint32(frame[1:], uint32(len(body))) //nolint:gosec // a batch has a bound
	a, err := c.post(ctx, append(frame, body...), h)
	if err != nil {
		return outcome{}, err
	}
	status := a.trailer.Get("Grpc-Status")
	if status == "" {
		status = a.header.Get("Grpc-Status") // an answer of trailers only
	}
	switch {
	case status == "0":
		return outcome{rejected: rejectedIn(unframed(a.body))}, nil
	case passing(status, a.status):
		return outcome{}, fmt.Errorf("the collector answered with the gRPC status %.20q and %d", status, a.status)
	}
	return outcome{final: true}, fmt.Errorf("the collector refused them with the gRPC status %.20q and %d", status, a.status)
}

// passing reports whether a status may be another one soon, OTLP section "Failures": of
// RESOURCE_EXHAUSTED that is so if the collector says when, and it has its say in details
// that we do not read, so it counts as such.
func passing(status string, over int) bool {
	switch status {
	case "1", "4", "8", "10", "11", "14", "15":
		return true
	case "":
		return over == http.StatusTooManyRequests || over >= http.StatusBadGateway && over <= http.StatusGatewayTimeout
	}
	return false
}

// unframed is the message of an answer that is not compressed.
func unframed(b []byte) []byte {
	if len(b) < framePrefix || b[0] != 0 {
		return nil
	}
	n := binary.BigEndian.Uint32(b[1:])
	if b = b[framePrefix:]; uint64(len(b)) < uint64(n) {
		return nil
	}
	return b[:n]
}

// Field numbers of ExportTraceServiceResponse and ExportTracePartialSuccess.
const (
	answerPartial   = 1
	partialRejected = 1
)

// rejectedIn reads how many spans an ExportTraceServiceResponse says were rejected.
func rejectedIn(b []byte) (n uint64) {
	eachField(b, func(field protowire.Number, typ protowire.Type, v []byte) {
		if field != answerPartial || typ != protowire.BytesType {
			return
		}
		partial, size := protowire.ConsumeBytes(v)
		if size < 0 {
			return
		}
		eachField(partial, func(field protowire.Number, typ protowire.Type, v []byte) {
			if field != partialRejected || typ != protowire.VarintType {
				return
			}
			if r, size := protowire.ConsumeVarint(v); size > 0 && int64(r) > 0 { //nolint:gosec // as protobuf has it
				n = r
			}
		})
	})
	return n
}

// eachField calls f with the fields of a message, as far as it is one.
func eachField(b []byte, f func(protowire.Number, protowire.Type, []byte)) {
	for len(b) > 0 {
		field, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return
		}
		size := protowire.ConsumeFieldValue(field, typ, b[n:])
		if size < 0 {
			return
		}
		f(field, typ, b[n:n+size])
		b = b[n+size:]
	}
}

// jitter is where in a pause the next try comes: 0 to 1.
func jitter() float64 { return rand.Float64() } //nolint:gosec // a pause, not a secret
