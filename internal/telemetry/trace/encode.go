package trace

import (
	"log/slog"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/airside-gateway/airside"
)

// The schema of the names of attributes: OpenTelemetry's semantic conventions.
const schema = "https://opentelemetry.io/schemas/1.37.0"

const scope = "github.com/airside-gateway/airside"

// maxText is how much of a text is told, in bytes.
const maxText = 1024

// Field numbers of opentelemetry/proto/trace/v1/trace.proto and common/v1/common.proto, version 1.
const (
	tracesResourceSpans = 1

	resourceSpansResource   = 1
	resourceSpansScopeSpans = 2
	resourceSpansSchema     = 3

	resourceAttributes = 1

	scopeSpansScope  = 1
	scopeSpansSpans  = 2
	scopeSpansSchema = 3

	scopeName = 1

	spanTrace      = 1
	spanID         = 2
	spanState      = 3
	spanParent     = 4
	spanName       = 5
	spanKind       = 6
	spanStart      = 7
	spanEnd        = 8
	spanAttributes = 9
	spanEvents     = 11
	spanStatus     = 15
	spanFlags      = 16

	eventTime       = 1
	eventName       = 2
	eventAttributes = 3

	statusMessage = 2
	statusCode    = 3
	statusError   = 2 // value of statusCode

	keyValueKey   = 1
	keyValueValue = 2

	valueText   = 1
	valueBool   = 2
	valueInt    = 3
	valueDouble = 4
)

// Flags of a span, beside those of W3C.
const (
	flagRemoteKnown = 0x100
	flagRemote      = 0x200
)

// An encoder writes spans as protobuf.
type encoder struct {
	mask  func(string) string
	spans []byte // fields of ScopeSpans
	count int

	span, event, attr []byte // room for the message that is being written
}

// add writes all spans of t.
func (e *encoder) add(t *airside.Trace) {
	records := t.Spans()
	for i := range records {
		e.one(t, i, &records[i])
		e.spans = appendMessage(e.spans, scopeSpansSpans, e.span)
	}
	e.count += len(records)
}

func (e *encoder) one(t *airside.Trace, i int, r *airside.SpanRecord) {
	c := t.Context()
	flags := uint32(c.Flags) | flagRemoteKnown
	if i == 0 && c.Span != (airside.SpanID{}) {
		flags |= flagRemote
	}
	b := e.span[:0]
	b = appendBytes(b, spanTrace, c.Trace[:])
	b = appendBytes(b, spanID, r.ID[:])
	if r.Parent != (airside.SpanID{}) {
		b = appendBytes(b, spanParent, r.Parent[:])
	}
	if c.State != "" {
		b = appendText(b, spanState, c.State)
	}
	b = protowire.AppendTag(b, spanFlags, protowire.Fixed32Type)
	b = protowire.AppendFixed32(b, flags)
	b = protowire.AppendTag(b, spanKind, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(r.Kind))
	b = appendTime(b, spanStart, t.Start().Add(r.Begin))
	b = appendTime(b, spanEnd, t.Start().Add(r.End))
	e.span = b
	var d description
	for a := range t.Attrs(i) {
		if !d.take(r.Kind, a) {
			e.attribute(a)
		}
	}
	e.derived(r, &d)
	if i == 0 && t.Lost() > 0 {
		e.attribute(slog.Int("airside.spans.lost", t.Lost()))
	}
	for ev, attrs := range t.Events(i) {
		e.happened(t, &ev, attrs)
	}
}

// A description is what of the attributes is told otherwise than it was recorded.
type description struct {
	method, scheme, address, base, path string
	route, upstream                     string
	status                              int64
}

// take keeps an attribute for later, or says no.
func (d *description) take(kind airside.SpanKind, a slog.Attr) bool {
	switch a.Key {
	case "http.request.method":
		d.method = a.Value.String()
	case "server.address":
		d.address = a.Value.String()
	case "http.response.status_code":
		d.status = a.Value.Int64()
	case "http.route":
		d.route = a.Value.String()
		return false
	case "airside.upstream":
		d.upstream = a.Value.String()
		return false
	case "url.scheme":
		d.scheme = a.Value.String()
		return kind == airside.SpanClient
	case "airside.base":
		d.base = a.Value.String()
	case "url.path":
		d.path = a.Value.String()
		return kind == airside.SpanClient
	default:
		return false
	}
	return true
}

// derived writes the name, the status, and the attributes that were kept.
func (e *encoder) derived(r *airside.SpanRecord, d *description) {
	name := r.Name
	if d.method != "" {
		method := knownMethod(d.method)
		if method == "" {
			e.attribute(slog.String("http.request.method_original", d.method))
			method, name = "_OTHER", "HTTP"
		} else {
			name = method
		}
		e.attribute(slog.String("http.request.method", method))
	}
	switch {
	case r.Kind == airside.SpanServer && d.route != "":
		name += " " + d.route
	case r.Kind == airside.SpanClient && d.upstream != "":
		name += " " + d.upstream
	}
	e.span = appendText(e.span, spanName, e.text(name))
	e.address(r.Kind, d)
	if r.Resent > 0 {
		e.attribute(slog.Int("http.request.resend_count", r.Resent))
	}
	if d.status > 0 {
		e.attribute(slog.Int64("http.response.status_code", d.status))
	}
	e.status(r, d)
}

func (e *encoder) address(kind airside.SpanKind, d *description) {
	if d.address == "" {
		return
	}
	host, port, err := net.SplitHostPort(d.address)
	if err != nil {
		host = strings.Trim(d.address, "[]")
	}
	e.attribute(slog.String("server.address", host))
	if n, err := strconv.Atoi(port); err == nil {
		e.attribute(slog.Int("server.port", n))
	}
	if kind == airside.SpanClient {
		e.attribute(slog.String("url.full", d.scheme+"://"+d.address+d.base+d.path))
	}
}

