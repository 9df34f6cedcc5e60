package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/airside-gateway/airside/bench/internal/report"
)

// The whole of it, small: build, start, measure, write, end.
func TestRunMeasuresAndLeavesNothingBehind(t *testing.T) {
	dir := t.TempDir()
	var out, progress bytes.Buffer
	if err := run(t.Context(), []string{"-quick", "-only", "post,start", "-proxies", "rp", "-out", dir, "-json"}, &out, &progress); err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	var r report.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Workloads) != 2 || r.Reference != "rp" {
		t.Fatalf("%d workloads, reference %q", len(r.Workloads), r.Reference)
	}
	for _, w := range r.Workloads {
		row, ok := w.Row("rp")
		if !ok || len(row.Samples) != 1 || row.Samples[0].Units == 0 || row.Samples[0].RSS == 0 || w.Ratio("rp", "rp") != 1 {
			t.Errorf("%s: %+v", w.Name, row)
		}
	}
	name := filepath.Join(dir, r.Date+"-quick")
	for suffix, want := range map[string]string{".md": "| rp |", ".json": `"workloads"`, ".svg": "</svg>"} {
		b, err := os.ReadFile(name + suffix)
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: %v, want %q in\n%s", suffix, err, want, b)
		}
	}
}
