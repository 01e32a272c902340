package event_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hypostream/hypostream/pkg/event"
)

func TestParseValue(t *testing.T) {
	tests := []struct {
		name  string
		text  string
		micro int64
		flags event.Flags
	}{
		{"a price is exact", "39.9", 39_900_000, 0},
		{"a negative one too", "-39.9", -39_900_000, 0},
		{"a plus sign", "+2", 2_000_000, 0},
		{"zero", "0", 0, 0},
		{"negative zero", "-0.0", 0, 0},
		{"the smallest step", "0.000001", 1, 0},
		{"space around", " 1.5\t", 1_500_000, 0},
		{"an exponent", "1e3", 1_000_000_000, 0},
		{"a negative exponent", "25E-1", 2_500_000, 0},
		{"a signed exponent with zeros", "1e+0006", 1_000_000_000_000, 0},
		{"no digits before the point", ".5", 500_000, 0},
		{"no digits behind the point", "5.", 5_000_000, 0},
		{"a tenth of a millionth is rounded to nothing", "1e-7", 0, event.ValueRounded},
		{"half a millionth goes away from zero", "0.0000005", 1, event.ValueRounded},
		{"… on both sides", "-0.0000005", -1, event.ValueRounded},
		{"just under half", "0.00000049999", 0, event.ValueRounded},
		{"one and a half millionths", "1.5e-6", 2, event.ValueRounded},
		{"two and a half millionths: no banker's rounding", "2.5e-6", 3, event.ValueRounded},
		{"finer zeros round nothing", "1.2345670000000", 1_234_567, 0},
		{"a carry through all digits", "0.9999999", 1_000_000, event.ValueRounded},
		{"more digits than a float holds", "9007199.254740993", 9_007_199_254_741, event.ValueRounded},
		{"the largest", "9223372036854.775807", math.MaxInt64, 0},
		{"the smallest", "-9223372036854.775807", -math.MaxInt64, 0},
		{"a step too large", "9223372036854.775808", math.MaxInt64, event.ValueClamped},
		{"a step too small: the range is symmetric", "-9223372036854.775808", -math.MaxInt64, event.ValueClamped},
		{"rounded over the edge", "9223372036854.7758075", math.MaxInt64, event.ValueClamped | event.ValueRounded},
		{"huge", "1e300", math.MaxInt64, event.ValueClamped},
		{"huge and negative", "-1e300", -math.MaxInt64, event.ValueClamped},
		{"an exponent that nobody should work out", "1e999999999999999999999", math.MaxInt64, event.ValueClamped},
		{"the same below", "-1e-999999999999999999999", 0, event.ValueRounded},
		{"nothing times a huge power", "0e999999999", 0, 0},
		{"zeros in front", strings.Repeat("0", 300) + "7", 7_000_000, 0},
		{"many digits, small exponent", "1" + strings.Repeat("0", 300) + "e-300", 1_000_000, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			micro, flags, err := event.ParseValue(tt.text)
			if err != nil || micro != tt.micro || flags != tt.flags {
				t.Errorf("%q is %d flags %b (%v), want %d flags %b", tt.text, micro, flags, err, tt.micro, tt.flags)
			}
		})
	}
}

func TestParseValueRefusesWhatIsNoFiniteDecimal(t *testing.T) {
	for _, s := range []string{"", " ", "-", "+", ".", "-.", "e", "1e", "1e+", "1e1.5", "e5", "NaN", "Inf", "-Infinity", "0x10", "1_000", "1,5", "1 2", "--1", "1.2.3", "12three", "1" + strings.Repeat("0", 400)} {
		if micro, flags, err := event.ParseValue(s); !errors.Is(err, event.ErrNotANumber) || micro != 0 || flags != 0 {
			t.Errorf("%q gives %d, %b, %v", s, micro, flags, err)
		}
	}
}

// micro does by big rational numbers what ParseValue does by digits.
func micro(t *rapid.T, text string) (int64, event.Flags) {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		t.Fatalf("%q is no number", text)
	}
	r.Mul(r, big.NewRat(1_000_000, 1))
	var flags event.Flags
	n := new(big.Int)
	if r.IsInt() {
		n.Set(r.Num())
	} else {
		flags = event.ValueRounded
		// half away from zero: sign × floor(|r| + 1/2)
		abs := new(big.Rat).Abs(r)
		abs.Add(abs, big.NewRat(1, 2))
		n.Quo(abs.Num(), abs.Denom())
		if r.Sign() < 0 {
			n.Neg(n)
		}
	}
	if limit := big.NewInt(event.MaxValueMicro); n.CmpAbs(limit) > 0 {
		return int64(n.Sign()) * event.MaxValueMicro, flags | event.ValueClamped
	}
	return n.Int64(), flags
}

func TestParseValueAgreesWithRationalNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[+-]?[0-9]{1,16}(\.[0-9]{1,10})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "text")
		want, wantFlags := micro(t, text)
		got, flags, err := event.ParseValue(text)
		// What is clamped at once need not say that it would have been rounded.
		if flags&event.ValueClamped != 0 {
			flags, wantFlags = event.ValueClamped, wantFlags&^event.ValueRounded
		}
		if err != nil || got != want || flags != wantFlags {
			t.Fatalf("%q is %d flags %b (%v), want %d flags %b", text, got, flags, err, want, wantFlags)
		}
	})
}

func FuzzParseValue(f *testing.F) {
	for _, s := range []string{"39.9", "1e-7", "-9223372036854.775808", "1e999999999", "..", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, flags, err := event.ParseValue(s)
		if err != nil {
			return
		}
		if m == math.MinInt64 {
			t.Errorf("%q is below the symmetric range", s)
		}
		// What came out is exact, so it reads back as itself.
		back := fmt.Sprintf("%de-6", m)
		if again, f2, err := event.ParseValue(back); again != m || f2 != 0 || err != nil {
			t.Errorf("%q gives %d (flags %b), and %q gives %d, %b, %v", s, m, flags, back, again, f2, err)
		}
	})
}
