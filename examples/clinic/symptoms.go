package clinic

import (
	"encoding/json/v2"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxAssess      = 16 << 10 // bytes of a request body
	maxDescription = 4000     // characters
	maxAge         = 130      // years
	maxID          = 64       // FHIR R4 section 2.24.0.1, id
)

// symptoms says how urgent a complaint is:
//
//	POST /assess  {"description": "...", "age": 54, "patient": "p-003"} -> Assessment
//	GET  /rules   the table it decides by
//
// With Accept: text/event-stream, /assess answers with an event "match" for
// every rule that matches, as it is found, and an event "done" with the whole.
type symptoms struct{ table *ruleTable }

// A complaint is what /assess takes. Age, in years, and patient may be left out.
type complaint struct {
	Description string `json:"description"`
	Age         *int   `json:"age"`
	Patient     string `json:"patient"`
}

func newSymptoms() http.Handler {
	a := &symptoms{table: readRules()}
	mux := http.NewServeMux()
	mux.Handle("/assess", only(http.MethodPost, failWithProblem, a.assess))
	mux.Handle("/rules", only(http.MethodGet, failWithProblem, func(w http.ResponseWriter, _ *http.Request) {
		replyBytes(w, http.StatusOK, jsonType, rulesFile)
	}))
	mux.Handle("/", nothingHere(failWithProblem))
	return mux
}

func (c *complaint) check() error {
	if !strings.ContainsFunc(c.Description, unicode.IsLetter) {
		return refuse(http.StatusBadRequest, `"description" is needed: say in words what is wrong`)
	}
	if utf8.RuneCountInString(c.Description) > maxDescription {
		return refuse(http.StatusBadRequest, `"description" is longer than %d characters`, maxDescription)
	}
	if c.Age != nil && (*c.Age < 0 || *c.Age > maxAge) {
		return refuse(http.StatusBadRequest, `"age" must be from 0 to %d years`, maxAge)
	}
	if c.Patient != "" && !validID(c.Patient) {
		return refuse(http.StatusBadRequest, `"patient" must be an id such as p-003`)
	}
	return nil
}

// validID reports whether id is a FHIR id: 1 to 64 letters, digits, "-" and ".".
func validID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.'
	})
}

func (a *symptoms) assess(w http.ResponseWriter, r *http.Request) {
	var c complaint
	if err := decode(w, r, maxAssess, &c); err != nil {
		failWithProblem(w, err)
		return
	}
	if err := c.check(); err != nil {
		failWithProblem(w, err)
		return
	}
	if wantsStream(r.Header) {
		a.stream(w, c)
		return
	}
	reply(w, http.StatusOK, jsonType, a.table.assess(c))
}

func (t *ruleTable) assess(c complaint) Assessment {
	var matched []Match
	t.matches(c.Description, c.Age, func(m Match) bool {
		matched = append(matched, m)
		return true
	})
	return t.conclude(c.Patient, matched)
}

// wantsStream reports whether an event stream is among what the client accepts
// (RFC 9110 section 12.5.1); a weight of zero means that it is not.
func wantsStream(h http.Header) bool {
	for accept := range strings.SplitSeq(strings.Join(h.Values("Accept"), ","), ",") {
		media, params, err := mime.ParseMediaType(accept)
		if err != nil || media != streamType {
			continue
		}
		q, err := strconv.ParseFloat(params["q"], 64)
		return err != nil || q > 0
	}
	return false
}

func (a *symptoms) stream(w http.ResponseWriter, c complaint) {
	h := w.Header()
	h.Set("Content-Type", streamType)
	h.Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	var matched []Match
	a.table.matches(c.Description, c.Age, func(m Match) bool {
		matched = append(matched, m)
		return sendEvent(w, out, "match", m) == nil
	})
	_ = sendEvent(w, out, "done", a.table.conclude(c.Patient, matched)) // a client that went away is nobody to tell
}

// sendEvent writes one event and flushes it.
func sendEvent(w http.ResponseWriter, out *http.ResponseController, name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("marshal event: %w", err)
	}
	if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, b); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	return out.Flush()
}
