package clinic

import (
	"embed"
	"encoding/json/jsontext"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

//go:embed patients/*.json
var patients embed.FS

const (
	fhirType   = "application/fhir+json"
	fhirBase   = "https://clinic.example/fhir/"
	maxName    = 100 // bytes of ?name=
	bundleKind = "Bundle"
)

// records answers with FHIR R4 resources:
//
//	GET /patients              a searchset Bundle of every Patient
//	GET /patients?name=ada     of those with a name that begins so
//	GET /patients/{id}         a Patient
//	GET /patients/{id}/record  a collection Bundle of all that is known of one
//
// What is refused is refused with an OperationOutcome.
type records struct {
	files []patientFile // sorted by id
}

// A patientFile is one file of patients/: a Bundle whose first entry is the
// Patient.
type patientFile struct {
	id       string
	names    []string       // given and family, lower case
	resource jsontext.Value // the Patient
	whole    []byte         // the Bundle, as in the file
}

func newRecords() http.Handler {
	a := &records{files: readPatients()}
	mux := http.NewServeMux()
	mux.Handle("/patients", only(http.MethodGet, failWithOutcome, a.search))
	mux.Handle("/patients/{id}", only(http.MethodGet, failWithOutcome, a.patient))
	mux.Handle("/patients/{id}/record", only(http.MethodGet, failWithOutcome, a.record))
	mux.Handle("/", nothingHere(failWithOutcome))
	return mux
}

func readPatients() []patientFile {
	entries, err := patients.ReadDir("patients")
	if err != nil {
		panic("clinic: " + err.Error()) // compiled in: cannot fail
	}
	files := make([]patientFile, 0, len(entries))
	for _, e := range entries { // sorted by name, that is by id
		b, err := patients.ReadFile("patients/" + e.Name())
		if err != nil {
			panic("clinic: " + err.Error())
		}
		files = append(files, newPatientFile(e.Name(), b))
	}
	return files
}

func newPatientFile(name string, b []byte) patientFile {
	var bundle struct {
		Entry []struct {
			Resource jsontext.Value `json:"resource"`
		} `json:"entry"`
	}
	mustDecode(name, b, &bundle)
	var patient struct {
		ID   string `json:"id"`
		Name []struct {
			Family string   `json:"family"`
			Given  []string `json:"given"`
		} `json:"name"`
	}
	mustDecode(name, bundle.Entry[0].Resource, &patient)
	f := patientFile{id: patient.ID, resource: bundle.Entry[0].Resource, whole: b}
	for _, n := range patient.Name {
		for _, part := range append(n.Given, n.Family) {
			f.names = append(f.names, strings.ToLower(part))
		}
	}
	return f
}

// searchset is a Bundle of type searchset (FHIR R4 section 3.1.1.2).
type searchset struct {
	ResourceType string       `json:"resourceType"`
	Type         string       `json:"type"`
	Total        int          `json:"total"`
	Link         []bundleLink `json:"link"`
	Entry        []found      `json:"entry,omitempty"` // absent, not empty (FHIR R4 section 2.6.2)
}

type bundleLink struct {
	Relation string `json:"relation"`
	URL      string `json:"url"`
}

type found struct {
	FullURL  string         `json:"fullUrl"`
	Resource jsontext.Value `json:"resource"`
	Search   searchMode     `json:"search"`
}

type searchMode struct {
	Mode string `json:"mode"`
}

func (a *records) search(w http.ResponseWriter, r *http.Request) {
	name, err := nameAsked(r.URL.RawQuery)
	if err != nil {
		failWithOutcome(w, err)
		return
	}
	self := fhirBase + "Patient"
	if name != "" {
		self += "?name=" + url.QueryEscape(name)
	}
	set := searchset{ResourceType: bundleKind, Type: "searchset", Link: []bundleLink{{Relation: "self", URL: self}}}
	for _, f := range a.files {
		if f.isCalled(name) {
			set.Entry = append(set.Entry, found{FullURL: fhirBase + "Patient/" + f.id, Resource: f.resource, Search: searchMode{Mode: "match"}})
		}
	}
	set.Total = len(set.Entry)
	reply(w, http.StatusOK, fhirType, set)
}

// nameAsked reads the one search parameter there is.
func nameAsked(rawQuery string) (string, error) {
	q, err := url.ParseQuery(rawQuery)
	if err != nil {
		return "", refuse(http.StatusBadRequest, "the query is malformed")
	}
	for k, v := range q {
		if k != "name" || len(v) != 1 {
			return "", refuse(http.StatusBadRequest, "the only search parameter is name, given once")
		}
	}
	name := q.Get("name")
	if len(name) > maxName {
		return "", refuse(http.StatusBadRequest, "the name is longer than %d bytes", maxName)
	}
	return name, nil
}

// isCalled reports whether some part of the name begins with prefix, whatever
// the case (FHIR R4 section 3.1.1.4.8, string).
func (f patientFile) isCalled(prefix string) bool {
	prefix = strings.ToLower(prefix)
	return slices.ContainsFunc(f.names, func(n string) bool { return strings.HasPrefix(n, prefix) })
}

func (a *records) patient(w http.ResponseWriter, r *http.Request) {
	f, err := a.find(r.PathValue("id"))
	if err != nil {
		failWithOutcome(w, err)
		return
	}
	reply(w, http.StatusOK, fhirType, f.resource)
}

func (a *records) record(w http.ResponseWriter, r *http.Request) {
	f, err := a.find(r.PathValue("id"))
	if err != nil {
		failWithOutcome(w, err)
		return
	}
	replyBytes(w, http.StatusOK, fhirType, f.whole)
}

func (a *records) find(id string) (patientFile, error) {
	i, ok := slices.BinarySearchFunc(a.files, id, func(f patientFile, id string) int { return strings.Compare(f.id, id) })
	if !ok {
		return patientFile{}, refuse(http.StatusNotFound, "there is no patient of that id")
	}
	return a.files[i], nil
}

// operationOutcome is FHIR's own error document (FHIR R4 section 2.34).
type operationOutcome struct {
	ResourceType string  `json:"resourceType"`
	Issue        []issue `json:"issue"`
}

type issue struct {
	Severity    string `json:"severity"`
	Code        string `json:"code"` // of http://hl7.org/fhir/issue-type
	Diagnostics string `json:"diagnostics"`
}

// failWithOutcome tells the client why, as FHIR does.
func failWithOutcome(w http.ResponseWriter, err error) {
	r := asRefusal(err)
	code := "exception"
	switch r.status {
	case http.StatusNotFound:
		code = "not-found"
	case http.StatusMethodNotAllowed:
		code = "not-supported"
	case http.StatusBadRequest:
		code = "invalid"
	}
	reply(w, r.status, fhirType, operationOutcome{
		ResourceType: "OperationOutcome",
		Issue:        []issue{{Severity: "error", Code: code, Diagnostics: r.detail}},
	})
}
