package metrics

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/airside-gateway/airside/internal/pool"
)

// Tries counts the tries of an upstream: requests to one endpoint of it, each until the
// head of its answer.
func (m *Metrics) Tries(upstream string) pool.Tried {
	return func(method string, status int, err error, took time.Duration) {
		live := m.live.Load()
		if live == nil {
			return
		}
		k := key{upstream: upstream, method: methodOf(method), status: uint16(status)} //nolint:gosec // three digits
		switch {
		case err != nil:
			k.fault = faultOf(err)
		case status >= http.StatusBadRequest: // to a client these are errors, too
			k.fault = faultStatus
		}
		h := m.tries.hash(&k)
		s := m.tries.find(h, &k)
		if s == nil {
			s = m.tries.add(h, &k, live.Series)
		}
		if s == nil {
			m.overflow.Add(1)
			s = m.tries.rest()
		}
		l, _ := m.lanes.Get().(*lane) // the pool holds nothing else
		s.took(l.n, m.layout.seconds(int64(took)), took)
		m.lanes.Put(l)
	}
}

// tryLabels are the labels of the metrics of tries, in the order of the alphabet.
func tryLabels() []string {
	return []string{"airside_upstream", "error_type", "http_request_method", "http_response_status_code"}
}

// tryLabels are the values of tryLabels for k.
func (k *key) tryLabels() []string {
	status := ""
	if k.status != 0 {
		status = strconv.Itoa(int(k.status))
	}
	return []string{k.upstream, k.faultText(status), methods[k.method], status}
}

func (m *Metrics) tried(g *gathering) {
	all := m.tries.all()
	slices.SortFunc(all, func(a, b *series) int { return slices.Compare(a.key.tryLabels(), b.key.tryLabels()) })
	var t total
	put := func(s *series, labels []string) {
		s.total(&t)
		g.add("http_client_request_duration_seconds", labels).Histogram = m.layout.histogram(&t, &s.exemplars)
	}
	for _, s := range all {
		put(s, s.key.tryLabels())
	}
	if s := m.tries.over.Load(); s != nil {
		put(s, overflowLabels()[:len(tryLabels())])
	}
}
