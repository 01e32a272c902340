package stats

// Kind is what a metric is for inference.
type Kind string

// The kinds.
const (
	Proportion Kind = "proportion" // share of units; Moments by FromCounts, unit 1
	Mean       Kind = "mean"       // value per unit
	Ratio      Kind = "ratio"      // Σ over Σ; Joint of numerator and denominator
	Retention  Kind = "retention"  // a ratio of units that came back to units that started
	Quantile   Kind = "quantile"   // of the values; Quantile
)

// Arm is one arm's data. The first arm of Analyze is control.
type Arm struct {
	Name    string
	Moments Moments
	Unit    float64 // integer steps to one unit of the metric; 0 is 1

	// Joint takes the place of Moments for a ratio or retention (numerator,
	// denominator), for a mean with its covariate (value, covariate), and for a
	// ratio with covariates (numerator, denominator, the same before exposure).
	Joint *Joint
	Units []float64 // integer steps to one of each variable of Joint; missing ones are 1

	// Quantile takes the place of Moments for a quantile; Clusters goes beside it
	// where values come several to a unit (values at or below it, values).
	Quantile *QuantileSample
	Clusters *Joint
}

// units of the arm, whatever holds them.
func (a Arm) units() uint64 {
	switch {
	case a.Joint != nil:
		return a.Joint.N
	case a.Clusters != nil:
		return a.Clusters.N
	case a.Quantile != nil:
		return a.Quantile.N
	}
	return a.Moments.N
}

// Settings of an analysis. The zero value is the default.
type Settings struct {
	Alpha         float64 // of intervals and decisions, 0.05; from MinAlpha to 0.5
	Tuning        float64 // of the always-valid layer, DefaultTuning
	LowerIsBetter bool
	MinUnits      uint64 // per arm before anything is decided, 100
	MinConverters uint64 // for proportions: successes over both arms, 10
	Prior         Prior  // on the relative effect; the zero value is flat
}

// MinAlpha is the least level that is taken: quantiles stay finite.
const MinAlpha = 1e-10

func (s Settings) withDefaults() Settings {
	if s.Alpha == 0 {
		s.Alpha = 0.05
	}
	if !(s.Tuning > 0) {
		s.Tuning = DefaultTuning
	}
	if s.MinUnits == 0 {
		s.MinUnits = 100
	}
	if s.MinConverters == 0 {
		s.MinConverters = 10
	}
	return s
}

// ArmResult is one arm by itself.
type ArmResult struct {
	Name     string   `json:"name"`
	N        uint64   `json:"n"`
	Value    float64  `json:"value"`    // rate or mean
	Variance float64  `json:"variance"` // per unit
	Interval Interval `json:"interval"`
}

// Decision is what may be concluded.
type Decision string

// The decisions.
const (
	Better       Decision = "better"       // than control, at the level asked for
	Worse        Decision = "worse"        // than control
	Inconclusive Decision = "inconclusive" // the interval holds zero
	NotYet       Decision = "not_yet"      // too little data to decide anything
)

// Comparison is one arm against control.
type Comparison struct {
	Name             string   `json:"name"`
	Absolute         float64  `json:"absolute"`
	AbsoluteInterval Interval `json:"absolute_interval"`
	Relative         float64  `json:"relative"`
	RelativeInterval Interval `json:"relative_interval"`
	RelativeCode     Code     `json:"relative_code,omitempty"`
	P                float64  `json:"p"` // two-sided, Welch, of the absolute difference

	// The same at any number of looks.
	AlwaysInterval Interval `json:"always_valid_interval"` // of the absolute difference
	AlwaysP        float64  `json:"always_valid_p"`

	AdjustedP       *float64 `json:"adjusted_p,omitempty"` // by AdjustFamily
	AdjustedAlwaysP *float64 `json:"adjusted_always_valid_p,omitempty"`

	Win          float64 `json:"win_probability"` // that this arm is better
	LossIfShip   float64 `json:"expected_loss"`   // of choosing this arm, in the metric's unit
	LossIfRefuse float64 `json:"expected_loss_control"`

	Decision Decision `json:"decision"`
	Code     Code     `json:"code,omitempty"` // why the numbers are neutral
}

