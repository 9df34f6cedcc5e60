package admin

import (
	"fmt"
	"net/http"
	"time"

	"github.com/airside-gateway/airside/internal/app"
	"github.com/airside-gateway/airside/internal/discover"
	"github.com/airside-gateway/airside/internal/pool"
)

// health says that the process runs.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	s.write(w, http.StatusOK, plainText, []byte("ok\n"))
}

// ready says whether the gateway wants requests: 200, or 503 before the first
// configuration and from the moment that it begins to stop.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	if !s.App.Ready() {
		s.write(w, http.StatusServiceUnavailable, plainText, []byte("not ready\n"))
		return
	}
	s.write(w, http.StatusOK, plainText, []byte("ready\n"))
}

// config dumps the live configuration, secrets masked.
func (s *Server) config(w http.ResponseWriter, _ *http.Request) {
	c := s.App.Config()
	if c == nil {
		s.fail(w, &problem{status: http.StatusServiceUnavailable, detail: "no configuration is in force"})
		return
	}
	s.write(w, http.StatusOK, yamlText, c.Dump())
}

type versionAnswer struct {
	Version string       `json:"version" doc:"Of the program."`
	Config  *app.Applied `json:"config" doc:"Null before the first."`
}

// version says which program runs, which configuration is in force, and since when.
func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	s.json(w, http.StatusOK, jsonText, versionAnswer{s.Version, s.App.Applied()})
}

// Status is how the gateway is, in short.
type Status struct {
	Version   string          `json:"version" doc:"Of the program."`
	Now       time.Time       `json:"now" doc:"When this was read."`
	Started   time.Time       `json:"started" doc:"When the administration was opened: with the program, or when its address changed."`
	Ready     bool            `json:"ready" doc:"Whether new requests are welcome."`
	Config    *app.Applied    `json:"config" doc:"The configuration in force; null before the first."`
	Listening []app.Listening `json:"listening" doc:"Where clients connect."`
	Routes    int             `json:"routes" doc:"How many there are."`
	Upstreams int             `json:"upstreams" doc:"How many there are."`
	Recording bool            `json:"recording" doc:"Whether exchanges are counted."`
	Recent    int             `json:"recent" doc:"How many exchanges are kept to be looked at."`
	Refused   int64           `json:"refused" doc:"Requests to this API with a wrong token."`
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	out := Status{
		Version: s.Version, Now: time.Now().UTC(), Started: s.started.Round(0).UTC(), Ready: s.App.Ready(), Config: s.App.Applied(),
		Listening: s.App.Listening(), Routes: len(s.App.Routes()), Upstreams: len(s.App.Upstreams()), Refused: s.failures.count.Load(),
	}
	if l := s.recorder.live.Load(); l != nil {
		out.Recording, out.Recent = true, len(l.ring.slots)
	}
	s.json(w, http.StatusOK, jsonText, out)
}

// Routes are the routes of the live configuration.
type Routes struct {
	Routes []app.Route `json:"routes" doc:"In the order of the file."`
}

func (s *Server) listRoutes(w http.ResponseWriter, _ *http.Request) {
	s.json(w, http.StatusOK, jsonText, Routes{s.App.Routes()})
}

// Upstreams are those of the live configuration.
type Upstreams struct {
	Now       time.Time  `json:"now" doc:"When this was read."`
	Upstreams []Upstream `json:"upstreams" doc:"By name."`
}

// An Upstream is how one stands. All counts begin when it was made, and only grow.
type Upstream struct {
	Name          string     `json:"name"`
	Kind          string     `json:"kind" doc:"Such as http."`
	Balance       string     `json:"balance" doc:"How an endpoint is chosen; empty if there are none."`
	Panic         bool       `json:"panic" doc:"So many endpoints are out that all are asked nevertheless."`
	Retries       uint64     `json:"retries" doc:"Tries beyond the first."`
	RetriesDenied uint64     `json:"retries_denied" doc:"Tries that the budget did not allow."`
	Hedges        uint64     `json:"hedges" doc:"Second requests that were sent while the first was awaited."`
	HedgesWon     uint64     `json:"hedges_won" doc:"Those whose answer was taken."`
	Overflows     uint64     `json:"overflows" doc:"Exchanges for which no endpoint had room."`
	Queued        int        `json:"queued" doc:"Exchanges that wait for room now."`
	Endpoints     []Endpoint `json:"endpoints"`
	Discovery     *Discovery `json:"discovery" doc:"How its endpoints are found; null if they stand in the file."`
}

// Discovery is how the search for the endpoints of an upstream stands.
type Discovery struct {
	Known    bool       `json:"known" doc:"Whether anything was found yet: a set, which may be empty."`
	Changed  *time.Time `json:"changed" doc:"When the set became what it is; null if none is known."`
	Changes  uint64     `json:"changes" doc:"How often it has changed."`
	Failures uint64     `json:"failures" doc:"How often the source could not be asked, or told what is of no use."`
	Error    string     `json:"error" doc:"What went wrong last; empty if all is well."`
}

