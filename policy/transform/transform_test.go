package transform

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

func settings(change func(*Config)) Config {
	var c Config
	c.Defaults()
	change(&c)
	return c
}

func filter(src string) *Filter { return &Filter{Body: src} }

// environment is that of a policy which is alone in its gateway.
func environment() *airside.Env {
	return &airside.Env{Where: "policies.t", Keep: func(_ string, build func() (any, error)) (any, error) { return build() }}
}

func build(t testing.TB, change func(*Config)) airside.Middleware {
	t.Helper()
	c := settings(change)
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	m, err := New(environment(), c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func exchange(method, target, body string, h http.Header) *airside.Exchange {
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req := httptest.NewRequest(method, target, r)
	maps.Copy(req.Header, h)
	if body != "" {
		req.Header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	return airside.NewExchange(req, slog.New(slog.DiscardHandler))
}

func post(body string) *airside.Exchange {
	return exchange("POST", "/x", body, http.Header{"Content-Type": {"application/json"}})
}

// agent answers with what it is given and remembers what it was asked.
type agent struct {
	t      testing.TB
	status int
	header http.Header
	body   io.ReadCloser

	asked  bool
	got    string
	length int64
	heard  http.Header
}

func (a *agent) Handle(x *airside.Exchange) (*http.Response, error) {
	a.asked, a.heard, a.length = true, x.Request.Header.Clone(), x.Request.ContentLength
	if x.Request.Body != nil {
		b, err := io.ReadAll(x.Request.Body)
		if err != nil {
			return nil, err
		}
		a.got = string(b)
	}
	resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: a.body, ContentLength: -1}
	if a.status != 0 {
		resp.StatusCode = a.status
	}
	if a.header != nil {
		resp.Header = a.header.Clone()
	}
	if resp.Body == nil {
		resp.Body = http.NoBody
	}
	return resp, nil
}

func zip(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(s)) // to memory
	_ = z.Close()
	return b.String()
}

// what the client is told: the code and the message.
func told(err error) string {
	if err == nil {
		return ""
	}
	e := airside.AsError(err)
	return string(e.Code) + ": " + e.Message
}

// TestRequest proves what the agent gets, or what the client is told instead.
func TestRequest(t *testing.T) {
	json := http.Header{"Content-Type": {"application/json; charset=utf-8"}}
	add := func(h http.Header, kv ...string) http.Header {
		h = h.Clone()
		for i := 0; i < len(kv); i += 2 {
			h.Set(kv[i], kv[i+1])
		}
		return h
	}
	gz := add(json, "Content-Encoding", "gzip", "Content-Digest", "sha-256=:x:")
	tests := []struct {
		name   string
		change func(*Config)
		header http.Header
		body   string
		want   string // as the agent gets it
		told   string
	}{
		{"plain", nil, json, `{"b":1,"a":{"c":[1.0]}}`, `{"a":{"c":[1.0]},"b":2}`, ""},
		{"suffix", nil, http.Header{"Content-Type": {"application/vnd.x+JSON"}}, `{"b":1}`, `{"b":2}`, ""},
		{"exact", nil, json, `{"b":9007199254740992}`, `{"b":9007199254740993}`, ""},
		{"text passes", nil, http.Header{"Content-Type": {"text/plain"}}, `{"b":1`, `{"b":1`, ""},
		{"no type passes", nil, nil, `{"b":1}`, `{"b":1}`, ""},
		{"no body passes", func(c *Config) { c.Strict = true }, nil, ``, ``, ""},
		{"strict", func(c *Config) { c.Strict = true }, http.Header{"Content-Type": {"text/plain"}}, `{"b":1}`, "", "unsupported_media: the request body must be JSON: send it with Content-Type: application/json"},
		{"gzip", nil, gz, zip(`{"b":1}`), `{"b":2}`, ""},
		{"gzip and identity", nil, add(json, "Content-Encoding", "identity, X-GZIP"), zip(`{"b":1}`), `{"b":2}`, ""},
		{"identity", nil, add(json, "Content-Encoding", "identity"), `{"b":1}`, `{"b":2}`, ""},
		{"br", nil, add(json, "Content-Encoding", "br"), `{"b":1}`, "", "unsupported_media: the request body is compressed in a way that is not taken here: send it plain, or by gzip"},
		{"gzip twice", nil, add(json, "Content-Encoding", "gzip, gzip"), `{"b":1}`, "", "unsupported_media: the request body is compressed in a way that is not taken here: send it plain, or by gzip"},
		{"not gzip", nil, gz, `{"b":1}`, "", "invalid_request: the request body is not valid gzip, as its Content-Encoding says"},
		{"half of a gzip", nil, gz, zip(`{"b":1}`)[:20], "", "invalid_request: the request body is not valid gzip, as its Content-Encoding says"},
		{"gzip bomb", nil, gz, zip(strings.Repeat(" ", 100<<20)), "", "too_large: the request body is larger than the 1MiB allowed here when it is decompressed"},
		{"not JSON", nil, json, `{"b":secret}`, "", "invalid_request: the request body is refused as JSON: it is not valid JSON, at byte 5"},
		{"two names", nil, json, `{"b":1,"b":2}`, "", "invalid_request: the request body is refused as JSON: a name stands twice in an object, at byte 10"},
		{"two values", nil, json, `{"b":1}{}`, "", "invalid_request: the request body is refused as JSON: something follows the JSON value, at byte 7"},
		{"not UTF-8", nil, json, "{\"b\":\"\xff\"}", "", "invalid_request: the request body is refused as JSON: it holds text that is not Unicode, at byte 6"},
		{"deep", nil, json, strings.Repeat("[", 129) + strings.Repeat("]", 129), "", "invalid_request: the request body is refused as JSON: it nests too deep, at byte 129"},
		{"too large", func(c *Config) { c.Max = 8 }, json, `{"b": 12}`, "", "too_large: the request body is larger than the 8B allowed here"},
		{"at the bound", func(c *Config) { c.Max = 7 }, json, `{"b":1}`, `{"b":2}`, ""},
		{"becomes too large", func(c *Config) { c.Max = 7 }, json, `{"b":9}`, "", "too_large: the request body becomes larger than the 7B allowed here as it is passed on"},
		{"raised", func(c *Config) { c.Request = filter(`error("b must be a text, not \(.b | type)")`) }, json, `{"b":1}`, "", "invalid_request: b must be a text, not number"},
		{"fails", nil, json, `["secret"]`, "", "invalid_request: the request body does not have the form that is expected here"},
		{"none", func(c *Config) { c.Request = filter("empty") }, json, `1`, "", "invalid_request: the request body does not have the form that is expected here"},
		{"several", func(c *Config) { c.Request = filter("1, 2") }, json, `1`, "", "internal: "},
		{"not finite", func(c *Config) { c.Request = filter("infinite") }, json, `1`, "", "invalid_request: the request body does not have the form that is expected here"},
		{"endless", func(c *Config) { c.Request = filter("def f: f; f") }, json, `1`, "", "invalid_request: the request body takes too long to look through: send less"},
		{"null", func(c *Config) { c.Request = filter("null") }, json, `1`, `null`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := build(t, func(c *Config) {
				c.Request = filter(".b += 1")
				if tt.change != nil {
					tt.change(c)
				}
			})
			a := &agent{t: t}
			x := exchange("POST", "/x", tt.body, tt.header)
			_, err := m(a).Handle(x)
			if told(err) != tt.told {
				t.Fatalf("told %q (%v), want %q", told(err), err, tt.told)
			}
			if a.asked != (tt.told == "") || a.got != tt.want {
				t.Errorf("the agent got %q, want %q", a.got, tt.want)
			}
			if !a.asked {
				return
			}
			if got, want := a.heard.Get("Content-Length"), strconv.Itoa(len(tt.want)); tt.want != "" && (got != want || a.length != int64(len(tt.want))) {
				t.Errorf("Content-Length %s and %d, want %s", got, a.length, want)
			}
			if a.heard.Get("Content-Encoding")+a.heard.Get("Content-Digest") != "" && tt.name != "identity" {
				t.Errorf("the agent heard %v", a.heard)
			}
		})
	}
}

