package expr

// took is the variable that says how long the exchange took.
const took = "took"

// WithOutcome is [WithAnswer] for an exchange that has ended: it adds the variable took,
// a duration, from the head of the request to the last byte of the answer.
func WithOutcome() Option {
	return func(s *settings) {
		WithAnswer()(s)
		s.only = append(s.only, took)
	}
}
