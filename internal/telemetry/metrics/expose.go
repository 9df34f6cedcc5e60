package metrics

import (
	"bytes"
	"io"
	"math"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"
)

// A form is one in which metrics are told.
type form uint8

// The forms. Only protobuf has native histograms, only text has no exemplars.
const (
	formText        form = iota // Prometheus's text format 0.0.4
	formOpenMetrics             // OpenMetrics 1.0.0
	formProtobuf                // io.prometheus.client.MetricFamily, each after its length
)

func (f form) contentType() string {
	switch f {
	case formOpenMetrics:
		return "application/openmetrics-text; version=1.0.0; charset=utf-8"
	case formProtobuf:
		return "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
	case formText:
	}
	return "text/plain; version=0.0.4; charset=utf-8"
}

// write tells families to w.
func (f form) write(w io.Writer, families []*dto.MetricFamily) error {
	t := text{open: f == formOpenMetrics}
	for _, fam := range families {
		if f == formProtobuf {
			if _, err := protodelim.MarshalTo(w, fam); err != nil {
				return err
			}
			continue
		}
		t.Reset()
		t.family(fam)
		if _, err := w.Write(t.Bytes()); err != nil {
			return err
		}
	}
	if f == formOpenMetrics {
		_, err := io.WriteString(w, "# EOF\n")
		return err
	}
	return nil
}

// A text is metrics as text, in Prometheus's format or in that of OpenMetrics.
type text struct {
	bytes.Buffer

	open bool // OpenMetrics
}

func (t *text) family(f *dto.MetricFamily) {
	name := f.GetName()
	if t.open && f.GetType() == dto.MetricType_COUNTER {
		name = strings.TrimSuffix(name, "_total") // the family has not the suffix of its samples
	}
	kind := strings.ToLower(f.GetType().String())
	t.put("# HELP ", name, " ", escape(f.GetHelp(), t.open), "\n# TYPE ", name, " ", kind, "\n")
	for _, m := range f.Metric {
		switch {
		case m.Counter != nil:
			t.sample(f.GetName(), "", m, "", "", m.Counter.GetValue(), nil)
		case m.Gauge != nil:
			t.sample(f.GetName(), "", m, "", "", m.Gauge.GetValue(), nil)
		case m.Summary != nil:
			t.summary(f.GetName(), m)
		case m.Histogram != nil:
			t.histogram(f.GetName(), m)
		}
	}
}

func (t *text) summary(name string, m *dto.Metric) {
	for _, q := range m.Summary.Quantile {
		t.sample(name, "", m, "quantile", t.bound(q.GetQuantile()), q.GetValue(), nil)
	}
	t.sample(name, "_sum", m, "", "", m.Summary.GetSampleSum(), nil)
	t.sample(name, "_count", m, "", "", float64(m.Summary.GetSampleCount()), nil)
}

func (t *text) histogram(name string, m *dto.Metric) {
	h, infinite := m.Histogram, false
	for _, b := range h.Bucket {
		infinite = math.IsInf(b.GetUpperBound(), 1)
		t.sample(name, "_bucket", m, "le", t.bound(b.GetUpperBound()), float64(b.GetCumulativeCount()), b.Exemplar)
	}
	if !infinite {
		t.sample(name, "_bucket", m, "le", "+Inf", float64(h.GetSampleCount()), nil)
	}
	t.sample(name, "_sum", m, "", "", h.GetSampleSum(), nil)
	t.sample(name, "_count", m, "", "", float64(h.GetSampleCount()), nil)
}

// sample writes one line: a metric under its name with a suffix, its labels, and one more
// unless that has no name.
func (t *text) sample(name, suffix string, m *dto.Metric, label, value string, v float64, e *dto.Exemplar) {
	t.put(name, suffix)
	before := "{"
	for _, l := range m.Label {
		t.put(before, l.GetName(), `="`, escape(l.GetValue(), true), `"`)
		before = ","
	}
	if label != "" {
		t.put(before, label, `="`, value, `"`)
		before = ","
	}
	if before == "," {
		t.put("}")
	}
	t.put(" ", number64(v))
	if t.open && e != nil {
		t.exemplar(e)
	}
	t.put("\n")
}

func (t *text) exemplar(e *dto.Exemplar) {
	t.put(" # {")
	for i, l := range e.Label {
		if i > 0 {
			t.put(",")
		}
		t.put(l.GetName(), `="`, escape(l.GetValue(), true), `"`)
	}
	t.put("} ", number64(e.GetValue()))
	if e.Timestamp != nil {
		at := e.Timestamp.AsTime()
		t.put(" ", strconv.FormatFloat(float64(at.UnixMilli())/1e3, 'f', 3, 64))
	}
}

// bound is the value of le or of quantile. OpenMetrics wants to see that it is no whole
// number.
func (t *text) bound(v float64) string {
	s := number64(v)
	if t.open && !strings.ContainsAny(s, "e.IN") {
		s += ".0"
	}
	return s
}

func (t *text) put(parts ...string) {
	for _, p := range parts {
		t.WriteString(p)
	}
}

func number64(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// escape writes s as the formats want it: a value of a label, or a help, in which quotes
// stay as they are, but in OpenMetrics.
func escape(s string, quotes bool) string {
	if !strings.ContainsAny(s, "\\\n\"") {
		return s
	}
	s = strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), "\n", `\n`)
	if quotes {
		s = strings.ReplaceAll(s, `"`, `\"`)
	}
	return s
}
