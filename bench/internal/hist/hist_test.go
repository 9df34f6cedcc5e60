package hist

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Every duration falls into a bucket whose middle is within 1.6 per cent of it.
func TestBucketsAreNarrow(t *testing.T) {
	for d := time.Duration(1); d > 0 && d < math.MaxInt64/3; d = d*3/2 + 1 {
		for _, v := range []time.Duration{d - 1, d, d + 1} {
			got := middle(bucket(v))
			if off := math.Abs(float64(got - v)); off > float64(v)*0.016 {
				t.Errorf("%d is kept as %d", v, got)
			}
		}
	}
	if b := bucket(math.MaxInt64); b >= sub*sub {
		t.Errorf("the longest duration is in bucket %d of %d", b, sub*sub)
	}
}

func TestBucketsAreInOrder(t *testing.T) {
	last := -1
	for d := range time.Duration(1 << 16) {
		b := bucket(d)
		if b != last && b != last+1 {
			t.Fatalf("%d is in bucket %d, after %d", d, b, last)
		}
		last = b
	}
}

func TestQuantilesAgreeWithSorting(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h, other Histogram
	all := make([]time.Duration, 0, 100_000)
	for i := range cap(all) {
		d := time.Duration(math.Exp(r.Float64()*20) + 1)
		all = append(all, d)
		if i%2 == 0 {
			h.Add(d)
		} else {
			other.Add(d)
		}
	}
	h.Merge(&other)
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999} {
		want := all[int(q*float64(len(all)))]
		if got := h.Quantile(q); math.Abs(float64(got-want)) > float64(want)*0.016 {
			t.Errorf("quantile %v: got %v, want about %v", q, got, want)
		}
	}
	if got, want := h.Max(), all[len(all)-1]; got != want || h.Count() != int64(len(all)) || h.Quantile(1) != want {
		t.Errorf("max: got %v, want %v; count %d, quantile 1 %v", got, want, h.Count(), h.Quantile(1))
	}
}

func TestEmptyAndNegative(t *testing.T) {
	var h Histogram
	if got := h.Quantile(0.99); got != 0 {
		t.Errorf("of nothing: got %v, want 0", got)
	}
	h.Add(-time.Second)
	if h.Count() != 1 || h.Quantile(0.5) != 0 {
		t.Errorf("negative: got %v of %d, want 0 of 1", h.Quantile(0.5), h.Count())
	}
}

func BenchmarkAdd(b *testing.B) {
	var h Histogram
	d := time.Duration(1)
	for b.Loop() {
		h.Add(d)
		d = d*7%1_000_003 + 1
	}
}
