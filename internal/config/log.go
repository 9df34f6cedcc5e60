package config

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/expr"
)

// Log says what is logged, and how. What stands below fields, add, filter, errors and
// sample is about the line of an exchange, not about other lines.
type Log struct {
	// Level is the least of what is logged: debug, info, warn or error. The default
	// is info.
	Level string `yaml:"level" enum:"debug,info,warn,error"`

	// Format is text for people, json or logfmt for machines, or auto: text on a terminal
	// and json elsewhere. The default is auto.
	Format string `yaml:"format" enum:"auto,json,logfmt,text"`

	// Fields says which fields a line has. The default is all that are known.
	Fields LogFields `yaml:"fields"`

	// Add adds fields: each is a CEL expression over request, call and caller, whose text
	// is cut at 1KiB. A field whose expression comes to nothing is left out. At most 32.
	Add map[string]string `yaml:"add"`

	// Filter is a condition in CEL over request, call, caller, response.status, error.code
	// and took: only exchanges for which it is true are logged. The default is all.
	Filter string `yaml:"filter"`

	// Errors says whether exchanges that failed by a fault of the gateway or of an agent (a
	// status from 500 on, or an answer that broke off) are logged whatever filter says:
	// always, or filtered. The default is always.
	Errors string `yaml:"errors" enum:"always,filtered"`

	// Sample is which part of the successes is logged, above 0 and at most 1: those with a
	// status below 400 and a whole answer. The default is 1.
	Sample float64 `yaml:"sample"`
}

// LogFields says which fields the line of an exchange has.
type LogFields struct {
	// Include lists the fields that are written. The default is all.
	Include []string `yaml:"include,single"`

	// Exclude lists the fields that are not.
	Exclude []string `yaml:"exclude,single"`

	// Rename gives fields other names.
	Rename map[string]string `yaml:"rename"`

	// Request lists headers of the request that become fields, called
	// request.header.user-agent and so on. Those that hold credentials are refused.
	Request []string `yaml:"request,single"`

	// Response lists headers of the answer that do, called response.header.server and so on.
	Response []string `yaml:"response,single"`
}

// LogNames are the fields of the line of an exchange, in the order of writing. Time, level
// and msg come before them.
func LogNames() []string {
	return []string{
		"id", "client", "method", "host", "path", "status", "took", "in", "out", "http", "route", "upstream", "endpoint",
		"caller", "target", "tries", "failed", "trace_id", "span_id", "err",
	}
}

const maxLogged = 32 // fields that are added, and headers of one kind

var logName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,63}$`)

// Defaults sets everything that has a default.
func (l *Log) Defaults() {
	l.Level, l.Format, l.Errors, l.Sample = "info", "auto", "always", 1
}

// Validate compiles the expressions, and checks names.
func (l *Log) Validate() error {
	errs := []error{l.Fields.check()}
	if l.Sample <= 0 || l.Sample > 1 {
		errs = append(errs, airside.FieldErrorf("sample", "must be above 0 and at most 1"))
	}
	if len(l.Add) > maxLogged {
		errs = append(errs, airside.FieldErrorf("add", "must be at most %d", maxLogged))
	}
	written, err := l.Fields.written()
	errs = append(errs, err)
	taken := append(LogNames(), written...)
	for _, name := range slices.Sorted(maps.Keys(l.Add)) {
		switch {
		case !logName.MatchString(name):
			errs = append(errs, airside.FieldErrorf("add."+name, "%s", logRule))
		case slices.Contains(taken, name):
			errs = append(errs, airside.FieldErrorf("add."+name, "there is a field of this name already"))
		}
		if _, err := expr.Compile(l.Add[name], expr.String); err != nil {
			errs = append(errs, airside.FieldErrorf("add."+name, "%w", err))
		}
	}
	if l.Filter != "" {
		if err := checkFilter(l.Filter); err != nil {
			errs = append(errs, airside.FieldErrorf("filter", "%w", err))
		}
	}
	return errors.Join(errs...)
}

const logRule = "a name has 1 to 64 letters, digits, dots, hyphens and underscores, and begins with a letter or an underscore"

func checkFilter(src string) error {
	if strings.Contains(src, "response.headers") {
		return errors.New("response.headers is not known when the line is written: write response.status, or have the header as a field")
	}
	_, err := expr.Compile(src, expr.Bool, expr.WithOutcome())
	return err
}

func (f *LogFields) check() error {
	var errs []error
	known := LogNames()
	unknown := func(field, name string) {
		if !slices.Contains(known, name) {
			errs = append(errs, airside.FieldErrorf(field, "%q is no field of the line: there are %s", cut(name, 40), strings.Join(known, ", ")))
		}
	}
	for i, name := range f.Include {
		unknown(fmt.Sprintf("fields.include[%d]", i), name)
	}
	for i, name := range f.Exclude {
		unknown(fmt.Sprintf("fields.exclude[%d]", i), name)
	}
	for _, name := range slices.Sorted(maps.Keys(f.Rename)) {
		unknown("fields.rename."+name, name)
		if !logName.MatchString(f.Rename[name]) {
			errs = append(errs, airside.FieldErrorf("fields.rename."+name, "%s", logRule))
		}
	}
	errs = append(errs, headerFields("fields.request", f.Request), headerFields("fields.response", f.Response))
	return errors.Join(errs...)
}

// written are the names that a line has without those that are added. A name that two
// fields would have is an error: of the one that was renamed, or listed again.
func (f *LogFields) written() ([]string, error) {
	out := []string{"time", "level", "msg"}
	var errs []error
	add := func(at, name string) {
		if slices.Contains(out, name) {
			errs = append(errs, airside.FieldErrorf(at, "there is a field called %q already", cut(name, 80)))
		}
		out = append(out, name)
	}
	var renamed []string
	for _, name := range LogNames() {
		switch {
		case len(f.Include) > 0 && !slices.Contains(f.Include, name), slices.Contains(f.Exclude, name):
		case f.Rename[name] != "":
			renamed = append(renamed, name)
		default:
			add("fields", lineKey(name, name))
		}
	}
	for _, name := range renamed {
		add("fields.rename."+name, lineKey(name, f.Rename[name]))
	}
	for i, name := range f.Request {
		add(fmt.Sprintf("fields.request[%d]", i), "request.header."+strings.ToLower(name))
	}
	for i, name := range f.Response {
		add(fmt.Sprintf("fields.response[%d]", i), "response.header."+strings.ToLower(name))
	}
	return out, errors.Join(errs...)
}

// lineKey is how the key of a field is written that is called so: a duration says that it
// is in milliseconds.
func lineKey(field, called string) string {
	if field == "took" {
		return called + "_ms"
	}
	return called
}

func headerFields(field string, names []string) error {
	var errs []error
	if len(names) > maxLogged {
		errs = append(errs, airside.FieldErrorf(field, "must be at most %d", maxLogged))
	}
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case !logName.MatchString(name):
			errs = append(errs, airside.FieldErrorf(at, "is not the name of a header"))
		case secretKey(name):
			errs = append(errs, airside.FieldErrorf(at, "holds credentials, which are not logged"))
		}
	}
	return errors.Join(errs...)
}
