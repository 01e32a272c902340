// Package growthbook works out experiments as GrowthBook does, its quirks
// included, for teams that compare the two. It is a thin layer over package
// stats, whose own numbers copy none of the quirks:
//
//   - the variance of a proportion has divisor n, everything else n−1;
//   - θ of CUPED is taken over control and one treatment together, so that it
//     differs from pair to pair, and the difference of the arms leaks into it;
//   - terms of a variance are not checked one by one, only their sum;
//   - the one-sided always-valid p-value never leaves [1e-5, 0.4999].
//
// Its p-values come from survival functions all the same, not from 1 − CDF.
package growthbook

import (
	"math"

	"github.com/hypostream/hypostream/pkg/stats"
)

// Type of a statistic.
type Type string

// The types.
const (
	Proportion Type = "proportion"
	Mean       Type = "mean"
	Ratio      Type = "ratio"
	CUPED      Type = "cuped"
	RatioCUPED Type = "cuped_ratio"
	Quantile   Type = "quantile"
	Clustered  Type = "quantile_clustered"
)

// Sums of one variable: of a proportion the squares are not looked at.
type Sums struct {
	Type       Type    `json:"type"`
	Sum        float64 `json:"sum"`
	SumSquares float64 `json:"sum_squares"`
}

// Statistic is an arm. Of a ratio Variables are numerator and denominator; of
// CUPED post and pre; of a CUPED ratio numerator and denominator after, then
// before. Products holds the sums of products of pairs of variables.
type Statistic struct {
	Type      Type
	N         uint64
	Variables []Sums
	Products  [4][4]float64
	Theta     *float64 // nil: to be estimated

	Quantile stats.QuantileSample
	Clusters uint64 // units, of a clustered quantile; Variables are counts below and counts
}

// Spread gives means and covariances with GrowthBook's divisors.
func (s Statistic) Spread() stats.Spread { return spread(s.units(), s.Variables, s.Products) }

func (s Statistic) units() uint64 {
	if s.Type == Clustered {
		return s.Clusters
	}
	return s.N
}

func spread(units uint64, variables []Sums, products [4][4]float64) stats.Spread {
	out := stats.Spread{N: units}
	n := float64(units)
	if n == 0 {
		return out
	}
	for i, v := range variables {
		out.Mean[i] = v.Sum / n
		switch {
		case v.Type == Proportion:
			out.Cov[i][i] = out.Mean[i] * (1 - out.Mean[i])
		case n > 1:
			out.Cov[i][i] = (v.SumSquares - v.Sum*v.Sum/n) / (n - 1)
		}
		for j, w := range variables[:i] {
			c := products[j][i] - v.Sum*w.Sum/n
			if v.Type == Proportion && w.Type == Proportion {
				c /= n
			} else if n > 1 {
				c /= n - 1
			} else {
				c = 0
			}
			out.Cov[i][j], out.Cov[j][i] = c, c
		}
	}
	return out
}

// join adds the sums of two arms.
func join(a, b Statistic) stats.Spread {
	variables := make([]Sums, len(a.Variables))
	products := a.Products
	for i := range variables {
		variables[i] = Sums{a.Variables[i].Type, a.Variables[i].Sum + b.Variables[i].Sum, a.Variables[i].SumSquares + b.Variables[i].SumSquares}
		for j := range variables {
			products[i][j] += b.Products[i][j]
		}
	}
	return spread(a.N+b.N, variables, products)
}

// Theta of the pair, or the one that both were given.
func Theta(control, treatment Statistic) float64 {
	if control.Theta != nil && treatment.Theta != nil {
		return *treatment.Theta
	}
	switch control.Type {
	case CUPED:
		if len(control.Variables) != 2 || len(treatment.Variables) != 2 {
			return 0
		}
		both := join(control, treatment)
		if both.Cov[0][0] == 0 || both.Cov[1][1] == 0 {
			return 0
		}
		return both.Cov[0][1] / both.Cov[1][1]
	case RatioCUPED:
		return stats.RatioTheta(control.Spread(), treatment.Spread())
	}
	return 0
}

