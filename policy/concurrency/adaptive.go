package concurrency

import (
	"errors"
	"net/http"

	"github.com/airside-gateway/airside"
)

// Adaptive makes the limit follow how long answers take.
type Adaptive struct {
	// Min is the least that the limit falls to: 1 to 1000000. Default 2.
	Min int `yaml:"min"`
	// Max is the most that it rises to. Default: max of the policy, or 1000.
	Max int `yaml:"max"`
	// Start is what it begins with. Default 20, within min and max.
	Start int `yaml:"start"`
	// Tolerance is how many times longer than with little under way an answer may take
	// before the limit falls: 1.1 to 10. Default 1.5.
	Tolerance float64 `yaml:"tolerance"`
}

const (
	usualMin       = 2
	usualMax       = 1000
	usualStart     = 20
	usualTolerance = 1.5
	leastTolerance = 1.1
	mostTolerance  = 10
)

// Defaults fills in what is usually left out.
func (a *Adaptive) Defaults() { *a = Adaptive{Min: usualMin, Tolerance: usualTolerance} }

// Validate refuses settings that cannot work.
func (a *Adaptive) Validate() error {
	var errs []error
	if a.Min < 1 || a.Min > maxCount {
		errs = append(errs, airside.FieldErrorf("min", "must be from 1 to %d", maxCount))
	}
	if a.Max != 0 && (a.Max < a.Min || a.Max > maxCount) {
		errs = append(errs, airside.FieldErrorf("max", "must be from min to %d", maxCount))
	}
	if a.Start != 0 && (a.Start < a.Min || a.Max != 0 && a.Start > a.Max) {
		errs = append(errs, airside.FieldErrorf("start", "must be from min to max"))
	}
	if a.Tolerance < leastTolerance || a.Tolerance > mostTolerance {
		errs = append(errs, airside.FieldErrorf("tolerance", "must be from %v to %v", leastTolerance, mostTolerance))
	}
	return errors.Join(errs...)
}

// bounds are those of the adaptive limit, or nil without one.
func (c *Config) bounds() (*bounds, error) {
	a := c.Adaptive
	if a == nil {
		return nil, nil //nolint:nilnil // there are none
	}
	b := &bounds{least: float64(a.Min), most: float64(a.Max), tolerance: a.Tolerance}
	if b.most == 0 {
		b.most = max(usualMax, b.least)
		if c.Max != 0 {
			b.most = float64(c.Max)
		}
	}
	if b.most < b.least {
		return nil, airside.FieldErrorf("adaptive.min", "must not be more than max")
	}
	b.start = min(max(usualStart, b.least), b.most)
	if a.Start != 0 {
		b.start = min(float64(a.Start), b.most)
	}
	return b, nil
}

// A verdict is what an answer tells of the load.
type verdict int

const (
	nothing    verdict = iota // the agent failed for another reason, or the client left
	told                      // its time tells
	overloaded                // the agent had too much to do
)

func judge(resp *http.Response, err error) verdict {
	if err != nil {
		switch airside.AsError(err).Code { //nolint:exhaustive // the others tell nothing
		case airside.Unavailable, airside.Timeout:
			return overloaded
		}
		return nothing
	}
	switch s := resp.StatusCode; {
	case s == http.StatusServiceUnavailable, s == http.StatusTooManyRequests, s == http.StatusGatewayTimeout:
		return overloaded
	case s >= http.StatusInternalServerError:
		return nothing
	}
	return told
}
