package stats

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// Side is what a test looks for.
type Side string

// The sides.
const (
	TwoSided Side = "two_sided" // any effect
	Greater  Side = "greater"   // an effect above the null; the interval has no upper end
	Less     Side = "less"      // an effect below the null; the interval has no lower end
)

// Test is the outcome of a test of an effect against a null value.
type Test struct {
	Estimate float64  `json:"estimate"`
	SE       float64  `json:"se"`
	Low      *float64 `json:"low"`  // nil: no lower end
	High     *float64 `json:"high"` // nil: no upper end
	P        float64  `json:"p"`
	Code     Code     `json:"code,omitempty"`
}

// Neutral is the outcome where there is none: no effect, p 1, and why.
func Neutral(code Code) Test {
	zero := [2]float64{}
	return Test{Low: &zero[0], High: &zero[1], P: 1, Code: code}
}

// TTest is Welch's test of an effect against null, one-sided or two-sided.
func TTest(e Effect, null, alpha float64, side Side) Test {
	return locate(e, null, side,
		func(z float64) float64 { return StudentCDF(z, e.DF) },
		func(tail float64) float64 { return -StudentQuantile(tail, e.DF) }, alpha)
}

// ZTest is the unpooled normal test of an effect against null; TTest for large
// samples.
func ZTest(e Effect, null, alpha float64, side Side) Test {
	return locate(e, null, side, NormalCDF, zOne, alpha)
}

func locate(e Effect, null float64, side Side, cdf, critical func(float64) float64, alpha float64) Test {
	if !(e.SE > 0) {
		return Neutral(ZeroVariance)
	}
	if !(alpha > 0 && alpha < 1) || !finite(e.Estimate) || !finite(e.SE) || !finite(null) {
		return Neutral(BadInput)
	}
	t := Test{Estimate: e.Estimate, SE: e.SE}
	z := (e.Estimate - null) / e.SE
	switch side {
	case Greater:
		low := e.Estimate - critical(alpha)*e.SE
		t.Low, t.P = &low, cdf(-z)
	case Less:
		high := e.Estimate + critical(alpha)*e.SE
		t.High, t.P = &high, cdf(z)
	default:
		half := critical(alpha/2) * e.SE
		low, high := e.Estimate-half, e.Estimate+half
		t.Low, t.High, t.P = &low, &high, min(2*cdf(-math.Abs(z)), 1)
	}
	return t
}

// NonInferiority asks whether treatment is no worse than control by more than
// margin, a share of control's mean (Schuirmann 1987; the one-sided half). The
// effect is absolute. For a metric that should go up the null is −margin·|mean|
// and the side Greater; else +margin·|mean| and Less.
func NonInferiority(e Effect, controlMean, margin, alpha float64, lowerIsBetter bool) Test {
	null, side := -margin*math.Abs(controlMean), Greater
	if lowerIsBetter {
		null, side = -null, Less
	}
	return ZTest(e, null, alpha, side)
}

// ChiSquaredProportions is the test of two proportions without continuity
// correction (Pearson 1900): k of n in control and in treatment.
func ChiSquaredProportions(nc, kc, nt, kt uint64) (chi2, p float64) {
	if nc == 0 || nt == 0 || kc > nc || kt > nt {
		return 0, 1
	}
	a, b := float64(nc), float64(nt)
	pooled := (float64(kc) + float64(kt)) / (a + b)
	v := pooled * (1 - pooled) * (1/a + 1/b)
	if !(v > 0) {
		return 0, 1
	}
	d := float64(kt)/b - float64(kc)/a
	return d * d / v, math.Erfc(math.Abs(d) / math.Sqrt(2*v))
}

// ChiSquaredSurvival is P(χ² > x) with k degrees of freedom.
func ChiSquaredSurvival(x, k float64) float64 {
	return distuv.ChiSquared{K: k}.Survival(x)
}

// WinFromInterval is the flat-prior probability of an effect above zero that an
// interval at level 1−α implies; a nil end makes it one-sided.
func WinFromInterval(estimate float64, low, high *float64, alpha float64, lowerIsBetter bool) float64 {
	var se float64
	switch {
	case low != nil && high != nil:
		se = (*high - *low) / 2 / zTwo(alpha)
	case low != nil:
		se = (estimate - *low) / zOne(alpha)
	case high != nil:
		se = (*high - estimate) / zOne(alpha)
	}
	if !(se > 0) || !finite(estimate) {
		return 0.5
	}
	z := estimate / se
	if lowerIsBetter {
		z = -z
	}
	return NormalCDF(z)
}
