package ratelimit

import (
	"math/big"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// The algorithm in integers does what it does in fractions that are never rounded.
func TestExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{
			Limit: rapid.IntRange(1, 100_000).Draw(t, "limit"),
			Per:   time.Duration(rapid.IntRange(1, 7200).Draw(t, "per")) * time.Second,
			Burst: rapid.IntRange(1, 20).Draw(t, "burst"),
		}
		r := newRate(c)
		step := big.NewRat(int64(c.Per), int64(c.Limit))
		window := new(big.Rat).Mul(step, big.NewRat(int64(c.Burst), 1))
		full := new(big.Rat)
		s, now := slot{}, int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "requests") {
			now += rapid.Int64Range(0, r.step*3/2+2).Draw(t, "pause")
			at := new(big.Rat).SetInt64(now)
			if full.Cmp(at) < 0 {
				full = at
			}
			next := new(big.Rat).Add(full, step)
			want := new(big.Rat).Sub(next, at).Cmp(window) <= 0
			if want {
				full = next
			}
			if got := s.take(now, &r); got != want {
				t.Fatalf("at %d: passed %v, want %v", now, got, want)
			}
			v := s.state(now, &r)
			left := new(big.Rat).Sub(window, new(big.Rat).Sub(full, at))
			left.Quo(left, step)
			if got, want := v.remaining, new(big.Int).Quo(left.Num(), left.Denom()).Uint64(); got != want {
				t.Fatalf("at %d: %d remain, want %d", now, got, want)
			}
		}
	})
}

// After the wait that is named one more request passes, and not a nanosecond
// before.
func TestWaitIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRate(Config{
			Limit: rapid.IntRange(1, maxCount).Draw(t, "limit"),
			Per:   time.Duration(rapid.IntRange(1, int(maxPer/time.Second)).Draw(t, "per")) * time.Second,
			Burst: rapid.IntRange(1, 10).Draw(t, "burst"),
		})
		s := slot{}
		now := rapid.Int64Range(0, 1<<50).Draw(t, "now")
		for s.take(now, &r) {
			now += rapid.Int64Range(0, r.step/2+1).Draw(t, "pause")
			if rapid.IntRange(0, 50).Draw(t, "enough") == 0 {
				break
			}
		}
		v := s.state(now, &r)
		if v.wait == 0 {
			t.Skip("the bucket is full")
		}
		early, late := s, s
		early.settle(now+int64(v.wait)-1, &r)
		late.settle(now+int64(v.wait), &r)
		if got := early.state(now+int64(v.wait)-1, &r).remaining; got != v.remaining {
			t.Fatalf("%d remain before the wait of %v is over, want %d", got, v.wait, v.remaining)
		}
		if got := late.state(now+int64(v.wait), &r).remaining; got <= v.remaining {
			t.Fatalf("%d remain after the wait of %v, want more than %d", got, v.wait, v.remaining)
		}
	})
}

// The table of tests below has room for 10 keys a shard.
const room = 10

func (t *table) size() int {
	n := 0
	for i := range t.shards {
		t.shards[i].mu.Lock()
		n += t.shards[i].used
		t.shards[i].mu.Unlock()
	}
	return n
}

func (t *table) numbered(i int) key { return t.text(byText, strconv.Itoa(i)) }

// A caller who has used up the limit does not get rid of that by a flood of keys,
// and the table does not grow beyond its bound.
func TestFloodDoesNotReset(t *testing.T) {
	tab, _ := newTable()
	r := newRate(Config{Limit: 100, Per: 24 * time.Hour})
	used := tab.text(byCaller, "mallory")
	for range 100 {
		if !tab.take(used, &r, room).ok {
			t.Fatal("refused within the limit")
		}
	}
	for i := range 50_000 {
		for range 3 {
			if !tab.take(tab.numbered(i), &r, room).ok {
				t.Fatal("a new key is refused")
			}
		}
		if tab.take(used, &r, room).ok {
			t.Fatalf("the used-up limit was forgotten after %d keys", i)
		}
	}
	if got, most := tab.size(), shards*room; got > most || got < most/2 {
		t.Errorf("%d keys, want at most %d, and at least half of that", got, most)
	}
}

