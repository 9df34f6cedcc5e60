package http1

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// What a text of a case is.
const (
	aRequest = "request"
	anAnswer = "answer"
	aBody    = "chunked body"
)

// get is a request with these fields besides Host.
func get(fields ...string) string {
	return "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// ok is an answer with these fields.
func ok(fields ...string) string {
	return "HTTP/1.1 200 OK\r\n" + strings.Join(append(fields, ""), "\r\n") + "\r\n"
}

// refusals has at least one case for whatever the package comment names.
var refusals = []struct {
	kind, text string
	want       *Error
}{
	// Lines and their ends.
	{aRequest, "GET / HTTP/1.1\nHost: a\r\n\r\n", ErrLineEnd},
	{aRequest, "GET / HTTP/1.1\r\nHost: a\n\r\n", ErrLineEnd},
	{aRequest, "GET / HTTP/1.1\r\nHost: a\r\n\n", ErrLineEnd},
	{aRequest, "GET / HTTP/1.1\n\n", ErrLineEnd},
	{aRequest, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ErrLineEnd},
	{aRequest, "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n\r\n", ErrLineEnd},
	{aRequest, "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ErrEmptyLine},
	{aRequest, "\r\n\r\n", ErrEmptyLine},
	{anAnswer, "\r\nHTTP/1.1 200 OK\r\n\r\n", ErrEmptyLine},
	{anAnswer, "HTTP/1.1 200 OK\nA: b\n\n", ErrLineEnd},
	{aRequest, get("A: b\rc"), ErrValue},
	{aRequest, get("A: b\r"), ErrValue},
	{aRequest, get("A: \x00"), ErrValue},
	{aRequest, get("A: twelve bytes\x00"), ErrValue},
	{aRequest, get("A: twelve\x7f bytes and more"), ErrValue},
	{aRequest, get("A: b\x0b"), ErrValue},
	{aRequest, get("A: \x1b[31m"), ErrValue},
	{anAnswer, ok("A: b\rInjected: c"), ErrValue},
	{aRequest, get("A: b", " c"), ErrFold},
	{aRequest, get("A: b", "\tc"), ErrFold},
	{aRequest, "GET / HTTP/1.1\r\n Host: a\r\n\r\n", ErrFold},
	{anAnswer, ok(" A: b"), ErrFold},
	{aRequest, get("A : b"), ErrName},
	{aRequest, get("A\t: b"), ErrName},
	{aRequest, get(": b"), ErrName},
	{aRequest, get("A"), ErrName},
	{aRequest, get("A b: c"), ErrName},
	{aRequest, get("A\x00: c"), ErrName},
	{aRequest, get("A\x00"), ErrName},
	{aRequest, get("Ä: c"), ErrName},
	{aRequest, get("A\r: c"), ErrName},
	{aRequest, get("\rA: c"), ErrLineEnd},
	{aRequest, get("(A): c"), ErrName},
	{anAnswer, ok("Content-Length : 1"), ErrName},
	{aRequest, get(slices.Repeat([]string{"A: b"}, MaxFields)...), ErrMany},
	{anAnswer, ok(slices.Repeat([]string{"A: b"}, MaxFields+1)...), ErrMany},

	// Request lines.
	{aRequest, "GET\r\nHost: a\r\n\r\n", ErrRequestLine},
	{aRequest, "GET /\r\nHost: a\r\n\r\n", ErrRequestLine},
	{aRequest, "GET  HTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
	{aRequest, "GET HTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
	{aRequest, " GET / HTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
	{aRequest, "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
	{aRequest, "GET\x00 / HTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
	{aRequest, "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", ErrRequestLine},
	{aRequest, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{aRequest, "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{aRequest, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{aRequest, "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{aRequest, "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{aRequest, "GET /long/enough/for/words#b HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{aRequest, "GET /long\x00enough/for/words HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{aRequest, "GET /long/enough\x7f/for/words HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{aRequest, "GET /a\rb HTTP/1.1\r\nHost: a\r\n\r\n", ErrTarget},
	{aRequest, "GET /" + strings.Repeat("a", maxLine) + " HTTP/1.1\r\nHost: a\r\n\r\n", ErrTargetLong},

	// Versions.
	{aRequest, "GET / HTTP/1.2\r\nHost: a\r\n\r\n", ErrVersion},
	{aRequest, "GET / HTTP/2.0\r\nHost: a\r\n\r\n", ErrVersion},
	{aRequest, "PRI * HTTP/2.0\r\n\r\n", ErrVersion},
	{aRequest, "GET / HTTP/0.9\r\nHost: a\r\n\r\n", ErrVersion},
	{aRequest, "GET / HTTP/1.10\r\nHost: a\r\n\r\n", ErrVersion},
	{aRequest, "GET / HTTP/01.1\r\nHost: a\r\n\r\n", ErrVersion},
	{aRequest, "GET / http/1.1\r\nHost: a\r\n\r\n", ErrVersion},
	{aRequest, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", ErrVersion},
	{aRequest, "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", ErrVersion},
	{anAnswer, "HTTP/2.0 200 OK\r\n\r\n", ErrVersion},
	{anAnswer, "HTTX/1.1 200 OK\r\n\r\n", ErrVersion},

	// Status lines.
	{anAnswer, "HTTP/1.1\r\n\r\n", ErrStatusLine},
	{anAnswer, "HTTP/1.1 20\r\n\r\n", ErrStatusLine},
	{anAnswer, "HTTP/1.1 2000 OK\r\n\r\n", ErrStatusLine},
	{anAnswer, "HTTP/1.1 200OK\r\n\r\n", ErrStatusLine},
	{anAnswer, "HTTP/1.1  200 OK\r\n\r\n", ErrStatusLine},
	{anAnswer, "HTTP/1.1 -20 OK\r\n\r\n", ErrStatusLine},
	{anAnswer, "HTTP/1.1 +20 OK\r\n\r\n", ErrStatusLine},
	{anAnswer, "HTTP/1.1 2x0 OK\r\n\r\n", ErrStatusLine},
	{anAnswer, "HTTP/1.1 099 OK\r\n\r\n", ErrStatusLine},
	{anAnswer, "HTTP/1.1\t200 OK\r\n\r\n", ErrStatusLine},
	{anAnswer, "HTTP/1.1 200 O\rK\r\n\r\n", ErrStatusLine},
	{anAnswer, "HTTP/1.1 200 O\x00K\r\n\r\n", ErrStatusLine},
	{anAnswer, "HTTP/1.1 200\r\r\n\r\n", ErrStatusLine},

	// Lengths.
	{aRequest, get("Content-Length: 1", "Content-Length: 1"), ErrLength},
	{aRequest, get("Content-Length: 1", "content-length: 2"), ErrLength},
	{aRequest, get("Content-Length: 0", "Content-Length: 0"), ErrLength},
	{aRequest, get("Content-Length: 1, 1"), ErrLength},
	{aRequest, get("Content-Length: 1,"), ErrLength},
	{aRequest, get("Content-Length: +1"), ErrLength},
	{aRequest, get("Content-Length: -1"), ErrLength},
	{aRequest, get("Content-Length: 0x1"), ErrLength},
	{aRequest, get("Content-Length: 1 1"), ErrLength},
	{aRequest, get("Content-Length: 1_0"), ErrLength},
	{aRequest, get("Content-Length: ١"), ErrLength},
	{aRequest, get("Content-Length:"), ErrLength},
	{aRequest, get("Content-Length: 1234567890123456789"), ErrLength},
	{aRequest, get("Content-Length: 18446744073709551617"), ErrLength},
	{anAnswer, ok("Content-Length: 1", "Content-Length: 1"), ErrLength},
	{anAnswer, ok("Content-Length: "), ErrLength},
	{aRequest, get("Content-Length: 1", "Transfer-Encoding: chunked"), ErrBothLengths},
	{aRequest, get("Transfer-Encoding: chunked", "Content-Length: 0"), ErrBothLengths},
	{anAnswer, ok("Transfer-Encoding: chunked", "Content-Length: 1"), ErrBothLengths},

	// Transfer codings.
	{aRequest, get("Transfer-Encoding: gzip"), ErrCoding},
	{aRequest, get("Transfer-Encoding: gzip, chunked"), ErrCoding},
	{aRequest, get("Transfer-Encoding: chunked, chunked"), ErrCoding},
	{aRequest, get("Transfer-Encoding: chunked;a=b"), ErrCoding},
	{aRequest, get("Transfer-Encoding: \"chunked\""), ErrCoding},
	{aRequest, get("Transfer-Encoding: identity"), ErrCoding},
	{aRequest, get("Transfer-Encoding:"), ErrCoding},
	{aRequest, get("Transfer-Encoding: xchunked"), ErrCoding},
	{aRequest, get("Transfer-Encoding: chun\u212aed"), ErrCoding}, // KELVIN SIGN folds to k in Unicode
	{aRequest, get("Transfer-Encoding: identity", "Transfer-Encoding: chunked"), ErrCoding},
	{anAnswer, ok("Transfer-Encoding: deflate"), ErrCoding},
	{aRequest, get("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), ErrCodingTwice},
	{aRequest, get("Transfer-Encoding: chunked", "Transfer-Encoding: identity"), ErrCodingTwice},
	{aRequest, "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", ErrCodingTwice},
	{anAnswer, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ErrCodingTwice},

	// Hosts.
	{aRequest, "GET / HTTP/1.1\r\n\r\n", ErrNoHost},
	{aRequest, "GET http://a/ HTTP/1.1\r\nA: b\r\n\r\n", ErrNoHost},
	{aRequest, get("Host: a"), ErrTwoHosts},
	{aRequest, get("host: b"), ErrTwoHosts},
	{aRequest, "GET / HTTP/1.0\r\nHost: a\r\nHost:\r\n\r\n", ErrTwoHosts},

	// Trailers that are announced.
	{aRequest, get("Transfer-Encoding: chunked", "Trailer: A, content-length"), ErrTrailer},
	{aRequest, get("Trailer: Transfer-Encoding", "Transfer-Encoding: chunked"), ErrTrailer},
	{anAnswer, ok("Trailer: A", "Trailer: trailer", "Transfer-Encoding: chunked"), ErrTrailer},

	// Chunks.
	{aBody, "\r\n", ErrChunk},
	{aBody, "x\r\n", ErrChunk},
	{aBody, "-1\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "+1\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "0x1\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, " 1\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1 \r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1\t;a\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1_0\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1\r\ra\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1\ra\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1\r\na\n0\r\n\r\n", ErrChunk},
	{aBody, "1\r\na\r0\r\n\r\n", ErrChunk},
	{aBody, "1\r\na\rx1\r\nb\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1\r\nax\n1\r\nb\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1\r\nab\r\n0\r\n\r\n", ErrChunk},
	{aBody, "2\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1000000000000000\r\na", ErrChunk},
	{aBody, "10000000000000001\r\na", ErrChunk},
	{aBody, "0000000000000001\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "fffffffffffffffff", ErrChunk},
	{aBody, "1;\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;;a\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;a;\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1; a\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;a =b\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;a= b\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;a=\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;a=;b\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;=b\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;a=b=c\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;a=\"b\r\n\"\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;a=\"b\n\"\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;a=\"\\\r\n\"\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;a=\"\\\x7f\"\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;a=\"\x00\"\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;a=\"b\"c\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;a=\"b\" \r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;a\n\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1,a\r\na\r\n0\r\n\r\n", ErrChunk},
	{aBody, "1;" + strings.Repeat("a", maxSizeLine) + "\r\na\r\n0\r\n\r\n", ErrOverhead},
	{aBody, "1;a=\"" + strings.Repeat("a", maxSizeLine) + "\x00\"\r\na\r\n0\r\n\r\n", ErrOverhead},
	{aBody, strings.Repeat("1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\na\r\n", maxExtra/16+1), ErrOverhead},

	// Trailers.
	{aBody, "0\r\n\n", ErrTrailer},
	{aBody, "0\r\nA: b\n\r\n", ErrTrailer},
	{aBody, "0\r\nA: b\r\n\n", ErrTrailer},
	{aBody, "0\r\nA: b\rc\r\n\r\n", ErrTrailer},
	{aBody, "0\r\nA: \x00\r\n\r\n", ErrTrailer},
	{aBody, "0\r\nA : b\r\n\r\n", ErrTrailer},
	{aBody, "0\r\n: b\r\n\r\n", ErrTrailer},
	{aBody, "0\r\nA\r\n\r\n", ErrTrailer},
	{aBody, "0\r\n A: b\r\n\r\n", ErrTrailer},
	{aBody, "0\r\nA: b\r\n c\r\n\r\n", ErrTrailer},
	{aBody, "0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ErrTrailer},
	{aBody, "0\r\nhost: a\r\n\r\n", ErrTrailer},
	{aBody, "0\r\ncontent-length: 1\r\n\r\n", ErrTrailer},
	{aBody, "0\r\nTransfer-Encoding: chunked\r\n\r\n", ErrTrailer},
	{aBody, "0\r\nConnection: close\r\n\r\n", ErrTrailer},
	{aBody, "0\r\nTrailer: A\r\n\r\n", ErrTrailer},
	{aBody, "0\r\nTE: trailers\r\n\r\n", ErrTrailer},
	{aBody, "0\r\nExpect: 100-continue\r\n\r\n", ErrTrailer},
	{aBody, "0\r\nUpgrade: h2c\r\n\r\n", ErrTrailer},
	{aBody, "0\r\n" + strings.Repeat("A: b\r\n", MaxFields+1) + "\r\n", ErrMany},
	{aBody, "0\r\nA: " + strings.Repeat("b", MaxTrailers) + "\r\n\r\n", ErrLarge},
	{aBody, "0\r\nA: " + strings.Repeat("b", MaxTrailers) + "\n\n", ErrLarge},
	{aBody, "0\r\n" + strings.Repeat("A: "+strings.Repeat("b", 995)+"\r\n", 17) + "\r\n", ErrLarge},
}

// Each is refused for the reason that we say, wherever the bytes are split.
func TestRefusals(t *testing.T) {
	for _, c := range refusals {
		t.Run(c.want.Reason, func(t *testing.T) {
			var got error
			switch c.kind {
			case aRequest:
				_, _, got = request([]byte(c.text))
			case anAnswer:
				_, _, got = answer([]byte(c.text))
			case aBody:
				got = feed([]byte(c.text), len(c.text)).err
			}
			if got != error(c.want) {
				t.Errorf("a %s %.80q: got error %v, want %v", c.kind, c.text, got, c.want)
			}
		})
	}
}

// Every error has a case above, a text for the client of its own, and a status that a
// server may answer for it.
func TestEveryErrorIsReached(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "http1.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names int
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(v.Names[0].Name, "Err") {
			names++
		}
		return true
	})
	seen, texts := map[*Error]bool{}, map[string]bool{}
	for _, c := range refusals {
		seen[c.want] = true
		texts[c.want.Error()] = true
	}
	if len(seen) != names || len(texts) != names {
		t.Errorf("got cases for %d errors with %d texts, want %d", len(seen), len(texts), names)
	}
	for e := range seen {
		if !slices.Contains([]int{400, 414, 431, 501, 505}, e.Status) || http.StatusText(e.Status) == "" {
			t.Errorf("%v: got status %d", e, e.Status)
		}
	}
}

// What is refused for its bytes is refused before the end of the head has come, where
// that can be told: nobody waits for an end that a client believes it has sent.
func TestRefusedAtOnce(t *testing.T) {
	for _, text := range []string{"GET / HTTP/1.1\n", "\n", "\r\n", "GET / HTTP/1.1\r\nHost: a\n", "GET / HTTP/1.1\r\nHost: a\r\n\n"} {
		var s Scan
		if n, err := s.End([]byte(text)); n != 0 || err == nil {
			t.Errorf("%q: got %d, %v, want an error", text, n, err)
		}
	}
}
