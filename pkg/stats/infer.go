package stats

import "math"

// Interval is [Low, High].
type Interval struct {
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

// Welch is the two-sided t-test of an effect against zero and its 1−α
// interval, with Welch–Satterthwaite degrees of freedom (Welch 1947). It holds
// at one look that was fixed before; for a look whenever one likes, see
// AlwaysValid.
func Welch(e Effect, alpha float64) (Interval, float64) {
	half := -StudentQuantile(alpha/2, e.DF) * e.SE
	p := 2 * tLower(math.Abs(e.Estimate/e.SE), e.DF)
	return Interval{e.Estimate - half, e.Estimate + half}, min(p, 1)
}

// DefaultTuning is the sample size at which the always-valid interval is
// tightest, over both arms together.
const DefaultTuning = 5000

// AlwaysValid is a confidence sequence for an effect over n units of both
// arms: it holds at every look at once, so one may stop on it at any time
// (asymptotic confidence sequences, Waudby-Smith et al. 2023).
//
//	ρ² = (−2 ln α + ln(1 − 2 ln α)) / N*
//	half width = se·√n · √(2(nρ²+1)/(n²ρ²) · ln(√(nρ²+1)/α))
//	p = min(1, 1/E), E = exp(ρ²S/(2(nρ²+1))) / √(nρ²+1), S = (effect/se)²·n
func AlwaysValid(e Effect, n uint64, alpha, tuning float64) (Interval, float64) {
	k := float64(n)
	rho2 := Rho2(alpha, tuning)
	g := k*rho2 + 1
	half := AlwaysValidHalf(e.SE, k, alpha, tuning)
	z := e.Estimate / e.SE
	p := math.Exp(0.5*math.Log(g) - rho2*z*z*k/(2*g))
	return Interval{e.Estimate - half, e.Estimate + half}, min(p, 1)
}

// Posterior is what a Gaussian posterior says of an effect.
type Posterior struct {
	Win          float64 // probability that treatment is better
	LossIfShip   float64 // expected loss of choosing treatment: E[max(−effect, 0)]
	LossIfRefuse float64 // expected loss of staying with control: E[max(effect, 0)]
	Interval     Interval
}

// FlatPosterior is the posterior of an effect under a flat prior, which by the
// central limit theorem is Gaussian with the estimate and its standard error.
// All of it is closed form:
//
//	E[max(D, 0)] = μ Φ(μ/σ) + σ φ(μ/σ)
func FlatPosterior(e Effect, alpha float64) Posterior {
	p, _ := GaussianPosterior(e, Prior{}, alpha)
	return p
}

// positivePart is E[max(D, 0)] for D normal with mean m and deviation s.
func positivePart(m, s float64) float64 {
	z := m / s
	if math.Abs(z) > 37 { // φ and Φ underflow
		return max(m, 0)
	}
	return max(m*NormalCDF(z)+s*normalPDF(z), 0)
}

// MeanInterval is the 1−α interval of one arm's mean.
func MeanInterval(s Summary, alpha float64) Interval {
	if s.N < 2 || s.Variance <= 0 {
		return Interval{s.Mean, s.Mean}
	}
	half := -StudentQuantile(alpha/2, float64(s.N-1)) * s.SE()
	if !finite(half) {
		return Interval{s.Mean, s.Mean}
	}
	return Interval{s.Mean - half, s.Mean + half}
}

// ProportionInterval is the 1−α Wilson interval of k of n, which stays inside
// [0, 1] (Wilson 1927).
func ProportionInterval(n, k uint64, alpha float64) Interval {
	if n == 0 {
		return Interval{}
	}
	k = min(k, n)
	z := zTwo(alpha)
	nn, p := float64(n), float64(k)/float64(n)
	mid := (p + z*z/(2*nn)) / (1 + z*z/nn)
	half := z / (1 + z*z/nn) * math.Sqrt(p*(1-p)/nn+z*z/(4*nn*nn))
	return Interval{max(mid-half, 0), min(mid+half, 1)}
}
