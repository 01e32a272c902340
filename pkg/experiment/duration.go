package experiment

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time written as "14d", "72h" or "30m": whole days
// (of 24 hours), or what time.ParseDuration reads.
type Duration time.Duration

// ParseDuration reads "14d", "1d12h", "72h", "90s"; "" and "0" are 0.
func ParseDuration(s string) (Duration, error) {
	if s == "" || s == "0" {
		return 0, nil
	}
	days, rest, found := strings.Cut(s, "d")
	if !found {
		days, rest = "0", s
	}
	n, err := strconv.ParseInt(days, 10, 32)
	if err != nil || n < 0 || n > 36500 {
		return 0, fmt.Errorf("duration %q: want days and hours such as 14d, 36h or 1d12h", s)
	}
	d := time.Duration(n) * 24 * time.Hour
	if rest != "" {
		r, err := time.ParseDuration(rest)
		if err != nil || r < 0 {
			return 0, fmt.Errorf("duration %q: want days and hours such as 14d, 36h or 1d12h", s)
		}
		if d += r; d < 0 {
			return 0, fmt.Errorf("duration %q: longer than can be counted", s)
		}
	}
	return Duration(d), nil
}

// String is the form that ParseDuration reads.
func (d Duration) String() string {
	const day = 24 * time.Hour
	t := time.Duration(d)
	if t == 0 {
		return "0"
	}
	if t%day == 0 {
		return strconv.FormatInt(int64(t/day), 10) + "d"
	}
	return t.String()
}

// MarshalText writes what ParseDuration reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := ParseDuration(string(b))
	*d = v
	return err
}
