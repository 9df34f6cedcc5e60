package limits

import (
	"encoding/json/jsontext"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/airside-gateway/airside"
)

func build(t testing.TB, c Config, next airside.Handler) airside.Handler {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	m, err := New(&airside.Env{}, c)
	if err != nil {
		t.Fatal(err)
	}
	return m(next)
}

// exchange makes a POST. A body that is to have no announced length begins with
// "chunked:".
func exchange(target, body string, headers ...string) *airside.Exchange {
	body, chunked := strings.CutPrefix(body, "chunked:")
	r := httptest.NewRequest(http.MethodPost, target, io.NopCloser(strings.NewReader(body)))
	r.ContentLength = int64(len(body))
	if chunked {
		r.ContentLength = -1
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return airside.NewExchange(r, slog.New(slog.DiscardHandler))
}

// echo reads the request body as an upstream does and answers it.
var echo = airside.HandlerFunc(func(x *airside.Exchange) (*http.Response, error) {
	if err := x.CheckBody(); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(x.Request.Body)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: airside.BodyReader(b), ContentLength: int64(len(b))}, nil
})

func code(err error) airside.Code {
	if err == nil {
		return ""
	}
	return airside.AsError(err).Code
}

func TestRequest(t *testing.T) {
	const js, plain = "application/json; charset=utf-8", "text/plain"
	for _, tt := range []struct {
		name string
		c    Config
		x    *airside.Exchange
		want airside.Code
	}{
		{"body as large as may be", Config{Body: new(airside.Size(4))}, exchange("/", "abcd"), ""},
		{"body too large", Config{Body: new(airside.Size(4))}, exchange("/", "abcde"), airside.TooLarge},
		{"body of unknown length as large as may be", Config{Body: new(airside.Size(4))}, exchange("/", "chunked:abcd"), ""},
		{"body of unknown length too large", Config{Body: new(airside.Size(4))}, exchange("/", "chunked:abcde"), airside.TooLarge},
		{"no body allowed", Config{Body: new(airside.Size(0))}, exchange("/", "chunked:a"), airside.TooLarge},
		{"no body allowed, and none there", Config{Body: new(airside.Size(0))}, exchange("/", ""), ""},
		{"uri as long as may be", Config{URI: 6}, exchange("/a?b=c", ""), ""},
		{"uri too long", Config{URI: 6}, exchange("/a?b=cd", ""), airside.URITooLong},
		{"uri too long as it is sent", Config{URI: 6}, exchange("/%C3%BC", ""), airside.URITooLong},
		{"as many headers as may be", Config{Headers: 2}, exchange("/", "", "A", "1", "A", "2"), ""},
		{"too many headers", Config{Headers: 2}, exchange("/", "", "A", "1", "A", "2", "B", "3"), airside.HeadersTooLarge},

		{"json as deep as may be", Config{JSONDepth: 2}, exchange("/", `{"a":[1]}`, "Content-Type", js), ""},
		{"json too deep", Config{JSONDepth: 2}, exchange("/", `{"a":[[]]}`, "Content-Type", js), airside.Invalid},
		{"json of another name", Config{JSONDepth: 2}, exchange("/", `{"a":[[]]}`, "Content-Type", "application/scim+json"), airside.Invalid},
		{"not json", Config{JSONDepth: 2}, exchange("/", `{"a":[[]]}`, "Content-Type", plain), ""},
		{"as many keys as may be", Config{JSONKeys: 2}, exchange("/", `[{"a":1,"b":2},{"c":3,"d":{"e":1}}]`, "Content-Type", js), ""},
		{"too many keys", Config{JSONKeys: 2}, exchange("/", `[{"a":1,"b":[1,2,3],"c":3}]`, "Content-Type", js), airside.Invalid},
		{"one key twice", Config{JSONKeys: 9}, exchange("/", `{"a":1,"a":2}`, "Content-Type", js), airside.Invalid},
		{"one key twice, written differently", Config{JSONDepth: 9}, exchange("/", `{"a":1,"\u0061":2}`, "Content-Type", js), airside.Invalid},
		{"two texts", Config{JSONDepth: 9}, exchange("/", `{} {}`, "Content-Type", js), airside.Invalid},
		{"half a text", Config{JSONDepth: 9}, exchange("/", `{"a":`, "Content-Type", js), airside.Invalid},
		{"only space", Config{JSONDepth: 9}, exchange("/", " \n", "Content-Type", js), airside.Invalid},
		{"not UTF-8", Config{JSONDepth: 9}, exchange("/", "\"\xff\"", "Content-Type", js), airside.Invalid},
		{"a number alone", Config{JSONDepth: 9}, exchange("/", " 1 ", "Content-Type", js), ""},
		{"no body", Config{JSONDepth: 9}, exchange("/", "", "Content-Type", js), ""},
		{"compressed", Config{JSONDepth: 9}, exchange("/", "x", "Content-Type", js, "Content-Encoding", "gzip"), airside.UnsupportedMedia},
		{"compressed by nothing", Config{JSONDepth: 9}, exchange("/", "[]", "Content-Type", js, "Content-Encoding", "Identity"), ""},
		{"two types", Config{JSONDepth: 9}, exchange("/", "[]", "Content-Type", plain, "Content-Type", js), airside.Invalid},
		{"json too large", Config{JSONDepth: 9, Body: new(airside.Size(4))}, exchange("/", "chunked:[1,2]", "Content-Type", js), airside.TooLarge},
		{"json larger than usual", Config{JSONDepth: 9}, exchange("/", `"`+strings.Repeat("x", wholeJSON)+`"`, "Content-Type", js), airside.TooLarge},
		{"json larger than usual, allowed", Config{JSONDepth: 9, Body: new(airside.Size(wholeJSON + 10))}, exchange("/", `"`+strings.Repeat("x", wholeJSON)+`"`, "Content-Type", js), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, err := build(t, tt.c, echo).Handle(tt.x)
			if got := code(err); got != tt.want {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if n := tt.x.Request.ContentLength; err == nil && n >= 0 && resp.ContentLength != n {
				t.Errorf("%d bytes reached the agent, want %d", resp.ContentLength, n)
			}
		})
	}
}

