package metrics

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// Handler serves the metrics: in protobuf, as OpenMetrics or as Prometheus's text, as the
// header Accept asks for, and compressed by gzip if that may be. At most four are served
// at the same time, of whom one gathers while the others wait; the next get 503. It is 404 as long as the metrics are off.
func (m *Metrics) Handler() http.Handler { return http.HandlerFunc(m.serve) }

func (m *Metrics) serve(w http.ResponseWriter, r *http.Request) {
	if !m.On() {
		http.Error(w, "the metrics are off: see telemetry.metrics", http.StatusNotFound)
		return
	}
	select {
	case m.busy <- struct{}{}:
		defer func() { <-m.busy }()
	default:
		m.refused.Add(1)
		w.Header().Set("Retry-After", "1")
		http.Error(w, "too many ask for the metrics at once", http.StatusServiceUnavailable)
		return
	}
	f := negotiate(r.Header.Values("Accept"))
	var body bytes.Buffer
	zipped := acceptsGzip(r.Header.Values("Accept-Encoding"))
	if err := m.inTurn(r.Context(), &body, f, zipped); err != nil {
		http.Error(w, "the metrics cannot be told", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.contentType())
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	h.Set("Vary", "Accept, Accept-Encoding")
	if zipped {
		h.Set("Content-Encoding", "gzip")
	}
	_, _ = w.Write(body.Bytes()) // whoever left need not read it
}

// inTurn is render, when no other gathers.
func (m *Metrics) inTurn(ctx context.Context, w io.Writer, f form, zipped bool) error {
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-m.turn }()
	return m.render(w, f, zipped)
}

func (m *Metrics) render(w io.Writer, f form, zipped bool) error {
	families := m.gather()
	if !zipped {
		return f.write(w, families)
	}
	z := gzip.NewWriter(w)
	if err := f.write(z, families); err != nil {
		return err
	}
	return z.Close()
}

// negotiate finds the form that the header Accept likes best (RFC 9110 section 12.5.1).
// Who wants none of ours gets text.
func negotiate(accept []string) form {
	best, liked := formText, 0.0
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		kind, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		f, ok := formOf(kind, params)
		if q := quality(params["q"]); ok && q > liked {
			best, liked = f, q
		}
	}
	return best
}

func formOf(kind string, params map[string]string) (form, bool) {
	switch kind {
	case "application/vnd.google.protobuf":
		return formProtobuf, params["proto"] == "io.prometheus.client.MetricFamily" && params["encoding"] == "delimited"
	case "application/openmetrics-text":
		v := params["version"]
		return formOpenMetrics, v == "" || v == "1.0.0"
	case "text/plain":
		v := params["version"]
		return formText, v == "" || v == "0.0.4"
	case "text/*", "*/*":
		return formText, true
	}
	return 0, false
}

// quality is how much something is liked, 0 to 1.
func quality(text string) float64 {
	if text == "" {
		return 1
	}
	q, err := strconv.ParseFloat(text, 64)
	if err != nil || !(q >= 0 && q <= 1) {
		return 0
	}
	return q
}

func acceptsGzip(accept []string) bool {
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		coding, params, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			_, q, _ := strings.Cut(strings.ReplaceAll(params, " ", ""), "q=")
			return quality(q) > 0
		}
	}
	return false
}