// Keys whose bucket is full again make room.
func TestFullAgainIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tab, _ := newTable()
		r := newRate(Config{Limit: 10, Per: time.Second})
		for round := range 50 {
			for i := range 1000 {
				tab.take(tab.numbered(round*1000+i), &r, 1000)
			}
			<-time.After(time.Second)
		}
		if got := tab.size(); got <= 0 || got > 2500 {
			t.Errorf("%d keys are left of rounds of 1000, want about as many as one round has", got)
		}
	})
}

// A bound that was lowered is reached as keys come.
func TestLowerBound(t *testing.T) {
	tab, _ := newTable()
	r := newRate(Config{Limit: 1, Per: time.Hour})
	for i := range 64 * 40 {
		tab.take(tab.numbered(i), &r, 40)
	}
	for i := range 64 * 80 {
		tab.take(tab.numbered(1_000_000+i), &r, room)
	}
	if got, want := tab.size(), shards*room; got != want {
		t.Errorf("%d keys, want %d", got, want)
	}
}

// A shard is a map: whatever is added and removed, it finds what is there and
// nothing else.
func TestShard(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := shard{slots: make([]slot, 16)}
		want := map[key]int64{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			k := key{0, rapid.Uint64Range(1, 40).Draw(t, "key")} // few, so that they collide
			i := s.find(k)
			if full, ok := want[k]; ok != !s.slots[i].vacant() || ok && s.slots[i].full != full {
				t.Fatalf("key %d: found %+v, want %v, %d", k[1], s.slots[i], ok, full)
			}
			if _, ok := want[k]; ok {
				s.remove(i)
				delete(want, k)
				continue
			}
			full := rapid.Int64Range(1, 1<<40).Draw(t, "full") // never full again, so that the sweep leaves it
			s.slots[s.add(k, 0, 1000)].full = full
			want[k] = full
		}
		if s.used != len(want) {
			t.Fatalf("%d in use, want %d", s.used, len(want))
		}
	})
}

func TestTakeDoesNotAllocate(t *testing.T) {
	tab, _ := newTable()
	r := newRate(Config{Limit: maxCount, Per: time.Second})
	x := exchange("2001:db8::1", "")
	p := policy{table: tab}
	if got := testing.AllocsPerRun(1000, func() {
		k, err := p.key(x)
		if err != nil || !tab.take(k, &r, 1000).ok {
			t.Fatal("refused")
		}
	}); got != 0 {
		t.Errorf("%v allocations, want none", got)
	}
}

func BenchmarkTake(b *testing.B) {
	const keys = 100_000
	tab, _ := newTable()
	r := newRate(Config{Limit: 1000, Per: time.Hour, Burst: 1_000_000})
	all := make([]key, keys)
	for i := range all {
		all[i] = tab.numbered(i)
		tab.take(all[i], &r, keys)
	}
	for _, bench := range []struct {
		name string
		run  func(*testing.B)
	}{
		{"one", func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				tab.take(all[i*7919%keys], &r, keys)
			}
		}},
		{"parallel", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for i := 0; pb.Next(); i++ {
					tab.take(all[i*7919%keys], &r, keys)
				}
			})
		}},
		{"new keys in a full table", func(b *testing.B) {
			full, _ := newTable()
			hour := newRate(Config{Limit: 1, Per: time.Hour})
			for i := 0; b.Loop(); i++ {
				full.take(key{uint64(i) * 0x9e3779b97f4a7c15, uint64(i+1) * 0x9e3779b97f4a7c15}, &hour, 1000)
			}
		}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			bench.run(b)
		})
	}
}
