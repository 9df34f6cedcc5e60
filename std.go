package airside

import "net/http"

// FromTransport makes a [http.RoundTripper] a [Handler].
func FromTransport(rt http.RoundTripper) Handler {
	return HandlerFunc(func(x *Exchange) (*http.Response, error) { return rt.RoundTrip(x.Request) })
}
