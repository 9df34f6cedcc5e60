package http1

import (
	"bytes"
	"iter"
	"net/http"
	"strings"
)

// A Head is the head of a message, parsed. It is used again for the next: its maps and
// slices are reused, its strings are not and may be kept.
type Head struct {
	Method, Target string // of a request
	Status         int    // of an answer
	Reason         string // of an answer; may be empty
	Minor          int    // HTTP/1.Minor: 0 or 1

	// Header holds the fields by their canonical names. Host stands in Host only. The
	// slices have no room to append in place.
	Header http.Header
	Host   string
	Fields int // lines

	Length     int64 // Content-Length; -1 if there is none
	Chunked    bool  // Transfer-Encoding: chunked
	Close      bool  // the sender will not use the connection again
	Upgrade    bool  // Connection names upgrade
	Continue   bool  // Expect: 100-continue
	Expects    bool  // Expect says anything
	Connection bool  // there is a Connection header
	HopByHop   bool  // there is another header that is about the connection (RFC 9110 section 7.6.1), or one named Trailer or Te

	values  []string
	lines   []span
	seen    uint64 // a bit of each name: see add
	keeps   bool   // Connection: keep-alive
	hasHost bool
	bad     bool // Trailer names what may not be one
}

// Reset makes h ready for the next message. It must come before Parse.
func (h *Head) Reset() {
	header, values := h.Header, h.values
	if header == nil {
		header = make(http.Header, 14) // what two groups of a map hold
	}
	clear(header)
	clear(values) // the strings of one head share its memory
	*h = Head{Header: header, values: values[:0], lines: h.lines[:0], Length: -1}
}

// A Scan finds the end of a head in bytes that come little by little, without looking
// at any of them twice. The zero Scan is ready.
type Scan struct {
	from  int // where the line begins that has not come whole
	at    int // everything before was looked at
	lines int
}

// End returns the length of the head at the beginning of b, the empty line included,
// or 0 if it has not come whole. B must begin with what earlier calls saw. Of the head
// it says no more than that it has at most [MaxFields] fields, that every LF follows a
// CR, and that the first line is not empty; the rest is for the parser. How long a head
// may be is for the caller to say.
func (s *Scan) End(b []byte) (int, error) {
	for {
		i := bytes.IndexByte(b[s.at:], '\n')
		if i < 0 {
			s.at = len(b)
			return 0, nil
		}
		end := s.at + i
		switch {
		case end == s.from || b[end-1] != '\r':
			return 0, ErrLineEnd
		case end > s.from+1:
		case s.lines > 0:
			return end + 1, nil
		default:
			return 0, ErrEmptyLine
		}
		s.from, s.at = end+1, end+1
		if s.lines++; s.lines > MaxFields+1 {
			return 0, ErrMany
		}
	}
}

// TLS reports whether b begins as a client does that speaks TLS: with a record of a
// handshake (RFC 8446 section 5.1), which is no request.
func TLS(b []byte) bool { return len(b) > 1 && b[0] == 0x16 && b[1] == 3 }

// Begun reports whether the first line has come whole. It tells a request line that is
// too long from a head that is.
func (s *Scan) Begun() bool { return s.lines > 0 }

// ParseRequest parses the head of a request: b is exactly what [Scan.End] measured.
// It changes names in b to their canonical form. The target is not parsed: it is one or
// more bytes, none of them a space, a control character or a "#".
func (h *Head) ParseRequest(b []byte) error {
	eol := bytes.IndexByte(b, '\n')
	if eol < 1 || b[eol-1] != '\r' {
		return ErrRequestLine
	}
	line := b[:eol-1]
	if len(line) > maxLine {
		return ErrTargetLong
	}
	m := bytes.IndexByte(line, ' ')
	if m <= 0 {
		return ErrRequestLine
	}
	method := known(line[:m])
	if method == "" && !isToken(line[:m]) {
		return ErrRequestLine
	}
	t := len(line) - len("HTTP/1.1") - 1
	if t <= m || line[t] != ' ' {
		t = bytes.LastIndexByte(line, ' ') // for the right error
	}
	if t <= m+1 {
		return ErrRequestLine
	}
	if err := h.version(line[t+1:]); err != nil {
		return err
	}
	if !isTarget(line[m+1 : t]) {
		return ErrTarget
	}
	text, err := h.fields(b, eol+1)
	if err != nil {
		return err
	}
	h.Method, h.Target = method, text[m+1:t]
	if method == "" {
		h.Method = text[:m]
	}
	if h.Minor == 1 && !h.hasHost {
		return ErrNoHost
	}
	return h.end()
}

// ParseResponse parses the head of an answer, as ParseRequest that of a request.
func (h *Head) ParseResponse(b []byte) error {
	eol := bytes.IndexByte(b, '\n')
	if eol < 13 || b[eol-1] != '\r' || b[8] != ' ' {
		return ErrStatusLine
	}
	if err := h.version(b[:8]); err != nil {
		return err
	}
	for _, c := range b[9:12] {
		if c < '0' || c > '9' {
			return ErrStatusLine
		}
		h.Status = h.Status*10 + int(c-'0')
	}
	reason := 12
	if eol > 13 {
		if reason = 13; b[12] != ' ' {
			return ErrStatusLine
		}
	}
	if h.Status < 100 || control(b[reason:eol]) != eol-1-reason {
		return ErrStatusLine
	}
	text, err := h.fields(b, eol+1)
	if err != nil {
		return err
	}
	if h.Reason = text[reason : eol-1]; h.Reason == http.StatusText(h.Status) {
		h.Reason = http.StatusText(h.Status)
	}
	return h.end()
}

