package concurrency

import (
	"errors"
	"strconv"

	"github.com/airside-gateway/airside"
	"github.com/airside-gateway/airside/internal/expr"
)

// A class is how important an exchange is; the lesser is served first.
type class int

const (
	high class = iota
	normal
	low
	classes
)

// named is the class that text names: by its name, or by a number.
func named(text string) (class, bool) {
	switch text {
	case "high":
		return high, true
	case "normal":
		return normal, true
	case "low":
		return low, true
	}
	n, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil:
		return normal, false
	case n > 0:
		return high, true
	case n < 0:
		return low, true
	}
	return normal, true
}

// A priority finds the class of an exchange.
type priority struct {
	fixed   class
	program *expr.Program // or nil
}

func newPriority(text, where string) (priority, error) {
	if text == "" {
		return priority{fixed: normal}, nil
	}
	if c, ok := named(text); ok {
		return priority{fixed: c}, nil
	}
	p, err := expr.Compile(text, expr.String, expr.At(where+" priority"))
	return priority{program: p}, err
}

// of returns the class of x: normal if the expression comes to nothing. An error is the
// client's fault.
func (p priority) of(x *airside.Exchange) (class, error) {
	if p.program == nil {
		return p.fixed, nil
	}
	text, err := p.program.Text(x)
	if e, ok := errors.AsType[*airside.Error](err); ok {
		return normal, e
	}
	c, _ := named(text)
	return c, nil
}
