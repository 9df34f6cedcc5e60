package clinic

import (
	"encoding/json/v2"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// today is when the tests take place: ages do not move.
func today() time.Time { return time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC) }

func recordOf(t *testing.T, id string) string {
	t.Helper()
	f, err := (&records{files: readPatients()}).find(id)
	if err != nil {
		t.Fatal(err)
	}
	return string(f.whole)
}

// assessed is the assessment of a description, as JSON.
func assessed(t *testing.T, description string) string {
	t.Helper()
	b, err := json.Marshal(readRules().assess(complaint{Description: description}))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func consultationOf(record, assessment string) string {
	return fmt.Sprintf(`{"record": %s, "assessment": %s}`, record, assessment)
}

// outline is an answer in short: what is suggested, with "!" where there is a
// caution, and what is ruled out, with the kinds of finding.
func outline(s Suggestions) (suggested, ruledOut []string) {
	for _, x := range s.Suggestions {
		suggested = append(suggested, x.Treatment+strings.Repeat("!", len(x.Caution)))
	}
	for _, x := range s.RuledOut {
		kinds := make([]string, 0, len(x.Because))
		for _, b := range x.Because {
			kinds = append(kinds, b.Kind)
		}
		ruledOut = append(ruledOut, x.Treatment+": "+strings.Join(kinds, " "))
	}
	return suggested, ruledOut
}

func TestSuggest(t *testing.T) {
	h := newTreatment(today)
	for _, tt := range []struct {
		name, patient, description string
		suggested, ruledOut        []string
	}{
		{
			"warfarin and a penicillin allergy", "p-003", "sore throat and headache",
			[]string{"paracetamol!", "honey", "rest-and-fluids"},
			[]string{"ibuprofen: interaction", "amoxicillin: allergy", "clarithromycin: interaction"},
		},
		{
			"aspirin allergy forbids its class; a child of the same symptoms", "p-002", "headache",
			[]string{"paracetamol"},
			[]string{"ibuprofen: allergy"},
		},
		{
			"kidneys: the newest value counts", "p-004", "knee pain",
			[]string{"paracetamol", "diclofenac-gel", "cold-pack"},
			[]string{"ibuprofen: condition condition observation"},
		},
		{
			"pregnancy", "p-005", "burning when I pee",
			[]string{"nitrofurantoin!"},
			[]string{"trimethoprim: condition", "co-trimoxazole: condition"},
		},
		{
			"sulfonamide allergy", "p-007", "burning when I pee",
			[]string{"nitrofurantoin", "trimethoprim"},
			[]string{"co-trimoxazole: allergy"},
		},
		{
			"taken already, and with an SSRI", "p-007", "migraine",
			[]string{"paracetamol", "ibuprofen!"},
			[]string{"sumatriptan: taken"},
		},
		{
			"heart and migraine", "p-010", "migraine",
			[]string{"paracetamol"},
			[]string{"ibuprofen: interaction", "sumatriptan: condition"},
		},
		{
			"clopidogrel keeps omeprazole away, not pantoprazole", "p-010", "heartburn",
			[]string{"pantoprazole"},
			[]string{"omeprazole: interaction"},
		},
		{
			"the same class is taken", "p-008", "heartburn",
			nil,
			[]string{"omeprazole: taken", "pantoprazole: taken"},
		},
		{
			"no honey for infants", "p-012", "cough",
			[]string{"rest-and-fluids"},
			[]string{"honey: age"},
		},
		{
			"fever forbids loperamide", "p-009", "diarrhoea and fever",
			[]string{"paracetamol", "ibuprofen", "oral-rehydration", "rest-and-fluids"},
			[]string{"loperamide: symptom"},
		},
		{
			"an emergency", "p-001", "chest pain and a headache",
			[]string{"emergency-services"},
			[]string{"paracetamol: urgency", "ibuprofen: urgency"},
		},
		{"nothing known", "p-001", "something odd", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := ask(t, h, "POST", "/suggest", consultationOf(recordOf(t, tt.patient), assessed(t, tt.description)), "Content-Type", jsonType)
			if w.Code != 200 {
				t.Fatalf("got %d\n%s", w.Code, w.Body)
			}
			got := decodeBody[Suggestions](t, w)
			suggested, ruledOut := outline(got)
			if diff := cmp.Diff(tt.suggested, suggested); diff != "" {
				t.Errorf("suggested (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(tt.ruledOut, ruledOut); diff != "" {
				t.Errorf("ruled out (-want +got)\n%s", diff)
			}
			if got.Patient != tt.patient || got.Notice == "" {
				t.Errorf("patient %q, notice %q", got.Patient, got.Notice)
			}
		})
	}
}

// What the table does not know is said, not passed over.
func TestWhatIsUnknownIsListed(t *testing.T) {
	const patient = `{"resourceType": "Patient", "id": "x", "birthDate": "1990-01-01"}`
	for _, tt := range []struct {
		name, resource string
		want           []string
	}{
		{
			"allergy", `{"resourceType": "AllergyIntolerance", "id": "a", "patient": {"reference": "Patient/x"}, "code": {"text": "Bee venom"}}`,
			[]string{"AllergyIntolerance/a: the table does not know the allergy to Bee venom"},
		},
		{
			"medicine by reference", `{"resourceType": "MedicationStatement", "id": "m", "status": "active", "subject": {"reference": "Patient/x"}, "medicationReference": {"reference": "Medication/1"}}`,
			[]string{"MedicationStatement/m: the table does not know the medicine something without a name"},
		},
		{
			"unit", `{"resourceType": "Observation", "id": "o", "status": "final", "subject": {"reference": "Patient/x"}, "code": {"coding": [{"system": "http://loinc.org", "code": "2823-3"}]}, "valueQuantity": {"value": 4, "code": "mg/dL"}}`,
			[]string{"Observation/o: the unit is not mmol/L"},
		},
		{"kind", `{"resourceType": "MedicationRequest", "id": "r"}`, []string{"MedicationRequest/r: this kind of resource is not read"}},
		{
			"no known allergy", `{"resourceType": "AllergyIntolerance", "id": "a", "patient": {"reference": "Patient/x"}, "code": {"coding": [{"system": "http://snomed.info/sct", "code": "716186003"}]}}`,
			[]string{},
		},
		{
			"known by its name only", `{"resourceType": "AllergyIntolerance", "id": "a", "patient": {"reference": "Patient/x"}, "code": {"text": "penicillin"}}`,
			[]string{},
		},
		{
			"stopped", `{"resourceType": "MedicationStatement", "id": "m", "status": "stopped", "subject": {"reference": "Patient/x"}, "medicationCodeableConcept": {"text": "?"}}`,
			[]string{},
		},
		{
			"refuted", `{"resourceType": "AllergyIntolerance", "id": "a", "patient": {"reference": "Patient/x"}, "code": {"text": "?"}, "verificationStatus": {"coding": [{"code": "refuted"}]}}`,
			[]string{},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := ask(t, newTreatment(today), "POST", "/suggest", consultationOf("["+patient+","+tt.resource+"]", assessed(t, "cough")), "Content-Type", jsonType)
			if diff := cmp.Diff(tt.want, decodeBody[Suggestions](t, w).Unchecked); w.Code != 200 || diff != "" {
				t.Errorf("got %d, unchecked (-want +got)\n%s", w.Code, diff)
			}
		})
	}
}