// end draws the conclusions from all fields together.
func (h *Head) end() error {
	switch {
	case h.Chunked && h.Length >= 0:
		return ErrBothLengths
	case h.Chunked && h.Minor == 0:
		return ErrCodingTwice
	case h.Chunked && h.bad:
		return ErrTrailer
	case h.Minor == 0 && !h.keeps:
		h.Close = true
	}
	return nil
}

func (h *Head) version(b []byte) error {
	if len(b) != 8 || string(b[:7]) != "HTTP/1." || b[7] != '0' && b[7] != '1' {
		return ErrVersion
	}
	h.Minor = int(b[7] - '0')
	return nil
}

// fields parses the lines of b from at on and returns b as a string, in which all
// strings of the head lie.
func (h *Head) fields(b []byte, at int) (string, error) {
	lines := h.lines[:0]
	for at < len(b) && b[at] != '\r' {
		if len(lines) == MaxFields {
			return "", ErrMany
		}
		lines = append(lines, span{})
		next, err := field(b, at, &lines[len(lines)-1])
		if err != nil {
			return "", err
		}
		at = next
	}
	if at+2 != len(b) || b[at+1] != '\n' {
		return "", ErrLineEnd
	}
	h.Fields, h.lines = len(lines), lines
	if cap(h.values) < len(lines) {
		h.values = make([]string, 0, max(16, len(lines)))
	}
	text := string(b)
	for i := range lines {
		s := &lines[i]
		if err := h.add(text[s.name:s.colon], text[s.value:s.end]); err != nil {
			return "", err
		}
	}
	return text, nil
}

// add takes a field into the header, and looks at those that matter here.
func (h *Head) add(name, value string) error {
	if k := kindOf(name); k != plain {
		if err := h.special(k, value); err != nil || k == host {
			return err
		}
	}
	h.values = append(h.values, value)
	n := len(h.values)
	// Most names come once. Where no name before had this bit, that one is new for
	// certain, and need not be looked up.
	bit := uint64(1) << ((len(name) ^ int(name[0])<<2 ^ int(name[len(name)-1])) & 63)
	if h.seen&bit != 0 {
		if old := h.Header[name]; old != nil {
			h.Header[name] = append(old, value)
			return nil
		}
	}
	h.seen |= bit
	h.Header[name] = h.values[n-1 : n : n]
	return nil
}

func (h *Head) special(k kind, value string) error {
	switch k {
	case host:
		if h.hasHost {
			return ErrTwoHosts
		}
		h.Host, h.hasHost = value, true
	case hopByHop:
		h.HopByHop = true
	case trailer:
		h.HopByHop = true
		h.bad = h.bad || namesFraming(value)
	case contentLength:
		n, ok := parseLength(value)
		if !ok || h.Length >= 0 {
			return ErrLength
		}
		h.Length = n
	case transferEncoding:
		if h.Chunked {
			return ErrCodingTwice
		}
		if !fold(value, "chunked") {
			return ErrCoding
		}
		h.Chunked, h.HopByHop = true, true
	case connection:
		h.Connection = true
		h.options(value)
	case expect:
		h.Expects = true
		h.Continue = fold(value, "100-continue")
	}
	return nil
}

// options reads what Connection says about the connection itself.
func (h *Head) options(value string) {
	for o := range elements(value) {
		switch {
		case fold(o, "keep-alive"):
			h.keeps = true
		case fold(o, "close"):
			h.Close = true
		case fold(o, "upgrade"):
			h.Upgrade = true
		}
	}
}

// namesFraming reports whether a Trailer field names a field that the framing depends
// on, or itself.
func namesFraming(value string) bool {
	for o := range elements(value) {
		if fold(o, "transfer-encoding") || fold(o, "content-length") || fold(o, "trailer") {
			return true
		}
	}
	return false
}

// elements yields the elements of a list.
func elements(value string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for more := true; more; {
			var o string
			o, value, more = strings.Cut(value, ",")
			if !yield(strings.Trim(o, " \t")) {
				return
			}
		}
	}
}

// parseLength reads a Content-Length: 1 to 18 digits and nothing else.
func parseLength(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	n := int64(0)
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// known returns a usual method without a hold on the memory of the head; or "".
func known(b []byte) string {
	switch string(b) {
	case http.MethodGet:
		return http.MethodGet
	case http.MethodPost:
		return http.MethodPost
	case http.MethodHead:
		return http.MethodHead
	case http.MethodPut:
		return http.MethodPut
	case http.MethodDelete:
		return http.MethodDelete
	case http.MethodOptions:
		return http.MethodOptions
	case http.MethodPatch:
		return http.MethodPatch
	}
	return ""
}
