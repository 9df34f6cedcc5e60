package clinic

import (
	"encoding/json/v2"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func ruleIDs(a Assessment) []string {
	ids := []string{}
	for _, m := range a.Matched {
		ids = append(ids, m.Rule)
	}
	return ids
}

func TestAssess(t *testing.T) {
	table := readRules()
	for _, tt := range []struct {
		description string
		age         int // -1: unknown
		urgency     string
		rules       []string
	}{
		{"I have a pain in my chest", -1, emergency, []string{"chest-pain"}},
		{"My CHEST feels tight!", 30, emergency, []string{"chest-pain"}},
		{"I have no chest pain, but a cough", 30, selfCare, []string{"cough"}},
		{"No, I have chest pain", -1, emergency, []string{"chest-pain"}},
		{"Not only a cough: chest pain too", -1, emergency, []string{"chest-pain", "cough"}},
		{"My chest is fine. There is a pain in my knee.", -1, routine, []string{"joint-pain"}},
		{"No fever and chest pain", -1, emergency, []string{"chest-pain"}},
		{"no fever or cough, just a sore throat", 40, routine, []string{"sore-throat"}},
		{"I can’t breathe", -1, emergency, []string{"cannot-breathe"}},
		{"fever and a stiff neck", 20, emergency, []string{"meningitis-signs", "fever"}},
		{"a fever of 39.5", 40, urgent, []string{"high-fever", "fever"}},
		{"I am 40 years old with a headache", 40, routine, []string{"headache"}},
		{"fever", 0, emergency, []string{"fever-in-infant", "fever", "age-under-2"}},
		{"fever", 1, routine, []string{"fever", "age-under-2"}},
		{"fever", -1, routine, []string{"fever"}},
		{"dizzy", 74, routine, []string{"dizziness"}},
		{"dizzy", 75, urgent, []string{"dizziness", "age-75-and-over"}},
		{"headache, vomiting and diarrhea", 50, urgent, []string{"vomiting", "diarrhoea", "headache"}},
		{"it burns when I pee", 30, routine, []string{"burning-urination"}},
		{"sneezing since the pollen came", 20, selfCare, []string{"hay-fever"}},
		{"something odd", 90, routine, []string{}},
		{"Schmerzen", -1, routine, []string{}},
	} {
		t.Run(tt.description, func(t *testing.T) {
			c := complaint{Description: tt.description}
			if tt.age >= 0 {
				c.Age = &tt.age
			}
			got := table.assess(c)
			if got.Urgency != tt.urgency {
				t.Errorf("got %s (score %d), want %s", got.Urgency, got.Score, tt.urgency)
			}
			if diff := cmp.Diff(tt.rules, ruleIDs(got)); diff != "" {
				t.Errorf("rules (-want +got)\n%s", diff)
			}
			if got.Advice == "" || got.Notice == "" {
				t.Errorf("advice %q, notice %q", got.Advice, got.Notice)
			}
		})
	}
}

// Every rule can be reached by its own words, and no two have the same id.
func TestEveryRuleMatchesItsOwnTerms(t *testing.T) {
	table := readRules()
	zero := 0
	seen := map[string]bool{}
	for _, r := range table.Rules {
		if seen[r.ID] || r.Weight <= 0 || r.Reason == "" || r.Name == "" || len(r.All) == 0 {
			t.Errorf("%s is not a whole rule, or stands there twice", r.ID)
		}
		seen[r.ID] = true
		words := make([]string, 0, len(r.All))
		for _, group := range r.All {
			words = append(words, strings.TrimSuffix(group[0], "*"))
		}
		if got := table.assess(complaint{Description: strings.Join(words, " "), Age: &zero}); !slices.Contains(ruleIDs(got), r.ID) {
			t.Errorf("%s does not match %q", r.ID, strings.Join(words, " "))
		}
	}
	for _, u := range []string{emergency, urgent, routine, selfCare, "unknown"} {
		if table.Advice[u] == "" {
			t.Errorf("there is no advice for %s", u)
		}
	}
}

func TestAssessRefusesBadInput(t *testing.T) {
	h := newSymptoms()
	for _, tt := range []struct {
		name, body, contentType string
		status                  int
		detail                  string
	}{
		{"empty", ``, jsonType, 400, "not valid JSON"},
		{"no description", `{}`, jsonType, 400, `"description" is needed`},
		{"no words", `{"description": "..."}`, jsonType, 400, `"description" is needed`},
		{"too long", `{"description": "` + strings.Repeat("a", maxDescription+1) + `"}`, jsonType, 400, "longer than 4000 characters"},
		{"unknown name", `{"description": "cough", "sex": "f"}`, jsonType, 400, `the name at "/sex" is not known here`},
		{"other case", `{"Description": "cough"}`, jsonType, 400, `the name at "/Description" is not known here`},
		{"twice", `{"description": "cough", "description": "chest pain"}`, jsonType, 400, `the name at "/description" stands there twice`},
		{"age as text", `{"description": "cough", "age": "54"}`, jsonType, 400, `the value at "/age" has the wrong type or range`},
		{"age as fraction", `{"description": "cough", "age": 5.4}`, jsonType, 400, `the value at "/age" has the wrong type or range`},
		{"negative age", `{"description": "cough", "age": -1}`, jsonType, 400, `"age" must be from 0 to 130 years`},
		{"great age", `{"description": "cough", "age": 131}`, jsonType, 400, `"age" must be from 0 to 130 years`},
		{"patient", `{"description": "cough", "patient": "../p-003"}`, jsonType, 400, `"patient" must be an id`},
		{"trailing", `{"description": "cough"} {}`, jsonType, 400, "not valid JSON, at byte"},
		{"not UTF-8", "{\"description\": \"\xff\"}", jsonType, 400, "not valid JSON"},
		{"list", `[]`, jsonType, 400, `the value at "" has the wrong type or range`},
		{"too large", `{"description": "cough"` + strings.Repeat(" ", maxAssess) + `}`, jsonType, 413, "larger than the 16384 bytes"},
		{"form", `description=cough`, "application/x-www-form-urlencoded", 415, "must be application/json"},
		{"no type", `{}`, "", 415, "must be application/json"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := ask(t, h, "POST", "/assess", tt.body, "Content-Type", tt.contentType)
			p := decodeBody[problem](t, w)
			if w.Code != tt.status || p.Status != tt.status || w.Header().Get("Content-Type") != problemType || !strings.Contains(p.Detail, tt.detail) {
				t.Errorf("got %d %s %q, want %d %q", w.Code, w.Header().Get("Content-Type"), p.Detail, tt.status, tt.detail)
			}
		})
	}
	if w := ask(t, h, "GET", "/assess", ""); w.Code != 405 || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET /assess: got %d, Allow %q, want 405, POST", w.Code, w.Header().Get("Allow"))
	}
}

