package stats_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/hypostream/hypostream/pkg/stats"
	"github.com/hypostream/hypostream/pkg/stats/growthbook"
	"github.com/hypostream/hypostream/pkg/stats/posthog"
)

type phVariant struct {
	Key       string
	Successes uint64  `json:"success_count"`
	Failures  uint64  `json:"failure_count"`
	Count     uint64  `json:"count"`
	Exposure  float64 `json:"exposure"`
	Absolute  uint64  `json:"absolute_exposure"`
	Mean      float64 `json:"mean"`
}

func (v phVariant) funnel() posthog.Funnel {
	return posthog.Funnel{Successes: v.Successes, Failures: v.Failures}
}
func (v phVariant) trend() posthog.Trend {
	return posthog.Trend{Count: v.Count, Exposure: v.Exposure, AbsoluteExposure: v.Absolute}
}

type phPre struct {
	N     float64
	Sum   float64
	SumSq float64 `json:"sum_squares"`
	Cross float64 `json:"sum_of_cross_products"`
}

type phInputs struct {
	phVariant
	Variants []phVariant
	Override []float64 `json:"probabilities_override"`
	Target   string
	Against  []string

	Control    statistic
	Treatment  statistic
	Statistic  statistic
	Difference string
	Alpha      float64
	Level      float64 `json:"ci_level"`
	Prior      json.RawMessage
	Tuning     float64 `json:"tuning_parameter"`

	Effect   float64
	Variance float64 `json:"effect_variance"`
	MeanAt   float64 `json:"mean"`
	Std      float64
	Inverse  bool
	S2       float64
	N        float64
	Point    float64 `json:"point_estimate"`
	Pooled   float64 `json:"pooled_variance"`

	AShape float64 `json:"A_shape"`
	ARate  float64 `json:"A_rate"`
	BShape float64 `json:"B_shape"`
	BRate  float64 `json:"B_rate"`

	Post          statistic
	Pre           phPre
	Theta         float64
	TreatmentPost statistic `json:"treatment_post"`
	ControlPost   statistic `json:"control_post"`
	TreatmentPre  phPre     `json:"treatment_pre"`
	ControlPre    phPre     `json:"control_pre"`
	TargetPost    statistic `json:"target_post"`
	TargetPre     phPre     `json:"target_pre"`
	PartnerPost   statistic `json:"theta_partner_post"`
	PartnerPre    phPre     `json:"theta_partner_pre"`

	Observed map[string]float64
	Rollout  map[string]float64 `json:"rollout_percentages"`
}

// withPre is an arm with its covariate; ok is false where their units differ.
func withPre(post statistic, pre phPre) (growthbook.Statistic, bool) {
	s := growthbook.Statistic{Type: growthbook.CUPED, N: uint64(post.N), Variables: []growthbook.Sums{post.sums(), {Type: growthbook.Mean, Sum: pre.Sum, SumSquares: pre.SumSq}}}
	s.Products[0][1], s.Products[1][0] = pre.Cross, pre.Cross
	return s, post.N == pre.N
}

func (in phInputs) funnels() []posthog.Funnel {
	var out []posthog.Funnel
	for _, v := range in.Variants {
		out = append(out, v.funnel())
	}
	return out
}

func (in phInputs) trends() []posthog.Trend {
	var out []posthog.Trend
	for _, v := range in.Variants {
		out = append(out, v.trend())
	}
	return out
}

func (in phInputs) prior() stats.Prior {
	var p prior
	if json.Unmarshal(in.Prior, &p) != nil || len(in.Prior) == 0 || in.Prior[0] != '{' {
		return stats.Prior{}
	}
	p.Proper = true
	return p.prior()
}

func (in phInputs) alpha() float64 {
	switch {
	case in.Alpha != 0:
		return in.Alpha
	case in.Level != 0:
		return 1 - in.Level
	}
	return 0.05
}

func (in phInputs) probabilities(p []float64, code stats.Code) answer {
	a := answer{}
	var sum float64
	for i, x := range p {
		a["probability."+in.Variants[i].Key] = x
		sum += x
	}
	a["sum(probabilities)"] = sum
	return a
}