func TestSuggestRefusesBadInput(t *testing.T) {
	const patient = `{"resourceType": "Patient", "id": "x"}`
	cough := assessed(t, "cough")
	for _, tt := range []struct {
		name, body, detail string
		status             int
	}{
		{"nothing", `{}`, `"record" is needed`, 400},
		{"no assessment", `{"record": [` + patient + `]}`, `"assessment" is needed`, 400},
		{"unknown name", `{"records": []}`, `the name at "/records" is not known here`, 400},
		{"unknown name in the assessment", consultationOf("["+patient+"]", `{"urgency": "routine", "x": 1}`), `the name at "/assessment/x" is not known here`, 400},
		{"no urgency", consultationOf("["+patient+"]", `{}`), `"assessment.urgency" must be`, 400},
		{"many rules", consultationOf("["+patient+"]", `{"urgency": "routine", "matched": [{}`+strings.Repeat(",{}", maxMatched)+`]}`), "more than 100 rules", 400},
		{"an id for a record", consultationOf(`"p-003"`, cough), "must be a FHIR Bundle", 400},
		{"another resource", consultationOf(patient, cough), "must be a FHIR Bundle", 400},
		{"name twice in the record", consultationOf(`[{"id": "x", "id": "y"}]`, cough), "stands there twice", 400},
		{"no patient", consultationOf(`[]`, cough), "exactly one Patient", 400},
		{"two patients", consultationOf("["+patient+","+patient+"]", cough), "exactly one Patient", 400},
		{"of another patient", consultationOf("["+patient+`,{"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/y"}}]`, cough), "Condition/c is not about Patient/x", 400},
		{"a modifier", consultationOf("["+patient+`,{"resourceType": "Condition", "id": "c", "modifierExtension": [{}]}]`, cough), "has modifiers", 400},
		{"assessment of another patient", consultationOf("["+patient+"]", `{"urgency": "routine", "patient": "y"}`), `of patient "y", the record of "x"`, 400},
		{"many resources", consultationOf("["+patient+strings.Repeat(`,{"resourceType": "Media"}`, maxResources)+"]", cough), "more than 500 resources", 400},
		{"too large", consultationOf("["+strings.Repeat(" ", maxSuggest)+"]", cough), "larger than the 262144 bytes", 413},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := ask(t, newTreatment(today), "POST", "/suggest", tt.body, "Content-Type", jsonType)
			if p := decodeBody[problem](t, w); w.Code != tt.status || !strings.Contains(p.Detail, tt.detail) {
				t.Errorf("got %d %q, want %d %q", w.Code, p.Detail, tt.status, tt.detail)
			}
		})
	}
}

