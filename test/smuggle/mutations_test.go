package smuggle

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/airside-gateway/airside/airsidetest"
)

var (
	mutations = flag.Int("mutations", 10_000, "how many mutations are tried with each engine")
	seed      = flag.Uint64("seed", 1, "what the mutations are drawn from")
	first     = flag.Int("first", 0, "the number of the first mutation")
)

// batch is how many mutations one gateway gets.
const batch = 10_000

// However a request is mutated, it is refused and its connection closed, or it is
// forwarded clean. Mutation n of a seed is always the same; a failure prints both.
func TestMutations(t *testing.T) {
	base := seeds(t)
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			count := map[int]int{}
			start := time.Now()
			for n := 0; n < *mutations; n += batch {
				size := min(batch, *mutations-n)
				trials := make([]trial, size)
				var a *agent
				t.Run(fmt.Sprintf("from %d", *first+n), func(t *testing.T) {
					a = newAgent(t)
					g := airsidetest.Start(t, e.config(idle), a.address)
					swarm(t, e, trials, *first+n, base, g.Addr, a)
				})
				tell(t, e, a, trials, *first+n, count) // now that the gateway has ended, nothing more can come
			}
			t.Logf("seed %d, %d mutations, answers by status %v, %.0f/s", *seed, *mutations, count, float64(*mutations)/time.Since(start).Seconds())
			if few := *mutations / 10; count[200] < few || count[400] < few {
				t.Errorf("the mutations prove little: %v", count)
			}
		})
	}
}

// swarm tries the mutations from the number on, many at a time.
func swarm(t *testing.T, e engine, trials []trial, from int, base [][]byte, gateway string, a *agent) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(trials)); i = next.Add(1) - 1 {
				sent := mutant(*seed, uint64(from)+uint64(i), base)
				trials[i] = try(t, e, sent, gateway, a, net.IPv4(127, 2+byte(i>>16), byte(i>>8), byte(i)))
			}
		})
	}
	wg.Wait()
}

// try sends bytes on a connection of their own, and returns what came of them. The
// client ends the sending when all that it asked for was answered, or when the gateway
// seems to wait for more.
func try(t *testing.T, e engine, sent []byte, gateway string, a *agent, from net.IP) trial {
	r := trial{sent: sent}
	r.asked, r.stop = meaning(sent)
	a.open(from.String())
	cl, err := dial(t, gateway, from)
	if err != nil {
		r.end = err
		return r
	}
	defer cl.close()
	cl.send(sent)
	var waited atomic.Bool
	waits := time.AfterFunc(waitsForMore, func() {
		waited.Store(true)
		cl.finish()
	})
	defer waits.Stop()
	for {
		if len(r.answers) == len(r.asked) && r.open() && waits.Stop() {
			cl.finish()
		}
		m, err := cl.r.answer(r.method(e, len(r.answers)))
		if err != nil {
			r.end = ended(err)
			break
		}
		r.answers = append(r.answers, m)
	}
	r.cut = waited.Load() || !r.closing()
	return r
}

// waitsForMore is when a connection on which nothing comes is taken to wait. It decides
// only when the client ends the sending.
const waitsForMore = 300 * time.Millisecond

// tell reports the faults of the trials.
func tell(t *testing.T, e engine, a *agent, trials []trial, from int, count map[int]int) {
	t.Helper()
	faults := 0
	for i := range trials {
		r := &trials[i]
		r.page = a.read(net.IPv4(127, 2+byte(i>>16), byte(i>>8), byte(i)).String())
		for _, m := range r.answers {
			count[m.status]++
		}
		found := r.faults(e)
		if len(found) == 0 {
			continue
		}
		if faults++; faults <= 20 {
			t.Errorf("-seed %d -first %d -mutations 1: %s\nsent %.1500q\nwhich means %v, then %v\nanswers %v, then %v\nthe agent saw %v",
				*seed, from+i, strings.Join(found, "\nand: "), r.sent, r.asked, r.stop, r.answers, r.end, r.seen)
		}
	}
	for _, s := range a.strays() {
		t.Errorf("-seed %d: nobody sent this: %s", *seed, s)
	}
	if faults > 20 {
		t.Errorf("and %d other mutations", faults-20)
	}
}