// TestRequestCoding proves that a client is told what it can send.
func TestRequestCoding(t *testing.T) {
	m := build(t, func(c *Config) { c.Request = filter(".") })
	x := exchange("POST", "/", "{}", http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"zstd"}})
	_, err := m(&agent{t: t}).Handle(x)
	if got, want := airside.AsError(err).Header.Get("Accept-Encoding"), "gzip, identity"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAnotherTry proves that a request is transformed once, however often it is
// sent, and that it is put back as it was.
func TestAnotherTry(t *testing.T) {
	m := build(t, func(c *Config) { c.Request, c.Response = filter(".n += 1"), filter(".") })
	var got []string
	h := m(airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
		b, err := io.ReadAll(x.Request.Body)
		if err != nil {
			return nil, err
		}
		got = append(got, string(b)+x.Request.Header.Get("Content-Length")+x.Request.Header.Get("Accept-Encoding"))
		return nil, errors.New("failed")
	}))
	x := post(`{"n":  1}`)
	x.Request.Header.Set("Accept-Encoding", "br")
	x.Request.Header.Set("Content-Encoding", "identity")
	for range 3 {
		if _, err := h.Handle(x); err == nil {
			t.Fatal("got no error")
		}
		if !x.Rewind() {
			t.Fatal("could not rewind")
		}
	}
	if diff := cmp.Diff([]string{`{"n":2}7identity`, `{"n":2}7identity`, `{"n":2}7identity`}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	b, err := io.ReadAll(x.Request.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(b)+x.Request.Header.Get("Content-Length")+x.Request.Header.Get("Accept-Encoding"), `{"n":  1}9br`; got != want {
		t.Errorf("put back %s, want %s", got, want)
	}
}

// TestResponse proves what the client gets.
func TestResponse(t *testing.T) {
	json := http.Header{"Content-Type": {"application/json"}, "Etag": {`"1"`}, "Content-Length": {"99"}, "Accept-Ranges": {"bytes"}, "X-A": {"b"}}
	gz := json.Clone()
	gz.Set("Content-Encoding", "gzip")
	br := json.Clone()
	br.Set("Content-Encoding", "br")
	text := http.Header{"Content-Type": {"text/plain"}, "Etag": {`"1"`}}
	form := "upstream_failed: the agent's answer does not have the form that is expected here"
	tests := []struct {
		name   string
		change func(*Config)
		status int
		header http.Header
		body   string
		want   string
		told   string
	}{
		{"plain", nil, 200, json, `{"b":1}`, `{"b":2}`, ""},
		{"gzip", nil, 201, gz, zip(`{"b":1}`), `{"b":2}`, ""},
		{"not gzip", nil, 200, gz, `{"b":1}`, ``, "upstream_failed: the agent's answer is not valid gzip, as it says"},
		{"gzip bomb", nil, 200, gz, zip(strings.Repeat(" ", 10<<20)), ``, "upstream_failed: the agent's answer is larger than the 1MiB that can be transformed here"},
		{"br", nil, 200, br, `x`, ``, "upstream_failed: the agent's answer is compressed in a way that it was not asked for"},
		{"empty", nil, 200, json, ``, ``, ""},
		{"text", nil, 200, text, `{"b":1}`, `{"b":1}`, ""},
		{"strict", func(c *Config) { c.Strict = true }, 200, text, `{"b":1}`, ``, "upstream_failed: the agent answered with something other than JSON"},
		{"another status", nil, 404, json, `{"b":1}`, `{"b":1}`, ""},
		{"a status of the list", func(c *Config) { c.Status = []Status{{404, 404}, {500, 599}} }, 404, json, `{"b":1}`, `{"b":2}`, ""},
		{"a class of the list", func(c *Config) { c.Status = []Status{{404, 404}, {500, 599}} }, 503, json, `{"b":1}`, `{"b":2}`, ""},
		{"not of the list", func(c *Config) { c.Status = []Status{{404, 404}, {500, 599}} }, 200, json, `{"b":1}`, `{"b":1}`, ""},
		{"not JSON", nil, 200, json, `{"b":secret}`, ``, "upstream_failed: the agent's answer is not valid JSON"},
		{"too large", func(c *Config) { c.Max = 8 }, 200, json, `{"b":  1}`, ``, "upstream_failed: the agent's answer is larger than the 8B that can be transformed here"},
		{"becomes too large", func(c *Config) { c.Max = 7 }, 200, json, `{"b":9}`, ``, "upstream_failed: the agent's answer is larger than the 7B that can be transformed here"},
		{"raised", func(c *Config) { c.Response = filter(`error("secret")`) }, 200, json, `1`, ``, form},
		{"fails", nil, 200, json, `[]`, ``, form},
		{"none", func(c *Config) { c.Response = filter(`empty`) }, 200, json, `1`, ``, form},
		{"several", func(c *Config) { c.Response = filter(`.[]`) }, 200, json, `[1,2]`, ``, form},
		{"response", func(c *Config) { c.Response = filter(`[$response.status, $response.headers["x-a"], .b]`) }, 200, json, `{"b":1}`, `[200,"b",1]`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := build(t, func(c *Config) {
				c.Response = filter(".b += 1")
				if tt.change != nil {
					tt.change(c)
				}
			})
			body := &counted{Reader: strings.NewReader(tt.body)}
			a := &agent{t: t, status: tt.status, header: tt.header, body: body}
			resp, err := m(a).Handle(exchange("GET", "/x", "", http.Header{"Accept-Encoding": {"gzip, br"}, "Range": {"bytes=0-1"}, "If-Range": {`"1"`}}))
			if told(err) != tt.told {
				t.Fatalf("told %q (%v), want %q", told(err), err, tt.told)
			}
			if got := a.heard.Get("Accept-Encoding") + a.heard.Get("Range") + a.heard.Get("If-Range"); got != "identity" {
				t.Errorf("the agent was asked for %q", got)
			}
			if err == nil {
				checkAnswer(t, resp, tt.body, tt.want)
			}
			if body.closed != 1 {
				t.Errorf("the agent's body was closed %d times, want once", body.closed)
			}
		})
	}
}

