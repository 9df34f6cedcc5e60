package clinic

import (
	_ "embed"
	"encoding/json/v2"
	"slices"
)

//go:embed treatments.json
var treatmentsFile []byte

// Systems of codes.
const (
	rxnorm = "http://www.nlm.nih.gov/research/umls/rxnorm"
	snomed = "http://snomed.info/sct"
	loinc  = "http://loinc.org"
)

// What a finding does to a treatment.
const (
	avoid   = "avoid"   // rules it out
	caution = "caution" // is told with it
)

// treatmentTable is treatments.json.
type treatmentTable struct {
	Notice         string         `json:"notice"`
	Emergency      treatment      `json:"emergency"`       // the only suggestion in an emergency
	NoAllergy      []coded        `json:"no_allergy"`      // codes that say "none known"
	OtherAllergies []coded        `json:"other_allergies"` // known, and no matter for any treatment here
	AllergyClasses []allergyClass `json:"allergy_classes"` // codes of allergies to a whole class
	Substances     []substance    `json:"substances"`
	Treatments     []treatment    `json:"treatments"`
}

type coded struct {
	System string `json:"system"`
	Code   string `json:"code"`
	Name   string `json:"name"`
}

type allergyClass struct {
	System string `json:"system"`
	Code   string `json:"code"`
	Name   string `json:"name"`
	Class  string `json:"class"`
}

type substance struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	RxNorm  string   `json:"rxnorm"`
	Classes []string `json:"classes"`
}

type treatment struct {
	ID           string        `json:"id"`
	Name         string        `json:"name"`
	Substances   []string      `json:"substances"` // ids; empty: not a medicine
	For          []string      `json:"for"`        // ids of rules.json
	Reason       string        `json:"reason"`
	Note         string        `json:"note"`
	From         int           `json:"from"`     // years, included
	Below        int           `json:"below"`    // years, excluded; 0: no bound
	NotWith      []string      `json:"not_with"` // ids of rules.json that rule it out
	Conditions   []condition   `json:"conditions"`
	Interactions []interaction `json:"interactions"`
	Limits       []limit       `json:"limits"`
}

type condition struct {
	Code   string `json:"code"` // SNOMED CT
	Name   string `json:"name"`
	Effect string `json:"effect"`
	Why    string `json:"why"`
}

type interaction struct {
	With   string `json:"with"` // a substance or a class
	Effect string `json:"effect"`
	Why    string `json:"why"`
}

// limit concerns the newest observation of a kind.
type limit struct {
	Code   string   `json:"code"` // LOINC
	Name   string   `json:"name"`
	Unit   string   `json:"unit"` // UCUM; of another unit nothing is concluded
	Below  *float64 `json:"below"`
	Above  *float64 `json:"above"`
	Effect string   `json:"effect"`
	Why    string   `json:"why"`
}

func readTreatments() *treatmentTable {
	t := new(treatmentTable)
	mustDecode("treatments.json", treatmentsFile, t, json.RejectUnknownMembers(true))
	return t
}

// substanceOf finds the substance that e is of, by code or else by name.
func (t *treatmentTable) substanceOf(c concept) (substance, bool) {
	for _, s := range t.Substances {
		if c.is(rxnorm, s.RxNorm) {
			return s, true
		}
	}
	for _, s := range t.Substances {
		if c.sameName(s.Name) || c.sameName(s.ID) {
			return s, true
		}
	}
	return substance{}, false
}

func (t *treatmentTable) substance(id string) (substance, bool) {
	i := slices.IndexFunc(t.Substances, func(s substance) bool { return s.ID == id })
	if i < 0 {
		return substance{}, false
	}
	return t.Substances[i], true
}

// allergyTo says which substance and classes an allergy forbids. Known is false
// for one that the table does not have.
func (t *treatmentTable) allergyTo(c concept) (forbidden substance, known bool) {
	for _, list := range [][]coded{t.NoAllergy, t.OtherAllergies} {
		if slices.ContainsFunc(list, func(k coded) bool { return c.is(k.System, k.Code) }) {
			return substance{}, true
		}
	}
	for _, k := range t.AllergyClasses {
		if c.is(k.System, k.Code) || c.sameName(k.Name) {
			return substance{Name: k.Name, Classes: []string{k.Class}}, true
		}
	}
	return t.substanceOf(c)
}

// shares reports whether s and o are the same substance or have a class in common.
func (s substance) shares(o substance) bool {
	return s.ID != "" && s.ID == o.ID ||
		slices.ContainsFunc(s.Classes, func(c string) bool { return slices.Contains(o.Classes, c) })
}

// is reports whether name is the substance or one of its classes.
func (s substance) is(name string) bool { return s.ID == name || slices.Contains(s.Classes, name) }
