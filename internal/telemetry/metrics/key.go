package metrics

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/edge"
)

// A key is what a series of exchanges has in common.
type key struct {
	route, upstream, caller string

	status  uint16 // 0 if nothing was sent
	method  uint8  // index in methods
	version uint8  // of HTTP, major
	fault   uint8  // index in faults, or one of the two beyond
}

// methods are those that a label names, by RFC 9110 section 9, RFC 5789 and the HTTP
// QUERY method. The first stands for all others: a client could else make up any number.
var methods = [...]string{
	"_OTHER", http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodHead,
	http.MethodOptions, http.MethodPatch, http.MethodTrace, http.MethodConnect, "QUERY",
}

// faults are the values of error_type. The first is that of an exchange that went well.
var faults = [...]airside.Code{
	"", airside.Canceled, airside.UpstreamFailed, airside.Timeout, airside.Unavailable, airside.NotFound,
	airside.Unauthenticated, airside.Denied, airside.RateLimited, airside.Invalid, airside.TooLarge,
	airside.MethodNotAllowed, airside.RequestTimeout, airside.URITooLong, airside.UnsupportedMedia,
	airside.Misdirected, airside.Blocked, airside.HeadersTooLarge, airside.ExpectationFailed,
	airside.VersionUnsupported, airside.Internal, airside.Unsupported,
}

const (
	faultStatus = 254 // the agent answered a status from 500 on, which error_type repeats
	faultOther  = 255
)

// keyOf is the key of an exchange, without its caller.
func keyOf(x *airside.Exchange, o *airside.Outcome, seen *edge.Seen) key {
	k := key{route: x.Route, upstream: x.Upstream, status: uint16(o.Status), method: methodOf(seen.Method), version: uint8(seen.Major)} //nolint:gosec // three digits, and one
	switch {
	case o.Err != nil:
		k.fault = faultOf(o.Err)
	case o.Status >= http.StatusInternalServerError:
		k.fault = faultStatus
	}
	return k
}

func methodOf(method string) uint8 {
	for i := 1; i < len(methods); i++ {
		if methods[i] == method {
			return uint8(i)
		}
	}
	return 0
}

func faultOf(err error) uint8 {
	code := airside.AsError(err).Code
	for i := 1; i < len(faults); i++ {
		if faults[i] == code {
			return uint8(i)
		}
	}
	return faultOther
}

// clone returns k with strings of its own.
func (k *key) clone() key {
	own := *k
	own.route, own.upstream, own.caller = strings.Clone(k.route), strings.Clone(k.upstream), strings.Clone(k.caller)
	return own
}

// labels are the values of exchangeLabels for k. Empty ones are left out when they are
// written: to Prometheus they are the same.
func (k *key) labels() []string {
	status := ""
	if k.status != 0 {
		status = strconv.Itoa(int(k.status))
	}
	return []string{k.caller, k.upstream, k.faultText(status), methods[k.method], status, k.route, versionText(k.version)}
}

func (k *key) faultText(status string) string {
	switch k.fault {
	case faultStatus:
		return status
	case faultOther:
		return methods[0]
	default:
		return string(faults[k.fault])
	}
}

// exchangeLabels are the labels of the metrics of exchanges, in the order of the
// alphabet.
func exchangeLabels() []string {
	return []string{
		"airside_caller", "airside_upstream", "error_type", "http_request_method",
		"http_response_status_code", "http_route", "network_protocol_version",
	}
}

// overflowLabels are the values of exchangeLabels for what is beyond the bound.
func overflowLabels() []string {
	return []string{Overflow, Overflow, Overflow, Overflow, Overflow, Overflow, Overflow}
}

func versionText(major uint8) string {
	switch major {
	case 1:
		return "1.1"
	case 2:
		return "2"
	case 3:
		return "3"
	default:
		return ""
	}
}