// An Endpoint is how one address of an upstream stands.
type Endpoint struct {
	Address  string     `json:"address" doc:"Scheme, host and port."`
	Zone     string     `json:"zone" doc:"Where it is; empty if not known."`
	Weight   int        `json:"weight"`
	State    string     `json:"state" doc:"healthy, unhealthy (an active check says so), ejected (its own answers say so), open (its circuit breaker lets nothing through), half_open, warming, or leaving."`
	Why      string     `json:"why" doc:"What brought it there; empty if it is healthy."`
	Since    *time.Time `json:"since" doc:"When it came into the state; null if not known."`
	Active   int        `json:"active" doc:"Exchanges under way."`
	Requests uint64     `json:"requests" doc:"Tries that were sent to it."`
	Failures uint64     `json:"failures" doc:"Tries that failed by its fault."`
	Latency  float64    `json:"latency" doc:"To the head of an answer, in seconds, weighted towards the newest; 0 if not known."`
}

func (s *Server) listUpstreams(w http.ResponseWriter, _ *http.Request) {
	out := Upstreams{Now: time.Now().UTC(), Upstreams: []Upstream{}}
	for _, u := range s.App.Upstreams() {
		out.Upstreams = append(out.Upstreams, s.upstream(&u))
	}
	s.json(w, http.StatusOK, jsonText, out)
}

func (s *Server) upstream(u *app.Upstream) Upstream {
	out := Upstream{Name: u.Name, Kind: u.Kind, Endpoints: []Endpoint{}, Discovery: s.discovery(u.Discovery)}
	p := u.Pool
	if p == nil {
		return out
	}
	out.Balance, out.Panic, out.Retries, out.RetriesDenied = p.Balance, p.Panic, p.Retries, p.RetriesDenied
	out.Hedges, out.HedgesWon, out.Overflows, out.Queued = p.Hedges, p.HedgesWon, p.Overflows, p.Queued
	for i := range p.Endpoints {
		out.Endpoints = append(out.Endpoints, s.endpoint(&p.Endpoints[i]))
	}
	return out
}

func (s *Server) discovery(d *discover.Status) *Discovery {
	if d == nil {
		return nil
	}
	out := &Discovery{Known: d.Known, Changed: moment(d.Changed), Changes: d.Changes, Failures: d.Failures}
	if d.Err != nil {
		out.Error = s.App.Masked(d.Err.Error())
	}
	return out
}

// moment is t as it is answered; nil for none.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.Round(0).UTC()
	return &t
}

func (s *Server) endpoint(e *pool.EndpointSnapshot) Endpoint {
	return Endpoint{
		Address: s.App.Masked(e.Address), Zone: e.Zone, Weight: e.Weight, State: e.State, Why: s.App.Masked(e.Why),
		Active: e.Active, Requests: e.Requests, Failures: e.Failures, Latency: e.Latency.Seconds(), Since: moment(e.Since),
	}
}

func (s *Server) listTraffic(w http.ResponseWriter, _ *http.Request) {
	out := Traffic{Now: time.Now().UTC(), Since: s.started.Round(0).UTC(), Routes: []RouteTraffic{}}
	if l := s.recorder.live.Load(); l != nil {
		out = l.traffic.snapshot()
	}
	s.json(w, http.StatusOK, jsonText, out)
}

// Exchanges are some of the newest.
type Exchanges struct {
	Last      uint64     `json:"last" doc:"Number of the newest exchange of all: ask for those after it."`
	Missed    uint64     `json:"missed" doc:"Exchanges that were not kept: beyond a thousand a second those that did well are not, nor one whose place somebody reads at that moment."`
	Exchanges []Exchange `json:"exchanges" doc:"Newest first."`
}

func (s *Server) listExchanges(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r.URL.Query())
	if err != nil {
		s.fail(w, &problem{status: http.StatusBadRequest, detail: err.Error()})
		return
	}
	switch {
	case q.follow && r.Method == http.MethodHead:
		w.Header().Set("Content-Type", "text/event-stream")
		return
	case q.follow:
		s.follow(w, r, q)
		return
	}
	select {
	case s.listing <- struct{}{}:
		defer func() { <-s.listing }()
	default:
		s.fail(w, &problem{status: http.StatusServiceUnavailable, detail: fmt.Sprintf("%d lists of exchanges are being made already, which is the most", maxLists), retry: time.Second})
		return
	}
	out := Exchanges{Exchanges: []Exchange{}}
	if l := s.recorder.live.Load(); l != nil {
		out.Last, out.Missed = l.ring.taken.Load(), l.ring.missed.Load()
		out.Exchanges = l.ring.newest(&q.filter, q.limit, s.recorder.mask)
	}
	s.json(w, http.StatusOK, jsonText, out)
}

func (s *Server) openapi(w http.ResponseWriter, _ *http.Request) {
	s.write(w, http.StatusOK, jsonText, s.document)
}
