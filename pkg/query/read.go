package query

import (
	"fmt"
	"math/big"
	"strconv"

	"github.com/hypostream/hypostream/pkg/experiment"
)

// Row is one row of the answer to Totals.
type Row struct {
	Part    uint8    `ch:"part"`
	Variant uint16   `ch:"variant"`
	Detail  string   `ch:"detail"`
	Cells   []string `ch:"cells"`
}

// The parts of the answer to Totals.
const (
	partArms  = 1
	partSorts = 2
)

// Sort is a class of exposures, as the health section tells them apart.
type Sort uint16

// The sorts of exposures inside the window.
const (
	Analysed       Sort = 0
	NoIDs          Sort = 1 // the SDK had neither id
	Fallback       Sort = 2 // no draw: the detail is the SDK's error
	Overridden     Sort = 3 // a forced variant: the detail is the reason
	UnknownVariant Sort = 4 // the detail is the variant
)

// Exposures counts the exposures of one sort and detail.
type Exposures struct {
	Sort   Sort
	Detail string
	Events uint64 // each counted once; 0 for those that are analysed
	// The newest, by their own time and by receipt, µs. Copies that are not
	// merged away yet take part: a sign of life, not a count.
	LastTime     int64
	LastReceived int64
}

// Metric is what one metric came to in one arm.
type Metric struct {
	Events     *big.Int // how often it happened
	EventsSq   *big.Int // Σ over entities of their events, squared
	Converters uint64   // entities with at least one
	Sum        *big.Int // of a sum or mean: Σ of values, millionths
	SumSq      *big.Int // of a sum or mean: Σ over entities of their values' sum, squared, in millionths²
	Steps      []Step   // of a funnel; then the rest is empty
}

// Step is what a funnel's step came to in one arm.
type Step struct {
	Entities uint64
	Median   int64 // µs from exposure to the step, the lower of the middle two
}

// Arm is one arm's totals.
type Arm struct {
	Variant  string
	Entities uint64 // seen in this variant alone (or first, where first-seen stays)
	Switched uint64 // seen in another as well, this one first
	Metrics  []Metric
}

// Result is the answer to Totals.
type Result struct {
	Arms      []Arm // in the order of the experiment's arms
	Exposures []Exposures
}

// ReadTotals reads the answer to Totals(x, …).
func ReadTotals(x *experiment.Experiment, rows []Row) (Result, error) {
	p := layOut(x)
	var out Result
	for _, v := range x.Arms() {
		a := Arm{Variant: v.Key}
		for _, m := range x.Metrics {
			a.Metrics = append(a.Metrics, emptyMetric(m))
		}
		out.Arms = append(out.Arms, a)
	}
	for _, r := range rows {
		c := cells{list: r.Cells}
		if r.Part == partSorts {
			out.Exposures = append(out.Exposures, Exposures{
				Sort: Sort(r.Variant), Detail: r.Detail, Events: c.uint(), LastTime: c.int(), LastReceived: c.int(),
			})
		} else {
			if r.Variant == 0 || int(r.Variant) > len(out.Arms) {
				return out, fmt.Errorf("reading totals: variant %d of %d", r.Variant, len(out.Arms))
			}
			a := &out.Arms[r.Variant-1]
			a.Entities, a.Switched = c.uint(), c.uint()
			if x.Switch == experiment.SwitchFirst {
				a.Entities += a.Switched
			}
			p.read(x, a, &c)
		}
		if c.err != nil {
			return out, fmt.Errorf("reading totals: %w", c.err)
		}
	}
	return out, nil
}

func emptyMetric(m experiment.Metric) Metric {
	if m.Kind == experiment.Funnel {
		return Metric{Steps: make([]Step, len(m.Steps))}
	}
	return Metric{Events: new(big.Int), EventsSq: new(big.Int), Sum: new(big.Int), SumSq: new(big.Int)}
}

