package stats

import "math"

// Prior is a Gaussian prior on an effect. The zero value is flat.
type Prior struct {
	Proper   bool
	Mean     float64
	Variance float64
}

// Scaled is a prior on the relative effect, carried to the absolute one over a
// control of this mean.
func (p Prior) Scaled(controlMean float64) Prior {
	return Prior{p.Proper, p.Mean * math.Abs(controlMean), p.Variance * controlMean * controlMean}
}

// Update gives mean and deviation of the Gaussian posterior.
//
//	precision = 1/se² + 1/s₀²;  μ = (Δ/se² + m₀/s₀²)/precision
func (p Prior) Update(e Effect) (mean, sd float64) {
	if !p.Proper || !(p.Variance > 0) {
		return e.Estimate, e.SE
	}
	data := 1 / (e.SE * e.SE)
	precision := data + 1/p.Variance
	return (e.Estimate*data + p.Mean/p.Variance) / precision, 1 / math.Sqrt(precision)
}

// GaussianPosterior is the posterior of an effect under the prior. Win and the
// losses are for a metric that should go up; negate the effect (and the prior's
// mean) for one that should go down.
func GaussianPosterior(e Effect, prior Prior, alpha float64) (Posterior, Code) {
	if !(e.SE > 0) {
		return Posterior{Win: 0.5}, ZeroVariance
	}
	if !(alpha > 0 && alpha < 1) || !finite(e.Estimate) || !finite(e.SE) || (prior.Proper && !(prior.Variance > 0)) || !finite(prior.Mean) {
		return Posterior{Win: 0.5}, BadInput
	}
	mean, sd := prior.Update(e)
	half := zTwo(alpha) * sd
	out := Posterior{Win: NormalCDF(mean / sd), Interval: Interval{mean - half, mean + half}}
	out.LossIfRefuse, out.LossIfShip = Risk(mean, sd)
	return out, OK
}

// Risk gives the expected positive part and the expected negative part of a
// normal posterior: what staying with control costs, and what treatment costs.
func Risk(mean, sd float64) (control, treatment float64) {
	return positivePart(mean, sd), positivePart(-mean, sd)
}