// Result is one metric over all arms.
type Result struct {
	Kind        Kind         `json:"kind"`
	Theta       float64      `json:"theta,omitempty"`     // of the covariate, over all arms; 0 without
	Reduction   float64      `json:"reduction,omitempty"` // share of control's variance that the covariate took off
	Arms        []ArmResult  `json:"arms"`
	Comparisons []Comparison `json:"comparisons"` // one per arm but the first
}

// Analyze compares every arm with the first. It never gives NaN or Inf: where
// a number cannot be had its code says why, and it is neutral.
func Analyze(kind Kind, arms []Arm, settings Settings) Result {
	s := settings.withDefaults()
	absurd := !(s.Alpha >= MinAlpha && s.Alpha <= 0.5)
	out := Result{Kind: kind}
	w := weigh(kind, arms)
	out.Theta, out.Reduction = w.theta, w.reduction
	for i, a := range arms {
		shown := w.shown[i]
		if !finite(shown.Mean) || !finite(shown.Variance) {
			shown = Summary{N: shown.N}
		}
		r := ArmResult{Name: a.Name, N: a.units(), Value: shown.Mean, Variance: shown.Variance}
		switch {
		case absurd:
			r.Interval = Interval{r.Value, r.Value}
		case kind == Proportion && a.Joint == nil:
			r.Interval = ProportionInterval(a.Moments.N, a.Moments.sum[0], s.Alpha)
		default:
			r.Interval = MeanInterval(shown, s.Alpha)
		}
		out.Arms = append(out.Arms, r)
		if i > 0 {
			c := Comparison{P: 1, AlwaysP: 1, Win: 0.5, Code: BadInput, RelativeCode: BadInput}
			if !absurd {
				c = w.compare(i, s)
			}
			c.Name = a.Name
			c.Decision = s.decide(kind, arms[0], a, c)
			out.Comparisons = append(out.Comparisons, c)
		}
	}
	return out
}

// compare holds arm i against control.
func (w weighed) compare(i int, s Settings) Comparison {
	c := Comparison{P: 1, AlwaysP: 1, Win: 0.5}
	e, code := w.absolute(i)
	c.Code = code
	if code == OK {
		c.Absolute = e.Estimate
		c.AbsoluteInterval, c.P = Welch(e, s.Alpha)
		c.AlwaysInterval, c.AlwaysP = AlwaysValid(e, w.shown[0].N+w.shown[i].N, s.Alpha, s.Tuning)
		better, prior := e, s.Prior.Scaled(w.shown[0].Mean)
		if s.LowerIsBetter {
			better.Estimate, prior.Mean = -better.Estimate, -prior.Mean
		}
		if !(prior.Variance > 0) {
			prior = Prior{}
		}
		p, _ := GaussianPosterior(better, prior, s.Alpha)
		c.Win, c.LossIfShip, c.LossIfRefuse = p.Win, p.LossIfShip, p.LossIfRefuse
	}
	r, code := w.relative(i)
	c.RelativeCode = code
	if code == OK {
		c.Relative = r.Estimate
		c.RelativeInterval, _ = Welch(r, s.Alpha)
	}
	return c
}

func (s Settings) decide(kind Kind, control, treatment Arm, c Comparison) Decision {
	few := control.units() < s.MinUnits || treatment.units() < s.MinUnits
	if kind == Proportion && control.Joint == nil && treatment.Joint == nil {
		few = few || control.Moments.sum[0]+treatment.Moments.sum[0] < s.MinConverters
	}
	switch {
	case few || c.Code != OK:
		return NotYet
	case c.P >= s.Alpha:
		return Inconclusive
	case (c.Absolute > 0) != s.LowerIsBetter:
		return Better
	}
	return Worse
}