// good are requests that pass, to be mutated like the others.
var good = []string{
	"GET /a?b=c HTTP/1.1\r\nHost: clinic.example\r\nAccept: */*\r\nX-A: b\r\n\r\n",
	"POST /a HTTP/1.1\r\nHost: clinic.example\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
	"POST /a HTTP/1.1\r\nHost: clinic.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10;a=\"b\"\r\n0123456789abcdef\r\n0\r\n\r\n",
	"PUT /a/%7Eb HTTP/1.1\r\nHost: clinic.example\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n",
	"POST /a HTTP/1.1\r\nHost: clinic.example\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
	"HEAD /a HTTP/1.1\r\nHost: clinic.example\r\n\r\n",
	"OPTIONS /a HTTP/1.1\r\nHost: clinic.example:80\r\nConnection: keep-alive, X-A\r\nX-A: b\r\n\r\n",
	"GET http://clinic.example/a HTTP/1.1\r\nHost: clinic.example\r\nConnection: close\r\n\r\n",
	"POST /a HTTP/1.0\r\nHost: clinic.example\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
	"DELETE /a HTTP/1.1\r\nHost: clinic.example\r\nContent-Length: 48\r\n\r\n" + smuggled,
	"POST /a HTTP/1.1\r\nHost: clinic.example\r\nTransfer-Encoding: chunked\r\n\r\n30\r\n" + smuggled + "\r\n0\r\n\r\n",
}

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: clinic.example\r\n\r\n"

// seeds are what is mutated: the corpus, but for its largest cases, and good requests,
// which weigh as much as it.
func seeds(t *testing.T) [][]byte {
	var out [][]byte
	for _, c := range corpus(t, "requests") {
		for _, k := range c.cases {
			if len(k.send) < 2000 {
				out = append(out, k.send)
			}
		}
	}
	for i := range len(out) {
		out = append(out, []byte(good[i%len(good)]))
	}
	return out
}

// bits are what is put in: all that ever divided two readers.
var bits = []string{
	"\r", "\n", "\r\n", "\n\r", "\r\r\n", "\r\n\r\n", "\n\n", "\x00", "\t", " ", "\v", "\f", "\x1f", "\x7f", "\x80", "\xa0", "\xff", "\xef\xbb\xbf",
	":", ",", ";", "=", "\"", "\\", "+", "-", "0", "00", "0x", "_", ".", "/", "?", "#", "%", "%0d%0a", "%00", "*", "//", "@", "[", "]",
	"1", "5", "a", "f", "ffffffff", "99999999999999999999", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "chunked", "identity", "close", "keep-alive", "100-continue",
	"GET ", "0\r\n\r\n", "5\r\nhello\r\n", smuggled,
}

// lines are what is put between two lines.
var lines = []string{
	"Content-Length: 5", "Content-Length: 0", "Content-Length: 48", "Content-Length: +5", "Content-Length : 5", "content-length:5", "Content_Length: 5",
	"Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Transfer-Encoding : chunked", "Transfer-Encoding:\tchunked", "transfer-encoding: CHUNKED", " Transfer-Encoding: chunked",
	"Host: evil.example", "Host:", "Connection: close", "Connection: keep-alive", "Connection: Content-Length", "Connection: Transfer-Encoding", "Connection: Host",
	"Upgrade: h2c", "Upgrade: websocket", "Connection: Upgrade", "TE: trailers", "Trailer: Content-Length", "Trailer: X-Sum", "Expect: 100-continue", "Expect: x",
	"X-Forwarded-For: 127.9.9.9", "X-Request-Id: 1", "X-A: b", " folded", "\tfolded", ": none", "none", "", "GET /smuggled HTTP/1.1", "0", "5", "5;a=b", "5;a=\"b", "0;",
}

