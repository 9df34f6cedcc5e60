package trace_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A collector is one that decodes what it gets by the messages of the OpenTelemetry
// protocol itself.
type collector struct {
	url    string
	spans  chan *span             // every span, in the order of coming
	answer func(n int) answerWith // to the nth export; nil: taken
	seen   chan http.Header       // of every export
	n      int
}

// answerWith is what a collector answers.
type answerWith struct {
	status int
	header http.Header
	body   []byte
	grpc   string // grpc-status
}

// A span is one that came, with what it stands in.
type span struct {
	*tracepb.Span

	resource map[string]string
	attrs    map[string]string
}

func newCollector(t *testing.T, grpc bool, answer func(n int) answerWith) *collector {
	t.Helper()
	c := &collector{spans: make(chan *span, 10000), seen: make(chan http.Header, 10000), answer: answer}
	s := httptest.NewUnstartedServer(http.HandlerFunc(c.serve))
	if grpc {
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
	}
	s.Start()
	t.Cleanup(s.Close)
	c.url = s.URL
	return c
}

func (c *collector) serve(w http.ResponseWriter, r *http.Request) {
	body, err := c.read(r)
	with := answerWith{status: http.StatusOK, grpc: "0"}
	if c.answer != nil {
		c.n++
		with = c.answer(c.n)
	}
	if err != nil {
		with = answerWith{status: http.StatusBadRequest, grpc: "3"}
	} else if with.status == http.StatusOK && with.grpc == "0" {
		c.take(body)
	}
	c.seen <- r.Header.Clone()
	maps.Copy(w.Header(), with.header)
	if r.Header.Get("Content-Type") != "application/grpc" {
		w.WriteHeader(with.status)
		_, _ = w.Write(with.body)
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(with.body)))
	_, _ = w.Write(append(frame, with.body...))
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", with.grpc)
}

func (*collector) read(r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	zipped := r.Header.Get("Content-Encoding") == "gzip"
	switch r.URL.Path {
	case "/v1/traces":
	case "/opentelemetry.proto.collector.trace.v1.TraceService/Export":
		if zipped = b[0] == 1; int(binary.BigEndian.Uint32(b[1:5])) != len(b)-5 {
			return nil, fmt.Errorf("a frame of %d bytes says %d", len(b), binary.BigEndian.Uint32(b[1:5]))
		}
		b = b[5:]
	default:
		return nil, fmt.Errorf("path %s", r.URL.Path)
	}
	if !zipped {
		return b, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

func (c *collector) take(b []byte) {
	all := decode(b)
	for _, s := range all {
		c.spans <- s
	}
}

// decode is what an export holds; nil if it is none.
func decode(b []byte) (out []*span) {
	var d tracepb.TracesData
	if err := (proto.UnmarshalOptions{}).Unmarshal(b, &d); err != nil || len(d.ProtoReflect().GetUnknown()) > 0 {
		return nil
	}
	for _, rs := range d.ResourceSpans {
		resource := map[string]string{}
		for _, a := range rs.Resource.Attributes {
			resource[a.Key] = a.Value.GetStringValue()
		}
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				attrs := map[string]string{}
				for _, a := range s.Attributes {
					attrs[a.Key] = valueOf(a.Value)
				}
				out = append(out, &span{Span: s, resource: resource, attrs: attrs})
			}
		}
	}
	return out
}

func valueOf(v *commonpb.AnyValue) string {
	switch v := v.Value.(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *commonpb.AnyValue_BoolValue:
		return strconv.FormatBool(v.BoolValue)
	case *commonpb.AnyValue_DoubleValue:
		return strconv.FormatFloat(v.DoubleValue, 'g', -1, 64)
	}
	return fmt.Sprintf("%T", v.Value)
}

// next are the next n spans.
func (c *collector) next(t *testing.T, n int) []*span {
	t.Helper()
	var out []*span
	for len(out) < n {
		select {
		case s := <-c.spans:
			out = append(out, s)
		case <-time.After(time.Minute):
			t.Fatalf("only %d of %d spans have come", len(out), n)
		}
	}
	return out
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }
