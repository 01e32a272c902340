package stats

import "math"

// Theta is the regression coefficient of variable 0 on its covariate, variable
// 1, over all arms of a metric: pooled within the arms, so that the effect
// itself does not leak into it. 0 where the covariate does not vary (Deng, Xu,
// Kohavi, Walker 2013).
//
//	θ = Σ (n−1)·cov(Y, X) / Σ (n−1)·var(X)
func Theta(arms ...Spread) float64 {
	var cov, variance float64
	for _, s := range arms {
		if s.N > 1 {
			cov += float64(s.N-1) * s.Cov[0][1]
			variance += float64(s.N-1) * s.Cov[1][1]
		}
	}
	if !(variance > 0) || !finite(cov/variance) {
		return 0
	}
	return cov / variance
}

// Adjust is variable 0 with what its covariate explains taken off, the
// covariate measured from around (the mean over all arms keeps the arm's mean
// on its scale; 0 is the textbook form).
//
//	mean Ȳ − θ(X̄ − around), variance σY² + θ²σX² − 2θ·cov
func (s Spread) Adjust(theta, around float64) Summary {
	g := [MaxVariables]float64{1, -theta}
	return Summary{N: s.N, Mean: s.Mean[0] - theta*(s.Mean[1]-around), Variance: s.form(g, g)}
}

// AbsoluteCUPED is the difference of the adjusted means.
func AbsoluteCUPED(control, treatment Spread, theta float64) (Effect, Code) {
	return Absolute(control.Adjust(theta, 0), treatment.Adjust(theta, 0))
}

// RelativeCUPED is the difference of the adjusted means over the unadjusted
// mean of control, with the covariance of both in its standard error. With
// A = Ȳb − θ(X̄b − X̄a) it is (A − Ȳa)/|Ȳa|, of gradient −A/Ȳa² in Ȳa and θ/Ȳa
// in X̄a.
func RelativeCUPED(control, treatment Spread, theta float64) (Effect, Code) {
	e, code := AbsoluteCUPED(control, treatment, theta)
	if code != OK && code != ZeroVariance {
		return Effect{}, code
	}
	m := control.Mean[0]
	if m == 0 {
		return Effect{}, ZeroBaseline
	}
	adjusted := treatment.Mean[0] - theta*(treatment.Mean[1]-control.Mean[1])
	gc := [MaxVariables]float64{-adjusted / (m * m), theta / m}
	gt := [MaxVariables]float64{1 / m, -theta / m}
	return e.rescale(1/math.Abs(m), control.form(gc, gc)/float64(control.N)+treatment.form(gt, gt)/float64(treatment.N), code)
}

// rescale is the effect times k with another variance.
func (e Effect) rescale(k, variance float64, code Code) (Effect, Code) {
	e.Estimate *= k
	if !finite(e.Estimate) || !finite(variance) || variance < 0 {
		return Effect{}, BadInput
	}
	e.SE = math.Sqrt(variance)
	if e.SE == 0 {
		code = ZeroVariance
	}
	return e, code
}

// gradients of M/D − θ·M₀/D₀ by its four means, in the part after exposure and
// the part before (for θ = 1).
func ratioGradients(s Spread) (post, pre [MaxVariables]float64) {
	m, d, m0, d0 := s.Mean[0], s.Mean[1], s.Mean[2], s.Mean[3]
	post = [MaxVariables]float64{1 / d, -m / (d * d)}
	if d0 != 0 {
		pre = [MaxVariables]float64{0, 0, -1 / d0, m0 / (d0 * d0)}
	}
	return post, pre
}

// RatioTheta is θ for a ratio (variables 0, 1) with the same ratio before
// exposure (variables 2, 3) as its covariate. 0 where there is nothing before.
//
//	θ = −Σ wᵀΛu / Σ wᵀΛw   (u, w the gradients after and before, Λ per-unit covariances)
func RatioTheta(arms ...Spread) float64 {
	var up, down float64
	for _, s := range arms {
		if s.Mean[1] == 0 || s.Mean[3] == 0 {
			return 0
		}
		u, w := ratioGradients(s)
		up += s.form(w, u)
		down += s.form(w, w)
	}
	theta := -up / down
	if !(down > 0) || !finite(theta) || math.Abs(theta) < 1e-8 {
		return 0
	}
	return theta
}

// AdjustRatio is variable 0 over variable 1 less θ times variable 2 over
// variable 3.
func (s Spread) AdjustRatio(theta float64) Summary {
	if s.Mean[1] == 0 || (theta != 0 && s.Mean[3] == 0) {
		return Summary{N: s.N}
	}
	g, w := ratioGradients(s)
	mean := s.Mean[0] / s.Mean[1]
	if theta != 0 {
		mean -= theta * s.Mean[2] / s.Mean[3]
	}
	for i := range g {
		g[i] += theta * w[i]
	}
	return Summary{N: s.N, Mean: mean, Variance: s.form(g, g)}
}

// AbsoluteRatioCUPED is the difference of the adjusted ratios.
func AbsoluteRatioCUPED(control, treatment Spread, theta float64) (Effect, Code) {
	return Absolute(control.AdjustRatio(theta), treatment.AdjustRatio(theta))
}

// RelativeRatioCUPED is the difference of the adjusted ratios over the
// unadjusted ratio of control, by the delta method over all eight means.
func RelativeRatioCUPED(control, treatment Spread, theta float64) (Effect, Code) {
	e, code := AbsoluteRatioCUPED(control, treatment, theta)
	if code != OK && code != ZeroVariance {
		return Effect{}, code
	}
	if control.Mean[0] == 0 || control.Mean[1] == 0 {
		return Effect{}, ZeroBaseline
	}
	m, d := control.Mean[0], control.Mean[1]
	r := math.Abs(m / d)
	sign := math.Copysign(1, m/d)
	lifted := r + e.Estimate*sign // the adjusted treatment, on control's side
	_, pre := ratioGradients(control)
	gc := [MaxVariables]float64{-lifted / (d * r * r), m * lifted / (d * d * r * r), -theta * pre[2] / r, -theta * pre[3] / r}
	post, pre := ratioGradients(treatment)
	var gt [MaxVariables]float64
	for i := range gt {
		gt[i] = (post[i] + theta*pre[i]) / r
	}
	return e.rescale(1/r, control.form(gc, gc)/float64(control.N)+treatment.form(gt, gt)/float64(treatment.N), code)
}
