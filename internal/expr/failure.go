package expr

import "strings"

// failures are the ways for an evaluation to fail, by how CEL's message begins. What
// follows there is a piece of the expression or of the request, which the log must
// not show: the expression may be made of references, and the request of passwords.
var failures = [...]struct{ begins, words string }{
	{"no such key", "no such key: something is missing from a map (ask by has(), or [?...].orValue())"},
	{"no such overload", "no such overload: an operator or a function does not work with values of these types"},
	{"no such field", "no such field"},
	{"no such attribute", "no such attribute"},
	{"index out of", "index out of range"},
	{"index '", "index out of range"},
	{"invalid index", "index out of range"},
	{"division by zero", "division by zero"},
	{"modulus by zero", "modulus by zero"},
	{"integer overflow", "integer overflow"},
	{"unsigned integer overflow", "integer overflow"},
	{"return error for overflow", "integer overflow"},
	{"type conversion error", "type conversion error: a value cannot be made one of the type that is asked for"},
	{"unsupported type conversion", "type conversion error: a value cannot be made one of the type that is asked for"},
	{"strconv.", "type conversion error: a value cannot be made one of the type that is asked for"},
	{"invalid RFC 3339 timestamp", "type conversion error: a text is no time"},
	{"time:", "type conversion error: a text is no duration"},
	{"optional.none() dereference", "a value is asked for that is not there (optional.none)"},
	{"NaN values cannot be ordered", "NaN values cannot be ordered"},
	{"operation cancelled: actual cost limit exceeded", "it takes too long: the cost limit is exceeded"},
	{"error parsing regexp", "a pattern is no regular expression (RE2)"},
	{"regex program size", "a pattern is too large"},
	{"the text would be longer", "the text would be longer than 65536 bytes"},
	{"replace takes", "replace takes text"},
	{"join takes", "join takes a list of text"},
}

// failure is what went wrong, in words without values. A failure that is not of the
// list is told as one, and no more.
func failure(err error) string {
	message := strings.TrimPrefix(err.Error(), "evaluation error: ")
	for _, f := range failures {
		if strings.HasPrefix(message, f.begins) {
			return f.words
		}
	}
	return "it cannot be evaluated on this request"
}