func checkAnswer(t *testing.T, resp *http.Response, before, want string) {
	t.Helper()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if want == before {
		return
	}
	if resp.ContentLength != int64(len(want)) || resp.Header.Get("Content-Length") != strconv.Itoa(len(want)) {
		t.Errorf("Content-Length %d and %s, want %d", resp.ContentLength, resp.Header.Get("Content-Length"), len(want))
	}
	for _, name := range []string{"Etag", "Accept-Ranges", "Content-Encoding"} {
		if v := resp.Header.Get(name); v != "" {
			t.Errorf("%s: %s was left", name, v)
		}
	}
}

// counted is a body that counts how often it is closed.
type counted struct {
	io.Reader
	closed int
}

func (c *counted) Close() error { c.closed++; return nil }

// TestUntouched proves that what has no body to transform passes as it is.
func TestUntouched(t *testing.T) {
	header := http.Header{"Content-Type": {"application/json"}, "Etag": {`"1"`}, "Content-Length": {"9"}}
	tests := []struct {
		name, method string
		status       int
	}{
		{"head", "HEAD", 200}, {"204", "GET", 204}, {"304", "GET", 304}, {"no body", "GET", 200}, {"101", "GET", 101},
	}
	for _, tt := range tests {
		m := build(t, func(c *Config) { c.Response, c.Events = filter("error"), filter("error") })
		resp, err := m(&agent{t: t, status: tt.status, header: header}).Handle(exchange(tt.method, "/", "", nil))
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(header, resp.Header); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBrokenAnswer proves whose fault an answer is that cannot be read.
func TestBrokenAnswer(t *testing.T) {
	m := build(t, func(c *Config) { c.Response = filter(".") })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name string
		ctx  context.Context //nolint:containedctx // of the request
		err  error
		want string
	}{
		{"broken", t.Context(), io.ErrUnexpectedEOF, "upstream_failed: the agent's answer broke off"},
		{"slow", t.Context(), airside.Errorf(airside.Timeout, "slow"), "timeout: slow"},
		{"client gone", ctx, context.Canceled, "canceled: "},
	}
	for _, tt := range tests {
		a := &agent{t: t, header: http.Header{"Content-Type": {"application/json"}}, body: io.NopCloser(io.MultiReader(strings.NewReader("{"), failing{tt.err}))}
		x := exchange("GET", "/", "", nil)
		x.Request = x.Request.WithContext(tt.ctx)
		resp, err := m(a).Handle(x)
		if resp != nil || told(err) != tt.want {
			t.Errorf("%s: told %q, want %q", tt.name, told(err), tt.want)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestFacts proves what filters know.
func TestFacts(t *testing.T) {
	m := build(t, func(c *Config) {
		c.Request = filter(`{r: ($request | del(.headers["content-length"])), c: $call, who: $caller, id: $params.id, no: $params["no"], e: ($ENV | length)}`)
		c.Response = filter(`{path: $request.path, caller: $caller.id, id: $params.id}`)
	})
	a := &agent{t: t, header: http.Header{"Content-Type": {"application/json"}}, body: io.NopCloser(strings.NewReader("1"))}
	x := exchange("POST", "/cases/7?a=1&a=2&b", "1", http.Header{"Content-Type": {"application/json"}, "X-Two": {"1", "2"}})
	x.Request.SetPathValue("id", "7")
	x.Call = airside.Call{Operation: "tools/call", Target: "dispense", ID: `"c-1"`}
	x.Caller = airside.Caller{ID: "ann", Claims: map[string]any{"roles": []string{"doctor"}, "exp": int64(9007199254740993)}}
	resp, err := m(a).Handle(x)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"c":{"id":"c-1","operation":"tools/call","target":"dispense"},"e":0,"id":"7","no":null,` +
		`"r":{"headers":{"content-type":"application/json","x-two":"1, 2"},"method":"POST","path":"/cases/7","query":{"a":"1","b":""}},` +
		`"who":{"claims":{"exp":9007199254740993,"roles":["doctor"]},"id":"ann"}}`
	if diff := cmp.Diff(want, a.got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	checkAnswer(t, resp, "1", `{"caller":"ann","id":"7","path":"/cases/7"}`)
}

// TestNobody proves that there is no caller without authentication, and that what
// cannot be told is the gateway's fault.
func TestNobody(t *testing.T) {
	m := build(t, func(c *Config) { c.Request = filter(`[$caller, $call.id]`) })
	a := &agent{t: t}
	if _, err := m(a).Handle(post("1")); err != nil {
		t.Fatal(err)
	}
	if want := `[{"claims":{},"id":""},null]`; a.got != want {
		t.Errorf("got %s, want %s", a.got, want)
	}
	x := post("1")
	x.Caller.Claims = map[string]any{"f": func() {}}
	if _, err := m(a).Handle(x); told(err) != "internal: " {
		t.Errorf("told %q", told(err))
	}
}

func BenchmarkTransform(b *testing.B) {
	const body = `{"model":"m","messages":[{"role":"user","content":"hello, how are you today?"}],"stream":false}`
	m := build(b, func(c *Config) {
		c.Request, c.Response = filter(`.model = "m2" | .user = $caller.id`), filter(`{text: .messages[0].content}`)
	})
	header := http.Header{"Content-Type": {"application/json"}}
	h := m(airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: header.Clone(), Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}, nil
	}))
	b.ReportAllocs()
	for b.Loop() {
		resp, err := h.Handle(post(body))
		if err != nil {
			b.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
