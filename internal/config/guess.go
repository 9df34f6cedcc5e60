package config

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// maxGuessed is the length of the longest word that is guessed at, in bytes.
	maxGuessed = 64

	// maxGuesses bounds the comparisons made for one file, so that a large file
	// that is wrong everywhere is refused as fast as one that is wrong once.
	maxGuesses = 2_000_000

	// maxListed is how many possible words a message lists.
	maxListed = 32

	// maxForm is how many keys a message lists where something else than a mapping of
	// them stands.
	maxForm = 12
)

// others are words that other gateways use for what Airside calls otherwise.
var others = []struct {
	ours  string
	words string // folded
}{
	{"upstreams", "backends clusters services targets"},
	{"policies", "plugins filters middleware middlewares"},
	{"routes", "rules paths"},
	{"listen", "listeners server servers"},
	{"address", "addr bind port"},
	{"to", "backend upstream target service destination"},
	{"use", "policies plugins filters middleware middlewares"},
	{"path", "prefix uri"},
	{"when", "condition if"},
	{"strip", "stripprefix"},
	{"cert", "certificate"},
	{"certs", "certificates"},
	{"key", "privatekey"},
	{"balance", "lb lbpolicy loadbalancer loadbalancing slowstart zone"},
	{"health", "healthcheck healthchecks healthchecking"},
	{"eject", "outlier outlierdetection ejection passivehealth"},
	{"breaker", "circuitbreaker circuitbreakers circuitbreaking"},
	{"errors", "failures threshold maxfailures maxfails consecutiveerrors consecutivefailures"},
	{"for", "duration basetime baseejectiontime timeout"},
	{"retry", "retries"},
	{"attempts", "max maxattempts maxretries numretries retries"},
	{"hedge", "hedging"},
	{"discover", "discovery servicediscovery"},
	{"connections", "maxconnections pool connectionpool"},
	{"traces", "tracing"},
	{"otlp", "endpoint url collector exporter"},
	{"telemetry", "metrics log logs logging accesslog traces tracing observability"},
}

// meant phrases a guess. Without one it lists what is possible.
func meant(near string, possible []string) string {
	if near != "" {
		return fmt.Sprintf(" (did you mean %q?)", near)
	}
	if len(possible) == 0 || len(possible) > maxListed {
		return ""
	}
	return " (possible here: " + strings.Join(possible, ", ") + ")"
}

// nearest returns the one of possible that word is most likely a slip of, or "".
// Of several equally near the first is returned.
func (d *decoder) nearest(word string, possible []string) string {
	if word == "" || len(word) > maxGuessed || d.guesses+len(possible) > maxGuesses {
		return ""
	}
	d.guesses += len(possible)
	plain := folded(word)
	best, bound := "", allowance(word)+1
	for _, p := range possible {
		if folded(p) == plain {
			return p
		}
		if n := distance(word, p, bound); n < bound {
			best, bound = p, n
		}
	}
	if best != "" {
		return best
	}
	for _, o := range others {
		if slices.Contains(possible, o.ours) && slices.Contains(strings.Fields(o.words), plain) {
			return o.ours
		}
	}
	return ""
}

// folded is word without case and without the signs that join words.
func folded(word string) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == ' ' {
			return -1
		}
		return r
	}, word))
}

// allowance is how many slips a word of this length may hold.
func allowance(word string) int {
	switch {
	case len(word) <= 1:
		return 0
	case len(word) <= 3:
		return 1
	case len(word) <= 6:
		return 2
	}
	return 3
}

// distance counts the letters to insert, delete, replace, or swap with their
// neighbour, to make b of a (optimal string alignment). It gives up with bound
// when the lengths alone differ by as much.
func distance(a, b string, bound int) int {
	if len(a)-len(b) >= bound || len(b)-len(a) >= bound {
		return bound
	}
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			differs := 0
			if a[i-1] != b[j-1] {
				differs = 1
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+differs)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}
