package clinic

import (
	"encoding/json/jsontext"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

const (
	maxSuggest = 256 << 10 // bytes of a request body
	maxMatched = 100       // rules of an assessment
)

// treatmentAgent suggests what may help:
//
//	POST /suggest  {"record": <Bundle or list of resources>, "assessment": <Assessment>} -> Suggestions
//	GET  /treatments  the table it decides by
//
// The record is read for the allergies, medicines, conditions and newest
// observations that rule a treatment out. What the table does not know is
// listed as not checked, never passed over in silence.
type treatmentAgent struct {
	table *treatmentTable
	now   func() time.Time // for the age
}

// A consultation is what /suggest takes.
type consultation struct {
	Record     jsontext.Value `json:"record"`
	Assessment *Assessment    `json:"assessment"`
}

// Suggestions is the answer of the treatment agent.
type Suggestions struct {
	Patient     string       `json:"patient"`
	Urgency     string       `json:"urgency"` // of the assessment
	Suggestions []Suggestion `json:"suggestions"`
	RuledOut    []RuledOut   `json:"ruled_out"`
	Unchecked   []string     `json:"unchecked"` // of the record, unknown to the table: to be checked by hand
	RequestedBy string       `json:"requested_by,omitempty"`
	Notice      string       `json:"notice"`
}

// A Suggestion is a treatment that nothing in the record speaks against.
type Suggestion struct {
	Treatment string    `json:"treatment"`
	Name      string    `json:"name"`
	For       []string  `json:"for"` // rules of the assessment
	Reason    string    `json:"reason"`
	Note      string    `json:"note,omitempty"`
	Caution   []Finding `json:"caution,omitempty"`
}

// RuledOut is a treatment that would have been suggested, and why it is not.
type RuledOut struct {
	Treatment string    `json:"treatment"`
	Name      string    `json:"name"`
	Because   []Finding `json:"because"`
}

// A Finding is something that speaks against a treatment.
type Finding struct {
	Kind   string `json:"kind"` // allergy, interaction, taken, condition, observation, age, symptom or urgency
	What   string `json:"what"`
	Source string `json:"source,omitempty"` // the resource of the record
	Why    string `json:"why"`

	effect string
}

func newTreatment(now func() time.Time) http.Handler {
	a := &treatmentAgent{table: readTreatments(), now: now}
	mux := http.NewServeMux()
	mux.Handle("/suggest", only(http.MethodPost, failWithProblem, a.suggest))
	mux.Handle("/treatments", only(http.MethodGet, failWithProblem, func(w http.ResponseWriter, _ *http.Request) {
		replyBytes(w, http.StatusOK, jsonType, treatmentsFile)
	}))
	mux.Handle("/", nothingHere(failWithProblem))
	return mux
}

func (a *treatmentAgent) suggest(w http.ResponseWriter, r *http.Request) {
	var c consultation
	if err := decode(w, r, maxSuggest, &c); err != nil {
		failWithProblem(w, err)
		return
	}
	s, err := a.consult(c)
	if err != nil {
		failWithProblem(w, err)
		return
	}
	if by := r.Header.Get("X-Caller"); validID(by) { // the gateway says who asks
		s.RequestedBy = by
	}
	reply(w, http.StatusOK, jsonType, s)
}

func (c *consultation) check() error {
	if len(c.Record) == 0 {
		return refuse(http.StatusBadRequest, `"record" is needed: a FHIR Bundle, or a list of FHIR resources`)
	}
	if c.Assessment == nil {
		return refuse(http.StatusBadRequest, `"assessment" is needed: what the symptoms agent answered`)
	}
	if !slices.Contains([]string{emergency, urgent, routine, selfCare}, c.Assessment.Urgency) {
		return refuse(http.StatusBadRequest, `"assessment.urgency" must be emergency, urgent, routine or self-care`)
	}
	if len(c.Assessment.Matched) > maxMatched {
		return refuse(http.StatusBadRequest, `"assessment.matched" has more than %d rules`, maxMatched)
	}
	return nil
}

func (a *treatmentAgent) consult(c consultation) (*Suggestions, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	chart, err := readChart(c.Record)
	if err != nil {
		return nil, err
	}
	if p := c.Assessment.Patient; p != "" && p != chart.patient {
		return nil, refuse(http.StatusBadRequest, "the assessment is of patient %q, the record of %q", short(p), chart.patient)
	}
	s := &Suggestions{
		Patient: chart.patient, Urgency: c.Assessment.Urgency, Notice: a.table.Notice,
		Suggestions: []Suggestion{}, RuledOut: []RuledOut{}, Unchecked: a.unchecked(chart),
	}
	var rules []string
	for _, m := range c.Assessment.Matched {
		rules = append(rules, m.Rule)
	}
	if s.Urgency == emergency {
		e := a.table.Emergency
		s.Suggestions = append(s.Suggestions, Suggestion{Treatment: e.ID, Name: e.Name, For: rules, Reason: e.Reason})
	}
	for _, t := range a.table.Treatments {
		a.consider(s, t, chart, rules)
	}
	return s, nil
}

// consider adds t to what is suggested or ruled out, if it is for one of the rules.
func (a *treatmentAgent) consider(s *Suggestions, t treatment, c *chart, rules []string) {
	serves := slices.DeleteFunc(slices.Clone(t.For), func(id string) bool { return !slices.Contains(rules, id) })
	if len(serves) == 0 {
		return
	}
	var against, cautions []Finding
	for _, f := range a.findings(t, c, rules) {
		if f.effect == caution {
			cautions = append(cautions, f)
		} else {
			against = append(against, f)
		}
	}
	if s.Urgency == emergency {
		against = append(against, Finding{Kind: "urgency", What: emergency, Why: "nothing is to be tried before the emergency services"})
	}
	if len(against) > 0 {
		s.RuledOut = append(s.RuledOut, RuledOut{Treatment: t.ID, Name: t.Name, Because: against})
		return
	}
	s.Suggestions = append(s.Suggestions, Suggestion{
		Treatment: t.ID, Name: t.Name, For: serves, Reason: t.Reason, Note: t.Note, Caution: cautions,
	})
}

// findings lists all that speaks against t.
func (a *treatmentAgent) findings(t treatment, c *chart, rules []string) []Finding {
	var all []Finding
	for _, id := range t.Substances {
		if s, ok := a.table.substance(id); ok {
			all = append(all, a.allergies(s, c)...)
			all = append(all, a.taken(s, c)...)
		}
	}
	all = append(all, a.interactions(t, c)...)
	all = append(all, conditions(t, c)...)
	all = append(all, limits(t, c)...)
	all = append(all, a.ages(t, c)...)
	for _, id := range t.NotWith {
		if slices.Contains(rules, id) {
			all = append(all, Finding{Kind: "symptom", What: id, Why: "not to be taken with this symptom", effect: avoid})
		}
	}
	return all
}

func (a *treatmentAgent) allergies(s substance, c *chart) []Finding {
	var all []Finding
	for _, e := range c.allergies {
		if forbidden, ok := a.table.allergyTo(e.concept); ok && forbidden.shares(s) {
			all = append(all, Finding{
				Kind: "allergy", What: e.name(), Source: e.source, effect: avoid,
				Why: s.Name + " is, or is related to, what the patient is allergic to",
			})
		}
	}
	return all
}

func (a *treatmentAgent) taken(s substance, c *chart) []Finding {
	var all []Finding
	for _, e := range c.medications {
		m, ok := a.table.substanceOf(e.concept)
		switch {
		case !ok || !m.shares(s):
		case m.ID == s.ID:
			all = append(all, Finding{Kind: "taken", What: e.name(), Source: e.source, Why: "the patient takes it already", effect: avoid})
		default:
			all = append(all, Finding{Kind: "taken", What: e.name(), Source: e.source, Why: "the patient takes a medicine of the same class", effect: avoid})
		}
	}
	return all
}

func (a *treatmentAgent) interactions(t treatment, c *chart) []Finding {
	var all []Finding
	for _, e := range c.medications {
		m, ok := a.table.substanceOf(e.concept)
		if !ok {
			continue
		}
		for _, i := range t.Interactions {
			if m.is(i.With) {
				all = append(all, Finding{Kind: "interaction", What: e.name(), Source: e.source, Why: i.Why, effect: i.Effect})
			}
		}
	}
	return all
}

func conditions(t treatment, c *chart) []Finding {
	var all []Finding
	for _, e := range c.conditions {
		for _, k := range t.Conditions {
			if e.is(snomed, k.Code) || e.sameName(k.Name) {
				all = append(all, Finding{Kind: "condition", What: e.name(), Source: e.source, Why: k.Why, effect: k.Effect})
			}
		}
	}
	return all
}

func limits(t treatment, c *chart) []Finding {
	var all []Finding
	for _, o := range c.observations {
		for _, l := range t.Limits {
			if o.is(loinc, l.Code) && l.crossedBy(o.value) {
				what := fmt.Sprintf("%s %s %s", l.Name, strconv.FormatFloat(o.value.Value, 'f', -1, 64), l.Unit)
				all = append(all, Finding{Kind: "observation", What: what, Source: o.source, Why: l.Why, effect: l.Effect})
			}
		}
	}
	return all
}

func (l limit) crossedBy(q quantity) bool {
	if q.Code != l.Unit {
		return false
	}
	return l.Below != nil && q.Value < *l.Below || l.Above != nil && q.Value > *l.Above
}

func (a *treatmentAgent) ages(t treatment, c *chart) []Finding {
	years, known := c.age(a.now())
	f := Finding{Kind: "age", Source: "Patient/" + c.patient, effect: avoid}
	switch {
	case t.From == 0 && t.Below == 0:
		return nil
	case !known:
		f.What, f.Why = "unknown", "the age must be known for it"
	case years < t.From:
		f.What, f.Why = strconv.Itoa(years), fmt.Sprintf("only from %d years on", t.From)
	case t.Below != 0 && years >= t.Below:
		f.What, f.Why = strconv.Itoa(years), fmt.Sprintf("only below %d years", t.Below)
	default:
		return nil
	}
	return []Finding{f}
}

// unchecked lists what a person has to look at, because the table cannot.
func (a *treatmentAgent) unchecked(c *chart) []string {
	list := []string{}
	for _, e := range c.allergies {
		if _, known := a.table.allergyTo(e.concept); !known {
			list = append(list, fmt.Sprintf("%s: the table does not know the allergy to %s", e.source, short(e.name())))
		}
	}
	for _, e := range c.medications {
		if _, known := a.table.substanceOf(e.concept); !known {
			list = append(list, fmt.Sprintf("%s: the table does not know the medicine %s", e.source, short(e.name())))
		}
	}
	for _, o := range c.observations {
		if unit, differs := a.table.unitOf(o); differs {
			list = append(list, fmt.Sprintf("%s: the unit is not %s", o.source, unit))
		}
	}
	for _, source := range c.unread {
		list = append(list, source+": this kind of resource is not read")
	}
	return list
}

// unitOf says which unit the table expects of o, if o has another.
func (t *treatmentTable) unitOf(o observation) (unit string, differs bool) {
	for _, tr := range t.Treatments {
		for _, l := range tr.Limits {
			if o.is(loinc, l.Code) && o.value.Code != l.Unit {
				return l.Unit, true
			}
		}
	}
	return "", false
}
