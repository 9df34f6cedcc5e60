package wire

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func reader(s string) *bufio.Reader { return bufio.NewReaderSize(strings.NewReader(s), 4096) }

func TestReadHead(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     Head
		err      error
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", Head{Status: 200, Length: 12}, nil},
		{"any case, no space", "HTTP/1.1 404 Not Found\r\nCONTENT-LENGTH:0\r\n\r\n", Head{Status: 404}, nil},
		{"chunked", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Head{Status: 200, Length: Chunked}, nil},
		{"chunked wins", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", Head{Status: 200, Length: Chunked}, nil},
		{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n", Head{Status: 200, Length: 1, Close: true}, nil},
		{"names that begin alike", "HTTP/1.1 200 OK\r\nContent-Length-X: 9\r\nConnection-X: close\r\nTrailer: x\r\n\r\n", Head{Status: 200, Length: Unknown}, nil},
		{"informational first", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", Head{Status: 200, Length: 3}, nil},
		{"no framing", "HTTP/1.1 200 OK\r\n\r\n", Head{Status: 200, Length: Unknown}, nil},
		{"no reason", "HTTP/1.1 200\r\nContent-Length: 3\r\n\r\n", Head{Status: 200, Length: 3}, nil},
		{"not HTTP", "SSH-2.0-OpenSSH_9.2p1\r\n", Head{}, ErrMalformed},
		{"no status", "HTTP/1.1 abc OK\r\n\r\n", Head{}, ErrMalformed},
		{"signed length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Head{}, ErrMalformed},
		{"cut", "HTTP/1.1 200 OK\r\nContent-", Head{}, io.EOF},
		{"long line", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 5000), Head{}, bufio.ErrBufferFull},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadHead(reader(tt.in))
			if !errors.Is(err, tt.err) {
				t.Fatalf("got error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, got); err == nil && diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestSkipBody(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		length   int64
		chunks   []int
		rest     string
		err      error
	}{
		{"length", "abcdefREST", 6, nil, "REST", nil},
		{"nothing", "REST", 0, nil, "REST", nil},
		{"chunks", "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\nREST", Chunked, []int{3, 10}, "REST", nil},
		{"extension and trailer", "1;x=y\r\na\r\n0\r\nX: y\r\n\r\nREST", Chunked, []int{1}, "REST", nil},
		{"not framed", "abc", Unknown, nil, "", ErrMalformed},
		{"not hexadecimal", "xyz\r\n", Chunked, nil, "", ErrMalformed},
		{"negative", "-1\r\n", Chunked, nil, "", ErrMalformed},
		{"beyond all measure", "7fffffffffffffff\r\n", Chunked, nil, "", ErrMalformed},
		{"cut", "5\r\nab", Chunked, []int{5}, "", io.EOF},
		{"cut length", "ab", 5, nil, "", io.EOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			br := reader(tt.in)
			var chunks []int
			err := SkipBody(br, Head{Length: tt.length}, func(n int) { chunks = append(chunks, n) })
			if !errors.Is(err, tt.err) {
				t.Fatalf("got error %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.chunks, chunks); diff != "" {
				t.Errorf("chunks (-want +got)\n%s", diff)
			}
			if err != nil {
				return
			}
			if rest, _ := io.ReadAll(br); string(rest) != tt.rest {
				t.Errorf("left %q, want %q", rest, tt.rest)
			}
		})
	}
}

func TestLoopbackOnly(t *testing.T) {
	for address, want := range map[string]bool{
		"127.0.0.1:9000": true, "127.8.8.8:1": true, "[::1]:9000": true,
		":9000": false, "0.0.0.0:9000": false, "192.0.2.1:80": false, "localhost:80": false, "127.0.0.1": false,
	} {
		if got := Loopback(address) == nil; got != want {
			t.Errorf("%s: got %t, want %t", address, got, want)
		}
	}
}

// Whatever arrives is read or refused; nothing is read twice.
func FuzzReply(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		br := reader(string(in))
		h, err := ReadHead(br)
		if err != nil {
			return
		}
		if h.Status < 200 || h.Status > 999 || h.Length < Unknown {
			t.Fatalf("%+v", h)
		}
		total := 0
		if err := SkipBody(br, h, func(n int) { total += n }); err == nil && total > len(in) {
			t.Fatalf("%d bytes of chunks in %d bytes", total, len(in))
		}
	})
}
