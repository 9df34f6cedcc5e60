package e2e

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// What a flood may cost, see bars R18: seconds of the processor for one, and memory
// for all.
const (
	floodSeconds = 2.0
	floodMemory  = 16 << 20
)

// A flood is what a hostile client of HTTP/2 sends again and again.
type flood struct {
	name  string
	count int
	send  func(fr *http2.Framer, i int) error
}

// headOf is the head of a request for path, compressed.
func headOf(path string) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	fields := []string{":method", "POST", ":scheme", "http", ":path", path, ":authority", "localhost"}
	for i := 0; i < len(fields); i += 2 {
		enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: true}) // which keeps it out of the table
	}
	return b.Bytes()
}

// bomb is a head that is small on the wire and large when decompressed: a long value
// that is sent once and then named again and again.
func bomb() []byte {
	b := append(headOf("/"), 0x40, 1, 'a', 0x7f) // a literal to be indexed, of 4,000 bytes
	b = hpackInt(b, 4000-127)
	b = append(b, bytes.Repeat([]byte("b"), 4000)...)
	return append(b, bytes.Repeat([]byte{0xbe}, 12<<10)...) // index 62
}

// hpackInt appends what is left of n after a full prefix, RFC 7541 section 5.1.
func hpackInt(b []byte, n int) []byte {
	for ; n >= 128; n >>= 7 {
		b = append(b, byte(n&0x7f|0x80))
	}
	return append(b, byte(n))
}

func odd(i int) uint32 { return uint32(2*i + 1) }

func openStream(fr *http2.Framer, i int, end bool) error {
	return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: odd(i), EndHeaders: true, EndStream: end, BlockFragment: headOf("/slow")})
}

// first opens stream 1 before the flood.
func first(fr *http2.Framer, i int) {
	if i == 0 {
		_ = openStream(fr, 0, false)
	}
}

func floods() []flood {
	bomb := bomb()
	return []flood{
		{"rapid reset", 100_000, func(fr *http2.Framer, i int) error {
			_ = openStream(fr, i, true)
			return fr.WriteRSTStream(odd(i), http2.ErrCodeCancel)
		}},
		{"CONTINUATION", 100_000, func(fr *http2.Framer, i int) error {
			if i == 0 {
				_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headOf("/")})
			}
			return fr.WriteContinuation(1, false, []byte("\x00\x01a\x01b"))
		}},
		{"empty CONTINUATION", 200_000, func(fr *http2.Framer, i int) error {
			if i == 0 {
				_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1})
			}
			return fr.WriteContinuation(1, false, nil)
		}},
		{"PING", 200_000, func(fr *http2.Framer, _ int) error { return fr.WritePing(false, [8]byte{}) }},
		{"SETTINGS", 200_000, func(fr *http2.Framer, i int) error {
			return fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(1000 + i%2)})
		}},
		{"PRIORITY", 200_000, func(fr *http2.Framer, i int) error {
			return fr.WritePriority(odd(i), http2.PriorityParam{StreamDep: odd(i + 1), Weight: byte(i)})
		}},
		{"WINDOW_UPDATE", 200_000, func(fr *http2.Framer, _ int) error { return fr.WriteWindowUpdate(0, 1) }},
		{"empty DATA", 200_000, func(fr *http2.Framer, i int) error {
			first(fr, i)
			return fr.WriteData(1, false, nil)
		}},
		{"padding", 200_000, func(fr *http2.Framer, i int) error {
			first(fr, i)
			return fr.WriteDataPadded(1, false, nil, make([]byte, 64))
		}},
		{"unknown frames", 200_000, func(fr *http2.Framer, _ int) error { return fr.WriteRawFrame(0xaa, 0, 0, make([]byte, 100)) }},
		{"HPACK bombs", 2_000, func(fr *http2.Framer, i int) error {
			return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: odd(i), EndHeaders: true, EndStream: true, BlockFragment: bomb})
		}},
		{"malformed requests", 100_000, func(fr *http2.Framer, i int) error {
			return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: odd(i), EndHeaders: true, EndStream: true, BlockFragment: []byte{0x82, 0x82}})
		}},
		{"too many streams", 100_000, func(fr *http2.Framer, i int) error { return openStream(fr, i, false) }},
		{"provoked resets: a window that overflows", 100_000, func(fr *http2.Framer, i int) error {
			_ = openStream(fr, i, false)
			return fr.WriteWindowUpdate(odd(i), 1<<31-1)
		}},
		{"provoked resets: a window of nothing", 100_000, func(fr *http2.Framer, i int) error {
			_ = openStream(fr, i, false)
			return fr.WriteRawFrame(http2.FrameWindowUpdate, 0, odd(i), make([]byte, 4))
		}},
		{"provoked resets: DATA after the end", 100_000, func(fr *http2.Framer, i int) error {
			_ = openStream(fr, i, true)
			return fr.WriteData(odd(i), true, []byte("x"))
		}},
		{"provoked resets: HEADERS after the end", 100_000, func(fr *http2.Framer, i int) error {
			_ = openStream(fr, i, true)
			return openStream(fr, i, true)
		}},
		{"provoked resets: a stream that depends on itself", 100_000, func(fr *http2.Framer, i int) error {
			return fr.WritePriority(odd(i), http2.PriorityParam{StreamDep: odd(i)})
		}},
	}
}