// The bound of the policy is in force in the place of the listener's, be it lower
// or higher.
func TestBodyBoundReplacesListeners(t *testing.T) {
	for _, tt := range []struct {
		listener int64
		want     airside.Code
	}{{1, ""}, {100, ""}, {airside.NoLimit, ""}} {
		x := exchange("/", "chunked:abcd")
		x.LimitBody(tt.listener)
		if _, err := build(t, Config{Body: new(airside.Size(4))}, echo).Handle(x); code(err) != tt.want {
			t.Errorf("listener allows %d: got %v, want %q", tt.listener, err, tt.want)
		}
	}
}

// A body that a protocol has read already is held to the bound too.
func TestBodyReadBefore(t *testing.T) {
	x := exchange("/", "chunked:abcde")
	if _, err := x.ReadBody(100); err != nil {
		t.Fatal(err)
	}
	if _, err := build(t, Config{Body: new(airside.Size(4))}, echo).Handle(x); code(err) != airside.TooLarge {
		t.Errorf("got %v, want %s", err, airside.TooLarge)
	}
}

// closing notes whether a body was closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error {
	c.closed = true
	return nil
}

func TestResponse(t *testing.T) {
	for _, tt := range []struct {
		name   string
		method string
		status int
		body   string
		length int64 // -1: not announced
		want   string
		code   airside.Code // of the answer, or of its body
	}{
		{"as large as may be", "GET", 200, "abcd", 4, "abcd", ""},
		{"announced too large", "GET", 200, "abcde", 5, "", airside.UpstreamFailed},
		{"of unknown length, as large as may be", "GET", 200, "abcd", -1, "abcd", ""},
		{"of unknown length, too large", "GET", 200, "abcdefgh", -1, "abcd", airside.UpstreamFailed},
		{"of unknown length, empty", "GET", 200, "", -1, "", ""},
		{"to HEAD", "HEAD", 200, "", 5, "", ""},
		{"not modified", "GET", 304, "", 5, "", ""},
		{"upgraded", "GET", 101, "abcdefgh", -1, "abcdefgh", ""},
	} {
		for _, cut := range []func(io.Reader) io.Reader{
			func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader,
		} {
			t.Run(tt.name, func(t *testing.T) {
				body := &closing{Reader: cut(strings.NewReader(tt.body))}
				agent := airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) {
					return &http.Response{StatusCode: tt.status, Header: http.Header{}, Body: body, ContentLength: tt.length}, nil
				})
				x := exchange("/", "")
				x.Request.Method = tt.method
				resp, err := build(t, Config{Response: 4}, agent).Handle(x)
				got := ""
				if err == nil {
					var b []byte
					b, err = io.ReadAll(resp.Body)
					got = string(b)
					if _, again := resp.Body.Read(make([]byte, 9)); err != nil && code(again) != code(err) {
						t.Errorf("read again after the end: %v, want %v", again, err)
					}
					_ = resp.Body.Close() // noted by closing
				}
				if got != tt.want || code(err) != tt.code {
					t.Errorf("got %q, %v; want %q, %q", got, err, tt.want, tt.code)
				}
				if !body.closed {
					t.Error("the answer was not closed")
				}
			})
		}
	}
}

