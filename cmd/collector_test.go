package cmd

import "testing"

// TestPercent proves that a small heap gets the slack and no more than ten times itself,
// and that a large one is left to the runtime's own measure.
func TestPercent(t *testing.T) {
	for _, tt := range []struct {
		live uint64
		want int
	}{
		{0, mostSlack},
		{1 << 20, mostSlack},
		{4 << 20, 800},
		{16 << 20, 200},
		{32 << 20, usual},
		{1 << 30, usual},
		{1 << 50, usual},
	} {
		if got := percentFor(tt.live); got != tt.want {
			t.Errorf("%d live bytes: got %d, want %d", tt.live, got, tt.want)
		}
	}
}
