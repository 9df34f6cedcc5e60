package smuggle

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A reader reads HTTP/1.1 as RFC 9112 has it, and refuses whatever two readers could
// take in two ways. It shares no code with the gateway, nor with net/http.
//
// As the agent behind the gateway it is canonical: it takes only the one way in which
// a gateway should write a thing. In front of the gateway, where it says what a client
// meant, it takes every form that the RFC allows and that has one meaning.
type reader struct {
	r         *bufio.Reader
	canonical bool
	agents    bool           // it reads what agents may answer: without a reason, and up to the end of the connection
	before    func(*message) // called when the head of a request has been read, if set
}

// A dirt error says what is ambiguous, or no HTTP.
type dirt string

func (d dirt) Error() string { return string(d) }

func dirty(format string, args ...any) error { return dirt(fmt.Sprintf(format, args...)) }

// errCut is the end of the connection in the middle of a message.
var errCut = errors.New("it ends in the middle of a message")

// longestLine bounds what the reader takes. The gateway's bound is below it.
const longestLine = 1 << 20

type field struct{ name, value string }

// A message is a request or an answer as the reader understood it.
type message struct {
	method, target, version string
	status                  int
	fields, trailer         []field
	body                    []byte
	last                    bool   // no other message follows on the connection
	refused                 string // where it ends is clear, but it must not be passed on
	late                    bool   // empty lines come before it: who refuses it for them need not know the method
}

// values lists the values of a field; its name is in lower case.
func (m *message) values(name string) []string {
	var out []string
	for _, f := range m.fields {
		if strings.ToLower(f.name) == name {
			out = append(out, f.value)
		}
	}
	return out
}

func (m *message) value(name string) string {
	if v := m.values(name); len(v) == 1 {
		return v[0]
	}
	return ""
}

// names reports whether a list field has an element.
func (m *message) names(list, element string) bool {
	for _, v := range m.values(list) {
		for e := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.Trim(e, " \t"), element) {
				return true
			}
		}
	}
	return false
}

func (m *message) String() string {
	if m.method != "" {
		return fmt.Sprintf("%s %s %q", m.method, m.target, m.body)
	}
	return fmt.Sprintf("%d %q", m.status, m.body)
}

// line reads a line that ends in CRLF, and returns it without. It is io.EOF that there
// is none, RFC 9112 section 2.2.
func (r *reader) line() (string, error) {
	var b []byte
	for {
		c, err := r.r.ReadByte()
		switch {
		case errors.Is(err, io.EOF) && len(b) == 0:
			return "", io.EOF
		case errors.Is(err, io.EOF):
			return "", errCut
		case err != nil:
			return "", err
		case len(b) > 0 && b[len(b)-1] == '\r' && c != '\n':
			return "", dirty("a bare CR in the line %q", b)
		case c == '\n' && (len(b) == 0 || b[len(b)-1] != '\r'):
			return "", dirty("a bare LF after %q", b)
		case c == '\n':
			return string(b[:len(b)-1]), nil
		case c < ' ' && c != '\t' && c != '\r' || c == 0x7f:
			return "", dirty("the control character %#x after %q", c, b)
		case len(b) == longestLine:
			return "", dirty("a line is too long")
		}
		b = append(b, c)
	}
}

// inside is line where the message cannot end.
func (r *reader) inside() (string, error) {
	s, err := r.line()
	if errors.Is(err, io.EOF) {
		err = errCut
	}
	return s, err
}

// request reads a request. It is io.EOF that there is none.
func (r *reader) request() (*message, error) {
	s, err := r.line()
	late := false
	for err == nil && s == "" && !r.canonical {
		late = true
		s, err = r.line()
	}
	if err != nil {
		return nil, err
	}
	m, err := r.requestLine(s)
	if err != nil {
		return nil, err
	}
	m.late = late
	if m.fields, err = r.section(); err != nil {
		return nil, err
	}
	if err := r.framing(m); err != nil {
		return nil, err
	}
	m.last = m.names("connection", "close") || m.version == "HTTP/1.0" && !m.names("connection", "keep-alive")
	if reason := wrongHost(m); reason != "" {
		m.refused = reason
	}
	if r.canonical {
		if m.refused != "" {
			return nil, dirt(m.refused)
		}
		if err := plainHead(m); err != nil {
			return nil, err
		}
	}
	if r.before != nil {
		r.before(m)
	}
	return m, r.content(m, len(m.values("content-length"))+len(m.values("transfer-encoding")) > 0)
}

