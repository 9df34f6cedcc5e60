package cmd

import (
	"time"

	"github.com/airside-gateway/airside/internal/admin"
)

// Rates are what was between two samples. All times are in seconds.
type rates struct {
	At        time.Time        `json:"at"`
	Seconds   float64          `json:"seconds"` // between the samples
	Ready     bool             `json:"ready"`
	Requests  float64          `json:"requests_per_second"`
	Failed    float64          `json:"failed_share"` // of the requests, from 0 to 1
	P50       float64          `json:"p50"`
	P95       float64          `json:"p95"`
	P99       float64          `json:"p99"`
	Routes    []routeRates     `json:"routes"`
	Endpoints []endpointRates  `json:"endpoints"`
	Errors    []admin.Exchange `json:"errors"` // new ones, newest first
}

type routeRates struct {
	Route    string  `json:"route"` // empty for exchanges that no route took
	Requests float64 `json:"requests_per_second"`
	Failed   float64 `json:"failed_share"`
	P50      float64 `json:"p50"`
	P95      float64 `json:"p95"`
	P99      float64 `json:"p99"`
	Total    uint64  `json:"total"` // since the start
}

type endpointRates struct {
	Upstream string  `json:"upstream"`
	Address  string  `json:"address"`
	State    string  `json:"state"`
	Why      string  `json:"why"`
	Active   int     `json:"active"`
	Requests float64 `json:"requests_per_second"`
	Failures float64 `json:"failures_per_second"`
	Latency  float64 `json:"latency"`
}

// between compares two samples. Where the gateway was started anew between them, what it
// has counted since stands for all.
func between(a, b *sample) *rates {
	r := &rates{
		At: b.Status.Now, Ready: b.Status.Ready, Seconds: max(b.Traffic.Now.Sub(a.Traffic.Now).Seconds(), 0.001),
		Routes: []routeRates{}, Endpoints: []endpointRates{}, Errors: []admin.Exchange{},
	}
	r.routes(a, b)
	r.endpoints(a, b)
	for _, e := range b.Errors.Exchanges {
		if e.Number > a.Errors.Last || b.Errors.Last < a.Errors.Last {
			r.Errors = append(r.Errors, e)
		}
	}
	return r
}

func (r *rates) routes(a, b *sample) {
	before := map[string]admin.RouteTraffic{}
	if a.Traffic.Since.Equal(b.Traffic.Since) {
		for _, t := range a.Traffic.Routes {
			before[t.Route] = t
		}
	}
	var all, failed uint64
	total := map[float64]admin.BucketCounts{}
	for _, t := range b.Traffic.Routes {
		now := t.Since(before[t.Route])
		r.Routes = append(r.Routes, routeRates{
			Route: t.Route, Requests: float64(now.Requests) / r.Seconds, Failed: fraction(now.Failed, now.Requests), P50: now.P50, P95: now.P95, P99: now.P99, Total: t.Requests,
		})
		all, failed = all+now.Requests, failed+now.Failed
		for _, c := range now.Buckets {
			c.Count += total[c.Above].Count
			total[c.Above] = c
		}
	}
	buckets := admin.Sorted(total)
	r.Requests, r.Failed = float64(all)/r.Seconds, fraction(failed, all)
	r.P50, r.P95, r.P99 = admin.Quantile(buckets, 0.5), admin.Quantile(buckets, 0.95), admin.Quantile(buckets, 0.99)
}

func (r *rates) endpoints(a, b *sample) {
	type id struct{ upstream, address string }
	before := map[id]admin.Endpoint{}
	for _, u := range a.Upstreams.Upstreams {
		for _, e := range u.Endpoints {
			before[id{u.Name, e.Address}] = e
		}
	}
	rate := func(now, before uint64) float64 {
		if now < before {
			before = 0 // it was made anew
		}
		return float64(now-before) / r.Seconds
	}
	for _, u := range b.Upstreams.Upstreams {
		for _, e := range u.Endpoints {
			old := before[id{u.Name, e.Address}]
			r.Endpoints = append(r.Endpoints, endpointRates{
				Upstream: u.Name, Address: e.Address, State: e.State, Why: e.Why, Active: e.Active,
				Requests: rate(e.Requests, old.Requests), Failures: rate(e.Failures, old.Failures), Latency: e.Latency,
			})
		}
	}
}

func fraction(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}
