package metrics

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/edge"
)

// made returns a Metrics that is on, with at most n series.
func made(t testing.TB, n int, caller bool) *Metrics {
	t.Helper()
	m := New(Settings{Version: "v1"})
	m.Set(Options{Series: n, Caller: caller})
	return m
}

// ended tells m of an exchange with the method GET that took d.
func (m *Metrics) ended(x *airside.Exchange, status int, d time.Duration) {
	m.Ended(x, &airside.Outcome{Status: status, Duration: d, Received: 100, Sent: 3000},
		&edge.Seen{Method: "GET", Major: 1, Start: time.Unix(1_700_000_000, 0)})
}

// count is how many exchanges all series together have.
func (m *Metrics) count() (n uint64) {
	all := m.series.all()
	if s := m.series.over.Load(); s != nil {
		all = append(all, s)
	}
	var t total
	for _, s := range all {
		s.total(&t)
		for _, c := range t.seconds {
			n += c
		}
	}
	return n
}

func BenchmarkEnded(b *testing.B) {
	m := made(b, 2000, false)
	for i := range 100 {
		m.ended(&airside.Exchange{Route: fmt.Sprint("route", i), Upstream: "agents"}, 200, time.Millisecond)
	}
	run := func(pb *testing.PB) {
		x := &airside.Exchange{Route: "route7", Upstream: "agents"}
		o := &airside.Outcome{Status: 200, Duration: 1234567, Received: 1024, Sent: 4000}
		s := &edge.Seen{Method: "POST", Major: 1}
		for pb.Next() {
			m.Ended(x, o, s)
		}
	}
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(run)
	})
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		x := &airside.Exchange{Route: "route7", Upstream: "agents"}
		o := &airside.Outcome{Status: 200, Duration: 1234567, Received: 1024, Sent: 4000}
		s := &edge.Seen{Method: "POST", Major: 1}
		for b.Loop() {
			m.Ended(x, o, s)
		}
	})
}

func BenchmarkTries(b *testing.B) {
	m := made(b, 2000, false)
	tries := m.Tries("agents")
	b.ReportAllocs()
	for b.Loop() {
		tries("POST", 200, nil, 1234567)
	}
}

func BenchmarkScrape(b *testing.B) {
	m := made(b, 2000, false)
	for i := range 2000 {
		m.ended(&airside.Exchange{Route: fmt.Sprint("route", i), Upstream: "agents"}, 200, time.Duration(i)*time.Millisecond)
	}
	for _, f := range []form{formText, formProtobuf} {
		b.Run(f.contentType()[:10], func(b *testing.B) {
			for b.Loop() {
				if err := m.render(io.Discard, f, true); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
