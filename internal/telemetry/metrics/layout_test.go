package metrics

import (
	"math"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"pgregory.net/rapid"

	"github.com/airside-gateway/airside"
)

// Every duration lies in the native and in the classic bucket that the definitions of both
// say.
func TestDurationsLieInTheirBuckets(t *testing.T) {
	var l layout
	l.init()
	bounds := classicBounds()
	check := func(t rapid.TB, ns int64) {
		cell := l.seconds(ns)
		classic := 0
		for classic < splits && ns > int64(bounds[classic]) {
			classic++
		}
		if got := int(l.classic[cell]); got != classic {
			t.Fatalf("%d ns: classic bucket %d, want %d", ns, got, classic)
		}
		s, i := float64(ns)/1e9, int(l.of[cell])
		upper := math.Exp2(float64(index(i)) / perTwofold)
		lower := math.Exp2(float64(index(i)-1) / perTwofold)
		if i == 0 {
			lower = math.Inf(-1)
		}
		if i == natives {
			upper = math.Inf(1)
		}
		const tiny = 1e-12 // Exp2 rounds
		if s > upper*(1+tiny) || s <= lower*(1-tiny) {
			t.Fatalf("%d ns: native bucket %d (%g, %g]", ns, index(i), lower, upper)
		}
	}
	for _, b := range bounds {
		for _, ns := range []int64{int64(b) - 1, int64(b), int64(b) + 1} {
			check(t, ns)
		}
	}
	for _, ns := range []int64{math.MinInt64, -1, 0, 1, 953, 954, 1_000_000_000, 1 << 47, math.MaxInt64} {
		check(t, ns)
	}
	rapid.Check(t, func(t *rapid.T) { check(t, int64(math.Exp2(rapid.Float64Range(0, 62).Draw(t, "log2")))) })
}

func TestSizesLieInTheirBuckets(t *testing.T) {
	for _, tt := range []struct {
		n    int64
		cell int
	}{{-1, 0}, {0, 0}, {1, 1}, {2, 2}, {3, 3}, {4, 3}, {5, 4}, {256, 9}, {257, 10}, {1 << 40, 41}, {1<<40 + 1, 41}, {math.MaxInt64, 41}} {
		if got := sizeOf(tt.n); got != tt.cell {
			t.Errorf("%d: cell %d, want %d", tt.n, got, tt.cell)
		}
	}
}

// unfold gives the native buckets of h by their index, as a reader of the format does.
func unfold(h *dto.Histogram) map[int]int64 {
	out := map[int]int64{}
	at, n, d := 0, int64(0), 0
	for _, s := range h.PositiveSpan {
		at += int(s.GetOffset())
		for range s.GetLength() {
			n += h.PositiveDelta[d]
			out[at] = n
			at, d = at+1, d+1
		}
	}
	return out
}

// What was counted comes out in both kinds of buckets, whole.
func TestHistograms(t *testing.T) {
	m := made(t, 100, false)
	took := []time.Duration{0, 1, 5 * time.Millisecond, 5*time.Millisecond + 1, 80 * time.Millisecond, time.Second, 2 * time.Second, time.Hour}
	want := map[int]int64{}
	for _, d := range took {
		m.ended(&airside.Exchange{Route: "a"}, 200, d)
		if s := d.Seconds(); s > math.Exp2(lowest) {
			want[int(math.Ceil(math.Log2(s)*perTwofold))]++
		}
	}
	h := named(t, m, "http_server_request_duration_seconds").Metric[0].Histogram
	if h.GetSampleCount() != 8 || h.GetZeroCount() != 2 || math.Abs(h.GetSampleSum()-3603.090000002) > 1e-6 {
		t.Errorf("count %d, zero %d, sum %v", h.GetSampleCount(), h.GetZeroCount(), h.GetSampleSum())
	}
	got := unfold(h)
	for i, n := range want {
		if got[i] != n {
			t.Errorf("native bucket %d: %d, want %d", i, got[i], n)
		}
	}
	var sum int64
	for _, n := range got {
		sum += n
	}
	if sum != 6 {
		t.Errorf("native buckets hold %d, want 6", sum)
	}
	for i, n := range []uint64{3, 4, 4, 4, 4, 5, 5, 5, 5, 6, 7, 7, 7, 7} {
		if b := h.Bucket[i]; b.GetCumulativeCount() != n {
			t.Errorf("le %v: %d, want %d", b.GetUpperBound(), b.GetCumulativeCount(), n)
		}
	}
	in := named(t, m, "http_server_request_body_size_bytes").Metric[0].Histogram
	if got := unfold(in); got[7] != 8 || in.Bucket[0].GetCumulativeCount() != 8 || in.GetSampleSum() != 800 {
		t.Errorf("request bodies: %v", in)
	}
	out := named(t, m, "http_server_response_body_size_bytes").Metric[0].Histogram
	if got := unfold(out); got[12] != 8 || out.Bucket[1].GetCumulativeCount() != 0 || out.Bucket[2].GetCumulativeCount() != 8 {
		t.Errorf("bodies of answers: %v", out)
	}
}

func named(t *testing.T, m *Metrics, name string) *dto.MetricFamily {
	t.Helper()
	for _, f := range m.gather() {
		if f.GetName() == name {
			return f
		}
	}
	t.Fatalf("there is no metric %s", name)
	return nil
}

// A histogram without a value is still native: it has a span.
func TestNothingHasASpan(t *testing.T) {
	if s, d := spans(make([]uint64, 10), 0); len(s) != 1 || len(d) != 0 {
		t.Errorf("got %v %v", s, d)
	}
}
