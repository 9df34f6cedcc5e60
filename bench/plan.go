package main

import (
	"fmt"
	"time"

	"github.com/airside-gateway/airside/bench/internal/report"
)

// A workload is one kind of load.
type workload struct {
	name, title string
	kind        report.Kind
	tls         bool
	path        string   // asked of the agent through the proxy
	load        []string // further arguments of the load generator
	streams     int      // connections, where fewer are open files allow
}

// workloads lists them in the order in which they run.
var workloads = []workload{
	{
		name: "post", title: "POST of 1 KiB, answer of 1 KiB, 64 connections, as fast as they go", kind: report.Requests,
		path: "/v1/chat/completions", load: []string{"-c", "64"},
	},
	{
		name: "large", title: "GET, answer of 64 KiB, 64 connections, as fast as they go", kind: report.Requests,
		path: "/v1/large?size=65536", load: []string{"-c", "64", "-method", "GET", "-body", "0"},
	},
	{
		name: "rate", title: "POST of 1 KiB at a fixed 5,000 requests a second, 64 connections", kind: report.Requests,
		path: "/v1/chat/completions", load: []string{"-c", "64", "-rate", "5000"},
	},
	{
		name: "tls", title: "POST of 1 KiB over TLS 1.3, HTTP/1.1, 64 connections, as fast as they go", kind: report.Requests, tls: true,
		path: "/v1/chat/completions", load: []string{"-c", "64"},
	},
	{
		name: "h2", title: "POST of 1 KiB over TLS 1.3, HTTP/2, 8 connections with 8 requests at a time on each", kind: report.Requests, tls: true,
		path: "/v1/chat/completions", load: []string{"-c", "8", "-m", "8"},
	},
	{
		name: "sse", title: "1,000 event streams, each 25 events of 1 KiB a second", kind: report.Streams,
		path: "/v1/sse?n=50&size=1024&gap=40ms", load: []string{"-method", "GET", "-body", "0", "-event", "1024"}, streams: 1000,
	},
	{
		name: "idle", title: "10,000 silent event streams held open", kind: report.Idle,
		path: "/v1/sse?n=1&size=200&hold=10m", load: []string{"-method", "GET", "-body", "0"}, streams: 10000,
	},
	{
		name: "start", title: "Start: from exec to the first 200 through the proxy, then idle", kind: report.Start,
		path: "/v1/chat/completions",
	},
}

// promises are what docs/BARS.md says about these workloads.
var promises = []report.Promise{
	{Workload: "post", Proxy: "airside", Measure: report.Ratio, Most: 1.10},
	{Workload: "post", Proxy: "airside-chain", Measure: report.Ratio, Most: 1.6},
	{Workload: "post", Proxy: "airside-mesh", Measure: report.Ratio, Most: 1.15, Against: "airside"},
	{Workload: "rate", Proxy: "airside", Measure: report.Latency, Most: 1.5},
	{Workload: "tls", Proxy: "airside", Measure: report.Ratio, Most: 1.3},
	{Workload: "h2", Proxy: "airside", Measure: report.Ratio, Most: 2},
	{Workload: "sse", Proxy: "airside", Measure: report.Ratio, Most: 1.15},
	{Workload: "idle", Proxy: "airside", Measure: report.Cost, Most: 20},
}

func workloadNames() []string {
	list := make([]string, 0, len(workloads))
	for _, w := range workloads {
		list = append(list, w.name)
	}
	return list
}

// times is how long each part of a round takes.
type times struct {
	warm, length, settle, idle time.Duration
}

func (o *options) times() times {
	if o.quick {
		return times{warm: 500 * time.Millisecond, length: 2 * time.Second, settle: time.Second, idle: 500 * time.Millisecond}
	}
	return times{warm: time.Second, length: 5 * time.Second, settle: 3 * time.Second, idle: 2 * time.Second}
}

// rounds is how often a workload is measured. Memory and start need every proxy
// started anew, and vary little.
func (o *options) roundsOf(k report.Kind) int {
	if k == report.Idle {
		return min(o.rounds, 3)
	}
	return o.rounds
}

// others is how many files a proxy may need that are not of streams.
const others = 200

// connections is how many streams w opens, given how many files a process may
// have open: a proxy needs two for each.
func (w workload) connections(files int) int { return min(w.streams, (files-others)/2) }

// arguments are those of the load generator for one run.
func (w workload) arguments(t times, files int, p ports, cert string) []string {
	url := fmt.Sprintf("http://%s%s", p.plain, w.path)
	args := []string{"-d", t.length.String(), "-warm", t.warm.String()}
	if w.tls {
		url = fmt.Sprintf("https://%s%s", p.tls, w.path)
		args = append(args, "-ca", cert)
	}
	switch w.kind {
	case report.Streams:
		args = append(args, "-mode", "streams")
	case report.Idle:
		args = []string{"-mode", "idle", "-settle", t.settle.String(), "-d", t.idle.String()}
	case report.Requests, report.Start:
	}
	if w.streams > 0 {
		args = append(args, "-c", fmt.Sprint(w.connections(files)))
	}
	return append(append(args, "-url", url), w.load...)
}
