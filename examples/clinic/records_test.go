package clinic

import (
	"encoding/json/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ask sends one request to h and returns what came back.
func ask(t *testing.T, h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func decodeBody[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("the answer is not the JSON expected: %v\n%s", err, w.Body)
	}
	return v
}

func TestRecordsAnswers(t *testing.T) {
	h := newRecords()
	for _, tt := range []struct {
		name, method, target string
		status               int
		kind                 string // resourceType
	}{
		{"all", "GET", "/patients", 200, "Bundle"},
		{"head", "HEAD", "/patients", 200, ""},
		{"by name", "GET", "/patients?name=clara", 200, "Bundle"},
		{"one", "GET", "/patients/p-003", 200, "Patient"},
		{"record", "GET", "/patients/p-003/record", 200, "Bundle"},
		{"no such patient", "GET", "/patients/p-999", 404, "OperationOutcome"},
		{"no such record", "GET", "/patients/p-999/record", 404, "OperationOutcome"},
		{"escaped path", "GET", "/patients/..%2f..%2fetc/record", 404, "OperationOutcome"},
		{"no such path", "GET", "/nothing", 404, "OperationOutcome"},
		{"unknown parameter", "GET", "/patients?birthdate=2000", 400, "OperationOutcome"},
		{"parameter twice", "GET", "/patients?name=a&name=b", 400, "OperationOutcome"},
		{"malformed query", "GET", "/patients?name=%zz", 400, "OperationOutcome"},
		{"long name", "GET", "/patients?name=" + strings.Repeat("a", maxName+1), 400, "OperationOutcome"},
		{"write", "POST", "/patients", 405, "OperationOutcome"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := ask(t, h, tt.method, tt.target, "")
			if got := w.Header().Get("Content-Type"); w.Code != tt.status || got != fhirType {
				t.Errorf("got %d %s, want %d %s", w.Code, got, tt.status, fhirType)
			}
			if tt.kind == "" {
				return
			}
			got := decodeBody[struct {
				ResourceType string `json:"resourceType"`
			}](t, w).ResourceType
			if got != tt.kind {
				t.Errorf("got a %s, want a %s", got, tt.kind)
			}
		})
	}
}

func TestSearchFindsByTheBeginningOfAnyNameWhateverTheCase(t *testing.T) {
	h := newRecords()
	for _, tt := range []struct {
		query string
		want  []string
	}{
		{"?name=CLARA", []string{"p-003"}},
		{"?name=mock", []string{"p-004"}},
		{"?name=S", []string{"p-002", "p-007", "p-011", "p-012"}},
		{"?name=ockmann", nil},
	} {
		set := decodeBody[struct {
			Type  string `json:"type"`
			Total int    `json:"total"`
			Entry []struct {
				Resource struct {
					ID string `json:"id"`
				} `json:"resource"`
			} `json:"entry"`
		}](t, ask(t, h, "GET", "/patients"+tt.query, ""))
		var got []string
		for _, e := range set.Entry {
			got = append(got, e.Resource.ID)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || set.Total != len(tt.want) || set.Type != "searchset" {
			t.Errorf("%s: %s, total %d (-want +got)\n%s", tt.query, set.Type, set.Total, diff)
		}
	}
}

// element is what the tests look at of any resource.
type element struct {
	resource
	MedicationCodeableConcept *concept `json:"medicationCodeableConcept"`
	Meta                      struct {
		Security []coding `json:"security"`
	} `json:"meta"`
}

// The shipped data is FHIR R4 as far as the required elements and the rules on
// them go, refers to nobody else, and is marked as test data.
func TestPatientsAreSoundAndMarkedAsTestData(t *testing.T) {
	files := readPatients()
	if len(files) != 12 {
		t.Errorf("got %d patients, want 12", len(files))
	}
	if !slices.IsSortedFunc(files, func(a, b patientFile) int { return strings.Compare(a.id, b.id) }) {
		t.Error("the files are not sorted by id, so that find cannot work")
	}
	for _, f := range files {
		var b struct {
			Type  string `json:"type"`
			Entry []struct {
				FullURL  string  `json:"fullUrl"`
				Resource element `json:"resource"`
			} `json:"entry"`
		}
		if err := json.Unmarshal(f.whole, &b); err != nil || b.Type != "collection" {
			t.Fatalf("%s: %s, %v", f.id, b.Type, err)
		}
		seen := map[string]bool{}
		for _, e := range b.Entry {
			r := e.Resource
			where := r.ResourceType + "/" + r.ID
			if e.FullURL != fhirBase+where || seen[where] {
				t.Errorf("%s: fullUrl %s, seen before: %t", where, e.FullURL, seen[where])
			}
			seen[where] = true
			if len(r.Meta.Security) != 1 || r.Meta.Security[0].Code != "HTEST" {
				t.Errorf("%s is not marked as test data", where)
			}
			checkElement(t, f.id, where, r)
		}
	}
}

func checkElement(t *testing.T, patient, where string, r element) {
	t.Helper()
	about := r.Subject.Reference
	if r.ResourceType == "AllergyIntolerance" {
		about = r.Patient.Reference
	}
	if r.ResourceType != "Patient" && about != "Patient/"+patient {
		t.Errorf("%s is about %q", where, about)
	}
	ok := false
	switch r.ResourceType {
	case "Patient":
		ok = r.ID == patient && r.BirthDate != ""
	case "Condition": // con-3
		ok = r.Code.name() != "" && r.ClinicalStatus.has("active", "resolved") && r.VerificationStatus.has("confirmed")
	case "AllergyIntolerance": // ait-1
		ok = r.Code.name() != "" && r.ClinicalStatus.has("active") && r.VerificationStatus.has("confirmed")
	case "MedicationStatement":
		ok = r.MedicationCodeableConcept != nil && (r.Status == "active" || r.Status == "stopped")
	case "Observation":
		ok = r.Status == "final" && r.EffectiveDateTime != "" && (r.ValueQuantity != nil || r.Code.is(loinc, "85354-9"))
	}
	if !ok {
		t.Errorf("%s lacks what FHIR requires of it: %+v", where, r)
	}
}
