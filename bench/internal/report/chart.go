package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// The measures of a chart, in pixels.
const (
	chartWidth = 760
	labelWidth = 130 // before the bars
	valueWidth = 90  // behind the longest bar
	barHeight  = 18
	barStep    = 26
	panelHead  = 34
	panelGap   = 18
	margin     = 16
)

const barWidth = chartWidth - 2*margin - labelWidth - valueWidth

// A Panel is a group of bars of one unit, on one scale that begins at zero.
type Panel struct {
	Title string
	Unit  string
	Bars  []Bar
}

// A Bar is one figure: Value, and how far the rounds went from Low to High. A
// value that is no finite positive number has no bar.
type Bar struct {
	Label            string
	Value, Low, High float64
	Strong           bool // drawn in the colour of the house
}

// Panels is one panel for each workload, the bars in the order of the proxies.
func (r *Report) Panels() []Panel {
	var panels []Panel
	for _, w := range r.Workloads {
		p := Panel{Title: w.Title, Unit: w.Kind.unit()}
		for _, row := range r.sorted(w) {
			low, high := w.spread(row)
			p.Bars = append(p.Bars, Bar{
				Label: row.Proxy, Value: row.median(w.Kind.headline), Low: low, High: high,
				Strong: strings.HasPrefix(row.Proxy, "airside"),
			})
		}
		if len(p.Bars) > 0 {
			panels = append(panels, p)
		}
	}
	return panels
}

// SVG draws the panels below each other, as a document of its own that needs
// nothing else: no script, no font, no style sheet.
func SVG(title string, panels []Panel) []byte {
	height := 2*margin + panelHead
	for _, p := range panels {
		height += p.height() + panelGap
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" role="img" width="%d" height="%d" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="13">`+"\n",
		chartWidth, height, chartWidth, height)
	fmt.Fprintf(&b, "<title>%s</title>\n", escape(title))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", chartWidth, height)
	text(&b, margin, margin+16, "start", `font-size="17" font-weight="600" fill="#1b2733"`, title)
	y := margin + panelHead
	for _, p := range panels {
		p.draw(&b, y)
		y += p.height() + panelGap
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (p Panel) height() int { return panelHead + barStep*len(p.Bars) }

func (p Panel) draw(b *bytes.Buffer, y int) {
	text(b, margin, y+14, "start", `font-weight="600" fill="#1b2733"`, p.Title)
	text(b, chartWidth-margin, y+14, "end", `fill="#5b6b7a"`, p.Unit)
	fmt.Fprintf(b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#d5dce3"/>`+"\n", margin, y+22, chartWidth-margin, y+22)
	scale := p.scale()
	for i, bar := range p.Bars {
		bar.draw(b, y+panelHead+barStep*i, scale)
	}
}

// scale is how many pixels one unit has, so that everything fits.
func (p Panel) scale() float64 {
	longest := 0.0
	for _, bar := range p.Bars {
		for _, v := range []float64{bar.Value, bar.High} {
			if drawable(v) {
				longest = max(longest, v)
			}
		}
	}
	if longest == 0 {
		return 0
	}
	return barWidth / longest
}

func drawable(v float64) bool { return v > 0 && !math.IsInf(v, 0) }

func (r Bar) draw(b *bytes.Buffer, y int, scale float64) {
	const left = margin + labelWidth
	middle := y + barHeight/2
	text(b, left-8, middle+4, "end", `fill="#1b2733"`, r.Label)
	end := float64(left)
	if drawable(r.Value) {
		fill := "#9fb0c0"
		if r.Strong {
			fill = "#1266c3"
		}
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>`+"\n", left, y, r.Value*scale, barHeight, fill)
		end += r.Value * scale
	}
	if drawable(r.High) && r.Low < r.High {
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#1b2733"/>`+"\n", left+max(r.Low, 0)*scale, middle, left+r.High*scale, middle)
		end = max(end, left+r.High*scale)
	}
	text(b, int(end)+6, middle+4, "start", `fill="#1b2733"`, number(r.Value))
}

func text(b *bytes.Buffer, x, y int, anchor, style, s string) {
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="%s" %s>%s</text>`+"\n", x, y, anchor, style, escape(s))
}

func escape(s string) string {
	var b strings.Builder
	if err := xml.EscapeText(&b, []byte(s)); err != nil { // a Builder does not fail
		return ""
	}
	return b.String()
}
