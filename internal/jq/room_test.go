package jq

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func enter(t *testing.T, r *Room, n int64) (leave func()) {
	t.Helper()
	leave, err := r.Enter(t.Context(), n, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return leave
}

// TestRoom proves that who waits is let in in turn, and that who needs more than there
// is gets all of it.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRoom(10)
		first := enter(t, r, 6)
		var order []string
		var mu sync.Mutex
		go func() {
			leave := enter(t, r, 100)
			mu.Lock()
			defer mu.Unlock()
			order = append(order, "large")
			leave()
		}()
		synctest.Wait()
		go func() { // there is room for it, but it came later
			leave := enter(t, r, 1)
			mu.Lock()
			defer mu.Unlock()
			order = append(order, "small")
			leave()
		}()
		synctest.Wait()
		if len(order) != 0 || r.Used() != 6 {
			t.Errorf("%v went in, %d are used", order, r.Used())
		}
		first()
		synctest.Wait()
		if len(order) != 2 || order[0] != "large" || r.Used() != 0 {
			t.Errorf("%v went in, %d are used", order, r.Used())
		}
	})
}

// TestRoomFull proves that waiting ends, and that who gave up does not stand in the
// way of those behind.
func TestRoomFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRoom(10)
		leave := enter(t, r, 6)
		begin := time.Now()
		small := make(chan func())
		go func() {
			_, err := r.Enter(t.Context(), 8, time.Second)
			if !errors.Is(err, ErrFull) || time.Since(begin) != time.Second {
				t.Errorf("got %v after %s", err, time.Since(begin))
			}
		}()
		synctest.Wait()
		go func() { small <- enter(t, r, 4) }()
		(<-small)()
		if got := time.Since(begin); got != time.Second {
			t.Errorf("the small one waited for %s", got)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		left := errors.New("left")
		cancel(left)
		if _, err := r.Enter(ctx, 8, time.Hour); !errors.Is(err, left) {
			t.Errorf("got %v, want the cause", err)
		}
		leave()
		if r.Used() != 0 {
			t.Errorf("%d are used", r.Used())
		}
		enter(t, r, 10)()
	})
}

// TestRoomBound proves that those inside never have more than there is, and that
// everything is given back, whoever gives up.
func TestRoomBound(t *testing.T) {
	r := NewRoom(100)
	var inside, in atomic.Int64
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for range 20 {
				n := random.Int64N(60) + 1
				leave, err := r.Enter(t.Context(), n, time.Duration(random.IntN(2000))*time.Microsecond)
				if err != nil {
					continue
				}
				in.Add(1)
				if now := inside.Add(n); now > 100 {
					t.Errorf("%d are inside", now)
				}
				inside.Add(-n)
				leave()
			}
		})
	}
	all.Wait()
	if r.Used() != 0 || in.Load() == 0 {
		t.Errorf("%d are used, %d went in", r.Used(), in.Load())
	}
}
