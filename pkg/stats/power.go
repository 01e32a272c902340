package stats

import "math"

// Plan is what a sample-size question needs: one metric of an experiment whose
// arms are of one size. Effects are relative: 0.05 is five per cent of the mean.
type Plan struct {
	Mean     float64 // of the metric in control
	Variance float64 // per unit; p(1−p) for a proportion; of a ratio or a CUPED mean, the adjusted one
	Alpha    float64 // 0 is 0.05
	Power    float64 // aimed at; 0 is 0.8
	Tuning   float64 // N* of the always-valid layer; 0 plans one fixed look
	Prior    Prior   // on the relative effect; a proper one plans for the Bayesian interval
	Bayesian bool    // plan for the credible interval to leave out zero
	Absolute bool    // for Bayesian plans: the prior and the interval are on the absolute effect
}

func (p Plan) withDefaults() Plan {
	if p.Alpha == 0 {
		p.Alpha = 0.05
	}
	if p.Power == 0 {
		p.Power = 0.8
	}
	return p
}

func (p Plan) check(n float64) Code {
	switch {
	case !finite(p.Mean) || !finite(p.Variance) || p.Variance < 0 || !finite(n):
		return BadInput
	case !(p.Alpha >= MinAlpha && p.Alpha < 0.5) || !(p.Power > 0 && p.Power < 1):
		return BadInput
	case p.Mean == 0:
		return ZeroBaseline
	case p.Variance == 0:
		return ZeroVariance
	case n < 2:
		return TooFewUnits
	}
	return OK
}

// PowerAt is the probability that an experiment of n units to an arm finds the
// relative effect delta.
//
//	power = 1 − Φ(z − δ/se) + Φ(−z − δ/se), se² = σ²/(nμ²)·(1 + (1+δ)²)
func (p Plan) PowerAt(delta, n float64) (float64, Code) {
	p = p.withDefaults()
	if c := p.check(n); c != OK {
		return 0, c
	}
	if !finite(delta) {
		return 0, BadInput
	}
	v := p.Variance / n / (p.Mean * p.Mean) * (1 + (1+delta)*(1+delta))
	if p.Bayesian {
		prior, effect := p.Prior, delta
		if p.Absolute {
			v, prior, effect = 2*p.Variance/n, p.Prior.Scaled(p.Mean), delta*p.Mean
		}
		return bayesianPower(effect, v, prior, p.Alpha), OK
	}
	se := math.Sqrt(v * p.inflation(n))
	return twoSidedPower(delta, se, zTwo(p.Alpha)*se), OK
}

// inflation is what the always-valid layer costs in variance at n units an arm.
func (p Plan) inflation(n float64) float64 {
	if !(p.Tuning > 0) {
		return 1
	}
	r := AlwaysValidHalf(1, 2*n, p.Alpha, p.Tuning) / zTwo(p.Alpha)
	return r * r
}

// twoSidedPower is the probability that an estimate falls further than half
// from zero.
func twoSidedPower(effect, se, half float64) float64 {
	return NormalCDF((effect-half)/se) + NormalCDF((-half-effect)/se)
}

func bayesianPower(effect, variance float64, prior Prior, alpha float64) float64 {
	tau := math.Sqrt(variance)
	precision, shift := 1/variance, 0.0
	if prior.Proper && prior.Variance > 0 {
		precision += 1 / prior.Variance
		shift = variance * prior.Mean / prior.Variance
	}
	reach := variance * math.Sqrt(precision) * zTwo(alpha)
	return NormalCDF(-(reach-shift-effect)/tau) + NormalCDF((-reach-shift-effect)/tau)
}

// MDE is the least positive relative effect that n units to an arm find with the
// power aimed at. TooFewUnits: no effect is found at this size.
//
//	μb solves (μb − μ)² = z²·s·(1 + (μb/μ)²), s = σ²/n, z = z_{1−α/2} + z_{power}
func (p Plan) MDE(n float64) (float64, Code) {
	p = p.withDefaults()
	if c := p.check(n); c != OK {
		return 0, c
	}
	if p.Bayesian {
		return p.searchMDE(n)
	}
	z := zTwo(p.Alpha) + NormalQuantile(p.Power)
	mu := math.Abs(p.Mean)
	k := z * z * p.Variance * p.inflation(n) / n
	if k >= mu*mu {
		return 0, TooFewUnits
	}
	a, b, c := 1-k/(mu*mu), -2*mu, mu*mu-k
	return ((-b+math.Sqrt(b*b-4*a*c))/(2*a) - mu) / mu, OK
}

