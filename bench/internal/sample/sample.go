// Package sample is what one run of the load generator measured.
package sample

// A Sample is one run against one proxy. A unit is a request, or, of event
// streams, an event. CPU and memory are those of the processes under test.
type Sample struct {
	Mode    string  `json:"mode"` // requests, streams or idle
	Seconds float64 `json:"seconds"`
	Units   int64   `json:"units"`  // finished in that time; streams held open, when idle
	Errors  int64   `json:"errors"` // failed connections, wrong statuses, short answers

	Total int64  `json:"total"`         // units finished from the first connection on to the last; not for idle
	TLS   string `json:"tls,omitempty"` // version, cipher suite and protocol that were agreed on

	Rate float64 `json:"rate"` // units a second

	// Latency, in microseconds: of a request until its last byte; of a stream
	// until its first event.
	P50  float64 `json:"p50_us"`
	P90  float64 `json:"p90_us"`
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p999_us"`
	Max  float64 `json:"max_us"`

	// Processor time for each unit, in microseconds. User and system are read to
	// 10 ms only, so that they need not add up to CPU.
	CPU      float64 `json:"cpu_us"`
	User     float64 `json:"user_us"`
	System   float64 `json:"system_us"`
	Busy     float64 `json:"busy"`     // share of one processor, 0 to 1
	Switches float64 `json:"switches"` // context switches for each unit

	RSS int64 `json:"rss_kib"`
	PSS int64 `json:"pss_kib"`

	Chunks int64 `json:"chunks,omitempty"` // of streams: HTTP chunks that the events came in
	Open   int64 `json:"open,omitempty"`   // of streams: open at the end

	// Of idle streams: how memory grew for each, in KiB.
	RSSEach float64 `json:"rss_each_kib,omitempty"`
	PSSEach float64 `json:"pss_each_kib,omitempty"`
}