// requestLine is RFC 9112 section 3: method SP target SP version.
func (r *reader) requestLine(s string) (*message, error) {
	part := strings.Split(s, " ")
	if len(part) != 3 {
		return nil, dirty("the request line %q has not three parts", s)
	}
	m := &message{method: part[0], target: part[1], version: part[2]}
	if !token(m.method) {
		return nil, dirty("the method %q is no token", m.method)
	}
	v, ok := strings.CutPrefix(m.version, "HTTP/1.")
	if !ok || len(v) != 1 || v[0] < '0' || v[0] > '9' || r.canonical && v != "1" {
		return nil, dirty("the version %q", m.version)
	}
	for i := range len(m.target) {
		switch c := m.target[i]; {
		case c <= ' ', c == 0x7f:
			return nil, dirty("the byte %#x in the target", c)
		case c > 0x7f, c == '#':
			m.refused = fmt.Sprintf("the byte %#x in the target", c)
		}
	}
	switch {
	case m.target == "":
		return nil, dirty("no target")
	case r.canonical && m.refused != "":
		return nil, dirt(m.refused)
	case m.target[0] == '/' && !(r.canonical && strings.HasPrefix(m.target, "//")):
	case r.canonical:
		return nil, dirty("the target %q is not in origin-form", m.target)
	case m.method == "CONNECT":
		m.refused = "a tunnel"
	case m.target == "*":
		m.refused = "the server as a whole, which a gateway has none of"
	case !strings.Contains(m.target, "://"):
		m.refused = "the target is in no form that the method has"
	}
	return m, nil
}

// section reads fields up to the empty line, RFC 9112 section 5.
func (r *reader) section() ([]field, error) {
	var out []field
	for {
		s, err := r.inside()
		if err != nil || s == "" {
			return out, err
		}
		name, value, ok := strings.Cut(s, ":")
		if !ok || !token(name) {
			return nil, dirty("the field line %q has no name", s)
		}
		out = append(out, field{name, strings.Trim(value, " \t")})
	}
}

// framing checks that there is one way to tell how long the content is, RFC 9112
// section 6.3.
func (r *reader) framing(m *message) error {
	te, cl := m.values("transfer-encoding"), m.values("content-length")
	switch {
	case len(te) > 0 && len(cl) > 0:
		return dirty("Transfer-Encoding and Content-Length")
	case len(te) > 1 || len(cl) > 1:
		return dirty("two fields for the length")
	case len(te) == 1 && (m.version == "HTTP/1.0" || !strings.EqualFold(te[0], "chunked") || r.canonical && te[0] != "chunked"):
		return dirty("the transfer coding %q in %s", te[0], m.version)
	case len(cl) == 1 && (!digits(cl[0]) || len(cl[0]) > 18):
		return dirty("the length %q", cl[0])
	case len(cl) == 1 && r.canonical && len(cl[0]) > 1 && cl[0][0] == '0':
		return dirty("the length %q has leading zeros", cl[0])
	}
	return nil
}

// content reads the body of m. Without a length there is none, unless framed is true:
// then it goes on to the end of the connection.
func (r *reader) content(m *message, framed bool) error {
	if !framed {
		return nil
	}
	if len(m.values("transfer-encoding")) > 0 {
		return r.chunks(m)
	}
	cl := m.value("content-length")
	n, err := strconv.ParseInt(cl, 10, 64)
	if err != nil {
		return dirty("the length %q", cl)
	}
	m.body, err = r.exactly(n)
	return err
}

func (r *reader) exactly(n int64) ([]byte, error) {
	var b bytes.Buffer
	_, err := io.CopyN(&b, r.r, n)
	if errors.Is(err, io.EOF) {
		err = errCut
	}
	return b.Bytes(), err
}

