package stats

// Kind is what a metric is for inference.
type Kind string

// The kinds.
const (
	Proportion Kind = "proportion" // share of units; Moments by FromCounts, unit 1
	Mean       Kind = "mean"       // value per unit
)

// Arm is one arm's data. The first arm of Analyze is control.
type Arm struct {
	Name    string
	Moments Moments
	Unit    float64 // integer steps to one unit of the metric; 0 is 1
}

// Settings of an analysis. The zero value is the default.
type Settings struct {
	Alpha         float64 // of intervals and decisions, 0.05; from MinAlpha to 0.5
	Tuning        float64 // of the always-valid layer, DefaultTuning
	LowerIsBetter bool
	MinUnits      uint64 // per arm before anything is decided, 100
	MinConverters uint64 // for proportions: successes over both arms, 10
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

	Win          float64 `json:"win_probability"` // that this arm is better
	LossIfShip   float64 `json:"expected_loss"`   // of choosing this arm, in the metric's unit
	LossIfRefuse float64 `json:"expected_loss_control"`

	Decision Decision `json:"decision"`
	Code     Code     `json:"code,omitempty"` // why the numbers are neutral
}

// Result is one metric over all arms.
type Result struct {
	Kind        Kind         `json:"kind"`
	Arms        []ArmResult  `json:"arms"`
	Comparisons []Comparison `json:"comparisons"` // one per arm but the first
}

// Analyze compares every arm with the first. It never gives NaN or Inf: where
// a number cannot be had its code says why, and it is neutral.
func Analyze(kind Kind, arms []Arm, settings Settings) Result {
	s := settings.withDefaults()
	absurd := !(s.Alpha >= MinAlpha && s.Alpha <= 0.5)
	out := Result{Kind: kind}
	summaries := make([]Summary, len(arms))
	for i, a := range arms {
		unit := a.Unit
		if unit == 0 {
			unit = 1
		}
		summaries[i] = a.Moments.Summary(unit)
		r := ArmResult{Name: a.Name, N: a.Moments.N, Value: summaries[i].Mean, Variance: summaries[i].Variance}
		if absurd {
			r.Interval = Interval{r.Value, r.Value}
		} else if kind == Proportion {
			r.Interval = ProportionInterval(a.Moments.N, a.Moments.sum[0], s.Alpha)
		} else {
			r.Interval = MeanInterval(summaries[i], s.Alpha)
		}
		out.Arms = append(out.Arms, r)
		if i > 0 {
			c := Comparison{P: 1, AlwaysP: 1, Win: 0.5, Code: BadInput, RelativeCode: BadInput}
			if !absurd {
				c = compare(summaries[0], summaries[i], s)
			}
			c.Name = a.Name
			c.Decision = s.decide(kind, arms[0], a, c)
			out.Comparisons = append(out.Comparisons, c)
		}
	}
	return out
}

func compare(control, treatment Summary, s Settings) Comparison {
	c := Comparison{P: 1, AlwaysP: 1, Win: 0.5}
	e, code := Absolute(control, treatment)
	c.Code = code
	if code == OK {
		c.Absolute = e.Estimate
		c.AbsoluteInterval, c.P = Welch(e, s.Alpha)
		c.AlwaysInterval, c.AlwaysP = AlwaysValid(e, control.N+treatment.N, s.Alpha, s.Tuning)
		better := e
		if s.LowerIsBetter {
			better.Estimate = -better.Estimate
		}
		p := FlatPosterior(better, s.Alpha)
		c.Win, c.LossIfShip, c.LossIfRefuse = p.Win, p.LossIfShip, p.LossIfRefuse
	}
	r, code := Relative(control, treatment)
	c.RelativeCode = code
	if code == OK {
		c.Relative = r.Estimate
		c.RelativeInterval, _ = Welch(r, s.Alpha)
	}
	return c
}

func (s Settings) decide(kind Kind, control, treatment Arm, c Comparison) Decision {
	few := control.Moments.N < s.MinUnits || treatment.Moments.N < s.MinUnits
	if kind == Proportion {
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