func ends(i stats.Interval) answer {
	return answer{"ci_lower_0.025": i.Low, "ci_upper_0.975": i.High}
}

func verdict(s posthog.Significance, x float64) answer {
	return answer{"significance_code": string(s), "expected_loss": x, "p_value": x, "significant": s == posthog.Significant}
}

func overridden(in phInputs, p []float64) []float64 {
	if in.Override != nil {
		return in.Override
	}
	return p
}

func interval(i stats.Interval, mean float64) answer {
	w := (i.High - i.Low) / (3.92 * 3.92) // as the vector's name reads
	return answer{"ci_lower": i.Low, "ci_upper": i.High, "point_estimate": mean, "effect_size": mean, "(ci_upper-ci_lower)/3.92^2": w}
}

func invalid(error) answer { return answer{"error": "invalid_statistic"} }

func welch(c, b growthbook.Statistic, relative bool, alpha float64) answer {
	e, err := posthog.Effect(c, b, relative)
	if err != nil {
		return invalid(err)
	}
	i, p := stats.Welch(e, alpha)
	a := interval(i, e.Estimate)
	a["p_value"], a["degrees_of_freedom"], a["effect"], a["effect_variance"] = p, e.DF, e.Estimate, e.SE*e.SE
	return a
}

func gaussian(c, b growthbook.Statistic, relative bool, prior stats.Prior, alpha float64) answer {
	e, err := posthog.Effect(c, b, relative)
	if err != nil {
		return invalid(err)
	}
	p, _ := stats.GaussianPosterior(e, prior, alpha)
	mean, _ := prior.Update(e)
	a := interval(p.Interval, mean)
	a["chance_to_win"] = p.Win
	return a
}

