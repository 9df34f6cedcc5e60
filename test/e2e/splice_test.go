package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
)

// largeBody is beyond what is spliced, and no multiple of any buffer.
const largeBody = 5<<20 + 123

func largePattern() []byte {
	p := make([]byte, largeBody)
	for i := range p {
		p[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return p
}

// TestLargeBodies proves that a large answer arrives as it was sent, whole or by range,
// one after the other on one connection, read at once or slowly.
func TestLargeBodies(t *testing.T) {
	whole := largePattern()
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "record.bin", time.Time{}, bytes.NewReader(whole))
	}))
	defer agent.Close()
	g := airsidetest.Start(t, "routes: [{ path: /*, to: $1 }]\n", agent.URL)
	var dials int
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials++
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}}
	defer client.CloseIdleConnections()
	for i, from := range []int{0, 1, largeBody - 1, 300 << 10, 0, largeBody - 300<<10} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.Addr+"/record", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		read := io.Reader(resp.Body)
		if i%2 == 1 {
			read = &sips{resp.Body}
		}
		got, err := io.ReadAll(read)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, whole[from:]) {
			t.Errorf("from %d: got %d bytes, %v, want %d", from, len(got), err, largeBody-from)
		}
	}
	if dials != 1 {
		t.Errorf("%d connections were made, want 1", dials)
	}
}

// sips reads little at a time.
type sips struct{ io.Reader }

func (p *sips) Read(b []byte) (int, error) { return p.Reader.Read(b[:min(len(b), 1000)]) }

// TestLargeBodyCut proves that a large answer that the agent breaks off is cut, and that
// a client that leaves in the middle of one ends it at the agent.
func TestLargeBodyCut(t *testing.T) {
	whole := largePattern()
	left := make(chan error, 1)
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(100*largeBody))
		for range 100 {
			if _, err := w.Write(whole); err != nil {
				left <- err
				return
			}
			if r.URL.Path == "/cut" {
				panic(http.ErrAbortHandler)
			}
		}
		left <- nil
	}))
	defer agent.Close()
	g := airsidetest.Start(t, "routes: [{ path: /*, to: $1 }]\n", agent.URL)
	resp, err := http.Get("http://" + g.Addr + "/cut")
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if !errors.Is(err, io.ErrUnexpectedEOF) && err == nil || n > largeBody {
		t.Errorf("cut: got %d bytes, %v, want an error after at most %d", n, err, largeBody)
	}
	resp, err = http.Get("http://" + g.Addr + "/left")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, largeBody); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if err := <-left; err == nil {
		t.Error("the agent sent all of it to nobody")
	}
}
