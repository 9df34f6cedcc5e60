package config

import (
	"errors"
	"time"

	"github.com/airside-gateway/airside"
)

// Overload says when exchanges are refused because the gateway itself has too much to do.
type Overload struct {
	// Off is set by writing "overload: off": nothing is refused.
	Off bool `yaml:"-"`

	// Memory says at which use of the memory limit exchanges are refused. The limit is
	// GOMEMLIMIT or, without it, nine tenths of that of the container. Where there is
	// none, memory refuses nothing.
	Memory OverloadMemory `yaml:"memory"`

	// Wait is how long goroutines may wait for a processor, half of them and over half a
	// second: from there on heavy exchanges are refused, from twice that all. The default
	// is 200ms; 0 is never.
	Wait time.Duration `yaml:"wait"`
}

// OverloadMemory is marks of memory, in percent of the limit. 0 is never.
type OverloadMemory struct {
	// Heavy is from where on heavy exchanges are refused: event streams, upgrades, and
	// requests whose body has 1MiB or more, or an unknown length. The default is 90.
	Heavy int `yaml:"heavy"`

	// All is from where on all are. The default is 95.
	All int `yaml:"all"`
}

// Defaults sets the marks.
func (o *Overload) Defaults() {
	*o = Overload{Memory: OverloadMemory{Heavy: 90, All: 95}, Wait: 200 * time.Millisecond}
}

// UnmarshalText reads "off".
func (o *Overload) UnmarshalText(b []byte) error {
	if string(b) != "off" {
		return errors.New("expected off, or a mapping of memory and wait (without the key it is on)")
	}
	o.Off = true
	return nil
}

// Validate checks the marks.
func (o *Overload) Validate() error {
	var errs []error
	m := o.Memory
	if m.Heavy < 0 || m.Heavy > 100 {
		errs = append(errs, airside.FieldErrorf("memory.heavy", "must be from 0 to 100 percent"))
	}
	if m.All < 0 || m.All > 100 {
		errs = append(errs, airside.FieldErrorf("memory.all", "must be from 0 to 100 percent"))
	}
	if m.Heavy > 0 && m.All > 0 && m.All < m.Heavy {
		errs = append(errs, airside.FieldErrorf("memory.all", "must not be less than heavy"))
	}
	if o.Wait != 0 && o.Wait < time.Millisecond || o.Wait > time.Minute {
		errs = append(errs, airside.FieldErrorf("wait", "must be 0, or from 1ms to 1m"))
	}
	return errors.Join(errs...)
}
