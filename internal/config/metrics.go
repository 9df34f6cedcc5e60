package config

import (
	"errors"

	"github.com/airside-gateway/airside"
)

// Metrics says what is counted for Prometheus, which reads it at /metrics of the
// administration.
type Metrics struct {
	// Series is how many series a metric of exchanges has at most, from 10 to 100000. What
	// comes beyond is counted under the label value _overflow. It bounds the endpoints of
	// upstreams that are shown, too. The default is 2000.
	Series int `yaml:"series"`

	// Caller counts exchanges by caller, too, in the label airside_caller; callers may take
	// half of the series. The default is false.
	Caller bool `yaml:"caller"`

	// Off is set by writing "metrics: off": nothing is counted.
	Off bool `yaml:"-"`
}

// The bounds of the series.
const (
	leastSeries   = 10
	maxSeries     = 100_000
	defaultSeries = 2000
)

// Defaults sets the number of series.
func (m *Metrics) Defaults() { m.Series = defaultSeries }

// UnmarshalText reads "off".
func (m *Metrics) UnmarshalText(b []byte) error {
	if string(b) != "off" {
		return errors.New("expected off, or a mapping of series and caller (without the key metrics are on)")
	}
	m.Off = true
	return nil
}

// Validate checks the number of series.
func (m *Metrics) Validate() error {
	if m.Series < leastSeries || m.Series > maxSeries {
		return airside.FieldErrorf("series", "must be from %d to %d", leastSeries, maxSeries)
	}
	return nil
}
