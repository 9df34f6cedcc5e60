package clinic

import (
	"encoding/json/jsontext"
	"net/http"
	"slices"
	"strings"
	"time"
)

const maxResources = 500 // of a record

// A chart is what the treatment agent reads out of a record.
type chart struct {
	patient      string
	born         time.Time // zero: unknown
	allergies    []entry
	medications  []entry
	conditions   []entry
	observations []observation // the newest of each code, in the order of the record
	unread       []string      // resources of kinds that are not read
}

// An entry is a coded statement about the patient, and where it stands.
type entry struct {
	source string // "AllergyIntolerance/p-003-allergy-1"
	concept
}

type observation struct {
	entry
	at    string // FHIR dateTime; these compare as text within one precision
	value quantity
}

// The FHIR elements that are read. Others may be there: FHIR is open.
type (
	resource struct {
		ResourceType              string         `json:"resourceType"`
		ID                        string         `json:"id"`
		ModifierExtension         jsontext.Value `json:"modifierExtension"`
		ImplicitRules             string         `json:"implicitRules"`
		BirthDate                 string         `json:"birthDate"`
		Status                    string         `json:"status"`
		ClinicalStatus            concept        `json:"clinicalStatus"`
		VerificationStatus        concept        `json:"verificationStatus"`
		Code                      concept        `json:"code"`
		MedicationCodeableConcept concept        `json:"medicationCodeableConcept"`
		Subject                   reference      `json:"subject"`
		Patient                   reference      `json:"patient"`
		EffectiveDateTime         string         `json:"effectiveDateTime"`
		ValueQuantity             *quantity      `json:"valueQuantity"`
		Entry                     []bundleEntry  `json:"entry"`
	}
	bundleEntry struct {
		Resource *resource `json:"resource"`
	}
	concept struct {
		Coding []coding `json:"coding"`
		Text   string   `json:"text"`
	}
	coding struct {
		System  string `json:"system"`
		Code    string `json:"code"`
		Display string `json:"display"`
	}
	reference struct {
		Reference string `json:"reference"`
	}
	quantity struct {
		Value float64 `json:"value"`
		Unit  string  `json:"unit"`
		Code  string  `json:"code"` // UCUM
	}
)

// is reports whether c has that code.
func (c concept) is(system, code string) bool {
	return slices.ContainsFunc(c.Coding, func(k coding) bool { return k.System == system && k.Code == code })
}

// has reports whether c has one of the codes, of whatever system.
func (c concept) has(codes ...string) bool {
	return slices.ContainsFunc(c.Coding, func(k coding) bool { return slices.Contains(codes, k.Code) })
}

// name is what to call c.
func (c concept) name() string {
	if c.Text != "" {
		return c.Text
	}
	for _, k := range c.Coding {
		if k.Display != "" {
			return k.Display
		}
	}
	return "something without a name"
}

// readChart reads a FHIR Bundle, or a list of resources, of one patient.
func readChart(record jsontext.Value) (*chart, error) {
	var list []resource
	switch record.Kind() {
	case '[':
		if err := unmarshal(record, &list); err != nil {
			return nil, err
		}
	case '{':
		var bundle resource
		if err := unmarshal(record, &bundle); err != nil {
			return nil, err
		}
		if bundle.ResourceType != bundleKind {
			return nil, refuse(http.StatusBadRequest, `"record" must be a FHIR Bundle, or a list of FHIR resources`)
		}
		for _, e := range bundle.Entry {
			if e.Resource != nil {
				list = append(list, *e.Resource)
			}
		}
	default:
		return nil, refuse(http.StatusBadRequest, `"record" must be a FHIR Bundle, or a list of FHIR resources`)
	}
	if len(list) > maxResources {
		return nil, refuse(http.StatusBadRequest, `"record" has more than %d resources`, maxResources)
	}
	return newChart(list)
}

func newChart(list []resource) (*chart, error) {
	c := new(chart)
	for _, r := range list {
		if r.ResourceType != "Patient" {
			continue
		}
		if c.patient != "" || !validID(r.ID) {
			return nil, refuse(http.StatusBadRequest, `"record" must hold exactly one Patient, with an id`)
		}
		c.patient = r.ID
		if born, err := time.Parse(time.DateOnly, r.BirthDate); err == nil {
			c.born = born
		}
	}
	if c.patient == "" {
		return nil, refuse(http.StatusBadRequest, `"record" must hold exactly one Patient, with an id`)
	}
	for _, r := range list {
		if err := c.add(r); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *chart) add(r resource) error {
	// A modifier changes what the resource means; whoever does not know it must
	// not process the resource (FHIR R4 section 2.4.1.1).
	if r.ModifierExtension != nil || r.ImplicitRules != "" {
		return refuse(http.StatusBadRequest, "%s/%s has modifiers that this agent does not know", short(r.ResourceType), short(r.ID))
	}
	about := r.Subject.Reference
	if r.ResourceType == "AllergyIntolerance" {
		about = r.Patient.Reference
	}
	e := entry{source: short(r.ResourceType) + "/" + short(r.ID), concept: r.Code}
	switch r.ResourceType {
	case "AllergyIntolerance", "MedicationStatement", "Condition", "Observation":
		if about != "Patient/"+c.patient {
			return refuse(http.StatusBadRequest, "%s is not about Patient/%s", e.source, c.patient)
		}
	}
	switch r.ResourceType {
	case "AllergyIntolerance":
		if !r.ClinicalStatus.has("inactive", "resolved") && !r.VerificationStatus.has("refuted", "entered-in-error") {
			c.allergies = append(c.allergies, e)
		}
	case "MedicationStatement":
		e.concept = r.MedicationCodeableConcept
		if !slices.Contains([]string{"completed", "entered-in-error", "stopped", "not-taken"}, r.Status) {
			c.medications = append(c.medications, e)
		}
	case "Condition":
		if !r.ClinicalStatus.has("inactive", "remission", "resolved") && !r.VerificationStatus.has("refuted", "entered-in-error") {
			c.conditions = append(c.conditions, e)
		}
	case "Observation":
		if r.ValueQuantity != nil && slices.Contains([]string{"final", "amended", "corrected", "preliminary", "registered"}, r.Status) {
			c.observe(observation{entry: e, at: r.EffectiveDateTime, value: *r.ValueQuantity})
		}
	case "Patient":
	default:
		c.unread = append(c.unread, e.source)
	}
	return nil
}

// observe keeps o if it is the newest of its kind.
func (c *chart) observe(o observation) {
	for i, old := range c.observations {
		for _, k := range o.Coding {
			if !old.is(k.System, k.Code) {
				continue
			}
			if o.at >= old.at {
				c.observations[i] = o
			}
			return
		}
	}
	c.observations = append(c.observations, o)
}

// age is the completed years of life at now, and whether they are known.
func (c *chart) age(now time.Time) (years int, known bool) {
	if c.born.IsZero() || now.Before(c.born) {
		return 0, false
	}
	years = now.Year() - c.born.Year()
	if now.Month() < c.born.Month() || now.Month() == c.born.Month() && now.Day() < c.born.Day() {
		years--
	}
	return years, true
}

// short keeps what a client sent to a length that can be sent back.
func short(s string) string {
	if len(s) <= maxID {
		return s
	}
	return strings.ToValidUTF8(s[:maxID], "")
}

// sameName reports whether c is called name in some coding or text.
func (c concept) sameName(name string) bool {
	return strings.EqualFold(c.Text, name) ||
		slices.ContainsFunc(c.Coding, func(k coding) bool { return strings.EqualFold(k.Display, name) })
}
