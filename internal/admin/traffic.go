package admin

import (
	"cmp"
	"maps"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/airside-gateway/airside"
)

// Traffic is what was counted since the recorder was switched on. All counts only grow,
// so that the difference of two answers says what was between them.
type Traffic struct {
	Now    time.Time      `json:"now" doc:"When this was read."`
	Since  time.Time      `json:"since" doc:"When counting began."`
	Routes []RouteTraffic `json:"routes" doc:"By name; the first, without a name, is of exchanges that no route took."`
}

// RouteTraffic is what was counted of one route.
type RouteTraffic struct {
	Route    string         `json:"route" doc:"Name of the route; empty for none; (other) for those beyond the first 1024."`
	Requests uint64         `json:"requests" doc:"Exchanges that have ended."`
	Failed   uint64         `json:"failed" doc:"Those that ended in a failure that was not the client's: 5xx, or an answer cut short."`
	Status   StatusCounts   `json:"status" doc:"By class of the status."`
	Seconds  float64        `json:"seconds" doc:"How long they took, added up, in seconds."`
	P50      float64        `json:"p50" doc:"Half of them took less, in seconds; 0 if there were none."`
	P95      float64        `json:"p95" doc:"19 of 20 took less, in seconds."`
	P99      float64        `json:"p99" doc:"99 of 100 took less, in seconds."`
	Buckets  []BucketCounts `json:"buckets" doc:"How many took how long: those that are not empty, the fastest first."`
}

// StatusCounts are exchanges by class of the status.
type StatusCounts struct {
	None   uint64 `json:"none" doc:"Nothing was sent."`
	Class1 uint64 `json:"1xx"`
	Class2 uint64 `json:"2xx"`
	Class3 uint64 `json:"3xx"`
	Class4 uint64 `json:"4xx"`
	Class5 uint64 `json:"5xx"`
}

// BucketCounts is one bucket of a histogram.
type BucketCounts struct {
	Above float64 `json:"above" doc:"Seconds."`
	Below float64 `json:"below" doc:"Seconds; what is in the last bucket may have taken longer."`
	Count uint64  `json:"count" doc:"Exchanges of this bucket only."`
}

// Bounds of what is counted. A histogram has eight buckets for each doubling, from a
// microsecond to two minutes, so that what is read of it is off by 6 % at most.
const (
	maxCounted = 1024 // routes
	maxShards  = 4
	subBuckets = 8
	buckets    = 200
	classes    = 6
)

// other is the name under which what is beyond maxCounted is counted.
const other = "(other)"

// traffic counts exchanges by route.
type traffic struct {
	since  time.Time
	routes atomic.Pointer[map[string]*counters] // replaced whole by add
	mu     sync.Mutex                           // serializes add
}

// counters are those of a route. Each exchange counts in one of the shards, so that
// processors do not wait for each other.
type counters [maxShards]struct {
	status  [classes]atomic.Uint64
	failed  atomic.Uint64
	nanos   atomic.Int64
	buckets [buckets]atomic.Uint64
	_       [64]byte // so that no two share a line of the cache
}

func newTraffic() *traffic {
	t := &traffic{since: time.Now()}
	t.routes.Store(&map[string]*counters{})
	return t
}

func (t *traffic) count(route string, o *airside.Outcome, failed bool) {
	c := (*t.routes.Load())[route]
	if c == nil {
		c = t.add(route)
	}
	s := &c[rand.Uint32()%maxShards] //nolint:gosec // which one does not matter
	class := o.Status / 100
	if class < 0 || class >= classes {
		class = 0
	}
	s.status[class].Add(1)
	s.nanos.Add(int64(o.Duration))
	s.buckets[bucketOf(o.Duration)].Add(1)
	if failed {
		s.failed.Add(1)
	}
}

// add makes room for another route.
func (t *traffic) add(route string) *counters {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := *t.routes.Load()
	if len(old) >= maxCounted {
		route = other
	}
	if c := old[route]; c != nil {
		return c
	}
	next := maps.Clone(old)
	c := &counters{}
	next[strings.Clone(route)] = c
	t.routes.Store(&next)
	return c
}

// bucketOf is the bucket of what took d.
func bucketOf(d time.Duration) int {
	v := uint64(max(d, 0) / time.Microsecond)
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - 4
	return min(shift*subBuckets+int(v>>shift), buckets-1) //nolint:gosec // v>>shift is less than 2*subBuckets
}

