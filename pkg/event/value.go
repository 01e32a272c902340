package event

import (
	"errors"
	"math/big"
	"strings"
)

// ErrNotANumber is returned for text that is no finite decimal number.
var ErrNotANumber = errors.New("not a finite decimal number")

// maxNumberBytes bounds the text of a number: enough for any float64 written
// out in full, too little to make big-number arithmetic an attack.
const maxNumberBytes = 400

// maxExponentDigits keeps "1e999999999" from being worked out.
const maxExponentDigits = 4

// ParseValue turns the decimal text of a KPI value ("39.9", "-1e3") into
// millionths, exactly: no float is on the way. What is finer than a millionth
// is rounded half away from zero, what is beyond ±MaxValueMicro stands at that
// bound, and the flags say so.
func ParseValue(s string) (micro int64, flags Flags, err error) {
	s = strings.TrimSpace(s)
	if m, ok := parseShort(s); ok {
		return m, 0, nil
	}
	return parseLong(s)
}

// parseShort takes the common case: up to 12 digits before the point and six
// behind it, no exponent.
func parseShort(s string) (int64, bool) {
	i, neg := 0, false
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		neg = s[i] == '-'
		i++
	}
	start := i
	var n int64
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		n = n*10 + int64(s[i]-'0')
		i++
		if i-start > 12 {
			return 0, false
		}
	}
	if i == start {
		return 0, false
	}
	frac := 0
	if i < len(s) && s[i] == '.' {
		i++
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			n = n*10 + int64(s[i]-'0')
			frac++
			i++
			if frac > 6 {
				return 0, false
			}
		}
		if frac == 0 {
			return 0, false
		}
	}
	if i != len(s) {
		return 0, false
	}
	for ; frac < 6; frac++ {
		n *= 10
	}
	if neg {
		n = -n
	}
	return n, true
}

func parseLong(s string) (int64, Flags, error) {
	if s == "" || len(s) > maxNumberBytes {
		return 0, 0, ErrNotANumber
	}
	neg := false
	body := s
	if body[0] == '-' || body[0] == '+' {
		neg = body[0] == '-'
		body = body[1:]
	}
	mantissa, exp := body, ""
	if i := strings.IndexAny(body, "eE"); i >= 0 {
		mantissa, exp = body[:i], body[i+1:]
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	if whole == "" && frac == "" || !digits(whole) || !digits(frac) {
		return 0, 0, ErrNotANumber
	}
	e, ok := exponent(exp, body)
	if !ok {
		return 0, 0, ErrNotANumber
	}
	d := strings.TrimLeft(whole+frac, "0")
	if d == "" {
		return 0, 0, nil
	}
	// value × 10⁶ = d × 10^shift
	shift := e - len(frac) + 6
	var flags Flags
	n := new(big.Int)
	switch {
	case len(d)+shift > 20:
		return bound(neg), ValueClamped, nil
	case shift >= 0:
		n.SetString(d, 10)
		n.Mul(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(shift)), nil))
	case len(d)+shift < 0:
		return 0, ValueRounded, nil // below a tenth of a millionth
	default:
		keep := len(d) + shift
		n.SetString("0"+d[:keep], 10)
		rest := d[keep:]
		if strings.TrimRight(rest, "0") != "" {
			flags |= ValueRounded
		}
		if rest[0] >= '5' {
			n.Add(n, big.NewInt(1))
		}
	}
	if neg {
		n.Neg(n)
	}
	if !n.IsInt64() || n.Int64() == -MaxValueMicro-1 {
		return bound(neg), flags | ValueClamped, nil
	}
	return n.Int64(), flags, nil
}

func bound(neg bool) int64 {
	if neg {
		return -MaxValueMicro
	}
	return MaxValueMicro
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// exponent reads what follows the "e"; body tells "no exponent" from "e" with
// nothing behind it.
func exponent(s, body string) (int, bool) {
	if s == "" {
		return 0, !strings.ContainsAny(body, "eE")
	}
	neg := false
	if s[0] == '-' || s[0] == '+' {
		neg = s[0] == '-'
		s = s[1:]
	}
	if s == "" || !digits(s) {
		return 0, false
	}
	s = strings.TrimLeft(s, "0")
	if len(s) > maxExponentDigits {
		s = "99999"[:maxExponentDigits+1]
	}
	n := 0
	for i := range len(s) {
		n = n*10 + int(s[i]-'0')
	}
	if neg {
		n = -n
	}
	return n, true
}