// mutant returns mutation n of a seed.
func mutant(seed, n uint64, base [][]byte) []byte {
	m := mutator{rand.New(rand.NewPCG(seed, n))}
	b := slices.Clone(base[m.IntN(len(base))])
	for range 1 + m.IntN(3) {
		b = m.mutate(b, base)
	}
	if m.IntN(4) > 0 {
		b = append(b, nextGet...)
	}
	return b
}

type mutator struct{ *rand.Rand }

func (m mutator) mutate(b []byte, base [][]byte) []byte {
	if len(b) == 0 {
		return []byte(bits[m.IntN(len(bits))])
	}
	i := m.IntN(len(b))
	j := min(len(b), i+1+m.IntN(8))
	bit := []byte(bits[m.IntN(len(bits))])
	switch m.IntN(13) {
	case 0:
		return slices.Delete(b, i, i+1)
	case 1:
		return slices.Delete(b, i, j)
	case 2:
		return slices.Insert(b, i, bit...)
	case 3:
		return slices.Replace(b, i, j, bit...)
	case 4:
		return slices.Insert(b, i, slices.Clone(b[i:j])...)
	case 5:
		k := m.IntN(len(b))
		b[i], b[k] = b[k], b[i]
		return b
	case 6:
		b[i] ^= 1 << m.IntN(8)
		return b
	case 7:
		return m.digit(b)
	case 8:
		return m.lineEnd(b)
	case 9:
		return m.value(b, bit)
	case 10:
		return append(b, base[m.IntN(len(base))]...)
	case 11:
		return b[:i]
	}
	return m.lines(b)
}

// place finds one of the places of a pattern; -1 if there is none.
func (m mutator) place(b []byte, pattern string) int {
	n := bytes.Count(b, []byte(pattern))
	if n == 0 {
		return -1
	}
	at := -1
	for range 1 + m.IntN(n) {
		at += 1 + bytes.Index(b[at+1:], []byte(pattern))
	}
	return at
}

// digit changes a number.
func (m mutator) digit(b []byte) []byte {
	start := m.IntN(len(b))
	for k := range len(b) {
		if i := (start + k) % len(b); '0' <= b[i] && b[i] <= '9' {
			b[i] = "0123456789abcdefABCDEF"[m.IntN(22)]
			return b
		}
	}
	return b
}

// lineEnd changes the end of a line.
func (m mutator) lineEnd(b []byte) []byte {
	i := m.place(b, "\r\n")
	if i < 0 {
		return b
	}
	ends := []string{"\n", "\r", "", "\r\r\n", "\n\r", "\r\n\r\n", "\r\n ", "\r\n\t", " \r\n", "\t\r\n", "\x00\r\n", "\n\n"}
	return slices.Replace(b, i, i+2, []byte(ends[m.IntN(len(ends))])...)
}

// value puts something in around a colon.
func (m mutator) value(b, bit []byte) []byte {
	i := m.place(b, ":")
	if i < 0 {
		return b
	}
	return slices.Insert(b, i+m.IntN(3)%(len(b)-i), bit...)
}

// lines deletes, doubles, swaps or inserts whole lines.
func (m mutator) lines(b []byte) []byte {
	part := strings.SplitAfter(string(b), "\r\n")
	i, k := m.IntN(len(part)), m.IntN(len(part))
	switch m.IntN(6) {
	case 0:
		part = slices.Delete(part, i, i+1)
	case 1:
		part = slices.Insert(part, i, part[k])
	case 2:
		part[i], part[k] = part[k], part[i]
	default:
		part = slices.Insert(part, i, lines[m.IntN(len(lines))]+"\r\n")
	}
	return []byte(strings.Join(part, ""))
}
