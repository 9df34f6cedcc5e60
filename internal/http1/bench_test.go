package http1

import (
	"strings"
	"testing"
)

// usualRequest has ten fields, as an agent's client sends them.
const usualRequest = "POST /v1/agents/weather/messages?trace=1 HTTP/1.1\r\n" +
	"Host: gateway.example.com\r\n" +
	"User-Agent: agent-client/1.4 (linux; amd64)\r\n" +
	"Accept: application/json\r\n" +
	"Accept-Encoding: gzip, deflate, br\r\n" +
	"Content-Type: application/json\r\n" +
	"Content-Length: 1024\r\n" +
	"Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n" +
	"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n" +
	"X-Request-Id: 7f3f1b52-6f0c-4f0b-9a44-0d1a0f3c9a11\r\n" +
	"Connection: keep-alive\r\n" +
	"\r\n"

// usualResponse has eight fields.
const usualResponse = "HTTP/1.1 200 OK\r\n" +
	"Date: Sun, 22 Nov 2026 19:08:00 GMT\r\n" +
	"Content-Type: application/json\r\n" +
	"Content-Length: 1024\r\n" +
	"Cache-Control: no-store\r\n" +
	"Vary: Accept-Encoding\r\n" +
	"Server: agent\r\n" +
	"X-Request-Id: 7f3f1b52-6f0c-4f0b-9a44-0d1a0f3c9a11\r\n" +
	"Connection: keep-alive\r\n" +
	"\r\n"

func BenchmarkParseRequest(b *testing.B) {
	benchmarkHead(b, usualRequest, (*Head).ParseRequest)
}

// Names as HTTP/2 clients and many libraries write them.
func BenchmarkParseRequestLower(b *testing.B) {
	line, rest, _ := strings.Cut(usualRequest, "\r\n")
	benchmarkHead(b, line+"\r\n"+strings.ToLower(rest), (*Head).ParseRequest)
}

func BenchmarkParseResponse(b *testing.B) {
	benchmarkHead(b, usualResponse, (*Head).ParseResponse)
}

func benchmarkHead(b *testing.B, text string, parse func(*Head, []byte) error) {
	b.Helper()
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	var h Head
	in := make([]byte, len(text))
	for b.Loop() {
		copy(in, text)
		h.Reset()
		if err := parse(&h, in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScan(b *testing.B) {
	b.ReportAllocs()
	in := []byte(usualRequest)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		var s Scan
		if n, err := s.End(in); n != len(in) || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkChunks(b *testing.B) {
	chunk := append(AppendChunkSize(nil, 200), strings.Repeat("x", 200)+"\r\n"...)
	var in []byte
	for range 16 {
		in = append(in, chunk...)
	}
	in = AppendLastChunk(in, nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		var c Chunks
		for rest := in; !c.Done; {
			_, n, err := c.Next(rest)
			if n == 0 || err != nil {
				b.Fatal(n, err)
			}
			rest = rest[n:]
		}
	}
}
