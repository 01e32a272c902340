package main

import (
	"fmt"
	"math/big"

	"github.com/hypostream/hypostream/pkg/eventgen"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/report"
	"github.com/hypostream/hypostream/pkg/stats"
)

// truths tells what the generator put into an experiment.
func truths(x *experiment.Experiment, pop *eventgen.Population) []string {
	var out []string
	for _, v := range x.Arms() {
		t := pop.Truth(x.Key, v.Key)
		out = append(out, fmt.Sprintf("%-8s %d entities, %d set aside, %d sign-ups, %d buyers, revenue %s",
			v.Key, t.Entities, t.SetAside, t.Signups, t.Buyers, report.Decimal(big.NewInt(t.Revenue))))
	}
	switch x.Key {
	case eventgen.Headline:
		out = append(out, fmt.Sprintf("b lifts sign-ups by %.1f %%", 100*(eventgen.SignupB/eventgen.SignupControl-1)))
	case eventgen.Checkout:
		out = append(out, "nothing differs between the arms")
	case eventgen.Banner:
		out = append(out, fmt.Sprintf("%.0f %% of b's exposures never arrived: a sample-ratio mismatch", 100*eventgen.BannerLoss))
	}
	return out
}

// contradictions holds a result against the truth: counts and sums must be
// equal to the last unit, and the verdicts right.
func contradictions(r *report.Result, pop *eventgen.Population) []error {
	var out []error
	differs := func(what string, got, want any) {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			out = append(out, fmt.Errorf("%s: %v, the truth is %v", what, got, want))
		}
	}
	for _, a := range r.Arms {
		t := pop.Truth(r.Experiment, a.Variant)
		at := r.Experiment + ", " + a.Variant + ": "
		differs(at+"entities", a.Entities, t.Entities)
		differs(at+"set aside", a.SetAside, t.SetAside)
		for i := range r.Metrics {
			m := &r.Metrics[i]
			arm := m.Arm(a.Variant)
			switch m.Key {
			case "signups":
				differs(at+"sign-ups", arm.Converters, t.Signups)
			case "signup_to_purchase":
				differs(at+"sign-ups in the funnel", arm.Steps[0].Entities, t.Signups)
				differs(at+"buyers in the funnel", arm.Steps[1].Entities, t.Buyers)
			case "views":
				differs(at+"views", arm.Total, t.Views)
			case "revenue":
				differs(at+"revenue", arm.Total, report.Decimal(big.NewInt(t.Revenue)))
			}
		}
	}
	differs(r.Experiment+": sample-ratio mismatch", r.SRM.Mismatch, r.Experiment == eventgen.Banner)
	switch r.Experiment {
	case eventgen.Headline:
		if c := r.Metric("signups").Comparison("b"); c == nil || c.Decision != stats.Better {
			out = append(out, fmt.Errorf("%s: b makes more visitors sign up, and the verdict does not say so", r.Experiment))
		}
	case eventgen.Checkout:
		for _, m := range r.Metrics {
			for _, c := range m.Comparisons {
				if c.AlwaysP < 0.05 {
					out = append(out, fmt.Errorf("%s: %s differs (p = %g at any time), and nothing does", r.Experiment, m.Key, c.AlwaysP))
				}
			}
		}
	}
	return out
}
