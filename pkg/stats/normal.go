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
// not bottom out where 1−CDF does.
func tLower(t, df float64) float64 {
	if df > 1e15 {
		return NormalCDF(-t)
	}
	return 0.5 * mathext.RegIncBeta(df/2, 0.5, df/(df+t*t))
}

// StudentCDF is P(T ≤ t).
func StudentCDF(t, df float64) float64 {
	if t <= 0 {
		return tLower(-t, df)
	}
	return 1 - tLower(t, df)
}

// StudentQuantile is t with P(T ≤ t) = p. The library's guess is made better by
// Newton's steps on the tail.
func StudentQuantile(p, df float64) float64 {
	if p == 0.5 {
		return 0
	}
	tail, sign := p, -1.0
	if p > 0.5 {
		tail, sign = 1-p, 1
	}
	if df > 1e15 {
		return -sign * NormalQuantile(tail)
	}
	t := math.Abs(distuv.StudentsT{Sigma: 1, Nu: df}.Quantile(tail))
	if !finite(t) || t == 0 {
		t = math.Abs(NormalQuantile(tail))
	}
	lg1, _ := math.Lgamma((df + 1) / 2)
	lg2, _ := math.Lgamma(df / 2)
	scale := lg1 - lg2 - 0.5*math.Log(df*math.Pi)
	for range 4 {
		density := math.Exp(scale - (df+1)/2*math.Log1p(t*t/df))
		step := (tLower(t, df) - tail) / density
		if !finite(step) || math.Abs(step) > t/2 {
			break
		}
		t += step
		if math.Abs(step) < 1e-14*t {
			break
		}
	}
	return sign * t
}
