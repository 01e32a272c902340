// Package report holds what an analysis comes to, and its renderings: JSON for
// programs, a table and plain words for a terminal, CSV for spreadsheets.
package report

import (
	"math/big"
	"strings"
	"time"

	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/stats"
)

// Result is one analysis of one experiment. It is a function of the stored
// events and the definition alone, but for ComputedAt and Seconds.
type Result struct {
	Project    string           `json:"project"`
	Experiment string           `json:"experiment"`
	Name       string           `json:"name,omitempty"`
	State      experiment.State `json:"state"`
	Version    int64            `json:"definition_version"`
	Start      time.Time        `json:"start"`        // inclusive
	End        time.Time        `json:"end,omitzero"` // exclusive; absent while it is open
	Timezone   string           `json:"timezone"`     // of the day buckets
	ComputedAt time.Time        `json:"computed_at"`  // when the rows were read
	Seconds    float64          `json:"compute_seconds"`

	Control string   `json:"control"`
	Arms    []Arm    `json:"arms"`
	SRM     SRM      `json:"srm"`
	Metrics []Metric `json:"metrics"`
	Health  Health   `json:"health"`
}

// Arm is one variant's entities.
type Arm struct {
	Variant  string  `json:"variant"`
	Weight   float64 `json:"weight"`
	Entities uint64  `json:"entities"`  // analysed
	SetAside uint64  `json:"set_aside"` // seen in another variant too, this one first
}

// SRMAlpha is below which p the split is called broken.
const SRMAlpha = 0.001

// SRM is the test of whether entities fell into the arms as the weights say.
// It looks at all entities by their first variant, those set aside included.
type SRM struct {
	Chi2     float64 `json:"chi2"`
	P        float64 `json:"p"`
	Mismatch bool    `json:"mismatch"` // p below SRMAlpha: do not trust the rest
}

// Metric is one metric over all arms.
type Metric struct {
	Key         string                `json:"key"`
	Kind        experiment.MetricKind `json:"kind"`
	Events      []string              `json:"events"` // the KPI, or the funnel's steps in order
	Window      string                `json:"conversion_window,omitempty"`
	Better      experiment.Direction  `json:"better"`
	Arms        []MetricArm           `json:"arms"`
	Comparisons []stats.Comparison    `json:"comparisons"` // each arm with control
}

// MetricArm is a metric in one arm.
type MetricArm struct {
	Variant    string         `json:"variant"`
	N          uint64         `json:"n"`     // entities
	Value      float64        `json:"value"` // rate, or mean per entity
	Interval   stats.Interval `json:"interval"`
	Variance   float64        `json:"variance"`
	Total      string         `json:"total"`      // exact: events of a count, values of a sum or mean, converters else
	Converters uint64         `json:"converters"` // entities with at least one event, or through the funnel
	Steps      []Step         `json:"steps,omitempty"`
}

// Step is one step of a funnel in one arm.
type Step struct {
	Event         string  `json:"event"`
	Entities      uint64  `json:"entities"`
	Rate          float64 `json:"rate"`           // of the arm's entities
	MedianSeconds float64 `json:"median_seconds"` // from first exposure; 0 when nobody came so far
}

// Health is what one should know before trusting a result.
type Health struct {
	Fallbacks       []Count   `json:"fallback_exposures"` // no draw: the SDK's error
	Overridden      []Count   `json:"overridden_exposures"`
	UnknownVariants []Count   `json:"unknown_variants"`
	NoIDs           uint64    `json:"exposures_without_ids"`
	LastEvent       time.Time `json:"last_exposure,omitzero"`
	LastReceived    time.Time `json:"last_received,omitzero"`
}

// Count is how many exposures share a detail.
type Count struct {
	Detail string `json:"detail"`
	Events uint64 `json:"events"`
}

// Series is a metric day by day.
type Series struct {
	Metric string      `json:"metric"`
	Arms   []SeriesArm `json:"arms"`
}

// SeriesArm is one arm's days, from the first to the last on which anything
// happened in any arm.
type SeriesArm struct {
	Variant string `json:"variant"`
	Days    []Day  `json:"days"`
}

// Day is one day of the project's calendar, by itself and with all before it.
type Day struct {
	Date       string `json:"date"`
	Exposed    uint64 `json:"exposed"` // entities first exposed
	Events     uint64 `json:"events"`
	Converters uint64 `json:"converters"`
	Total      string `json:"total"`

	CumExposed    uint64         `json:"cum_exposed"`
	CumEvents     uint64         `json:"cum_events"`
	CumConverters uint64         `json:"cum_converters"`
	CumTotal      string         `json:"cum_total"`
	CumValue      float64        `json:"cum_value"` // rate or mean over the entities exposed so far
	CumInterval   stats.Interval `json:"cum_interval"`
}

// Decimal writes millionths as a decimal number, exactly.
func Decimal(micro *big.Int) string {
	s := new(big.Int).Abs(micro).String()
	if len(s) <= 6 {
		s = strings.Repeat("0", 7-len(s)) + s
	}
	whole, frac := s[:len(s)-6], strings.TrimRight(s[len(s)-6:], "0")
	if frac != "" {
		whole += "." + frac
	}
	if micro.Sign() < 0 {
		whole = "-" + whole
	}
	return whole
}

// Comparison is an arm's comparison with control in a metric, nil for control.
func (m *Metric) Comparison(variant string) *stats.Comparison {
	for i := range m.Comparisons {
		if m.Comparisons[i].Name == variant {
			return &m.Comparisons[i]
		}
	}
	return nil
}

// Metric finds a metric by its key, nil if there is none.
func (r *Result) Metric(key string) *Metric {
	for i := range r.Metrics {
		if r.Metrics[i].Key == key {
			return &r.Metrics[i]
		}
	}
	return nil
}

// Arm finds an arm of a metric, nil if there is none.
func (m *Metric) Arm(variant string) *MetricArm {
	for i := range m.Arms {
		if m.Arms[i].Variant == variant {
			return &m.Arms[i]
		}
	}
	return nil
}
