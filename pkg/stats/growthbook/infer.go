package growthbook

import (
	"math"

	"github.com/hypostream/hypostream/pkg/stats"
)

// TTest is the frequentist engine at one fixed look.
func TTest(control, treatment Statistic, relative bool, side stats.Side, alpha float64) (stats.Test, Error) {
	e, err := Effect(control, treatment, relative)
	if err != None {
		return stats.Neutral(stats.BadInput), err
	}
	return stats.TTest(e, 0, alpha, side), None
}

// Sequential is the frequentist engine with sequential testing on.
func Sequential(control, treatment Statistic, relative bool, side stats.Side, alpha, tuning float64) (stats.Test, Error) {
	e, err := Effect(control, treatment, relative)
	if err != None {
		return stats.Neutral(stats.BadInput), err
	}
	n := control.N + treatment.N
	if side == stats.TwoSided {
		i, p := stats.AlwaysValid(e, n, alpha, tuning)
		return stats.Test{Estimate: e.Estimate, SE: e.SE, Low: &i.Low, High: &i.High, P: p}, None
	}
	if !(alpha > 0 && alpha < 0.5) {
		return stats.Neutral(stats.BadInput), BadInput
	}
	t := stats.OneSidedAlwaysValid(e, n, alpha, tuning, side)
	t.P = min(max(t.P, 1e-5), 0.4999)
	return t, None
}

// Posterior is what the Bayesian engine says of a pair.
type Posterior struct {
	Mean, SD         float64
	Interval         stats.Interval
	Win              float64
	RiskControl      float64 // expected loss of shipping control
	RiskTreatment    float64
	MeanC, MeanT     float64
	PriorRescaled    stats.Prior
	EffectBeforePost stats.Effect
}

// Bayesian is the Bayesian engine; the prior is on the relative effect.
func Bayesian(control, treatment Statistic, relative bool, prior stats.Prior, alpha float64, inverse bool) (Posterior, Error) {
	e, err := Effect(control, treatment, relative)
	if err != None {
		return Posterior{Win: 0.5}, err
	}
	if !relative {
		prior = prior.Scaled(control.unadjusted())
	}
	g, _ := stats.GaussianPosterior(e, prior, alpha)
	mean, sd := prior.Update(e)
	out := Posterior{
		Mean: mean, SD: sd, Interval: g.Interval, Win: g.Win,
		RiskControl: g.LossIfRefuse, RiskTreatment: g.LossIfShip,
		MeanC: control.unadjusted(), MeanT: treatment.unadjusted(),
		PriorRescaled: prior, EffectBeforePost: e,
	}
	if inverse {
		out.Win = stats.NormalCDF(-mean / sd)
		out.RiskControl, out.RiskTreatment = out.RiskTreatment, out.RiskControl
	}
	return out, None
}

// AdjustedDeviations are the arms' CUPED-adjusted standard deviations; that of
// the baseline has the θ of the last pair.
func AdjustedDeviations(arms []Statistic, baseline int) []float64 {
	out := make([]float64, len(arms))
	for i := range arms {
		if i == baseline {
			continue
		}
		theta := Theta(arms[baseline], arms[i])
		out[i] = math.Sqrt(arms[i].Summary(theta).Variance)
		out[baseline] = math.Sqrt(arms[baseline].Summary(theta).Variance)
	}
	return out
}

// IntervalFromP widens an interval until it agrees with an adjusted p-value;
// nil where it is unbounded. It is no simultaneous interval.
func IntervalFromP(estimate, adjusted, alpha float64) *stats.Interval {
	if adjusted > 0.999999 {
		return nil
	}
	se := math.Abs(estimate) / -stats.NormalQuantile(adjusted/2)
	half := -stats.NormalQuantile(alpha/2) * se
	return &stats.Interval{Low: estimate - half, High: estimate + half}
}

// Cell is one arm in one context of the contextual bandit's tree.
type Cell struct {
	N        float64 `json:"n"`
	Mean     float64 `json:"mean"`
	Variance float64 `json:"variance"`
}

// SplitSSE is the sum of squares within the arms before the contexts are split
// apart, and after; contexts are lists of arms in one order.
func SplitSSE(contexts [][]Cell) (before, after float64) {
	var arms []Cell
	for _, c := range contexts {
		for i, a := range c {
			within := a.Variance * (a.N - 1)
			after += within
			for len(arms) <= i {
				arms = append(arms, Cell{})
			}
			t := &arms[i]
			if n := t.N + a.N; n > 0 {
				d := a.Mean - t.Mean
				t.Variance += within + d*d*t.N*a.N/n // here: the sum of squares
				t.Mean += d * a.N / n
				t.N = n
			}
		}
	}
	for _, a := range arms {
		before += a.Variance
	}
	return before, after
}
