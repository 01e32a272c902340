package analyze

import (
	"math/big"
	"slices"
	"strconv"
	"time"

	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/query"
	"github.com/hypostream/hypostream/pkg/report"
	"github.com/hypostream/hypostream/pkg/stats"
)

// microUnit is how many integer steps the values of sums and means have.
const microUnit = 1e6

// Build turns totals into a result: pure arithmetic.
func Build(x *experiment.Experiment, p experiment.Project, totals query.Result) *report.Result {
	r := &report.Result{
		Project: x.Project, Experiment: x.Key, Name: x.Name, State: x.State, Version: x.Version,
		Start: x.Start.UTC(), End: x.End.UTC(), Timezone: p.Location().String(), Control: x.ControlArm(),
	}
	if x.End.IsZero() {
		r.End = time.Time{}
	}
	var counts []uint64
	var weights []float64
	for i, a := range totals.Arms {
		w := x.Arms()[i].Weight
		r.Arms = append(r.Arms, report.Arm{Variant: a.Variant, Weight: w, Entities: a.Entities, SetAside: setAside(x, a)})
		counts = append(counts, a.Entities+setAside(x, a))
		weights = append(weights, w)
	}
	r.SRM.Chi2, r.SRM.P = stats.SRM(counts, weights)
	r.SRM.Mismatch = r.SRM.P < report.SRMAlpha
	for i, m := range x.Metrics {
		r.Metrics = append(r.Metrics, buildMetric(x, m, i, totals.Arms))
	}
	r.Health = health(totals.Exposures)
	return r
}

func setAside(x *experiment.Experiment, a query.Arm) uint64 {
	if x.Switch == experiment.SwitchFirst {
		return 0
	}
	return a.Switched
}

func buildMetric(x *experiment.Experiment, m experiment.Metric, at int, arms []query.Arm) report.Metric {
	out := report.Metric{Key: m.Key, Kind: m.Kind, Events: m.Steps, Better: m.Better}
	if m.Kind != experiment.Funnel {
		out.Events = []string{m.Event}
	}
	if out.Better == "" {
		out.Better = experiment.Increase
	}
	if w := x.MetricWindow(m); w > 0 {
		out.Window = experiment.Duration(w).String()
	}
	kind, settings := stats.Mean, stats.Settings{LowerIsBetter: m.Better == experiment.Decrease}
	if m.Kind == experiment.Funnel || m.Kind == experiment.Unique {
		kind = stats.Proportion
	}
	// stats compares with the first arm; reports keep the declared order.
	order := make([]int, 0, len(arms))
	control := slices.IndexFunc(arms, func(a query.Arm) bool { return a.Variant == x.ControlArm() })
	if control < 0 {
		control = 0
	}
	order = append(order, control)
	for i := range arms {
		if i != control {
			order = append(order, i)
		}
	}
	in := make([]stats.Arm, len(arms))
	for k, i := range order {
		in[k] = armMoments(m, arms[i].Variant, arms[i].Entities, arms[i].Metrics[at])
	}
	res := stats.Analyze(kind, in, settings)
	out.Comparisons = res.Comparisons
	out.Arms = make([]report.MetricArm, len(arms))
	for k, i := range order {
		t := arms[i].Metrics[at]
		a := report.MetricArm{
			Variant: arms[i].Variant, N: res.Arms[k].N, Value: res.Arms[k].Value, Interval: res.Arms[k].Interval, Variance: res.Arms[k].Variance,
			Converters: t.Converters,
		}
		switch m.Kind {
		case experiment.Funnel:
			a.Converters = t.Steps[len(t.Steps)-1].Entities
			a.Total = strconv.FormatUint(a.Converters, 10)
			for j, s := range t.Steps {
				step := report.Step{Event: m.Steps[j], Entities: s.Entities}
				if a.N > 0 {
					step.Rate = float64(s.Entities) / float64(a.N)
				}
				if s.Entities > 0 {
					step.MedianSeconds = float64(s.Median) / 1e6
				}
				a.Steps = append(a.Steps, step)
			}
		case experiment.Unique:
			a.Total = strconv.FormatUint(t.Converters, 10)
		case experiment.Count:
			a.Total = t.Events.String()
		default:
			a.Total = report.Decimal(t.Sum)
		}
		out.Arms[i] = a
	}
	return out
}

// armMoments are a metric's exact moments over an arm's entities; those
// without an event count as zeros.
func armMoments(m experiment.Metric, variant string, n uint64, t query.Metric) stats.Arm {
	a := stats.Arm{Name: variant, Unit: 1}
	switch m.Kind {
	case experiment.Funnel:
		a.Moments = stats.FromCounts(n, t.Steps[len(t.Steps)-1].Entities)
	case experiment.Unique:
		a.Moments = stats.FromCounts(n, t.Converters)
	case experiment.Count:
		a.Moments = stats.FromSums(n, t.Events, t.EventsSq)
	default:
		a.Moments, a.Unit = stats.FromSums(n, t.Sum, t.SumSq), microUnit
	}
	return a
}

