package config

import (
	"errors"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/airside-gateway/airside"
)

// Traces says which exchanges are traced, and where that is sent to: the URL of a
// collector, or a mapping, or off.
type Traces struct {
	// OTLP is the URL of the collector, such as http://127.0.0.1:4318: what speaks the
	// OpenTelemetry protocol. Over HTTP, traces go to /v1/traces below it; over gRPC, the
	// port is usually 4317.
	OTLP string `yaml:"otlp,required"`

	// Protocol is http (OTLP over HTTP, binary) or grpc. The default is http.
	Protocol string `yaml:"protocol" enum:"http,grpc"`

	// Headers are sent with each export, such as the key of a service. At most 20.
	Headers map[string]airside.Secret `yaml:"headers"`

	// TLS says how https is spoken. The default are the authorities of the system.
	TLS *TracesTLS `yaml:"tls"`

	// Compression of exports: gzip or none. The default is gzip.
	Compression string `yaml:"compression" enum:"gzip,none"`

	// Sample is the share of exchanges that are exported, from 0 to 1, of those whose
	// client has not decided. The default is 0.1.
	Sample float64 `yaml:"sample"`

	// Errors exports an exchange that ended in an error of the gateway or of an agent
	// (5xx, or an answer that was cut short), whatever the share. The default is true.
	Errors bool `yaml:"errors"`

	// Parent says what a client's traceparent does. "follow": its trace goes on, and it is
	// exported if the client records it. "ratio": its trace goes on, and sample decides.
	// "ignore": a new trace begins, for clients that are not to be believed. The default is
	// follow.
	Parent string `yaml:"parent" enum:"follow,ratio,ignore"`

	// Caller tells who asked, in the attribute airside.caller. The default is false.
	Caller bool `yaml:"caller"`

	// Service is what the gateway is called in traces. The default is airside.
	Service string `yaml:"service"`

	// Resource are further attributes of the gateway, such as deployment.environment.name. At
	// most 50.
	Resource map[string]string `yaml:"resource"`

	// Timeout is how long one export may take, at most 1h. The default is 10s.
	Timeout time.Duration `yaml:"timeout"`

	// Interval is how long what was recorded waits for more, to be sent together, at most
	// 1h. The default is 1s.
	Interval time.Duration `yaml:"interval"`

	// Batch is how many spans are sent at once, from 1 to 8192. The default is 512.
	Batch int `yaml:"batch"`

	// Queue is how many exchanges may wait to be sent, from 1 to 65536. What comes beyond is
	// dropped, and counted. The default is 2048.
	Queue int `yaml:"queue"`

	// Off is set by writing "traces: off".
	Off bool `yaml:"-"`
}

// TracesTLS is what the collector is known by, and what the gateway proves itself by.
type TracesTLS struct {
	// CA is a file of certificates (PEM) of the authorities that the collector's
	// certificate must come from. The default is those of the system.
	CA string `yaml:"ca,path"`

	// Cert is the file of the certificate (PEM) by which the gateway proves who it is. It
	// needs key.
	Cert string `yaml:"cert,path"`

	// Key is the file of the private key (PEM) of cert.
	Key string `yaml:"key,path"`
}

// Validate says what is wrong with the fields.
func (t *TracesTLS) Validate() error {
	switch {
	case t.Cert != "" && t.Key == "":
		return airside.FieldErrorf("cert", "needs key, the file of its private key")
	case t.Key != "" && t.Cert == "":
		return airside.FieldErrorf("key", "needs cert, the file of its certificate")
	}
	return nil
}

// Bounds of what is traced.
const (
	maxTraceHeaders = 20
	maxResource     = 50
	maxTraceBatch   = 8192
	maxTraceQueue   = 65536
	maxTraceTime    = time.Hour
)

var (
	// headerForm is the name of a header, RFC 9110 section 5.1.
	headerForm = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$")

	// ownHeader are names of headers that an export has already.
	ownHeader = regexp.MustCompile(`(?i)^(host|te|connection|keep-alive|trailer|upgrade|transfer-encoding|content-.*|grpc-.*|user-agent)$`)
)

func unprintable(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// Defaults sets everything but the URL.
func (t *Traces) Defaults() {
	*t = Traces{
		Protocol: "http", Compression: "gzip", Sample: 0.1, Errors: true, Parent: "follow", Service: "airside",
		Timeout: 10 * time.Second, Interval: time.Second, Batch: 512, Queue: 2048,
	}
}

// openScalar says that the scalar form of traces is a URL, which is no secret.
func (t *Traces) openScalar() {}

// UnmarshalText reads the URL of a collector, or "off".
func (t *Traces) UnmarshalText(b []byte) error {
	if string(b) == "off" {
		t.Off = true
		return nil
	}
	t.OTLP = string(b)
	return nil
}

// Validate says what is wrong with the fields.
func (t *Traces) Validate() error {
	if t.Off {
		return nil
	}
	errs := []error{t.checkURL()}
	wrong := func(bad bool, field, format string, args ...any) {
		if bad {
			errs = append(errs, airside.FieldErrorf(field, format, args...))
		}
	}
	wrong(len(t.Headers) > maxTraceHeaders, "headers", "are at most %d", maxTraceHeaders)
	for _, name := range slices.Sorted(maps.Keys(t.Headers)) {
		wrong(!headerForm.MatchString(name) || ownHeader.MatchString(name), "headers."+name, "is no header that may be set here")
		wrong(strings.ContainsFunc(string(t.Headers[name]), unprintable), "headers."+name, "holds what no header may hold")
	}
	wrong(!(t.Sample >= 0 && t.Sample <= 1), "sample", "is a share: 0 to 1")
	wrong(t.Service == "", "service", "must not be empty")
	wrong(len(t.Resource) > maxResource, "resource", "has at most %d attributes", maxResource)
	wrong(t.Timeout <= 0 || t.Timeout > maxTraceTime, "timeout", "must be more than 0 and at most 1h")
	wrong(t.Interval <= 0 || t.Interval > maxTraceTime, "interval", "must be more than 0 and at most 1h")
	wrong(t.Batch < 1 || t.Batch > maxTraceBatch, "batch", "must be from 1 to %d", maxTraceBatch)
	wrong(t.Queue < 1 || t.Queue > maxTraceQueue, "queue", "must be from 1 to %d", maxTraceQueue)
	return errors.Join(errs...)
}

func (t *Traces) checkURL() error {
	u, err := url.Parse(t.OTLP)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return airside.FieldErrorf("otlp", "must be a URL such as http://127.0.0.1:4318")
	case u.User != nil:
		return airside.FieldErrorf("otlp", "must hold no password: write it in headers")
	case u.RawQuery != "" || u.Fragment != "":
		return airside.FieldErrorf("otlp", "must have no query")
	case t.Protocol == "grpc" && u.Path != "" && u.Path != "/":
		return airside.FieldErrorf("otlp", "must have no path, over gRPC")
	case u.Scheme == "http" && t.TLS != nil:
		return airside.FieldErrorf("tls", "needs a URL that begins with https")
	}
	return nil
}
