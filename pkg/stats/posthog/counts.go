// Package posthog works out experiments as PostHog's three engines did and do:
// v1 (Beta and Gamma posteriors, thresholds), v2 (2025) and the current one. It
// is a thin layer over package stats. Where PostHog draws random samples the
// same probabilities are integrated, so that a result does not change from one
// look to the next.
package posthog

import (
	"math"

	"github.com/hypostream/hypostream/pkg/stats"
)

// Significance is PostHog's verdict.
type Significance string

// The verdicts.
const (
	Significant       Significance = "significant"
	NotEnoughExposure Significance = "not_enough_exposure"
	LowWinProbability Significance = "low_win_probability"
	HighLoss          Significance = "high_loss"
	HighP             Significance = "high_p_value"
)

// The thresholds of v1 and v2.
const (
	MinimumExposure    = 100
	MinimumProbability = 0.9
	MaximumLoss        = 0.01
	MaximumP           = 0.05
)

// Funnel is one variant of a funnel: how many came through and how many not.
type Funnel struct {
	Successes, Failures uint64
}

func (f Funnel) law() stats.Law {
	return stats.BetaLaw(1+float64(f.Successes), 1+float64(f.Failures))
}

func (f Funnel) rate() float64 {
	n := f.Successes + f.Failures
	if n == 0 {
		return 0
	}
	return float64(f.Successes) / float64(n)
}

// Credible is the variant's 95 % interval, of v1 and v2.
func (f Funnel) Credible() stats.Interval { return f.law().Credible(0.05) }

func funnelLaws(variants []Funnel) []stats.Law {
	out := make([]stats.Law, len(variants))
	for i, v := range variants {
		out[i] = v.law()
	}
	return out
}

// FunnelProbabilities of v1: that each variant is the best of all. Control is
// first.
func FunnelProbabilities(variants []Funnel) ([]float64, stats.Code) {
	return stats.BestArm(funnelLaws(variants), false)
}

// FunnelProbabilitiesV2: that each test beats control, and that control beats
// all.
func FunnelProbabilitiesV2(variants []Funnel) ([]float64, stats.Code) {
	laws := funnelLaws(variants)
	out, code := stats.BestArm(laws, false)
	for i := 1; i < len(laws) && code == stats.OK; i++ {
		out[i], code = stats.Beats(laws[i], laws[0])
	}
	return out, code
}

// FunnelLoss is the expected loss of choosing one variant against others.
func FunnelLoss(chosen Funnel, others []Funnel) (float64, stats.Code) {
	return stats.ExpectedLoss(chosen.law(), funnelLaws(others), false)
}

// FunnelSignificance is v1's verdict with the loss beside it; control is first.
func FunnelSignificance(variants []Funnel, probabilities []float64) (Significance, float64) {
	for _, v := range variants {
		if v.Successes+v.Failures < MinimumExposure {
			return NotEnoughExposure, 1
		}
	}
	if unlikely(probabilities) {
		return LowWinProbability, 1
	}
	best := 1
	for i := 2; i < len(variants); i++ {
		if variants[i].rate() > variants[best].rate() {
			best = i
		}
	}
	chosen, other := variants[0], variants[best]
	if other.rate() > chosen.rate() {
		chosen, other = other, chosen
	}
	loss, _ := FunnelLoss(chosen, []Funnel{other})
	if loss >= MaximumLoss {
		return HighLoss, loss
	}
	return Significant, loss
}

// unlikely: neither control nor the tests together reach the threshold.
func unlikely(p []float64) bool {
	var tests float64
	for _, x := range p[1:] {
		tests += x
	}
	return p[0] < MinimumProbability && tests < MinimumProbability
}

// FunnelSignificanceV2 is v2's verdict with the loss beside it.
func FunnelSignificanceV2(variants []Funnel, probabilities []float64) (Significance, float64) {
	exposure, rates := make([]uint64, len(variants)), make([]float64, len(variants))
	for i, v := range variants {
		exposure[i], rates[i] = v.Successes+v.Failures, v.rate()
	}
	return verdictV2(exposure, rates, probabilities, funnelLaws(variants))
}

func verdictV2(exposure []uint64, rates, probabilities []float64, laws []stats.Law) (Significance, float64) {
	best, likeliest := 0, 0.0
	for i := range exposure {
		if exposure[i] < MinimumExposure {
			return NotEnoughExposure, 1
		}
		if rates[i] > rates[best] {
			best = i
		}
		likeliest = max(likeliest, probabilities[i])
	}
	if likeliest < MinimumProbability {
		return LowWinProbability, 1
	}
	others := append(append([]stats.Law{}, laws[:best]...), laws[best+1:]...)
	loss, _ := stats.ExpectedLoss(laws[best], others, false)
	if loss >= MaximumLoss {
		return HighLoss, loss
	}
	return Significant, loss
}

// Trend is one variant of a trend: events, exposure as a share of control's, and
// exposed units.
type Trend struct {
	Count            uint64
	Exposure         float64
	AbsoluteExposure uint64
}

func (t Trend) credibleLaw() stats.Law {
	return stats.GammaLaw(1+float64(t.Count), float64(t.AbsoluteExposure))
}

