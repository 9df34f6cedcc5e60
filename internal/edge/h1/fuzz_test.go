package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/airside-gateway/airside/internal/http1"
)

// FuzzConn proves that whatever a client sends, however it is cut into pieces, nothing
// panics or hangs, every answer is well-formed, there is one for each request that the
// parser finds in it, and the connection ends when the client's side has. Both kinds of
// connections answer the same.
func FuzzConn(f *testing.F) {
	for _, wi := range wires {
		if len(wi.send) < 4<<10 && !strings.Contains(wi.send, "hijack") {
			f.Add([]byte(wi.send), 5)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		if len(in) > 64<<10 || bytes.Contains(in, []byte("hijack")) || bytes.Contains(in, []byte("/status")) { // the handler panics on an invalid one
			return
		}
		piece = max(piece, 1)
		whole := converse(t, in, len(in)+1, false)
		crumbs := converse(t, in, piece, true)
		if whole != crumbs {
			t.Errorf("at once it is answered\n%s\nand piece by piece\n%s", whole, crumbs)
		}
	})
}

// converse has in answered, and returns the statuses of the answers.
func converse(t *testing.T, in []byte, piece int, hidden bool) string {
	t.Helper()
	var log syncBuffer
	s := New(Config{
		Handler: http.HandlerFunc(play), Refuse: refuse, Context: t.Context(), MaxHead: 8 << 10, Poison: true, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	ln := listen(t)
	w := plain
	if hidden {
		w = wrapped
	}
	end := make(chan error, 1)
	go func() { end <- s.Serve(&reaching{Listener: ln, way: w}) }()
	defer func() {
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		<-end
	}()
	nc, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	go func() {
		for p := range slices.Chunk(in, piece) {
			if _, err := nc.Write(p); err != nil {
				return
			}
		}
		_ = nc.(*net.TCPConn).CloseWrite()
	}()
	out, err := io.ReadAll(nc)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection does not end after %q", in)
	}
	if log.String() != "" {
		t.Fatalf("%q: %s", in, log.String())
	}
	return statuses(t, in, out)
}

// statuses reads answers.
func statuses(t *testing.T, in, out []byte) string {
	t.Helper()
	methods := requested(in)
	var got strings.Builder
	for br := bufio.NewReader(bytes.NewReader(out)); ; {
		if _, err := br.Peek(1); err != nil {
			return got.String()
		}
		method := ""
		if len(methods) > 0 {
			method = methods[0]
		}
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			if strings.Contains(string(in), "abort") {
				return got.String()
			}
			t.Fatalf("%q is answered by %q: %v", in, out, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil && !strings.Contains(string(in), "abort") && !strings.Contains(string(in), "length") {
			t.Fatalf("%q is answered by %q: %v", in, out, err)
		}
		_ = resp.Body.Close()
		got.WriteString(resp.Status)
		if !strings.Contains(string(in), "flush") { // its pieces may be seen or not, when it is cut
			got.Write(body)
		}
		got.WriteString("\n")
		if resp.StatusCode >= 200 && len(methods) > 0 {
			methods = methods[1:]
		}
	}
}

// requested lists the methods of the requests at the beginning of in, as far as they
// are whole.
func requested(in []byte) (methods []string) {
	for {
		var scan http1.Scan
		var h http1.Head
		h.Reset()
		n, err := scan.End(in)
		if err == nil && 0 < n && n <= 8<<10 {
			err = h.ParseRequest(bytes.Clone(in[:n]))
		}
		switch {
		case (err != nil || n == 0 || n > 8<<10) && bytes.HasPrefix(in, []byte("HEAD ")):
			return append(methods, "HEAD")
		case err != nil || n == 0 || n > 8<<10:
			return append(methods, h.Method)
		}
		methods, in = append(methods, h.Method), in[n:]
		if !h.Chunked {
			in = in[min(int64(len(in)), max(h.Length, 0)):]
			continue
		}
		for chunks := (http1.Chunks{}); !chunks.Done; {
			_, k, err := chunks.Next(in)
			if in = in[k:]; err != nil || k == 0 && !chunks.Done {
				return methods
			}
		}
	}
}
