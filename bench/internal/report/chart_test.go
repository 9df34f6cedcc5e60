package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strconv"
	"testing"
)

// drawing is what the tests look at of a chart.
type drawing struct {
	texts []string
	bars  []float64 // widths
	right float64   // of the bar or line that reaches farthest
	fills []string
}

// read reads a chart as XML, strictly.
func read(t *testing.T, svg []byte) drawing {
	t.Helper()
	var d drawing
	dec := xml.NewDecoder(bytes.NewReader(svg))
	inText := false
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return d
		}
		if err != nil {
			t.Fatalf("not XML: %v\n%s", err, svg)
		}
		switch e := token.(type) {
		case xml.StartElement:
			inText = e.Name.Local == "text"
			at := func(name string) float64 { return attribute(e, name) }
			switch {
			case e.Name.Local == "rect" && at("x") > 0:
				d.bars, d.right = append(d.bars, at("width")), max(d.right, at("x")+at("width"))
				d.fills = append(d.fills, fill(e))
			case e.Name.Local == "line":
				d.right = max(d.right, at("x2"))
			}
		case xml.CharData:
			if inText {
				d.texts = append(d.texts, string(e))
			}
		case xml.EndElement:
			inText = false
		}
	}
}

func attribute(e xml.StartElement, name string) float64 {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			v, err := strconv.ParseFloat(a.Value, 64)
			if err == nil {
				return v
			}
		}
	}
	return 0
}

func fill(e xml.StartElement) string {
	for _, a := range e.Attr {
		if a.Name.Local == "fill" {
			return a.Value
		}
	}
	return ""
}

func TestBarsAreInProportionAndFit(t *testing.T) {
	d := read(t, SVG("A & B", []Panel{{Title: "x < y", Unit: "µs", Bars: []Bar{
		{Label: "one", Value: 10, Low: 9, High: 12}, {Label: "two", Value: 40, Low: 38, High: 80, Strong: true}, {Label: "three", Value: 20, Low: 20, High: 20},
	}}}))
	if len(d.bars) != 3 || math.Abs(d.bars[1]/d.bars[0]-4) > 0.01 || math.Abs(d.bars[2]/d.bars[0]-2) > 0.01 {
		t.Errorf("bars: got %v, want 1 : 4 : 2", d.bars)
	}
	if d.right > chartWidth-margin {
		t.Errorf("something reaches to %v of %d", d.right, chartWidth)
	}
	if len(d.fills) != 3 || d.fills[0] != d.fills[2] || d.fills[0] == d.fills[1] {
		t.Errorf("fills: got %v, want the second to stand out", d.fills)
	}
	want := []string{"A & B", "x < y", "µs", "one", "10.0", "two", "40.0", "three", "20.0"}
	if len(d.texts) != len(want) {
		t.Fatalf("got %q, want %q", d.texts, want)
	}
	for i := range want {
		if d.texts[i] != want[i] {
			t.Errorf("text %d: got %q, want %q", i, d.texts[i], want[i])
		}
	}
}

// What was not measured is told, and has no bar.
func TestNoBarForWhatIsNoNumber(t *testing.T) {
	d := read(t, SVG("x", []Panel{
		{Bars: []Bar{{Label: "a", Value: math.NaN(), Low: math.NaN(), High: math.NaN()}, {Label: "b", Value: math.Inf(1), High: math.Inf(1)}, {Label: "c"}, {Label: "d", Value: -4, Low: -5, High: -3}}},
		{},
	}))
	if len(d.bars) != 0 {
		t.Errorf("got bars %v, want none", d.bars)
	}
	read(t, SVG("", nil))
}

func TestPanelsFollowTheProxies(t *testing.T) {
	panels := report().Panels()
	if len(panels) != 1 || len(panels[0].Bars) != 2 {
		t.Fatalf("got %+v, want one panel of two bars", panels)
	}
	got := panels[0].Bars
	if got[0] != (Bar{Label: "nginx", Value: 11, Low: 10, High: 12}) || got[1] != (Bar{Label: "airside", Value: 22, Low: 20, High: 24, Strong: true}) {
		t.Errorf("got %+v", got)
	}
}