// chunks is RFC 9112 section 7.1.
func (r *reader) chunks(m *message) error {
	for {
		s, err := r.inside()
		if err != nil {
			return err
		}
		n, err := r.chunkSize(s)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		b, err := r.exactly(n + 2)
		if err != nil {
			return err
		}
		if string(b[n:]) != "\r\n" {
			return dirty("a chunk of %d bytes ends in %q", n, b[n:])
		}
		m.body = append(m.body, b[:n]...)
	}
	var err error
	if m.trailer, err = r.section(); err != nil || !r.canonical {
		return err
	}
	for _, f := range m.trailer {
		if !trailing(f.name) {
			return dirty("the trailer %q", f.name)
		}
	}
	return nil
}

// chunkSize reads the line before a chunk, extensions and all.
func (r *reader) chunkSize(s string) (int64, error) {
	i := 0
	for i < len(s) && strings.IndexByte("0123456789abcdefABCDEF", s[i]) >= 0 {
		i++
	}
	n, err := strconv.ParseUint(s[:i], 16, 62)
	if err != nil || i > 16 {
		return 0, dirty("the chunk size %q", s)
	}
	if r.canonical && i < len(s) {
		return 0, dirty("the chunk extension %q", s[i:])
	}
	if !extensions(s[i:]) {
		return 0, dirty("the chunk extension %q", s[i:])
	}
	return int64(n), nil
}

// extensions reports whether s is chunk-ext, RFC 9112 section 7.1.1.
func extensions(s string) bool {
	for s != "" {
		s = strings.TrimLeft(s, " \t")
		if s == "" || s[0] != ';' {
			return false
		}
		s = strings.TrimLeft(s[1:], " \t")
		i := 0
		for i < len(s) && tokenByte(s[i]) {
			i++
		}
		if i == 0 {
			return false
		}
		rest := strings.TrimLeft(s[i:], " \t")
		if !strings.HasPrefix(rest, "=") {
			s = s[i:]
			continue
		}
		var ok bool
		if s, ok = extensionValue(strings.TrimLeft(rest[1:], " \t")); !ok {
			return false
		}
	}
	return true
}

// extensionValue takes a token or a quoted string off s.
func extensionValue(s string) (rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		i := 0
		for i < len(s) && tokenByte(s[i]) {
			i++
		}
		return s[i:], i > 0
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[i+1:], true
		}
	}
	return "", false
}

// wrongHost says what is wrong with the authority of a request, RFC 9112 section 3.2.
func wrongHost(m *message) string {
	hosts := m.values("host")
	switch {
	case m.refused != "":
		return m.refused
	case len(hosts) > 1:
		return "two hosts"
	case len(hosts) == 0 && m.version == "HTTP/1.0" && m.target[0] == '/':
		return ""
	case len(hosts) == 0:
		return "no host"
	case !authority(hosts[0]):
		return fmt.Sprintf("the host %q", hosts[0])
	case m.target[0] == '/':
		return ""
	}
	scheme, rest, _ := strings.Cut(m.target, "://")
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		rest = rest[:i]
	}
	if !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") || !strings.EqualFold(plain(rest), plain(hosts[0])) {
		return fmt.Sprintf("the target %q for the host %q", m.target, hosts[0])
	}
	return ""
}

// plain is an authority without the dot that stands for the root.
func plain(authority string) string {
	host, port, found := strings.Cut(authority, ":")
	if host = strings.TrimSuffix(host, "."); found {
		host += ":" + port
	}
	return host
}