// Summary is mean and per-unit variance, adjusted by theta where there is a
// covariate.
func (s Statistic) Summary(theta float64) stats.Summary {
	switch s.Type {
	case Ratio:
		return s.Spread().Ratio()
	case CUPED:
		return s.Spread().Adjust(theta, 0)
	case RatioCUPED:
		return s.Spread().AdjustRatio(theta)
	case Quantile, Clustered:
		out := s.Quantile.Summary()
		if s.Type == Clustered {
			return s.clustered()
		}
		if floor := 1e-5; s.N >= 100 && out.Variance > 0 && out.Variance < floor {
			out.Variance = floor
		}
		return out
	}
	return s.Spread().Variable(0)
}

// clustered uses moments with divisor K and the factor K/(K−1), which is the
// covariance with divisor K−1.
func (s Statistic) clustered() stats.Summary {
	return s.Quantile.Clustered(s.Spread())
}

// unadjusted mean of the arm: the baseline of relative effects.
func (s Statistic) unadjusted() float64 {
	switch s.Type {
	case CUPED:
		return s.Spread().Mean[0]
	case RatioCUPED:
		return s.Spread().Ratio().Mean
	}
	return s.Summary(0).Mean
}

// Error is GrowthBook's name of what stands against a result.
type Error string

// The errors.
const (
	None         Error = ""
	ZeroVariance Error = "ZERO_NEGATIVE_VARIANCE"
	ZeroBaseline Error = "ZERO_NEGATIVE_BASELINE_VARIATION"
	NoUnits      Error = "NO_UNITS_IN_VARIATION"
	ZeroScale    Error = "ZERO_SCALED_VARIATION_WEIGHT"
	BadInput     Error = "BAD_INPUT"
)

// Variance of the effect before any guard, with the effect.
func Variance(control, treatment Statistic, relative bool) (estimate, variance float64) {
	theta := Theta(control, treatment)
	c, t := control.Summary(theta), treatment.Summary(theta)
	estimate = t.Mean - c.Mean
	nc, nt := float64(c.N), float64(t.N)
	if !relative {
		return estimate, c.Variance/nc + t.Variance/nt
	}
	base := control.unadjusted()
	estimate /= math.Abs(base)
	switch control.Type {
	case CUPED:
		a, b := control.Spread(), treatment.Spread()
		ya, yb := a.Mean[0], b.Mean[0]
		vt := b.Cov[0][0] + theta*theta*b.Cov[1][1] - 2*theta*b.Cov[0][1]
		vc := a.Cov[0][0]*yb*yb/(ya*ya) - 2*theta*a.Cov[0][1]*yb/ya + theta*theta*a.Cov[1][1]
		return estimate, vt/(nt*ya*ya) + vc/(nc*ya*ya)
	case RatioCUPED:
		e, _ := stats.RelativeRatioCUPED(control.Spread(), treatment.Spread(), theta)
		return e.Estimate, e.SE * e.SE
	}
	return estimate, t.Variance/(nt*base*base) + c.Variance*t.Mean*t.Mean/(nc*base*base*base*base)
}

// Effect of treatment against control, guarded in GrowthBook's order.
func Effect(control, treatment Statistic, relative bool) (stats.Effect, Error) {
	if control.units() == 0 || treatment.units() == 0 {
		return stats.Effect{}, ZeroVariance
	}
	theta := Theta(control, treatment)
	c, t := control.Summary(theta), treatment.Summary(theta)
	estimate, variance := Variance(control, treatment, relative)
	if c.Variance == 0 || t.Variance == 0 || !(variance > 0) && !(relative && control.unadjusted() == 0) {
		return stats.Effect{}, ZeroVariance
	}
	if relative && control.unadjusted() == 0 {
		return stats.Effect{}, ZeroBaseline
	}
	if math.IsNaN(estimate) || math.IsInf(estimate, 0) || math.IsInf(variance, 0) {
		return stats.Effect{}, BadInput
	}
	a, b := c.Variance/float64(c.N), t.Variance/float64(t.N)
	df := (a + b) * (a + b) / (a*a/float64(c.N-1) + b*b/float64(t.N-1))
	return stats.Effect{Estimate: estimate, SE: math.Sqrt(variance), DF: df}, None
}
