// Package spotify works out experiments as Spotify's Confidence library does,
// where that differs from package stats: relative intervals are absolute ones
// divided by the mean of control (no delta method, so narrower), proportions
// have the variance p(1−p), and a family of success and guardrail metrics shares
// level and power by the rule that the library calls spot-1.
package spotify

import (
	"math"

	"github.com/hypostream/hypostream/pkg/stats"
)

// Proportion is the summary of k of n, variance with divisor n.
func Proportion(n, k uint64) stats.Summary {
	if n == 0 {
		return stats.Summary{}
	}
	p := float64(k) / float64(n)
	return stats.Summary{N: n, Mean: p, Variance: p * (1 - p)}
}

// DivideByControl turns an absolute outcome into a relative one the short way:
// estimate and ends over the mean of control.
func DivideByControl(t stats.Test, controlMean float64) stats.Test {
	if t.Code != stats.OK {
		return t
	}
	if controlMean == 0 {
		return stats.Neutral(stats.ZeroBaseline)
	}
	t.Estimate /= controlMean
	t.SE /= math.Abs(controlMean)
	low, high := t.Low, t.High
	if controlMean < 0 {
		low, high = high, low
	}
	t.Low, t.High = over(low, controlMean), over(high, controlMean)
	return t
}

func over(x *float64, by float64) *float64 {
	if x == nil {
		return nil
	}
	y := *x / by
	return &y
}

// ChiSquared is the test of two proportions with the Wald interval of their
// difference: pooled in p, unpooled in the interval.
func ChiSquared(nc, kc, nt, kt uint64, alpha float64) stats.Test {
	e, code := stats.Absolute(Proportion(nc, kc), Proportion(nt, kt))
	if code != stats.OK {
		return stats.Neutral(code)
	}
	t := stats.ZTest(e, 0, alpha, stats.TwoSided)
	_, t.P = stats.ChiSquaredProportions(nc, kc, nt, kt)
	return t
}

// Metric of a family that is planned together. A metric with a Margin is a
// guardrail, tested for non-inferiority; one with an MDE is to succeed. Both are
// shares of the mean.
type Metric struct {
	Binary    bool
	Mean      float64
	Variance  float64
	MDE       float64
	Margin    float64
	Direction int // +1 should rise, −1 should fall, 0 either way
}

// RequiredUnits is, for every metric, the units over all arms that the spot-1
// rule asks for; weights[0] is control's. Success metrics share α by arms and
// metrics, one-sided where they have a direction; guardrails share the power:
// each gets 1 − (1 − power)/(guardrails + 1).
func RequiredUnits(metrics []Metric, weights []float64, alpha, power float64) ([]float64, stats.Code) {
	if len(weights) < 2 {
		return nil, stats.BadInput
	}
	var total float64
	for _, w := range weights {
		if !(w > 0) {
			return nil, stats.BadInput
		}
		total += w
	}
	success, guardrails := 0, 0
	for _, m := range metrics {
		if m.Margin != 0 {
			guardrails++
		} else {
			success++
		}
	}
	power = 1 - (1-power)/float64(guardrails+1)
	shared := alpha / float64(len(weights)-1)
	out := make([]float64, len(metrics))
	for i, m := range metrics {
		level, effect := 2*shared, math.Abs(m.Margin*m.Mean)
		vt := m.Variance
		if m.Margin == 0 {
			effect = math.Abs(m.MDE * m.Mean)
			level = shared / float64(success)
			if m.Direction != 0 {
				level *= 2
			}
			if m.Binary {
				p := m.Mean * (1 + m.MDE)
				if m.Direction < 0 {
					p = m.Mean * (1 - m.MDE)
				}
				vt = p * (1 - p)
			}
		}
		for _, w := range weights[1:] {
			n, code := stats.SampleSize(effect, m.Variance, vt, weights[0]/w, level, power)
			if code != stats.OK {
				return nil, code
			}
			out[i] = max(out[i], math.Ceil(math.Ceil(n)*total/w))
		}
	}
	return out, stats.OK
}

// PoweredEffect is the least absolute effect that a z-test finds, the variance
// per unit being the same in both arms.
func PoweredEffect(variance float64, nc, nt uint64, alpha, power float64) float64 {
	z := stats.NormalQuantile(power) - stats.NormalQuantile(alpha/2)
	return z * math.Sqrt(variance/float64(nc)+variance/float64(nt))
}
