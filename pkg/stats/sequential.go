package stats

import "math"

// Rho2 is ρ² of the always-valid layer, tightest at tuning units:
//
//	ρ² = (−2 ln α + ln(1 − 2 ln α)) / N*
func Rho2(alpha, tuning float64) float64 {
	return (-2*math.Log(alpha) + math.Log(1-2*math.Log(alpha))) / tuning
}

// AlwaysValidHalf is the half width of the two-sided sequence for n units whose
// effect has standard error se.
func AlwaysValidHalf(se, n, alpha, tuning float64) float64 {
	rho2 := Rho2(alpha, tuning)
	g := n*rho2 + 1
	return se * math.Sqrt(n) * math.Sqrt(2*g/(n*n*rho2)*math.Log(math.Sqrt(g)/alpha))
}

// oneSidedHalf is the half width of the one-sided sequence with ρ² given.
func oneSidedHalf(se, n, alpha, rho2 float64) float64 {
	g := n*rho2 + 1
	return se * math.Sqrt(n) * math.Sqrt(2*g/(n*n*rho2)*math.Log1p(math.Sqrt(g)/(2*alpha)))
}

// OneSidedAlwaysValid is the one-sided confidence sequence: like AlwaysValid,
// with all of α on one side (Greater or Less). It needs α below 0.5. The p-value
// is the α at which the bound meets zero, in closed form; 1 stands for 0.5 and
// more, where the sequence says nothing.
//
//	half width = se·√n·√(2(nρ²+1)/(n²ρ²)·ln(1 + √(nρ²+1)/(2α))), ρ² taken at 2α
func OneSidedAlwaysValid(e Effect, n uint64, alpha, tuning float64, side Side) Test {
	if !(e.SE > 0) {
		return Neutral(ZeroVariance)
	}
	if !(alpha > 0 && alpha < 0.5) || !(tuning > 0) || n == 0 {
		return Neutral(BadInput)
	}
	rho2 := Rho2(2*alpha, tuning)
	k := float64(n)
	half := oneSidedHalf(e.SE, k, alpha, rho2)
	t := Test{Estimate: e.Estimate, SE: e.SE, P: 1}
	z := e.Estimate / e.SE
	if side == Less {
		high := e.Estimate + half
		t.High = &high
		z = -z
	} else {
		low := e.Estimate - half
		t.Low = &low
	}
	if z <= 0 {
		return t
	}
	g := k*rho2 + 1
	// half = |estimate| solved for α: √g/(2α) = exp(z²kρ²/(2g)) − 1
	if p := math.Sqrt(g) / 2 / math.Expm1(z*z*k*rho2/(2*g)); p < 0.5 {
		t.P = p
	}
	return t
}