// status says whether the span failed: for who asks, from 400 on; for who answers, from
// 500 on. What was refused is no failure of the gateway.
func (e *encoder) status(r *airside.SpanRecord, d *description) {
	kind := string(r.Failed)
	bad := r.Failed != "" && (r.Failed.Status() >= 500 || r.Kind == airside.SpanClient && r.Failed != airside.Canceled)
	least := int64(http.StatusInternalServerError)
	if r.Kind == airside.SpanClient {
		least = http.StatusBadRequest
	}
	if d.status >= least {
		bad = true
		if kind == "" {
			kind = strconv.FormatInt(d.status, 10)
		}
	}
	if kind != "" {
		e.attribute(slog.String("error.type", kind))
	}
	if !bad {
		return
	}
	b := e.attr[:0]
	if r.Message != "" {
		b = appendText(b, statusMessage, e.text(r.Message))
	}
	b = protowire.AppendTag(b, statusCode, protowire.VarintType)
	b = protowire.AppendVarint(b, statusError)
	e.attr = b
	e.span = appendMessage(e.span, spanStatus, b)
}

func (e *encoder) happened(t *airside.Trace, ev *airside.SpanEvent, attrs func(func(slog.Attr) bool)) {
	b := appendTime(e.event[:0], eventTime, t.Start().Add(ev.At))
	b = appendText(b, eventName, e.text(ev.Name))
	for a := range attrs {
		e.attr = e.keyValue(e.attr[:0], a)
		b = appendMessage(b, eventAttributes, e.attr)
	}
	e.event = b
	e.span = appendMessage(e.span, spanEvents, b)
}

func (e *encoder) attribute(a slog.Attr) {
	e.attr = e.keyValue(e.attr[:0], a)
	e.span = appendMessage(e.span, spanAttributes, e.attr)
}

// keyValue writes a KeyValue.
func (e *encoder) keyValue(b []byte, a slog.Attr) []byte {
	b = appendText(b, keyValueKey, a.Key)
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindBool:
		return appendNumber(b, valueBool, protowire.EncodeBool(v.Bool()))
	case slog.KindInt64:
		return appendNumber(b, valueInt, uint64(v.Int64())) //nolint:gosec // two's complement, as protobuf has it
	case slog.KindUint64:
		return appendNumber(b, valueInt, min(v.Uint64(), math.MaxInt64))
	case slog.KindFloat64:
		b = protowire.AppendTag(b, keyValueValue, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(protowire.SizeTag(valueDouble)+8)) //nolint:gosec // small
		b = protowire.AppendTag(b, valueDouble, protowire.Fixed64Type)
		return protowire.AppendFixed64(b, math.Float64bits(v.Float64()))
	default:
		text := e.text(v.String())
		b = protowire.AppendTag(b, keyValueValue, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(protowire.SizeTag(valueText)+protowire.SizeBytes(len(text)))) //nolint:gosec // small
		return appendText(b, valueText, text)
	}
}

// text makes s fit to be told: masked, at most maxText bytes, and UTF-8, without which a
// receiver refuses everything.
func (e *encoder) text(s string) string {
	s = e.mask(s)
	if len(s) > maxText {
		s = s[:maxText]
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return s
}

// take returns what was added since the last time as a message TracesData, which has the
// wire form of ExportTraceServiceRequest, and the number of spans.
func (e *encoder) take(to, resource []byte) ([]byte, int) {
	inner := appendMessage(nil, scopeSpansScope, appendText(nil, scopeName, scope))
	tail := appendText(nil, scopeSpansSchema, schema)
	outer := appendMessage(nil, resourceSpansResource, resource)
	outerTail := appendText(nil, resourceSpansSchema, schema)
	scopes := len(inner) + len(e.spans) + len(tail)
	size := len(outer) + protowire.SizeTag(resourceSpansScopeSpans) + protowire.SizeBytes(scopes) + len(outerTail)
	to = protowire.AppendTag(to, tracesResourceSpans, protowire.BytesType)
	to = protowire.AppendVarint(to, uint64(size)) //nolint:gosec // not negative
	to = append(to, outer...)
	to = protowire.AppendTag(to, resourceSpansScopeSpans, protowire.BytesType)
	to = protowire.AppendVarint(to, uint64(scopes))
	to = append(append(append(to, inner...), e.spans...), tail...)
	n := e.count
	e.spans, e.count = e.spans[:0], 0
	return append(to, outerTail...), n
}

// resource writes a Resource.
func (e *encoder) resource(attrs []slog.Attr) []byte {
	var b []byte
	for _, a := range attrs {
		b = appendMessage(b, resourceAttributes, e.keyValue(nil, a))
	}
	return b
}

func appendMessage(b []byte, field protowire.Number, m []byte) []byte {
	return appendBytes(b, field, m)
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

func appendText(b []byte, field protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func appendTime(b []byte, field protowire.Number, t time.Time) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), uint64(max(t.UnixNano(), 0)))
}

// appendNumber writes the value of a KeyValue that is a varint.
func appendNumber(b []byte, field protowire.Number, v uint64) []byte {
	b = protowire.AppendTag(b, keyValueValue, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(protowire.SizeTag(field)+protowire.SizeVarint(v))) //nolint:gosec // small
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

// knownMethod is m if it is one of those that a name may hold: RFC 9110, and PATCH.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace, http.MethodPatch:
		return m
	}
	return ""
}
