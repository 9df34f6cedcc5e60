package overload

import (
	"log/slog"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/airside-gateway/airside"
)

// TestLevels proves that the marks are taken at once when they are reached, and left
// after five better looks in a row only, each with a line in the log.
func TestLevels(t *testing.T) {
	marks := Marks{Heavy: 0.9, All: 0.95, Wait: 200 * time.Millisecond}
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Pointer[Reading]
		now.Store(&Reading{Limit: 1000})
		var log strings.Builder
		g := New(slog.New(slog.NewTextHandler(&log, nil)), func() Reading { return *now.Load() })
		g.Set(marks)
		defer g.Close()
		for i, step := range []struct {
			r     Reading
			looks int
			want  Level
		}{
			{Reading{Memory: 899, Limit: 1000}, 3, None},
			{Reading{Memory: 900, Limit: 1000}, 1, Heavy},
			{Reading{Memory: 950, Limit: 1000}, 1, All},
			{Reading{Memory: 905, Limit: 1000}, 10, All}, // not better by enough
			{Reading{Memory: 890, Limit: 1000}, 4, All},
			{Reading{Memory: 890, Limit: 1000}, 1, Heavy},
			{Reading{Memory: 849, Limit: 1000}, 4, Heavy},
			{Reading{Memory: 870, Limit: 1000}, 1, Heavy}, // and from the beginning
			{Reading{Memory: 849, Limit: 1000}, 4, Heavy},
			{Reading{Memory: 849, Limit: 1000}, 1, None},
			{Reading{Memory: 999}, 3, None}, // no limit
			{Reading{Wait: 199 * time.Millisecond}, 3, None},
			{Reading{Wait: 200 * time.Millisecond}, 1, Heavy},
			{Reading{Wait: 400 * time.Millisecond}, 1, All},
			{Reading{Wait: 99 * time.Millisecond}, 5, None},
		} {
			now.Store(&step.r)
			for range step.looks {
				<-time.After(interval)
				synctest.Wait()
			}
			if got := g.Level(); got != step.want {
				t.Errorf("step %d, %+v: %v, want %v", i, step.r, got, step.want)
			}
		}
		if got := strings.Count(log.String(), "\n"); got != 7 {
			t.Errorf("%d lines for 7 changes:\n%s", got, log.String())
		}
		now.Store(&Reading{Memory: 1000, Limit: 1000})
		<-time.After(interval)
		synctest.Wait()
		if g.Level() != All {
			t.Fatal("nothing is refused at the limit")
		}
		g.Set(Marks{})
		if g.Level() != None {
			t.Error("a guard without marks refuses something")
		}
	})
}

// TestRefuse proves what is refused at each level.
func TestRefuse(t *testing.T) {
	requests := []struct {
		name  string
		r     http.Request
		heavy bool
	}{
		{"small", http.Request{ContentLength: LargeBody - 1}, false},
		{"large", http.Request{ContentLength: LargeBody}, true},
		{"unknown", http.Request{ContentLength: -1}, true},
		{"upgrade", http.Request{Header: http.Header{"Upgrade": {"websocket"}}}, true},
		{"stream", http.Request{Header: http.Header{"Accept": {"text/event-stream"}}}, true},
		{"json", http.Request{Header: http.Header{"Accept": {"application/json"}}}, false},
	}
	g := New(slog.New(slog.DiscardHandler), nil)
	for _, tt := range requests {
		for level, want := range map[Level]bool{None: false, Heavy: tt.heavy, All: true} {
			g.level.Store(int32(level))
			err := g.Refuse(&tt.r)
			if got := err != nil; got != want {
				t.Errorf("%s at %v: refused %v, want %v", tt.name, level, got, want)
			}
			if err != nil && (err.Code != airside.Unavailable || err.RetryAfter < time.Second) {
				t.Errorf("%s: %v, again after %v", tt.name, err, err.RetryAfter)
			}
		}
	}
}