func (p Plan) searchMDE(n float64) (float64, Code) {
	const step, most = 1e-3, 5.0
	for low := 0.0; low < most; low += step {
		if at, _ := p.PowerAt(low+step, n); at >= p.Power {
			high := low + step
			for range 60 {
				mid := (low + high) / 2
				if at, _ := p.PowerAt(mid, n); at >= p.Power {
					high = mid
				} else {
					low = mid
				}
			}
			return high, OK
		}
	}
	return 0, TooFewUnits
}

// Units is how many units each arm needs to find the relative effect delta with
// the power aimed at. TooFewUnits: not with 2⁵⁰ either.
func (p Plan) Units(delta float64) (uint64, Code) {
	p = p.withDefaults()
	if c := p.check(2); c != OK {
		return 0, c
	}
	if !finite(delta) || delta == 0 {
		return 0, BadInput
	}
	enough := func(n uint64) bool { at, _ := p.PowerAt(delta, float64(n)); return at >= p.Power }
	low, high := uint64(1), uint64(2)
	for !enough(high) {
		if high >= 1<<50 {
			return 0, TooFewUnits
		}
		low, high = high, 2*high
	}
	for high-low > 1 {
		mid := low + (high-low)/2
		if enough(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return high, OK
}

// Days is how long traffic of perDay new units, over all arms, takes to bring
// units to each of them.
func Days(units uint64, arms int, perDay float64) (float64, Code) {
	if arms < 1 || !(perDay > 0) || !finite(perDay) {
		return 0, BadInput
	}
	return math.Ceil(float64(units) * float64(arms) / perDay), OK
}

// MidExperiment asks of an experiment under way how much more it needs.
type MidExperiment struct {
	SE     float64 // of the effect now
	N      float64 // units now, of both arms
	Target float64 // the effect that is to be found, on the scale of SE
	Alpha  float64 // 0 is 0.05
	Power  float64 // 0 is 0.8
	Tests  int     // comparisons that α is shared by; 0 is 1
	Tuning float64 // N* of the always-valid layer; 0 is one fixed look
	Prior  Prior   // proper: for the Bayesian interval
}

// PowerAfter is the power once more·N further units have come.
func (m MidExperiment) PowerAfter(more float64) float64 {
	alpha := m.Alpha
	if alpha == 0 {
		alpha = 0.05
	}
	alpha /= float64(max(m.Tests, 1))
	se := m.SE / math.Sqrt(1+more)
	if !(se > 0) || !finite(se) || !(alpha >= MinAlpha && alpha < 0.5) || !finite(m.Target) {
		return 0
	}
	switch {
	case m.Prior.Proper:
		return bayesianPower(m.Target, se*se, m.Prior, alpha)
	case m.Tuning > 0:
		return twoSidedPower(m.Target, se, AlwaysValidHalf(se, m.N*(1+more), alpha, m.Tuning))
	}
	return twoSidedPower(m.Target, se, zTwo(alpha)*se)
}

// More is the least share of further units (1 doubles the experiment) that
// brings the power aimed at; 0 if it is there. TooFewUnits: more than 2²⁷ times.
func (m MidExperiment) More() (float64, Code) {
	goal := m.Power
	if goal == 0 {
		goal = 0.8
	}
	if !(m.SE > 0) || !finite(m.SE) || !(goal > 0 && goal < 1) {
		return 0, BadInput
	}
	if m.PowerAfter(0) >= goal {
		return 0, OK
	}
	low, high := 0.0, 1.0
	for m.PowerAfter(high) < goal {
		if high >= 1<<27 {
			return 0, TooFewUnits
		}
		low, high = high, 2*high
	}
	for range 80 {
		mid := (low + high) / 2
		if m.PowerAfter(mid) < goal {
			low = mid
		} else {
			high = mid
		}
	}
	return high, OK
}

// AchievedPower is the power of a two-sided z-test for an absolute effect, the
// variance per unit being the same in arms of n1 and n2 units.
func AchievedPower(effect, variance, alpha, n1, n2 float64) float64 {
	se := math.Sqrt(variance/n1 + variance/n2)
	if !(se > 0) || !finite(se) || !(alpha > 0 && alpha < 1) {
		return 0
	}
	return twoSidedPower(effect, se, zTwo(alpha)*se)
}

// SampleSize is how many units treatment needs to find an absolute effect, with
// ratio units of control to each of its own:
//
//	n = ((z_{1−α/2} + z_{power})/effect)²·(σc²/ratio + σt²)
func SampleSize(effect, varControl, varTreatment, ratio, alpha, power float64) (float64, Code) {
	z := zTwo(alpha) + NormalQuantile(power)
	n := z * z / (effect * effect) * (varControl/ratio + varTreatment)
	if !finite(n) || n <= 0 || !(ratio > 0) {
		return 0, BadInput
	}
	return n, OK
}