// read takes an arm's cells in the order in which the template writes them.
func (p plan) read(x *experiment.Experiment, a *Arm, c *cells) {
	bases := make([]Metric, len(p.Bases))
	for i, b := range p.Bases {
		bases[i] = Metric{Events: c.big(), EventsSq: c.big(), Converters: c.uint(), Sum: new(big.Int), SumSq: new(big.Int)}
		if b.Valued {
			bases[i].Sum, bases[i].SumSq = c.big(), c.big()
		}
	}
	funnels := make([]Metric, len(p.Funnels))
	for i, f := range p.Funnels {
		for range f.Steps {
			funnels[i].Steps = append(funnels[i].Steps, Step{Entities: c.uint(), Median: c.int()})
		}
	}
	for i, m := range x.Metrics {
		if m.Kind == experiment.Funnel {
			a.Metrics[i] = funnels[p.of[i]]
			continue
		}
		a.Metrics[i] = bases[p.of[i]]
		if !valued(m) {
			a.Metrics[i].Sum, a.Metrics[i].SumSq = new(big.Int), new(big.Int)
		}
	}
}

// SeriesRow is one row of the answer to Series.
type SeriesRow struct {
	Base    uint16   `ch:"m"` // number of the event and window, 0 for exposures
	Variant uint16   `ch:"variant"`
	Day     string   `ch:"day"`
	Cells   []string `ch:"cells"`
}

// Day is one day of a metric's series in one arm. A day on which nothing
// happened has no entry.
type Day struct {
	Date       string   // YYYY-MM-DD, the project's calendar
	Events     uint64   // that day
	Converters uint64   // entities with an event that day
	New        uint64   // … and none before
	Sum        *big.Int // of values that day: millionths, or events where values do not count
	// SumSqStep is by how much Σ over entities of (running sum)² grew that day:
	// summed up over the days it is the cumulative Σ².
	SumSqStep *big.Int
}

// DaySeries is the answer to Series.
type DaySeries struct {
	Exposed map[string][]Day   // by variant: Events is the entities first exposed that day
	Metrics []map[string][]Day // by metric's place and variant
}

// ReadSeries reads the answer to Series(x, …).
func ReadSeries(x *experiment.Experiment, rows []SeriesRow) (DaySeries, error) {
	out := DaySeries{Exposed: map[string][]Day{}, Metrics: make([]map[string][]Day, len(x.Metrics))}
	p := layOutTrends(x)
	byBase := make([]map[string][]Day, len(p.Bases))
	for i := range byBase {
		byBase[i] = map[string][]Day{}
	}
	keys := variants(x)
	for _, r := range rows {
		if r.Variant == 0 || int(r.Variant) > len(keys) || int(r.Base) > len(byBase) {
			return out, fmt.Errorf("reading series: base %d, variant %d", r.Base, r.Variant)
		}
		c := cells{list: r.Cells}
		key := keys[r.Variant-1]
		d := Day{Date: r.Day, Events: c.uint()}
		if r.Base == 0 {
			out.Exposed[key] = append(out.Exposed[key], d)
		} else {
			d.Converters, d.New, d.Sum, d.SumSqStep = c.uint(), c.uint(), c.big(), c.big()
			byBase[r.Base-1][key] = append(byBase[r.Base-1][key], d)
		}
		if c.err != nil {
			return out, fmt.Errorf("reading series: %w", c.err)
		}
	}
	trend := 0
	for i, m := range x.Metrics {
		if m.Kind == experiment.Funnel {
			out.Metrics[i] = map[string][]Day{}
			continue
		}
		out.Metrics[i] = byBase[p.of[trend]]
		trend++
	}
	return out, nil
}

// cells reads numbers that the warehouse sent as text, since no one type of a
// column holds them all.
type cells struct {
	list []string
	err  error
}

func (c *cells) next() string {
	if len(c.list) == 0 {
		c.err = fmt.Errorf("a cell is missing")
		return "0"
	}
	s := c.list[0]
	c.list = c.list[1:]
	return s
}

func (c *cells) uint() uint64 {
	n, err := strconv.ParseUint(c.next(), 10, 64)
	if err != nil {
		c.err = err
	}
	return n
}

func (c *cells) int() int64 {
	n, err := strconv.ParseInt(c.next(), 10, 64)
	if err != nil {
		c.err = err
	}
	return n
}

func (c *cells) big() *big.Int {
	s := c.next()
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		c.err = fmt.Errorf("%q is no whole number", s)
		return new(big.Int)
	}
	return n
}
