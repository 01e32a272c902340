package stats

import (
	"math"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"
)

// NormalCDF is Φ(z), by erfc: both tails keep their digits.
func NormalCDF(z float64) float64 { return 0.5 * math.Erfc(-z/math.Sqrt2) }

// NormalQuantile is Φ⁻¹(p).
func NormalQuantile(p float64) float64 { return distuv.UnitNormal.Quantile(p) }

func normalPDF(z float64) float64 { return math.Exp(-z*z/2) / math.Sqrt(2*math.Pi) }

// zTwo is the two-sided critical value, z at 1−α/2.
func zTwo(alpha float64) float64 { return -NormalQuantile(alpha / 2) }

// zOne is the one-sided critical value, z at 1−α.
func zOne(alpha float64) float64 { return -NormalQuantile(alpha) }

// tLower is P(T ≤ −t) for t ≥ 0 with df degrees of freedom, as a tail: it does
// not bottom out where 1−CDF does. From manyDF on, where the incomplete beta
// function loses its digits, t is carried to a normal deviate (Hill 1970).
func tLower(t, df float64) float64 {
	if df < manyDF {
		return 0.5 * mathext.RegIncBeta(df/2, 0.5, df/(df+t*t))
	}
	a := df - 0.5
	b := 48 * a * a
	z2 := a * math.Log1p(t/df*t)
	z := math.Sqrt(z2)
	z += z * ((z2+3)/b - (((4*z2+33)*z2+240)*z2+855)/(10*b*(b+0.8*z2*z2+100)))
	return NormalCDF(-z)
}

const manyDF = 2e5

// StudentCDF is P(T ≤ t).
func StudentCDF(t, df float64) float64 {
	if t <= 0 {
		return tLower(-t, df)
	}
	return 1 - tLower(t, df)
}

// StudentQuantile is t with P(T ≤ t) = p: a guess from the library or, from 30
// degrees on, from the normal quantile (Cornish, Fisher 1937), made better by
// Newton's steps on the logarithm of the tail.
func StudentQuantile(p, df float64) float64 {
	if p == 0.5 {
		return 0
	}
	tail, sign := p, -1.0
	if p > 0.5 {
		tail, sign = 1-p, 1
	}
	z := -NormalQuantile(tail)
	t := z + z*(z*z+1)/(4*df) + z*((5*z*z+16)*z*z+3)/(96*df*df)
	if df < 30 {
		t = math.Abs(distuv.StudentsT{Sigma: 1, Nu: df}.Quantile(tail))
	}
	scale := tScale(df)
	for range 30 {
		have := tLower(t, df)
		step := have * math.Log(have/tail) / (scale * math.Exp(-(df+1)/2*math.Log1p(t/df*t)))
		if !finite(step) || math.Abs(step) > t {
			break
		}
		t += step
		if math.Abs(step) < 1e-13*t {
			break
		}
	}
	return sign * t
}

// tScale is the density of T at zero, Γ((df+1)/2)/(Γ(df/2)·√(df·π)).
func tScale(df float64) float64 {
	if df > 200 { // the ratio of the Γ by its series
		x := 2 / df
		return (1 + x*(-1.0/8+x*(1.0/128+x*(5.0/1024-x*21.0/32768)))) / math.Sqrt(2*math.Pi)
	}
	a, _ := math.Lgamma((df + 1) / 2)
	b, _ := math.Lgamma(df / 2)
	return math.Exp(a-b) / math.Sqrt(df*math.Pi)
}
