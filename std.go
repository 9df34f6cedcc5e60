package airside

import "net/http"

// FromTransport makes a [http.RoundTripper] a [Handler]. It gets a copy of the request,
// with the body of the exchange: it may look at both when it has answered.
func FromTransport(rt http.RoundTripper) Handler {
	return HandlerFunc(func(x *Exchange) (*http.Response, error) {
		x.Hold()
		return rt.RoundTrip(x.Request.Clone(x.Context()))
	})
}
