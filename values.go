package airside

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

// A Secret is a string that is never printed: not by fmt, not in a log, not in
// a dump. Convert it to string where it is used.
type Secret string

const masked = "***"

// String masks the secret.
func (Secret) String() string { return masked }

// GoString masks the secret for %#v.
func (Secret) GoString() string { return masked }

// Format masks the secret for every verb of fmt.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(masked)) }

// LogValue masks the secret for slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalText masks the secret for JSON and its like.
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// A Size is a number of bytes, written "64KiB", "10MiB", "1GB" or "512".
type Size int64

// sizes lists the units, longest first where one ends in another.
var sizes = []struct {
	unit  string
	bytes int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
	{"", 1},
}

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	in := strings.TrimSpace(string(text))
	for _, u := range sizes {
		num, ok := strings.CutSuffix(in, u.unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(num), 10, 64)
		if err != nil || n < 0 {
			break
		}
		if n > (1<<62)/u.bytes {
			return fmt.Errorf("%q is too large a size", in)
		}
		*s = Size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is not a size such as 64KiB or 10MiB", in)
}

// String writes the size in the largest binary unit that divides it.
func (s Size) String() string {
	for _, u := range []int{3, 2, 1, 0} {
		if n := sizes[u].bytes; s != 0 && int64(s)%n == 0 {
			return strconv.FormatInt(int64(s)/n, 10) + sizes[u].unit
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// MarshalText is String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Later is the type of a setting that a later version brings. The configuration
// refuses it by name, so that nobody believes it to be in force.
type Later struct{}