func (t Trend) lawV2() stats.Law {
	return stats.GammaLaw(1+float64(t.Count), 1+float64(t.AbsoluteExposure))
}

// Credible is v1's 95 % interval of events per unit.
func (t Trend) Credible() stats.Interval { return t.credibleLaw().Credible(0.05) }

// CredibleV2 is v2's.
func (t Trend) CredibleV2() stats.Interval { return t.lawV2().Credible(0.05) }

// TrendProbabilities of v1: that each variant is the best of all.
func TrendProbabilities(variants []Trend) ([]float64, stats.Code) {
	laws := make([]stats.Law, len(variants))
	for i, v := range variants {
		laws[i] = stats.GammaLaw(1+float64(v.Count), v.Exposure)
	}
	return stats.BestArm(laws, false)
}

func lawsV2(variants []Trend) []stats.Law {
	laws := make([]stats.Law, len(variants))
	for i, v := range variants {
		laws[i] = v.lawV2()
	}
	return laws
}

// TrendProbabilitiesV2: that each variant is the best of all, by users.
func TrendProbabilitiesV2(variants []Trend) ([]float64, stats.Code) {
	return stats.BestArm(lawsV2(variants), false)
}

// TrendSignificanceV2 is v2's verdict with the loss beside it.
func TrendSignificanceV2(variants []Trend, probabilities []float64) (Significance, float64) {
	exposure, rates := make([]uint64, len(variants)), make([]float64, len(variants))
	for i, v := range variants {
		exposure[i] = v.AbsoluteExposure
		if v.AbsoluteExposure > 0 {
			rates[i] = float64(v.Count) / float64(v.AbsoluteExposure)
		}
	}
	return verdictV2(exposure, rates, probabilities, lawsV2(variants))
}

// TrendP is v1's p-value of two counts by the conditional binomial:
//
//	n = cc + ct, r = et/(ec + et), p = min(1, 2·min(P(Bin ≤ ct), P(Bin ≥ ct)))
func TrendP(control, test Trend) float64 {
	n, k := float64(control.Count+test.Count), float64(test.Count)
	r := test.Exposure / (control.Exposure + test.Exposure)
	if n == 0 || !(r > 0 && r < 1) {
		return 1
	}
	low, high := 1.0, 1.0
	if k < n { // P(Bin ≤ k) = P(Beta(k+1, n−k) > r)
		low = stats.BetaLaw(n-k, k+1).CDF(1 - r)
	}
	if k > 0 { // P(Bin ≥ k) = P(Beta(k, n−k+1) ≤ r)
		high = stats.BetaLaw(k, n-k+1).CDF(r)
	}
	return min(1, 2*min(low, high))
}

// TrendPOfAll is the p-value of the test with most events against control.
func TrendPOfAll(variants []Trend) float64 {
	best := 1
	for i := 2; i < len(variants); i++ {
		if variants[i].Count > variants[best].Count {
			best = i
		}
	}
	return TrendP(variants[0], variants[best])
}

// TrendSignificance is v1's verdict with the p-value beside it.
func TrendSignificance(variants []Trend, probabilities []float64) (Significance, float64) {
	for _, v := range variants {
		if v.AbsoluteExposure < MinimumExposure {
			return NotEnoughExposure, 1
		}
	}
	if unlikely(probabilities) {
		return LowWinProbability, 1
	}
	p := TrendPOfAll(variants)
	if p >= MaximumP {
		return HighP, p
	}
	return Significant, p
}

// Continuous is one variant of v2's continuous metric: the mean over users. Its
// variance is assumed, not measured; do not build on it.
type Continuous struct {
	Mean             float64
	AbsoluteExposure uint64
}

// shape of v2's log-scale Student posterior.
func (c Continuous) shape() (mu, scale, df float64) {
	n := float64(c.AbsoluteExposure)
	kappa, alpha, beta := 1+n, 1+n/2, 1+0.375*n
	return n * math.Log(c.Mean+1e-10) / kappa, math.Sqrt(beta / (kappa * alpha)), 2 * alpha
}

// Credible is v2's 95 % interval.
func (c Continuous) Credible() stats.Interval {
	mu, scale, df := c.shape()
	half := stats.StudentQuantile(0.975, df) * scale
	return stats.Interval{Low: math.Exp(mu - half), High: math.Exp(mu + half)}
}

// ContinuousSignificanceV2 is v2's verdict. The posteriors are taken as normal
// on the log scale: df is 102 and more once the exposure suffices.
func ContinuousSignificanceV2(variants []Continuous) (Significance, float64) {
	laws := make([]stats.Law, len(variants))
	exposure, rates := make([]uint64, len(variants)), make([]float64, len(variants))
	for i, v := range variants {
		mu, scale, _ := v.shape()
		laws[i] = stats.NormalLaw(mu, scale)
		exposure[i], rates[i] = v.AbsoluteExposure, v.Mean
	}
	p, code := stats.BestArm(laws, false)
	if code != stats.OK {
		return LowWinProbability, 1
	}
	return verdictV2(exposure, rates, p, laws)
}