func health(list []query.Exposures) report.Health {
	h := report.Health{Fallbacks: []report.Count{}, Overridden: []report.Count{}, UnknownVariants: []report.Count{}}
	for _, e := range list {
		c := report.Count{Detail: e.Detail, Events: e.Events}
		switch e.Sort {
		case query.NoIDs:
			h.NoIDs += e.Events
		case query.Fallback:
			h.Fallbacks = append(h.Fallbacks, c)
		case query.Overridden:
			h.Overridden = append(h.Overridden, c)
		case query.UnknownVariant:
			h.UnknownVariants = append(h.UnknownVariants, c)
		}
		if t := time.UnixMicro(e.LastTime).UTC(); t.After(h.LastEvent) {
			h.LastEvent = t
		}
		if t := time.UnixMicro(e.LastReceived).UTC(); t.After(h.LastReceived) {
			h.LastReceived = t
		}
	}
	for _, l := range []*[]report.Count{&h.Fallbacks, &h.Overridden, &h.UnknownVariants} {
		*l = most(*l)
	}
	return h
}

// mostDetails bounds the lists of the health section.
const mostDetails = 10

func most(l []report.Count) []report.Count {
	slices.SortStableFunc(l, func(a, b report.Count) int {
		switch {
		case a.Events > b.Events:
			return -1
		case a.Events < b.Events:
			return 1
		}
		return 0
	})
	return l[:min(len(l), mostDetails)]
}

// BuildSeries turns the days of the warehouse into series with what they add
// up to, for every metric that is no funnel.
func BuildSeries(x *experiment.Experiment, days query.DaySeries) []report.Series {
	var out []report.Series
	for i, m := range x.Metrics {
		if m.Kind == experiment.Funnel {
			continue
		}
		s := report.Series{Metric: m.Key}
		dates := datesOf(days.Exposed, days.Metrics[i])
		for _, v := range x.Arms() {
			s.Arms = append(s.Arms, seriesArm(m, v.Key, dates, days.Exposed[v.Key], days.Metrics[i][v.Key]))
		}
		out = append(out, s)
	}
	return out
}

// datesOf are all days from the first to the last of any arm.
func datesOf(lists ...map[string][]query.Day) []string {
	first, last := "", ""
	for _, arms := range lists {
		for _, list := range arms {
			for _, d := range list {
				if first == "" || d.Date < first {
					first = d.Date
				}
				if d.Date > last {
					last = d.Date
				}
			}
		}
	}
	var out []string
	t, err := time.Parse(time.DateOnly, first)
	if err != nil {
		return nil
	}
	for ; t.Format(time.DateOnly) <= last; t = t.AddDate(0, 0, 1) {
		out = append(out, t.Format(time.DateOnly))
	}
	return out
}

func seriesArm(m experiment.Metric, variant string, dates []string, exposed, days []query.Day) report.SeriesArm {
	out := report.SeriesArm{Variant: variant, Days: []report.Day{}}
	byDate := map[string]query.Day{}
	for _, d := range days {
		byDate[d.Date] = d
	}
	first := map[string]uint64{}
	for _, d := range exposed {
		first[d.Date] = d.Events
	}
	var cumExposed, cumEvents, cumConverters uint64
	sum, sq := new(big.Int), new(big.Int)
	total := func(events, converters uint64, micro *big.Int) string {
		switch m.Kind {
		case experiment.Unique:
			return strconv.FormatUint(converters, 10)
		case experiment.Count:
			return strconv.FormatUint(events, 10)
		}
		return report.Decimal(micro)
	}
	for _, date := range dates {
		d, ok := byDate[date]
		if !ok {
			d = query.Day{Sum: new(big.Int), SumSqStep: new(big.Int)}
		}
		cumExposed += first[date]
		cumEvents += d.Events
		cumConverters += d.New
		sum.Add(sum, d.Sum)
		sq.Add(sq, d.SumSqStep)
		a := armMoments(m, variant, cumExposed, query.Metric{
			Events: new(big.Int).Set(sum), EventsSq: new(big.Int).Set(sq), Converters: cumConverters, Sum: new(big.Int).Set(sum), SumSq: new(big.Int).Set(sq),
		})
		kind := stats.Mean
		if m.Kind == experiment.Unique {
			kind = stats.Proportion
		}
		one := stats.Analyze(kind, []stats.Arm{a}, stats.Settings{}).Arms[0]
		out.Days = append(out.Days, report.Day{
			Date: date, Exposed: first[date], Events: d.Events, Converters: d.Converters, Total: total(d.Events, d.Converters, d.Sum),
			CumExposed: cumExposed, CumEvents: cumEvents, CumConverters: cumConverters, CumTotal: total(cumEvents, cumConverters, sum),
			CumValue: one.Value, CumInterval: one.Interval,
		})
	}
	return out
}