var posthogMethods = map[string]func(in phInputs) answer{
	"chance_to_win": func(in phInputs) answer {
		e := stats.Effect{Estimate: in.MeanAt, SE: in.Std}
		if in.Inverse {
			e.Estimate = -e.Estimate
		}
		p, _ := stats.GaussianPosterior(e, stats.Prior{}, 0.05)
		return answer{"chance_to_win": p.Win}
	},
	"funnel_bayes_v1": func(in phInputs) answer { return in.probabilities(posthog.FunnelProbabilities(in.funnels())) },
	"funnel_bayes_v2": func(in phInputs) answer { return in.probabilities(posthog.FunnelProbabilitiesV2(in.funnels())) },
	"trend_bayes_v1":  func(in phInputs) answer { return in.probabilities(posthog.TrendProbabilities(in.trends())) },
	"count_bayes_v2":  func(in phInputs) answer { return in.probabilities(posthog.TrendProbabilitiesV2(in.trends())) },

	"funnel_credible_interval_v1": func(in phInputs) answer { return ends(in.funnel().Credible()) },
	"funnel_credible_interval_v2": func(in phInputs) answer { return ends(in.funnel().Credible()) },
	"trend_credible_interval_v1":  func(in phInputs) answer { return ends(in.trend().Credible()) },
	"count_credible_interval_v2":  func(in phInputs) answer { return ends(in.trend().CredibleV2()) },
	"continuous_credible_interval_v2": func(in phInputs) answer {
		return ends(posthog.Continuous{Mean: in.MeanAt, AbsoluteExposure: in.Absolute}.Credible())
	},

	"funnel_expected_loss_v1": func(in phInputs) answer {
		var chosen posthog.Funnel
		var others []posthog.Funnel
		for _, v := range in.Variants {
			if v.Key == in.Target {
				chosen = v.funnel()
			} else if slices.Contains(in.Against, v.Key) {
				others = append(others, v.funnel())
			}
		}
		loss, _ := posthog.FunnelLoss(chosen, others)
		return answer{"expected_loss": loss}
	},
	"funnel_significance_v1": func(in phInputs) answer {
		p, _ := posthog.FunnelProbabilities(in.funnels())
		return verdict(posthog.FunnelSignificance(in.funnels(), overridden(in, p)))
	},
	"funnel_significance_v2": func(in phInputs) answer {
		p, _ := posthog.FunnelProbabilitiesV2(in.funnels())
		return verdict(posthog.FunnelSignificanceV2(in.funnels(), overridden(in, p)))
	},
	"trend_significance_v1": func(in phInputs) answer {
		p, _ := posthog.TrendProbabilities(in.trends())
		return verdict(posthog.TrendSignificance(in.trends(), overridden(in, p)))
	},
	"count_significance_v2": func(in phInputs) answer {
		p, _ := posthog.TrendProbabilitiesV2(in.trends())
		return verdict(posthog.TrendSignificanceV2(in.trends(), overridden(in, p)))
	},
	"continuous_significance_v2": func(in phInputs) answer {
		var all []posthog.Continuous
		for _, v := range in.Variants {
			all = append(all, posthog.Continuous{Mean: v.Mean, AbsoluteExposure: v.Absolute})
		}
		return verdict(posthog.ContinuousSignificanceV2(all))
	},
	"trend_p_value_v1": func(in phInputs) answer { return answer{"p_value": posthog.TrendPOfAll(in.trends())} },
	"gamma_b_beats_a": func(in phInputs) answer {
		p, _ := stats.Beats(stats.GammaLaw(in.BShape, in.BRate), stats.GammaLaw(in.AShape, in.ARate))
		return answer{"P(B>A)": p}
	},

	"statistic": func(in phInputs) answer {
		s := in.Statistic.arm()
		if err := posthog.Validate(s); err != nil {
			return invalid(err)
		}
		m := s.Summary(0)
		return answer{"mean": m.Mean, "variance": m.Variance}
	},
	"effect": func(in phInputs) answer {
		return welch(in.Control.arm(), in.Treatment.arm(), in.Difference == "relative", 0.05)
	},
	"welch_df": func(in phInputs) answer { return welch(in.Control.arm(), in.Treatment.arm(), false, 0.05) },
	"welch_ttest": func(in phInputs) answer {
		return welch(in.Control.arm(), in.Treatment.arm(), in.Difference == "relative", in.alpha())
	},
	"gaussian_bayes": func(in phInputs) answer {
		return gaussian(in.Control.arm(), in.Treatment.arm(), in.Difference == "relative", in.prior(), in.alpha())
	},
	"gaussian_posterior": func(in phInputs) answer {
		mean, sd := in.prior().Update(stats.Effect{Estimate: in.Effect, SE: math.Sqrt(in.Variance)})
		return answer{"posterior_mean": mean, "posterior_variance": sd * sd}
	},
	"sequential_rho": func(in phInputs) answer { return answer{"rho": math.Sqrt(stats.Rho2(in.Alpha, in.Tuning))} },
	"sequential_halfwidth": func(in phInputs) answer {
		return answer{"halfwidth": stats.AlwaysValidHalf(math.Sqrt(in.S2/in.N), in.N, in.Alpha, in.Tuning)}
	},
	"sequential_p_value": func(in phInputs) answer {
		_, p := stats.AlwaysValid(stats.Effect{Estimate: in.Point, SE: math.Sqrt(in.Pooled / in.N)}, uint64(in.N), in.Alpha, in.Tuning)
		return answer{"p_value": p}
	},
	"sequential_test": func(in phInputs) answer {
		c, b := in.Control.arm(), in.Treatment.arm()
		e, err := posthog.Effect(c, b, in.Difference == "relative")
		if err != nil {
			return invalid(err)
		}
		i, p := stats.AlwaysValid(e, c.N+b.N, in.alpha(), in.Tuning)
		return answer{"ci_lower": i.Low, "ci_upper": i.High, "p_value": p, "point_estimate": e.Estimate, "standard_error": e.SE}
	},

	"cuped_adjust_group": func(in phInputs) answer {
		s, _ := withPre(in.Post, in.Pre)
		m := posthog.Adjust(s, in.Theta)
		return answer{"mean": m.Mean, "variance": m.Variance}
	},
	"cuped_theta": func(in phInputs) answer {
		c, _ := withPre(in.ControlPost, in.ControlPre)
		b, _ := withPre(in.TreatmentPost, in.TreatmentPre)
		return answer{"theta": posthog.Theta(c, b)}
	},
	"cuped": func(in phInputs) answer {
		c, okC := withPre(in.ControlPost, in.ControlPre)
		b, okB := withPre(in.TreatmentPost, in.TreatmentPre)
		if !okC || !okB {
			return invalid(nil)
		}
		theta := posthog.Theta(c, b)
		return answer{"theta": theta, "control_adjusted_mean": posthog.Adjust(c, theta).Mean, "treatment_unadjusted_mean": b.Spread().Mean[0]}
	},
	"cuped+welch_ttest_relative_unadjusted_denominator": func(in phInputs) answer {
		c, _ := withPre(in.ControlPost, in.ControlPre)
		b, _ := withPre(in.TreatmentPost, in.TreatmentPre)
		return welch(c, b, true, 0.05)
	},
	"cuped+gaussian_bayes_relative_unadjusted_denominator": func(in phInputs) answer {
		c, _ := withPre(in.ControlPost, in.ControlPre)
		b, _ := withPre(in.TreatmentPost, in.TreatmentPre)
		return gaussian(c, b, true, stats.Prior{}, 0.05)
	},
	"cuped_theta+adjust_group": func(in phInputs) answer {
		c, _ := withPre(in.ControlPost, in.ControlPre)
		partner, _ := withPre(in.PartnerPost, in.PartnerPre)
		target, _ := withPre(in.TargetPost, in.TargetPre)
		return answer{"adjusted_stddev": math.Sqrt(posthog.Adjust(target, posthog.Theta(c, partner)).Variance)}
	},

	"srm_chi_square": func(in phInputs) answer {
		var keys []string
		var observed []uint64
		var rollout []float64
		for k, r := range in.Rollout {
			keys, observed, rollout = append(keys, k), append(observed, uint64(in.Observed[k])), append(rollout, r)
		}
		expected, p, judged := posthog.SRM(observed, rollout)
		if !judged {
			return answer{"result": nil}
		}
		a := answer{"p_value": p}
		for i, k := range keys {
			a["expected."+k] = expected[i]
		}
		return a
	},
}