// bucketEnds are the bounds of a bucket in seconds.
func bucketEnds(i int) (above, below float64) {
	if i < 2*subBuckets {
		return float64(i) / 1e6, float64(i+1) / 1e6
	}
	width := uint64(1) << (i/subBuckets - 1)
	begin := uint64(i%subBuckets+subBuckets) * width
	return float64(begin) / 1e6, float64(begin+width) / 1e6
}

// snapshot reads the counters.
func (t *traffic) snapshot() Traffic {
	out := Traffic{Now: time.Now().UTC(), Since: t.since.UTC(), Routes: []RouteTraffic{}}
	for name, c := range *t.routes.Load() {
		out.Routes = append(out.Routes, c.read(name))
	}
	slices.SortFunc(out.Routes, func(a, b RouteTraffic) int { return cmp.Compare(a.Route, b.Route) })
	return out
}

func (c *counters) read(route string) RouteTraffic {
	out := RouteTraffic{Route: route, Buckets: []BucketCounts{}}
	classes := [classes]*uint64{&out.Status.None, &out.Status.Class1, &out.Status.Class2, &out.Status.Class3, &out.Status.Class4, &out.Status.Class5}
	for i := range c {
		out.Failed += c[i].failed.Load()
		out.Seconds += time.Duration(c[i].nanos.Load()).Seconds()
		for class, n := range classes {
			*n += c[i].status[class].Load()
		}
	}
	for b := range buckets {
		n := uint64(0)
		for i := range c {
			n += c[i].buckets[b].Load()
		}
		if n > 0 {
			above, below := bucketEnds(b)
			out.Buckets = append(out.Buckets, BucketCounts{Above: above, Below: below, Count: n})
			out.Requests += n
		}
	}
	out.P50, out.P95, out.P99 = Quantile(out.Buckets, 0.5), Quantile(out.Buckets, 0.95), Quantile(out.Buckets, 0.99)
	return out
}

// Quantile is below which a share q, from 0 to 1, of what buckets count took, in seconds;
// 0 if they count nothing. Within a bucket, times are taken to be spread evenly.
func Quantile(buckets []BucketCounts, q float64) float64 {
	total := uint64(0)
	for _, b := range buckets {
		total += b.Count
	}
	rank, seen := q*float64(total), 0.0
	for _, b := range buckets {
		n := float64(b.Count)
		if n > 0 && seen+n >= rank {
			return b.Above + (b.Below-b.Above)*(rank-seen)/n
		}
		seen += n
	}
	return 0
}

// Since is what was counted after before was read: buckets are given that count
// something.
func (r RouteTraffic) Since(before RouteTraffic) RouteTraffic {
	if before.Requests > r.Requests {
		return r // the gateway was started anew
	}
	out := r
	out.Requests -= before.Requests
	out.Failed -= min(before.Failed, r.Failed)
	out.Seconds -= before.Seconds
	out.Status = StatusCounts{
		None: r.Status.None - before.Status.None, Class1: r.Status.Class1 - before.Status.Class1, Class2: r.Status.Class2 - before.Status.Class2,
		Class3: r.Status.Class3 - before.Status.Class3, Class4: r.Status.Class4 - before.Status.Class4, Class5: r.Status.Class5 - before.Status.Class5,
	}
	out.Buckets = nil
	i := 0
	for _, b := range r.Buckets {
		for i < len(before.Buckets) && before.Buckets[i].Above < b.Above {
			i++
		}
		if i < len(before.Buckets) && before.Buckets[i].Above == b.Above {
			b.Count -= min(b.Count, before.Buckets[i].Count)
		}
		if b.Count > 0 {
			out.Buckets = append(out.Buckets, b)
		}
	}
	out.P50, out.P95, out.P99 = Quantile(out.Buckets, 0.5), Quantile(out.Buckets, 0.95), Quantile(out.Buckets, 0.99)
	return out
}

// Sorted lists buckets by what they are above of, as [Quantile] takes them.
func Sorted(buckets map[float64]BucketCounts) []BucketCounts {
	return slices.SortedFunc(maps.Values(buckets), func(a, b BucketCounts) int { return cmp.Compare(a.Above, b.Above) })
}