func TestSuggestSaysWhoAsked(t *testing.T) {
	for caller, want := range map[string]string{"doctor": "doctor", "": "", "a\"b": "", strings.Repeat("d", maxID+1): ""} {
		w := ask(t, newTreatment(today), "POST", "/suggest", consultationOf(recordOf(t, "p-001"), assessed(t, "cough")), "Content-Type", jsonType, "X-Caller", caller)
		if got := decodeBody[Suggestions](t, w).RequestedBy; got != want {
			t.Errorf("X-Caller %q: got %q, want %q", caller, got, want)
		}
	}
}

func TestAge(t *testing.T) {
	for _, tt := range []struct {
		born  string
		years int
		known bool
	}{
		{"2000-07-01", 26, true}, {"2000-07-02", 25, true}, {"2000-08-01", 25, true}, {"2026-06-30", 0, true}, {"2027-01-01", 0, false}, {"2000", 0, false}, {"", 0, false},
	} {
		c, err := newChart([]resource{{ResourceType: "Patient", ID: "x", BirthDate: tt.born}})
		if err != nil {
			t.Fatal(err)
		}
		if years, known := c.age(today()); years != tt.years || known != tt.known {
			t.Errorf("%s: got %d %t, want %d %t", tt.born, years, known, tt.years, tt.known)
		}
	}
}

// Every name in the table leads somewhere: a spelling mistake would pass a
// medicine that is to be ruled out.
func TestTreatmentTableIsSound(t *testing.T) {
	table, rules := readTreatments(), readRules()
	known := func(id string) bool {
		return slices.ContainsFunc(rules.Rules, func(r rule) bool { return r.ID == id })
	}
	for _, tr := range table.Treatments {
		for _, id := range append(slices.Clone(tr.For), tr.NotWith...) {
			if !known(id) {
				t.Errorf("%s: there is no rule %q", tr.ID, id)
			}
		}
		for _, id := range tr.Substances {
			if _, ok := table.substance(id); !ok {
				t.Errorf("%s: there is no substance %q", tr.ID, id)
			}
		}
		for _, i := range tr.Interactions {
			if !slices.ContainsFunc(table.Substances, func(s substance) bool { return s.is(i.With) }) {
				t.Errorf("%s: no substance is a %q", tr.ID, i.With)
			}
		}
		effects := []string{}
		for _, x := range tr.Conditions {
			effects = append(effects, x.Effect)
		}
		for _, x := range tr.Interactions {
			effects = append(effects, x.Effect)
		}
		for _, x := range tr.Limits {
			effects = append(effects, x.Effect)
			if x.Below == nil && x.Above == nil {
				t.Errorf("%s: %s has no bound", tr.ID, x.Name)
			}
		}
		for _, e := range effects {
			if e != avoid && e != caution {
				t.Errorf("%s: there is no effect %q", tr.ID, e)
			}
		}
	}
}

// The allergy to bee venom is the only thing in the shipped records that the
// table does not know.
func TestShippedRecordsAreKnownToTheTable(t *testing.T) {
	a := &treatmentAgent{table: readTreatments(), now: today}
	for _, f := range readPatients() {
		c, err := readChart(f.whole)
		if err != nil {
			t.Fatalf("%s: %v", f.id, err)
		}
		want := []string{}
		if f.id == "p-011" {
			want = []string{"AllergyIntolerance/p-011-allergy-1: the table does not know the allergy to Bee venom (substance)"}
		}
		if diff := cmp.Diff(want, a.unchecked(c)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", f.id, diff)
		}
	}
}

// Whatever is sent, the agent answers, and blames itself for nothing.
func FuzzSuggest(f *testing.F) {
	f.Add([]byte(`{"record": [{"resourceType": "Patient", "id": "x"}], "assessment": {"urgency": "routine", "matched": [{"rule": "cough"}]}}`))
	f.Add([]byte(`{"record": {"resourceType": "Bundle", "entry": [{}, {"resource": null}]}, "assessment": {"urgency": "emergency"}}`))
	f.Add([]byte(`{"record": null, "assessment": {}}`))
	h := newTreatment(today)
	f.Fuzz(func(t *testing.T, body []byte) {
		w := ask(t, h, "POST", "/suggest", string(body), "Content-Type", jsonType)
		if w.Code >= 500 {
			t.Fatalf("got %d for %q\n%s", w.Code, body, w.Body)
		}
	})
}