func TestRulesAreShown(t *testing.T) {
	w := ask(t, newSymptoms(), "GET", "/rules", "")
	got := decodeBody[struct {
		Rules []struct {
			ID string `json:"id"`
		} `json:"rules"`
	}](t, w)
	if w.Code != 200 || len(got.Rules) != len(readRules().Rules) {
		t.Errorf("got %d with %d rules", w.Code, len(got.Rules))
	}
}

func TestAssessStreamsEachMatchAndThenTheWhole(t *testing.T) {
	w := ask(t, newSymptoms(), "POST", "/assess", `{"description": "fever and cough", "patient": "p-001"}`,
		"Content-Type", jsonType, "Accept", "application/json;q=0.5, text/event-stream")
	if got := w.Header().Get("Content-Type"); w.Code != 200 || got != streamType || !w.Flushed {
		t.Fatalf("got %d %s, flushed %t", w.Code, got, w.Flushed)
	}
	var names []string
	var last string
	for event := range strings.SplitSeq(strings.TrimSuffix(w.Body.String(), "\n\n"), "\n\n") {
		name, data, ok := strings.Cut(event, "\ndata: ")
		if !ok {
			t.Fatalf("not an event: %q", event)
		}
		names, last = append(names, strings.TrimPrefix(name, "event: ")), data
	}
	if diff := cmp.Diff([]string{"match", "match", "done"}, names); diff != "" {
		t.Errorf("events (-want +got)\n%s", diff)
	}
	var a Assessment
	if err := json.Unmarshal([]byte(last), &a); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"fever", "cough"}, ruleIDs(a)); diff != "" || a.Patient != "p-001" || a.Score != 3 {
		t.Errorf("patient %q, score %d, rules (-want +got)\n%s", a.Patient, a.Score, diff)
	}
}

func TestStreamsOnlyToThoseWhoAcceptIt(t *testing.T) {
	for accept, want := range map[string]string{
		"":                                    jsonType,
		"*/*":                                 jsonType,
		"application/json":                    jsonType,
		"text/event-stream;q=0":               jsonType,
		"text/event-stream":                   streamType,
		"application/json, text/event-stream": streamType,
	} {
		w := ask(t, newSymptoms(), "POST", "/assess", `{"description": "cough"}`, "Content-Type", jsonType, "Accept", accept)
		if got := w.Header().Get("Content-Type"); got != want {
			t.Errorf("Accept %q: got %s, want %s", accept, got, want)
		}
	}
}

// Whatever is sent, the answer is an assessment or a problem document of a 4xx.
func FuzzAssess(f *testing.F) {
	for _, s := range []string{
		`{"description": "chest pain", "age": 54, "patient": "p-003"}`,
		`{"description": "no fever, can’t sleep; (cough) * '' not"}`,
		`{"description": ""}`, `{"age": null}`, `[`, `{"description": "a", "description": "b"}`, "\x00", `{"description":"\ud800"}`,
	} {
		f.Add([]byte(s))
	}
	h := newSymptoms()
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/assess", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", jsonType)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if !utf8.Valid(w.Body.Bytes()) {
			t.Fatalf("the answer is not UTF-8: %q", w.Body)
		}
		if err := sensible(w); err != nil {
			t.Fatalf("%v\n%q\n%s", err, body, w.Body)
		}
	})
}

func sensible(w *httptest.ResponseRecorder) error {
	strict := json.RejectUnknownMembers(true)
	if w.Code >= 400 && w.Code < 500 {
		return json.Unmarshal(w.Body.Bytes(), new(problem), strict)
	}
	var a Assessment
	if err := json.Unmarshal(w.Body.Bytes(), &a, strict); err != nil {
		return err
	}
	score := 0
	for _, m := range a.Matched {
		score += m.Weight
	}
	if w.Code != 200 || score != a.Score || !slices.Contains([]string{emergency, urgent, routine, selfCare}, a.Urgency) {
		return fmt.Errorf("status %d, urgency %q, score %d of %d", w.Code, a.Urgency, a.Score, score)
	}
	return nil
}