// TestFloods shows that a client that floods the gateway over HTTP/2 loses its
// connection, that this costs little, and that another client is served meanwhile.
func TestFloods(t *testing.T) {
	agent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			io.Copy(io.Discard, r.Body) // else it would not be seen that the gateway gives up
			<-r.Context().Done()
		}
		fmt.Fprint(w, "fine")
	}))
	defer agent.Close()
	t.Setenv("GOGC", "100") // what floods hold is to be seen, not what the collector leaves lying
	p := run(t, fmt.Sprintf("telemetry: { log: { level: debug } }\nlisten: [{ address: '127.0.0.1:0' }, { address: '127.0.0.2:0', tls: { self_signed: true } }]\nroutes: [{ path: /*, to: '%s' }]\n", agent.URL))
	plain, encrypted := p.addresses()
	good := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer good.CloseIdleConnections()
	for range 500 { // whatever the first requests need
		fine(t, good, "https://"+encrypted)
	}
	before := p.resident()
	for _, f := range floods() {
		t.Run(f.name, func(t *testing.T) {
			used := p.seconds()
			for name, dial := range map[string]func() (net.Conn, error){
				"in the clear": func() (net.Conn, error) { return (&net.Dialer{}).DialContext(t.Context(), "tcp", plain) },
				"TLS": func() (net.Conn, error) {
					d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}}
					return d.DialContext(t.Context(), "tcp", encrypted)
				},
			} {
				stop, served := meanwhile(t, good, "https://"+encrypted)
				sent, code := pour(t, f, dial)
				close(stop)
				times := <-served
				if sent == f.count {
					t.Errorf("%s: all %d were taken", name, sent)
				}
				slices.Sort(times)
				t.Logf("%s: ended after %d of %d, %v; the good client had %d answers, median %s, at most %s",
					name, sent, f.count, code, len(times), times[len(times)/2], times[len(times)-1])
			}
			took := p.seconds() - used
			t.Logf("%.2f s of the processor for both, the good client included; %d KiB of memory at most so far", took, p.peak()>>10)
			if took > 2*floodSeconds {
				t.Errorf("took %.1f s of the processor for two, want at most %.1f s for one", took, floodSeconds)
			}
		})
	}
	grown := p.peak() - before
	t.Logf("from %d to %d KiB", before>>10, (before+grown)>>10)
	if grown > floodMemory {
		t.Errorf("grew by %d bytes, want at most %d", grown, floodMemory)
	}
}

// pour sends the flood until it is over or the connection is, and returns how much of
// it that took, and with what code the gateway said goodbye.
func pour(t *testing.T, f flood, dial func() (net.Conn, error)) (sent int, code http2.ErrCode) {
	t.Helper()
	c, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	read := make(chan http2.ErrCode, 1)
	go func() {
		code := http2.ErrCodeNo
		in := http2.NewFramer(nil, c)
		for {
			fr, err := in.ReadFrame()
			if err != nil {
				c.Close() // the sender need not wait for it to be reset
				read <- code
				return
			}
			if g, ok := fr.(*http2.GoAwayFrame); ok {
				code = g.ErrCode
			}
		}
	}()
	io.WriteString(c, http2.ClientPreface)
	fr := http2.NewFramer(c, nil)
	fr.AllowIllegalWrites = true
	fr.WriteSettings()
	for sent < f.count {
		if err := f.send(fr, sent); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the gateway reads no more, and does not close the connection either")
			}
			break
		}
		sent++
	}
	if sent == f.count { // it may be on the way still
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			return sent, <-read
		}
		sent--
	}
	return sent, <-read
}

// meanwhile asks for url again and again until stop is closed, once at least, and
// tells how long each answer took.
func meanwhile(t *testing.T, tr *http.Transport, url string) (stop chan struct{}, times chan []time.Duration) {
	stop, times = make(chan struct{}), make(chan []time.Duration, 1)
	go func() {
		var all []time.Duration
		defer func() { times <- all }()
		for {
			all = append(all, fine(t, tr, url))
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	return stop, times
}

// fine wants an answer, and says how long it took.
func fine(t *testing.T, tr *http.Transport, url string) time.Duration {
	start := time.Now()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Errorf("the good client: %v", err)
		return 0
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "fine" || resp.ProtoMajor != 2 {
		t.Errorf("the good client got %s %q, %v", resp.Proto, b, err)
	}
	return time.Since(start)
}

var listens = regexp.MustCompile(`"listening":"([^"]+)"`)

// addresses are those of the listeners in the clear and of TLS, which listen on
// 127.0.0.1 and 127.0.0.2.
func (p *process) addresses() (plain, encrypted string) {
	for a := range strings.FieldsSeq(listens.FindStringSubmatch(p.text())[1]) {
		switch {
		case strings.HasPrefix(a, "127.0.0.2:"):
			encrypted = a
		case strings.HasPrefix(a, "127.0.0.1:"):
			plain = a
		}
	}
	return plain, encrypted
}

// seconds is how much of the processor the process has used.
func (p *process) seconds() float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	var ticks float64
	for _, s := range f[11:13] { // utime and stime, in hundredths of a second
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		ticks += n
	}
	return ticks / 100
}

// resident is how much memory the process holds now.
func (p *process) resident() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	n, err := strconv.ParseInt(string(regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(b)[1]), 10, 64)
	if err != nil {
		p.t.Fatal(err)
	}
	return n << 10
}
