package observability

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A prometheus is a running server.
type prometheus struct {
	t   *testing.T
	url string
}

// watch starts Prometheus with the example's configuration and alerts on a gateway, asking
// every second.
func watch(t *testing.T, g *gateway, features ...string) *prometheus {
	t.Helper()
	alerts, err := filepath.Abs("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := strings.NewReplacer("127.0.0.1:9900", g.admin, "15s", "1s", "alerts.yml", alerts).Replace(read(t, "prometheus.yml"))
	if err := os.WriteFile(dir+"/prometheus.yml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := free(t)
	args := []string{"--config.file=" + dir + "/prometheus.yml", "--storage.tsdb.path=" + dir + "/data", "--web.listen-address=" + address, "--log.level=warn"}
	if len(features) > 0 {
		args = append(args, "--enable-feature="+strings.Join(features, ","))
	}
	lines := start(t, tool(t, "prometheus"), args...)
	p := &prometheus{t: t, url: "http://" + address}
	until(t, "Prometheus is ready", func() (bool, string) {
		text, status, err := fetch(t.Context(), p.url+"/-/ready", "*/*")
		if err != nil {
			text = err.Error()
		}
		select {
		case line, ok := <-lines:
			if !ok {
				t.Fatalf("Prometheus has ended: %s", text)
			}
			text += line
		default:
		}
		return status == http.StatusOK, text
	})
	return p
}

// A result is what a query gives.
type result struct {
	Status, Error string
	Data          struct {
		Result []struct {
			Metric    map[string]string
			Value     []any
			Histogram []any
		}
	}
}

func (p *prometheus) query(expr string) result {
	p.t.Helper()
	text, _, err := fetch(p.t.Context(), p.url+"/api/v1/query?query="+url.QueryEscape(expr), "application/json")
	if err != nil {
		p.t.Fatal(err)
	}
	var r result
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		p.t.Fatalf("%v: %s", err, text)
	}
	return r
}

// has waits until a query has a result.
func (p *prometheus) has(expr string) {
	p.t.Helper()
	until(p.t, expr, func() (bool, string) {
		r := p.query(expr)
		return r.Status == "success" && len(r.Data.Result) > 0, r.Status + " " + r.Error
	})
}

// Prometheus takes what the gateway tells, evaluates every alert, and understands every
// query of the dashboard.
func TestPrometheusTakesTheMetrics(t *testing.T) {
	g := serve(t)
	p := watch(t, g, "exemplar-storage")
	g.use(t)
	p.has(`up{job="airside"} == 1`)
	p.has(`http_server_request_duration_seconds_bucket{http_route="agents",le="0.005"}`)
	p.has(`sum(http_server_request_duration_seconds_count{http_route="agents",error_type="500"}) == 6`)
	p.has(`airside_upstream_endpoint_state{upstream="agents",state="healthy"}`)
	g.use(t)
	p.has(`sum(rate(http_server_request_duration_seconds_count{http_route="agents"}[1m])) > 0`)
	queries, _ := dashboardQueries(t)
	values := strings.NewReplacer("$__rate_interval", "1m", "$job", "airside", "$route", ".*", "$upstream", ".*")
	for _, q := range queries {
		if r := p.query(values.Replace(q)); r.Status != "success" {
			t.Errorf("%s: %s", q, r.Error)
		}
	}
	until(t, "every alert was evaluated without an error", func() (bool, string) {
		text := body(t, p.url+"/api/v1/rules", "application/json")
		return strings.Count(text, `"health":"ok"`) == len(rules(t)), text
	})
}

// With native histograms Prometheus reads protobuf, and has quantiles that no classic
// buckets bound.
func TestPrometheusTakesNativeHistograms(t *testing.T) {
	g := serve(t)
	p := watch(t, g, "native-histograms")
	g.use(t)
	p.has(`histogram_count(sum(http_server_request_duration_seconds{http_route="agents"})) == 12`)
	p.has(`histogram_quantile(0.5, sum(http_server_request_duration_seconds{http_route="agents"})) > 0`)
	p.has(`histogram_quantile(0.5, sum(http_server_request_duration_seconds{http_route="agents"})) < 2`)
	p.has(`histogram_sum(sum(http_server_request_body_size_bytes{http_route="agents"})) == 12 * 6`)
	p.has(`airside_build_info`)
}