// authority reports whether s is a host name or address, and perhaps a port.
func authority(s string) bool {
	host, port, found := s, "", false
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port, found = s[:i], s[i+1:], true
	}
	if found && (!digits(port) || len(port) > 5) || host == "" {
		return false
	}
	if in, ok := strings.CutPrefix(host, "["); ok {
		in, ok = strings.CutSuffix(in, "]")
		return ok && in != "" && strings.Trim(in, "0123456789abcdefABCDEF:.") == ""
	}
	for i := range len(host) {
		if c := host[i]; !alphanumeric(c) && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// plainHead refuses, behind the gateway, what is only for the hop before it, and names
// that an agent could take for one that the gateway vouches for.
func plainHead(m *message) error {
	for _, f := range m.fields {
		name := fold(f.name)
		switch name {
		case "keep-alive", "proxy-connection", "proxy-authorization", "http2-settings", "proxy":
			return dirty("the field %s of the hop before", f.name)
		case "te":
			if f.value != "trailers" {
				return dirty("TE: %s", f.value)
			}
		case "connection":
			for o := range strings.SplitSeq(strings.ToLower(f.value), ",") {
				if o = strings.TrimSpace(o); o != "te" && o != "upgrade" && o != "close" {
					return dirty("Connection: %s", f.value)
				}
			}
		case "upgrade":
			if !m.names("connection", "upgrade") || strings.EqualFold(f.value, "h2c") {
				return dirty("Upgrade: %s", f.value)
			}
		}
		if name != strings.ToLower(f.name) && owned(name) {
			return dirty("the field %q, which resembles %s", f.name, name)
		}
	}
	return nil
}

// owned lists the fields that must have one spelling behind a gateway.
func owned(name string) bool {
	switch name {
	case "content-length", "transfer-encoding", "host", "connection", "te", "trailer", "upgrade", "expect",
		"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id", "authorization":
		return true
	}
	return false
}

// trailing reports whether a field may be a trailer, RFC 9110 section 6.5.1.
func trailing(name string) bool {
	switch n := fold(name); n {
	case "content-encoding", "content-type", "content-range", "authorization", "cookie", "set-cookie", "range",
		"proxy-authorization", "keep-alive", "proxy-connection", "cache-control", "age", "date", "location":
		return false
	default:
		return !owned(n)
	}
}

// fold is the name as a reader sees it who takes punctuation for hyphens.
func fold(name string) string {
	return strings.Map(func(c rune) rune {
		if c < 0x80 && !alphanumeric(byte(c)) {
			return '-'
		}
		return c
	}, strings.ToLower(name))
}

func token(s string) bool {
	for i := range len(s) {
		if !tokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func tokenByte(c byte) bool { return alphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0 }

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// answer reads the answer to a request of the method, interim answers left out. An
// empty method is one that is not known.
func (r *reader) answer(method string) (*message, error) {
	for {
		m, err := r.answerHead()
		if err != nil {
			return nil, err
		}
		if m.status >= 200 || m.status == 101 {
			return m, r.answerBody(m, method)
		}
	}
}

func (r *reader) answerHead() (*message, error) {
	s, err := r.line()
	if err != nil {
		return nil, err
	}
	version, rest, _ := strings.Cut(s, " ")
	status, _, ok := strings.Cut(rest, " ")
	if version != "HTTP/1.1" && version != "HTTP/1.0" || !ok && !r.agents || len(status) != 3 || !digits(status) || status[0] == '0' {
		return nil, dirty("the status line %q", s)
	}
	m := &message{version: version}
	m.status, _ = strconv.Atoi(status) // three digits
	if m.fields, err = r.section(); err != nil {
		return nil, err
	}
	m.last = m.names("connection", "close") || version == "HTTP/1.0" && !m.names("connection", "keep-alive")
	return m, r.framing(m)
}

// answerBody is RFC 9112 section 6.3.
func (r *reader) answerBody(m *message, method string) error {
	if saw := m.value("x-saw-method"); saw != "" {
		method = saw
	}
	if method == "" { // a reader who does not know looks whether another answer begins
		if b, err := r.r.Peek(7); string(b) == "HTTP/1." || errors.Is(err, io.EOF) && len(b) == 0 {
			return nil
		}
	}
	if method == "HEAD" || m.status == 204 || m.status == 304 || m.status == 101 {
		return nil
	}
	if len(m.values("content-length"))+len(m.values("transfer-encoding")) > 0 {
		return r.content(m, true)
	}
	m.last = m.last || r.agents
	if !m.last {
		return dirty("an answer without a length on a connection that goes on")
	}
	var err error
	m.body, err = io.ReadAll(r.r)
	return err
}
