package stats

import "math"

// QuantileLevels are the levels at which the interval of the ν-quantile of n
// values has its ends, by the normal law of ranks:
//
//	ν ± z·√(ν(1−ν)/n), kept inside (0, 1)
func QuantileLevels(nu, n, alpha float64) (low, high float64) {
	half := zTwo(alpha) * math.Sqrt(nu*(1-nu)/n)
	return clip(nu-half, 1e-8, 1-1e-8), clip(nu+half, 1e-8, 1-1e-8)
}

func clip(x, low, high float64) float64 { return min(max(x, low), high) }

// QuantileSample is an arm's sample quantile and the two sample quantiles about
// it at QuantileLevels(Nu, At, 0.05).
type QuantileSample struct {
	N         uint64
	Nu        float64 // level, as 0.9
	Value     float64 // the sample quantile
	Low, High float64 // the sample quantiles at the two levels
	At        float64 // the n that the levels were taken for; 0 is N
}

// Flat says that no interval can be formed: the ends fall together, or there
// are too few units for the level.
func (q QuantileSample) Flat() bool {
	z := zTwo(0.05)
	n := float64(q.N)
	return !(q.High > q.Low) || n <= z*z*q.Nu/(1-q.Nu) || n <= z*z*(1-q.Nu)/q.Nu
}

// Summary is the quantile with the per-unit variance that its interval
// implies, for Absolute, Relative and all that follows them.
//
//	σ² = (At/n)·(n−1)·((High − Low)/(2z))²
func (q QuantileSample) Summary() Summary {
	s := Summary{N: q.N, Mean: q.Value}
	if q.Flat() {
		return s
	}
	n, at := float64(q.N), q.At
	if at == 0 {
		at = n
	}
	half := (q.High - q.Low) / (2 * zTwo(0.05))
	s.Variance = at / n * (n - 1) * half * half
	return s
}

// Clustered is Summary for values that come several to a unit: c is, over the
// units, the number of their values at or below the quantile (variable 0) and
// the number of their values (variable 1). Values of one unit go together, so
// the variance grows by what the share below the quantile varies more between
// units than it would for single values.
func (q QuantileSample) Clustered(c Spread) Summary {
	s := q.Summary()
	if s.Variance == 0 || c.Mean[1] == 0 || c.N < 2 {
		return Summary{N: q.N, Mean: q.Value}
	}
	share := c.Ratio()
	alone := q.Nu * (1 - q.Nu) / float64(q.N)
	s.Variance *= share.Variance / float64(c.N) / alone
	return s
}
