package stats

// weighed are a metric's arms made ready for comparison.
type weighed struct {
	kind      Kind
	shown     []Summary // as measured, without adjustment
	spreads   []Spread  // where the arms are joint
	theta     float64
	reduction float64
}

func weigh(kind Kind, arms []Arm) weighed {
	w := weighed{kind: kind, shown: make([]Summary, len(arms))}
	joint, fewest := len(arms) > 0, MaxVariables
	for _, a := range arms {
		joint = joint && a.Joint != nil
		if a.Joint != nil && a.Joint.N > 0 {
			fewest = min(fewest, a.Joint.k)
		}
	}
	if joint {
		for i, a := range arms {
			w.spreads = append(w.spreads, a.Joint.Spread(a.Units...))
			if w.ratio() {
				w.shown[i] = w.spreads[i].Ratio()
			} else {
				w.shown[i] = w.spreads[i].Variable(0)
			}
		}
		w.adjust(fewest)
		return w
	}
	for i, a := range arms {
		switch {
		case a.Quantile != nil && a.Clusters != nil:
			w.shown[i] = a.Quantile.Clustered(a.Clusters.Spread())
		case a.Quantile != nil:
			w.shown[i] = a.Quantile.Summary()
		default:
			unit := a.Unit
			if unit == 0 {
				unit = 1
			}
			w.shown[i] = a.Moments.Summary(unit)
		}
	}
	return w
}

func (w weighed) ratio() bool { return w.kind == Ratio || w.kind == Retention }

// adjust takes a covariate into account where there is one and it helps.
func (w *weighed) adjust(variables int) {
	before, after := w.shown[0].Variance, 0.0
	switch {
	case w.ratio() && variables == 4:
		w.theta = RatioTheta(w.spreads...)
		after = w.spreads[0].AdjustRatio(w.theta).Variance
	case !w.ratio() && variables == 2:
		w.theta = Theta(w.spreads...)
		after = w.spreads[0].Adjust(w.theta, 0).Variance
	}
	if w.theta != 0 && before > 0 && finite(after/before) {
		w.reduction = 1 - after/before
	}
}

func (w weighed) absolute(i int) (Effect, Code) {
	switch {
	case w.theta == 0:
		return Absolute(w.shown[0], w.shown[i])
	case w.ratio():
		return AbsoluteRatioCUPED(w.spreads[0], w.spreads[i], w.theta)
	}
	return AbsoluteCUPED(w.spreads[0], w.spreads[i], w.theta)
}

func (w weighed) relative(i int) (Effect, Code) {
	switch {
	case w.theta == 0:
		return Relative(w.shown[0], w.shown[i])
	case w.ratio():
		return RelativeRatioCUPED(w.spreads[0], w.spreads[i], w.theta)
	}
	return RelativeCUPED(w.spreads[0], w.spreads[i], w.theta)
}
