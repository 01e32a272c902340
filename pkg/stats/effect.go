package stats

import "math"

// Code says why a number could not be worked out, or is not to be leaned on.
// The numbers beside it are then neutral: no effect, p 1, an even chance.
type Code string

// The codes.
const (
	OK           Code = ""
	NoUnits      Code = "no_units"      // an arm has no units
	TooFewUnits  Code = "too_few_units" // a variance needs two units
	ZeroVariance Code = "zero_variance" // the units of both arms are all alike
	ZeroBaseline Code = "zero_baseline" // no relative effect over a mean of zero
	BadInput     Code = "bad_input"     // a negative variance, a NaN, an α outside (0, 1)
)

// Effect is the difference of two arms with its standard error.
type Effect struct {
	Estimate float64
	SE       float64
	DF       float64 // Welch–Satterthwaite degrees of freedom, of the absolute difference
}

// Absolute is treatment − control.
func Absolute(control, treatment Summary) (Effect, Code) {
	if c := check(control, treatment); c != OK {
		return Effect{}, c
	}
	vc, vt := control.Variance/float64(control.N), treatment.Variance/float64(treatment.N)
	if vc+vt <= 0 {
		return Effect{Estimate: treatment.Mean - control.Mean}, ZeroVariance
	}
	df := (vc + vt) * (vc + vt) / (vc*vc/float64(control.N-1) + vt*vt/float64(treatment.N-1))
	return Effect{Estimate: treatment.Mean - control.Mean, SE: math.Sqrt(vc + vt), DF: df}, OK
}

// Relative is (treatment − control) / |control|, its standard error by the
// delta method for independent arms. The absolute value keeps the direction
// over a negative baseline.
func Relative(control, treatment Summary) (Effect, Code) {
	e, code := Absolute(control, treatment)
	if code != OK && code != ZeroVariance {
		return Effect{}, code
	}
	m := control.Mean
	if m == 0 {
		return Effect{}, ZeroBaseline
	}
	vc, vt := control.Variance/float64(control.N), treatment.Variance/float64(treatment.N)
	e.Estimate /= math.Abs(m)
	e.SE = math.Sqrt(vt/(m*m) + vc*treatment.Mean*treatment.Mean/(m*m*m*m))
	if !finite(e.Estimate) || !finite(e.SE) {
		return Effect{}, BadInput
	}
	return e, code
}

func check(arms ...Summary) Code {
	for _, a := range arms {
		switch {
		case !finite(a.Mean) || !finite(a.Variance) || a.Variance < 0:
			return BadInput
		case a.N == 0:
			return NoUnits
		}
	}
	for _, a := range arms {
		if a.N < 2 {
			return TooFewUnits
		}
	}
	return OK
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
