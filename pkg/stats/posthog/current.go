package posthog

import (
	"errors"
	"math"

	"github.com/hypostream/hypostream/pkg/stats"
	"github.com/hypostream/hypostream/pkg/stats/growthbook"
)

// Statistic is an arm's sums; the current engine has GrowthBook's divisors.
type Statistic = growthbook.Statistic

// ErrInvalid is a statistic that no data can have.
var ErrInvalid = errors.New("invalid statistic")

// Validate refuses sums that no data can have.
func Validate(s Statistic) error {
	if s.N == 0 {
		return ErrInvalid
	}
	n := float64(s.N)
	for _, v := range s.Variables {
		switch {
		case v.Type == growthbook.Proportion && (v.Sum < 0 || v.Sum > n):
			return ErrInvalid
		case v.Type == growthbook.Mean && v.SumSquares < v.Sum*v.Sum/n*(1-1e-12):
			return ErrInvalid
		}
	}
	if s.Type == growthbook.Ratio && len(s.Variables) == 2 && s.Variables[1].Sum == 0 {
		return ErrInvalid
	}
	return nil
}

// Theta of CUPED over both arms together; 0 where the covariate hardly varies.
func Theta(a, b Statistic) float64 {
	n := float64(a.N + b.N)
	var sums [2]float64
	var xx, xy float64
	for _, s := range []Statistic{a, b} {
		sums[0] += s.Variables[0].Sum
		sums[1] += s.Variables[1].Sum
		xx += s.Variables[1].SumSquares
		xy += s.Products[0][1]
	}
	variance := (xx - sums[1]*sums[1]/n) / (n - 1)
	if !(variance >= 1e-10) {
		return 0
	}
	return (xy - sums[0]*sums[1]/n) / (n - 1) / variance
}

// Adjust is an arm with θ times its covariate taken off.
func Adjust(s Statistic, theta float64) stats.Summary {
	out := s.Spread().Adjust(theta, 0)
	out.Variance = max(out.Variance, 1e-10)
	return out
}

// Effect of treatment against control; a CUPED arm is adjusted, and its relative
// effect is over the unadjusted mean of control, in the variance as well.
func Effect(control, treatment Statistic, relative bool) (stats.Effect, error) {
	for _, s := range []Statistic{control, treatment} {
		if err := Validate(s); err != nil {
			return stats.Effect{}, err
		}
	}
	c, t, base := control.Summary(0), treatment.Summary(0), 0.0
	base = c.Mean
	if control.Type == growthbook.CUPED {
		theta := Theta(control, treatment)
		c, t = Adjust(control, theta), Adjust(treatment, theta)
	}
	e, code := stats.Absolute(c, t)
	if code != stats.OK {
		return stats.Effect{}, ErrInvalid
	}
	if !relative {
		return e, nil
	}
	if math.Abs(base) < 1e-10 {
		return stats.Effect{}, ErrInvalid
	}
	e.Estimate /= base
	b2 := base * base
	e.SE = math.Sqrt(t.Variance/(float64(t.N)*b2) + t.Mean*t.Mean*c.Variance/(float64(c.N)*b2*b2))
	return e, nil
}

// SRM is PostHog's check of the split: nothing under 100 units, variants
// without rollout left out. expected is per variant.
func SRM(observed []uint64, rollout []float64) (expected []float64, p float64, judged bool) {
	var total, weight float64
	for i, w := range rollout {
		if w > 0 {
			total += float64(observed[i])
			weight += w
		}
	}
	if total < 100 {
		return nil, 1, false
	}
	for _, w := range rollout {
		expected = append(expected, total*max(w, 0)/weight)
	}
	_, p = stats.SRM(observed, rollout)
	return expected, p, true
}
