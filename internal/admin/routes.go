package admin

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A route is one thing that is served, by GET and HEAD. The description of the API is
// made of the table, too.
type route struct {
	path       string
	class      class
	summary    string
	parameters []parameter
	answers    []answer // what may come of it, beside the refusals that all have
	serve      http.HandlerFunc
}

// A parameter is one of the query.
type parameter struct{ name, kind, doc string }

// An answer is one that a route may give.
type answer struct {
	status int
	media  string
	what   string
	sample any // of the type that is answered as JSON; nil for others
}

const (
	plainText = "text/plain; charset=utf-8"
	jsonText  = "application/json"
	yamlText  = "application/yaml"
	problems  = "application/problem+json"
	profile   = "application/octet-stream"
)

// routes is the table of all that is served. Each has its class.
func (s *Server) routes() []route {
	ok := func(media, what string, sample any) []answer { return []answer{{http.StatusOK, media, what, sample}} }
	table := []route{
		{"/healthz", everyone, "Whether the process runs", nil, ok(plainText, "It does.", nil), s.health},
		{"/readyz", everyone, "Whether the gateway wants requests", nil, append(ok(plainText, "It does.", nil), answer{http.StatusServiceUnavailable, plainText, "It does not: before the first configuration, and from the moment that it begins to stop.", nil}), s.ready},
		{"/config", operators, "The live configuration, secrets masked", nil, append(ok(yamlText, "As a file.", nil), unready()), s.config},
		{"/version", operators, "Which program runs, and which configuration is in force", nil, ok(jsonText, "Both.", versionAnswer{}), s.version},
		{"/api/v1/openapi.json", operators, "This description", nil, ok(jsonText, "OpenAPI 3.1.", json.RawMessage(nil)), s.openapi},
		{"/api/v1/status", operators, "How the gateway is, in short", nil, ok(jsonText, "The state.", Status{}), s.status},
		{"/api/v1/routes", operators, "The routes of the live configuration", nil, ok(jsonText, "In the order of the file.", Routes{}), s.listRoutes},
		{"/api/v1/upstreams", operators, "Every upstream with the state of its endpoints", nil, ok(jsonText, "By name.", Upstreams{}), s.listUpstreams},
		{"/api/v1/traffic", operators, "Counts and latencies by route since the start", nil, ok(jsonText, "The counts.", Traffic{}), s.listTraffic},
		{"/api/v1/exchanges", operators, "The newest exchanges, or those to come", exchangeParameters(), append(ok(jsonText, "Newest first.", Exchanges{}),
			answer{http.StatusOK, "text/event-stream", "With follow=true: each as it ends.", nil}, answer{http.StatusBadRequest, problems, "A parameter is not valid.", Problem{}}, unready()), s.listExchanges},
	}
	if s.Metrics != nil {
		table = append(table, route{"/metrics", operators, "Metrics for Prometheus", nil, metricsAnswers(), s.Metrics.ServeHTTP})
	}
	return append(table, s.profiles()...)
}

func unready() answer {
	return answer{http.StatusServiceUnavailable, problems, "There is nothing to tell of, or no room for another list or follower.", Problem{}}
}

// metricsAnswers are those of the handler of the metrics: the form is what Accept asks for.
func metricsAnswers() []answer {
	return []answer{
		{http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", "The metrics.", nil},
		{http.StatusOK, "application/openmetrics-text; version=1.0.0; charset=utf-8", "As OpenMetrics, with exemplars.", nil},
		{http.StatusOK, "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited", "As protobuf, with native histograms.", nil},
		{http.StatusNotFound, plainText, "They are off.", nil},
		{http.StatusServiceUnavailable, plainText, "Too many ask for them at once.", nil},
	}
}

func exchangeParameters() []parameter {
	return []parameter{
		{"route", "string", "Of this route only; empty for those that no route took."},
		{"status", "string", "With this status, such as 503, or class, such as 5xx."},
		{"failed", "boolean", "With true, those only that ended in a failure that was not the client's."},
		{"caller", "string", "Of this caller only."},
		{"method", "string", "With this method only."},
		{"path", "string", "With a path that begins so."},
		{"upstream", "string", "That asked this upstream."},
		{"endpoint", "string", "That asked this endpoint last."},
		{"since", "string", "That came since a time (RFC 3339), or within a duration such as 5m."},
		{"after", "integer", "With a greater number."},
		{"limit", "integer", "At most so many: from 1 to 20000, by default 100. It does not bind follow."},
		{"follow", "boolean", "With true, exchanges are sent as they end, as server-sent events. Who does not keep up is dropped."},
	}
}

// ServeHTTP answers r, if its sender may know.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		panic(http.ErrAbortHandler) // the connection is closed, as all are
	}
	defer s.handlers.Done()
	defer asked(r)()
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	found := s.find(r.URL.Path)
	c := operators // who may not know anything is not told what there is
	if found != nil {
		c = found.class
	}
	switch p := s.admit(c, r); {
	case p != nil:
		s.fail(w, p)
	case found == nil:
		s.fail(w, &problem{status: http.StatusNotFound, detail: "there is nothing here: see /api/v1/openapi.json"})
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		s.fail(w, &problem{status: http.StatusMethodNotAllowed, detail: "the admin API changes nothing: use GET"})
	case r.ContentLength != 0:
		h.Set("Connection", "close")
		s.fail(w, &problem{status: http.StatusRequestEntityTooLarge, detail: "a request has no body here"})
	case r.URL.RawQuery != "" && found.parameters == nil && s.ours(found):
		s.fail(w, &problem{status: http.StatusBadRequest, detail: found.path + " takes no parameters"})
	default:
		found.serve(w, r)
	}
}

// ours reports whether r is served by this package, and not by what it was given.
func (*Server) ours(r *route) bool { return r.path != "/metrics" && r.class != everyone }

func (s *Server) find(path string) *route {
	for i := range s.table {
		if s.table[i].path == path {
			return &s.table[i]
		}
	}
	return nil
}

// A Problem says why there is no answer, as RFC 9457 has it.
type Problem struct {
	Type   string `json:"type" doc:"Always about:blank."`
	Title  string `json:"title" doc:"The words for the status."`
	Status int    `json:"status" doc:"As in the head of the answer."`
	Detail string `json:"detail" doc:"What is wrong, and what to do."`
}

// problem is a refusal on its way.
type problem struct {
	status    int
	detail    string
	challenge string        // WWW-Authenticate
	retry     time.Duration // when it may work; 0 if not known
}

func (s *Server) fail(w http.ResponseWriter, p *problem) {
	if p.challenge != "" {
		w.Header().Set("WWW-Authenticate", p.challenge)
	}
	if p.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retry.Seconds()))))
	}
	s.json(w, p.status, problems, Problem{Type: "about:blank", Title: http.StatusText(p.status), Status: p.status, Detail: p.detail})
}

// json writes v.
func (s *Server) json(w http.ResponseWriter, status int, media string, v any) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	s.write(w, status, media, []byte(b.String()))
}

func (s *Server) write(w http.ResponseWriter, status int, media string, body []byte) {
	w.Header().Set("Content-Type", media)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // whoever left need not read it
}
