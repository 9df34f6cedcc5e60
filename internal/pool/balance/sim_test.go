package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A load is callers that ask one endpoint after the other, each as soon as it has been
// answered. It is run in virtual time.
type load struct {
	settings Settings
	members  []Member
	service  []time.Duration // to the answer, by member; each differs by a tenth at most
	callers  int
	asked    int // by all
}

// run returns how many each member was asked.
func (l load) run(t *testing.T) []int {
	t.Helper()
	b := New(l.settings, l.members)
	var mu sync.Mutex
	counts, left := make([]int, len(l.members)), l.asked
	var all sync.WaitGroup
	for caller := range l.callers {
		all.Go(func() {
			<-time.After(time.Duration(caller) * time.Millisecond)
			for {
				mu.Lock()
				if left--; left < 0 {
					mu.Unlock()
					return
				}
				i := b.Pick(rand.Uint64(), Mask{})
				counts[i]++
				s := l.members[i].Stats
				if !s.Enter(0) {
					t.Error("an endpoint refused")
				}
				mu.Unlock()
				took := time.Duration(float64(l.service[i]) * (0.9 + 0.2*rand.Float64()))
				<-time.After(took)
				mu.Lock()
				s.Answered(time.Since(s.Origin()), took)
				s.Leave()
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return counts
}

func times(n int, d time.Duration) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = d
	}
	return out
}

// TestShares proves of every balancer that the share of each endpoint is within 2 % of
// what its weight asks for.
func TestShares(t *testing.T) {
	for _, by := range []string{RoundRobin, Random, LeastRequest, PeakEWMA, Hash} {
		for _, weights := range [][]int{{1, 1, 1, 1}, {3, 2, 1}} {
			t.Run(fmt.Sprint(by, weights), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					asked := 60_000
					if by == Random || by == Hash {
						asked *= 5 // dice need more throws
					}
					l := load{
						settings: Settings{By: by}, members: some(weights...),
						service: times(len(weights), 100*time.Millisecond), callers: 24, asked: asked,
					}
					total := 0
					for _, w := range weights {
						total += w
					}
					for i, got := range l.run(t) {
						want := float64(asked*weights[i]) / float64(total)
						off := math.Abs(float64(got)-want) / want
						t.Logf("endpoint %d: %.2f %% off", i, 100*off)
						if off > 0.02 {
							t.Errorf("endpoint %d of %v got %d, want %.0f: %.1f %% off", i, weights, got, want, 100*off)
						}
					}
				})
			})
		}
	}
}

// TestSlow proves that an endpoint that takes ten times as long as the others gets at most
// a tenth of its fair share, under little load and much.
func TestSlow(t *testing.T) {
	for _, by := range []string{LeastRequest, PeakEWMA} {
		for _, endpoints := range []int{3, 10} {
			for _, callers := range []int{1, 5, 20, 100} {
				t.Run(fmt.Sprint(by, endpoints, "x", callers), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						const asked = 20_000
						weights := make([]int, endpoints)
						for i := range weights {
							weights[i] = 1
						}
						l := load{settings: Settings{By: by}, members: some(weights...), service: times(endpoints, 100*time.Millisecond), callers: callers, asked: asked}
						l.service[0] *= 10
						got := l.run(t)
						fair := float64(asked) / float64(endpoints)
						t.Logf("%.3f of the fair share", float64(got[0])/fair)
						if float64(got[0]) > fair/10 {
							t.Errorf("the slow one got %d of %v, want at most %.0f", got[0], got, fair/10)
						}
						if got[0] == 0 {
							t.Error("the slow one got nothing at all, so nobody would notice that it is fast again")
						}
					})
				})
			}
		}
	}
}

// TestRecovery proves that one who was slow gets its share again some time after it has
// become as fast as the others.
func TestRecovery(t *testing.T) {
	for _, by := range []string{LeastRequest, PeakEWMA} {
		t.Run(by, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := load{settings: Settings{By: by}, members: some(1, 1, 1), service: times(3, 50*time.Millisecond), callers: 9, asked: 10_000}
				l.service[0] *= 20
				if got := l.run(t); got[0] > 10_000/30 {
					t.Errorf("while it is slow it got %v", got)
				}
				l.service[0] = l.service[1]
				l.run(t) // in which it is found out
				l.asked = 30_000
				if got := l.run(t); math.Abs(float64(got[0])-10_000) > 500 {
					t.Errorf("once it is fast again it got %v, want a third", got)
				}
			})
		})
	}
}

// TestFailing proves that one who fails at once is not taken for a fast one.
func TestFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		members := some(1, 1)
		b := New(Settings{By: PeakEWMA}, members)
		counts := make([]int, 2)
		for range 1000 {
			i := b.Pick(0, Mask{})
			counts[i]++
			s := members[i].Stats
			if i == 0 {
				s.Failed(time.Since(s.Origin()), 0)
				continue
			}
			<-time.After(100 * time.Millisecond)
			s.Answered(time.Since(s.Origin()), 100*time.Millisecond)
		}
		if counts[0] > 50 || counts[0] == 0 {
			t.Errorf("the one that fails got %d of 1000, want few, but some", counts[0])
		}
		if got := members[0].Stats.Failures(); got != uint64(counts[0]) {
			t.Errorf("got %d failures, want %d", got, counts[0])
		}
	})
}

// TestSlowStart proves that the share of a newcomer grows evenly from a tenth to the whole.
func TestSlowStart(t *testing.T) {
	for _, by := range []string{RoundRobin, Random, LeastRequest, PeakEWMA, Hash} {
		t.Run(by, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const window, asked = 30 * time.Second, 30_000
				members := some(1, 1, 1)
				b := New(Settings{By: by, SlowStart: window}, members)
				<-time.After(time.Second)
				s := members[0].Stats
				s.Warm()
				if !s.Warming(window) || s.Warmed().IsZero() {
					t.Error("it is not warming up")
				}
				for step := range 5 {
					worth := min(0.1+0.9*float64(step)/4, 1)
					got := 0
					for range asked {
						if b.Pick(rand.Uint64(), Mask{}) == 0 {
							got++
						}
					}
					want := worth / (2 + worth)
					if by == Hash { // its keys go to the others, and theirs stay
						want = worth / 3
					}
					if share := float64(got) / asked; math.Abs(share-want) > 0.02 {
						t.Errorf("after %s it got %.3f, want %.3f", time.Duration(step)*window/4, share, want)
					}
					<-time.After(window / 4)
				}
				if s.Warming(window) || !s.Warmed().IsZero() {
					t.Error("it is warming up for longer than it should")
				}
			})
		})
	}
}
