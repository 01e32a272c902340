package stats

// AdjustFamily takes the comparisons of all results as one family of tests and
// sets their AdjustedP; both the p of one look and the always-valid one, each as
// its own family. What could not be tested is left out of the family.
func AdjustFamily(results []Result, how Correction) Code {
	var p, always []float64
	each := func(f func(*Comparison)) {
		for r := range results {
			for c := range results[r].Comparisons {
				if results[r].Comparisons[c].Code == OK {
					f(&results[r].Comparisons[c])
				}
			}
		}
	}
	each(func(c *Comparison) { p, always = append(p, c.P), append(always, c.AlwaysP) })
	p, code := AdjustP(p, how)
	if code != OK {
		return code
	}
	always, _ = AdjustP(always, how)
	i := 0
	each(func(c *Comparison) {
		one, any := p[i], always[i]
		c.AdjustedP, c.AdjustedAlwaysP = &one, &any
		i++
	})
	return OK
}

// PerDay is an absolute effect per unit carried to all the traffic of a day:
// units that came in days, share of the traffic in the experiment.
func (e Effect) PerDay(units uint64, share, days float64) (Effect, Code) {
	k := float64(units) / (share * days)
	if !(share > 0 && share <= 1) || !(days > 0) || !finite(k) || units == 0 {
		return Effect{}, BadInput
	}
	e.Estimate *= k
	e.SE *= k
	return e, OK
}