// TestGauge proves that the runtime tells what the gauge asks for, and that memory is what
// is used, not what is garbage.
func TestGauge(t *testing.T) {
	g := newGauge()
	runtime.GC()
	before := g.read()
	for i, s := range g.samples {
		if s.Value.Kind() == metrics.KindBad {
			t.Errorf("the runtime knows no %s", names[i])
		}
	}
	for range 64 {
		kept := make([]byte, 1<<20)
		kept[0] = 1
	}
	if r := g.read(); r.Memory > before.Memory+16<<20 {
		t.Errorf("64 MiB of garbage count: %d bytes became %d", before.Memory, r.Memory)
	}
	kept := make([]byte, 64<<20)
	runtime.GC()
	if r := g.read(); r.Memory < before.Memory+48<<20 {
		t.Errorf("64 MiB in use do not count: %d bytes became %d", before.Memory, r.Memory)
	}
	runtime.KeepAlive(kept)
}

// TestWait proves that the median of the last looks is taken, not that of all times.
func TestWait(t *testing.T) {
	g := newGauge()
	h := &metrics.Float64Histogram{Counts: []uint64{0, 0, 0}, Buckets: []float64{0, 0.001, 0.5, 1}}
	var got []time.Duration
	add := func(bucket int, n uint64, looks int) {
		h.Counts[bucket] += n
		for range looks {
			got = append(got, g.wait(h))
		}
	}
	add(0, 1000, span+1)
	add(2, 100, 1)
	add(0, 10, span)
	add(1, 60, 1)
	add(1, 40, 1)
	want := []time.Duration{0, 0, 0, 0, 0, 0, time.Second / 2, time.Second / 2, time.Second / 2, time.Second / 2, time.Second / 2, 0, time.Millisecond, time.Millisecond}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestContainerLimit proves that the least limit of a group and those above it counts.
func TestContainerLimit(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	for _, tt := range []struct {
		name string
		root fstest.MapFS
		want int64
	}{
		{"nothing", fstest.MapFS{}, 0},
		{"own", fstest.MapFS{"proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/b/memory.max": file("1000\n"), "sys/fs/cgroup/a/memory.max": file("max\n")}, 1000},
		{"above", fstest.MapFS{"proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/b/memory.max": file("1000\n"), "sys/fs/cgroup/a/memory.max": file("900\n")}, 900},
		{"none", fstest.MapFS{"proc/self/cgroup": file("0::/a\n"), "sys/fs/cgroup/a/memory.max": file("max\n")}, 0},
		{"within a container", fstest.MapFS{"proc/self/cgroup": file("0::/docker/x\n"), "sys/fs/cgroup/memory.max": file("700\n")}, 700},
		{"version 1", fstest.MapFS{
			"proc/self/cgroup": file("3:cpu:/q\n2:memory:/a\n"), "sys/fs/cgroup/memory/a/memory.limit_in_bytes": file("500\n"),
			"sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712\n"),
		}, 500},
	} {
		if got := containerLimit(tt.root); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestGoroutineEnds proves that a guard that was closed, or set twice, leaves nothing.
func TestGoroutineEnds(t *testing.T) {
	synctest.Test(t, func(*testing.T) { // fails if a goroutine is left
		g := New(slog.New(slog.DiscardHandler), func() Reading { return Reading{} })
		g.Set(Marks{Wait: time.Second})
		g.Set(Marks{Wait: 2 * time.Second})
		<-time.After(time.Second)
		g.Close()
		g.Close()
	})
}

// BenchmarkRead measures a look at the runtime.
func BenchmarkRead(b *testing.B) {
	g := newGauge()
	for b.Loop() {
		g.read()
	}
}

// BenchmarkRefuse measures what an exchange pays while all is well.
func BenchmarkRefuse(b *testing.B) {
	g := New(slog.New(slog.DiscardHandler), nil)
	r := &http.Request{}
	b.ReportAllocs()
	for b.Loop() {
		if g.Refuse(r) != nil {
			b.Fatal("refused")
		}
	}
}
