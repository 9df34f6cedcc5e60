package airside

import (
	"encoding/hex"
	"net/http"
	"strings"
)

// A TraceID names a trace: all that was done for one request, wherever it was done. Zero
// is no trace.
type TraceID [16]byte

// String is the id in hexadecimal, 32 digits.
func (t TraceID) String() string { return hex.EncodeToString(t[:]) }

// A SpanID names a span within a trace. Zero is no span.
type SpanID [8]byte

// String is the id in hexadecimal, 16 digits.
func (s SpanID) String() string { return hex.EncodeToString(s[:]) }

// The flags of a [TraceContext].
const (
	TraceSampled byte = 1 << iota // who sent it records the trace
	TraceRandom                   // the last 7 bytes of the trace id are random
)

// A TraceContext is the place of a request in a trace, as W3C Trace Context (level 2)
// passes it from one program to the next.
type TraceContext struct {
	Trace TraceID
	Span  SpanID // the sender's, the parent of what is done for the request
	Flags byte   // TraceSampled, TraceRandom
	State string // tracestate; empty for none
}

// Bounds of a tracestate, section 3.3.1.
const (
	maxStateMembers = 32
	maxStateBytes   = 512
	maxStateShort   = 128 // members that are longer go first
)

// ReadTraceContext reads traceparent and tracestate, sections 3.2 and 3.3. It says no if
// there is no traceparent, more than one, or one that is malformed: then the request is
// the first of a trace, and its tracestate means nothing. A tracestate that is malformed
// is left out; of one beyond 512 bytes members are left out, those beyond 128 bytes
// first, and then the last ones.
func ReadTraceContext(h http.Header) (TraceContext, bool) {
	lines := h["Traceparent"]
	if len(lines) != 1 {
		return TraceContext{}, false
	}
	c, ok := parseTraceparent(lines[0])
	if !ok {
		return TraceContext{}, false
	}
	switch state := h["Tracestate"]; len(state) {
	case 0:
	case 1:
		c.State = traceState(state[0])
	default:
		c.State = traceState(strings.Join(state, ","))
	}
	return c, true
}

// The places in a traceparent, version 00: 00-TRACE-SPAN-FLAGS.
const (
	parentTrace = 3
	parentSpan  = 36
	parentFlags = 53
	parentEnd   = 55

	parentLongest = 512 // what is read of a later version
)

func parseTraceparent(s string) (TraceContext, bool) {
	var c TraceContext
	var version, flags [1]byte
	if len(s) < parentEnd || len(s) > parentLongest || s[2] != '-' || s[parentSpan-1] != '-' || s[parentFlags-1] != '-' {
		return c, false
	}
	ok := lowerHex(version[:], s[:2]) && lowerHex(c.Trace[:], s[parentTrace:parentSpan-1]) &&
		lowerHex(c.Span[:], s[parentSpan:parentFlags-1]) && lowerHex(flags[:], s[parentFlags:parentEnd])
	switch {
	case !ok || version[0] == 0xff || c.Trace == TraceID{} || c.Span == SpanID{}:
		return TraceContext{}, false
	case len(s) > parentEnd && (version[0] == 0 || s[parentEnd] != '-'):
		return TraceContext{}, false
	}
	c.Flags = flags[0] & (TraceSampled | TraceRandom)
	return c, true
}

// lowerHex decodes s, twice as long as p, which must be in lower case.
func lowerHex(p []byte, s string) bool {
	for i := range p {
		hi, lo := hexDigit(s[2*i]), hexDigit(s[2*i+1])
		if hi|lo > 0xf {
			return false
		}
		p[i] = hi<<4 | lo
	}
	return true
}

func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// traceState returns what of a tracestate is sent on; empty if it is malformed.
func traceState(s string) string {
	var room [maxStateMembers]string
	members := room[:0]
	for rest, more := s, true; more; {
		var m string
		m, rest, more = strings.Cut(rest, ",")
		if m = strings.Trim(m, " \t"); m == "" {
			continue
		}
		key, value, ok := strings.Cut(m, "=")
		if !ok || len(members) == maxStateMembers || !stateKey(key) || !stateValue(value) {
			return ""
		}
		for _, other := range members {
			if strings.HasPrefix(other, key) && other[len(key)] == '=' {
				return ""
			}
		}
		members = append(members, m)
	}
	if len(members) == 0 {
		return ""
	}
	if len(s) <= maxStateBytes {
		return s
	}
	return shortenState(members)
}

// shortenState joins as much of members as may be sent.
func shortenState(members []string) string {
	total := len(members) - 1
	for _, m := range members {
		total += len(m)
	}
	kept := make([]string, 0, len(members))
	for i := len(members) - 1; i >= 0; i-- { // the first are the newest, and stay longest
		if total > maxStateBytes && len(members[i]) > maxStateShort {
			total -= len(members[i]) + 1
			members[i] = ""
		}
	}
	size := -1
	for _, m := range members {
		if m == "" {
			continue
		}
		if size+1+len(m) > maxStateBytes {
			break
		}
		size += 1 + len(m)
		kept = append(kept, m)
	}
	return strings.Join(kept, ",")
}

// stateKey reports whether s is a key of a tracestate, section 3.3.1.3.1.
func stateKey(s string) bool {
	if s == "" || len(s) > 256 || hasByte(s[:1], "_-*/@") {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !hasByte(s[i:i+1], "_-*/@") {
			return false
		}
	}
	return true
}

func hasByte(s, chars string) bool { return strings.ContainsAny(s, chars) }

// stateValue reports whether s is a value of a tracestate, section 3.3.1.3.2.
func stateValue(s string) bool {
	if s == "" || len(s) > 256 || s[len(s)-1] == ' ' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == ',' || c == '=' {
			return false
		}
	}
	return true
}

// appendTraceparent writes a traceparent of version 00.
func appendTraceparent(b []byte, trace TraceID, span SpanID, flags byte) []byte {
	b = append(b, "00-"...)
	b = hex.AppendEncode(b, trace[:])
	b = append(b, '-')
	b = hex.AppendEncode(b, span[:])
	b = append(b, '-')
	return hex.AppendEncode(b, []byte{flags})
}