func TestPublishedValuesOfPostHog(t *testing.T) {
	var file struct {
		Vectors []struct {
			Name, Calc, Op, Output string
			Inputs                 json.RawMessage
			Expected, Recomputed   any
			Places, Delta          *float64
		}
	}
	readSpec(t, "posthog-stats-vectors.json", &file)
	if len(file.Vectors) < 250 {
		t.Fatalf("only %d vectors", len(file.Vectors))
	}
	for _, v := range file.Vectors {
		if v.Calc == "flag_rollout" { // drawing variants is pkg/assign's
			continue
		}
		run := posthogMethods[v.Calc]
		if run == nil {
			t.Errorf("%s: nothing runs %s", v.Name, v.Calc)
			continue
		}
		t.Run(strings.ReplaceAll(v.Name, "/", ":"), func(t *testing.T) {
			var in phInputs
			if err := json.Unmarshal(v.Inputs, &in); err != nil {
				t.Fatal(err)
			}
			got, ok := run(in)[v.Output]
			if !ok {
				t.Fatalf("no %s", v.Output)
			}
			switch {
			case v.Op == "lt" || v.Op == "gt":
				g, w := got.(float64), v.Expected.(float64)
				if (v.Op == "lt" && !(g < w)) || (v.Op == "gt" && !(g > w)) {
					t.Errorf("%s = %v, want %s %v", v.Output, g, v.Op, w)
				}
			case v.Places != nil:
				same(t, v.Output, got, v.Expected, 0.5*math.Pow(10, -*v.Places), 0)
			case v.Delta != nil:
				same(t, v.Output, got, v.Expected, *v.Delta, 0)
			default:
				same(t, v.Output, got, v.Expected, 0, 0)
			}
			if v.Recomputed != nil {
				same(t, v.Output+" (recomputed)", got, v.Recomputed, 1e-12, 1e-6)
			}
		})
	}
}
