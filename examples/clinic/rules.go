package clinic

import (
	_ "embed"
	"encoding/json/v2"
)

//go:embed rules.json
var rulesFile []byte

// The urgencies, most urgent first.
const (
	emergency = "emergency"
	urgent    = "urgent"
	routine   = "routine"
	selfCare  = "self-care"
)

// An Assessment says how urgent a complaint is, and why. The symptoms agent
// gives it, the treatment agent takes it.
type Assessment struct {
	Patient string  `json:"patient,omitempty"` // the id that the request named
	Urgency string  `json:"urgency"`           // emergency, urgent, routine or self-care
	Score   int     `json:"score"`             // sum of the weights of what matched
	Matched []Match `json:"matched"`
	Advice  string  `json:"advice"`
	Notice  string  `json:"notice"`
}

// A Match is a rule that matched, and the reason it is there.
type Match struct {
	Rule    string `json:"rule"`
	Name    string `json:"name"`
	Weight  int    `json:"weight"`
	RedFlag bool   `json:"red_flag,omitzero"` // makes it an emergency by itself
	Reason  string `json:"reason"`
}

// ruleTable is rules.json. A rule matches when one sentence of the description
// has, for each list of its "all", at least one term that nothing negates.
type ruleTable struct {
	Notice     string            `json:"notice"`
	Thresholds thresholds        `json:"thresholds"`
	Advice     map[string]string `json:"advice"` // by urgency, and "unknown"
	Negations  []string          `json:"negations"`
	AgeWeights []ageWeight       `json:"age_weights"`
	Rules      []rule            `json:"rules"`
}

// thresholds are the least scores of the urgencies; below routine it is self-care.
type thresholds struct {
	Emergency int `json:"emergency"`
	Urgent    int `json:"urgent"`
	Routine   int `json:"routine"`
}

type ageWeight struct {
	ID     string `json:"id"`
	From   int    `json:"from"`  // years, included
	Below  int    `json:"below"` // years, excluded; 0: no bound
	Weight int    `json:"weight"`
	Reason string `json:"reason"`
}

type rule struct {
	ID      string     `json:"id"`
	Name    string     `json:"name"`
	Weight  int        `json:"weight"`
	RedFlag bool       `json:"red_flag"`
	Below   int        `json:"below"` // only for people younger than this many years; 0: everyone
	All     [][]string `json:"all"`
	Reason  string     `json:"reason"`

	terms [][]term
}

func readRules() *ruleTable {
	t := new(ruleTable)
	mustDecode("rules.json", rulesFile, t, json.RejectUnknownMembers(true))
	for i := range t.Rules {
		r := &t.Rules[i]
		r.terms = make([][]term, len(r.All))
		for j, group := range r.All {
			for _, text := range group {
				r.terms[j] = append(r.terms[j], newTerm(text))
			}
		}
	}
	return t
}

// matches calls each for every rule that matches, in the order of the table, and
// then for the weight of the age, if there was any. Age is nil where unknown. It
// stops when each returns false.
func (t *ruleTable) matches(description string, age *int, each func(Match) bool) {
	text := sentences(description)
	matched := false
	for i := range t.Rules {
		r := &t.Rules[i]
		if !r.concerns(age) || !r.matches(text, t.Negations) {
			continue
		}
		matched = true
		if !each(Match{Rule: r.ID, Name: r.Name, Weight: r.Weight, RedFlag: r.RedFlag, Reason: r.Reason}) {
			return
		}
	}
	if !matched || age == nil {
		return
	}
	for _, w := range t.AgeWeights {
		if *age >= w.From && (w.Below == 0 || *age < w.Below) &&
			!each(Match{Rule: w.ID, Name: "Age", Weight: w.Weight, Reason: w.Reason}) {
			return
		}
	}
}

func (r *rule) concerns(age *int) bool { return r.Below == 0 || age != nil && *age < r.Below }

func (r *rule) matches(text []sentence, negations []string) bool {
	for _, s := range text {
		if r.matchesSentence(s, negations) {
			return true
		}
	}
	return false
}

func (r *rule) matchesSentence(s sentence, negations []string) bool {
	for _, group := range r.terms {
		if !anyIn(group, s, negations) {
			return false
		}
	}
	return true
}

func anyIn(group []term, s sentence, negations []string) bool {
	for _, t := range group {
		if t.in(s, negations) {
			return true
		}
	}
	return false
}

// conclude makes an assessment of what matched.
func (t *ruleTable) conclude(patient string, matched []Match) Assessment {
	a := Assessment{Patient: patient, Matched: matched, Urgency: selfCare, Notice: t.Notice}
	redFlag := false
	for _, m := range matched {
		a.Score += m.Weight
		redFlag = redFlag || m.RedFlag
	}
	switch {
	case len(matched) == 0: // no word of it is known: that is not "self-care"
		a.Urgency, a.Matched, a.Advice = routine, []Match{}, t.Advice["unknown"]
		return a
	case redFlag || a.Score >= t.Thresholds.Emergency:
		a.Urgency = emergency
	case a.Score >= t.Thresholds.Urgent:
		a.Urgency = urgent
	case a.Score >= t.Thresholds.Routine:
		a.Urgency = routine
	}
	a.Advice = t.Advice[a.Urgency]
	return a
}