func TestErrorsPass(t *testing.T) {
	want := errors.New("no")
	failing := airside.HandlerFunc(func(*airside.Exchange) (*http.Response, error) { return nil, want })
	if _, err := build(t, Config{Response: 4}, failing).Handle(exchange("/", "")); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    Config
		want string
	}{
		{"nothing", Config{}, "limits needs at least one of body, uri, headers, json_depth, json_keys, response"},
		{"negative headers", Config{Headers: -1}, "headers: must not be negative"},
		{"negative keys", Config{JSONKeys: -1}, "json_keys: must not be negative"},
		{"too deep", Config{JSONDepth: 10_001}, "json_depth: must be from 1 to 10000, or left out"},
		{"no body", Config{Body: new(airside.Size(0))}, ""},
		{"all", Config{Body: new(airside.Size(1)), URI: 1, Headers: 1, JSONDepth: 10_000, JSONKeys: 1, Response: 1}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := tt.c.Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// measure is the reference for check: the depth and the most keys of a text, found
// in another way.
func measure(t testing.TB, b []byte) (depth, keys int) {
	d := jsontext.NewDecoder(strings.NewReader(string(b)))
	var walk func(level int)
	walk = func(level int) {
		tok, err := d.ReadToken()
		if err != nil {
			t.Fatal(err)
		}
		kind := tok.Kind()
		if kind != '{' && kind != '[' {
			return
		}
		depth = max(depth, level+1)
		n := 0
		for d.PeekKind() != '}' && d.PeekKind() != ']' {
			if kind == '{' {
				n++
				if _, err := d.ReadToken(); err != nil {
					t.Fatal(err)
				}
			}
			walk(level + 1)
		}
		keys = max(keys, n)
		if _, err := d.ReadToken(); err != nil {
			t.Fatal(err)
		}
	}
	walk(0)
	return depth, keys
}

// What check lets through is one JSON text within the bounds, and nothing else is
// refused.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{`{}`, `[[]]`, `{"a":{"b":[1,{"c":null}]}}`, `{"a":1,"a":2}`, `[] []`, ` 1 `, "", "\xff", `{"a"`, `"\ud800"`, `[1,]`} {
		f.Add([]byte(s), 2, 2)
	}
	f.Fuzz(func(t *testing.T, b []byte, depth, keys int) {
		if depth < 0 || depth > deepest || keys < 0 {
			return
		}
		want := jsontext.Value(b).IsValid()
		if want {
			d, k := measure(t, b)
			want = (depth == 0 || d <= depth) && (keys == 0 || k <= keys)
		}
		err := check(b, depth, keys)
		if got := err == nil; got != want {
			t.Errorf("%q within %d, %d: got %v, want it let through: %v", b, depth, keys, err, want)
		}
		if err != nil && airside.AsError(err).Code != airside.Invalid {
			t.Errorf("%q: %v is not the client's fault", b, err)
		}
	})
}
