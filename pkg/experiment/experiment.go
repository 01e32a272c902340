// Package experiment holds what an experiment is: its variants and their
// shares, its state and window, who is let in, and which metrics are computed
// over which conversion windows. It does no I/O; the registry stores these
// definitions, ingest serves them to SDKs and the analyzer computes by them.
package experiment

import (
	"time"

	"github.com/hypostream/hypostream/pkg/event"
)

// State is where an experiment stands in its life.
type State string

// The states, in the order of a life.
const (
	Draft       State = "draft"       // not served, not analysed
	Calibration State = "calibration" // A/A: callers see control, the draw is reported
	Running     State = "running"
	Stopped     State = "stopped"  // served as inactive, analysed up to its end
	Archived    State = "archived" // hidden from lists; its data and definition stay
)

// ControlKey is the variant that a comparison starts from when the definition
// names no other, and that the HypoTest wire falls back to.
const ControlKey = "control"

// Experiment is one experiment's definition. The registry gives it Version
// and, where it is 0, ID.
type Experiment struct {
	Project string `json:"project" yaml:"project"`
	Key     string `json:"key" yaml:"key"`            // the name that SDKs send with an exposure
	ID      int64  `json:"id,omitzero" yaml:"id"`     // integer id; takes part in the assignment, so it never changes
	Version int64  `json:"version,omitzero" yaml:"-"` // counts accepted changes; a writer names the one it replaces

	Name       string `json:"name,omitzero" yaml:"name"`
	Hypothesis string `json:"hypothesis,omitzero" yaml:"hypothesis"`
	Owner      string `json:"owner,omitzero" yaml:"owner"`

	State State     `json:"state" yaml:"state"`
	Start time.Time `json:"start,omitzero" yaml:"start"` // inclusive, µs; zero: not started
	End   time.Time `json:"end,omitzero" yaml:"end"`     // exclusive, µs; zero: open

	// Variants in declared order: assigners walk them in this order, and two
	// servers that order them differently give different variants.
	Variants []Variant `json:"variants" yaml:"variants"`
	Control  string    `json:"control,omitzero" yaml:"control"` // "" means ControlKey if there is one, else the first

	Targeting Targeting           `json:"targeting,omitzero" yaml:"targeting"`
	Overrides map[string][]string `json:"overrides,omitempty" yaml:"overrides"` // variant → ids that always get it

	Metrics []Metric `json:"metrics,omitempty" yaml:"metrics"` // the first is the primary one

	// ConversionWindow bounds what counts for an entity: events from its first
	// exposure on, for this long. 0 means until the experiment's end.
	ConversionWindow Duration `json:"conversion_window,omitzero" yaml:"conversion_window"`

	Switch      SwitchRule  `json:"switch,omitzero" yaml:"switch"`
	Attribution Attribution `json:"attribution,omitzero" yaml:"attribution"`
}

// Variant is one arm and its share of the traffic, from 0 to 1.
type Variant struct {
	Key    string  `json:"key" yaml:"key"`
	Weight float64 `json:"weight" yaml:"weight"`
}

// Targeting says who is let in.
type Targeting struct {
	// Condition is an expression over the tags in the language that the
	// HypoTest SDKs evaluate; "" lets everyone in.
	Condition string   `json:"condition,omitzero" yaml:"condition"`
	Tags      []string `json:"tags,omitempty" yaml:"tags"` // the tag names that Condition uses
}

// SwitchRule is what becomes of an entity that was seen in two variants.
type SwitchRule string

// The rules. "" is SwitchExclude.
const (
	SwitchExclude SwitchRule = "exclude" // set aside, and counted
	SwitchFirst   SwitchRule = "first"   // stays with the variant seen first
)

// Attribution is how a KPI event finds its variant.
type Attribution string

// The attributions. "" is ByExposure.
const (
	ByExposure Attribution = "exposure" // the entity's first exposure in the window
	ByProperty Attribution = "property" // the variant property on the event itself
)

// MetricKind says how a metric is computed.
type MetricKind string

// The kinds.
const (
	Funnel MetricKind = "funnel" // share of entities that did all steps in order
	Count  MetricKind = "count"  // events per entity
	Sum    MetricKind = "sum"    // value per entity, shown as a total
	Mean   MetricKind = "mean"   // value per entity, shown as a mean
	Unique MetricKind = "unique" // share of entities that did it at least once
)

// Direction is which way a metric is better.
type Direction string

// The directions. "" is Increase.
const (
	Increase Direction = "increase"
	Decrease Direction = "decrease"
)

// MaxFunnelSteps is how many steps one funnel may have.
const MaxFunnelSteps = 15

// Metric is one number per variant, and its comparison with control.
type Metric struct {
	Key   string     `json:"key" yaml:"key"`
	Kind  MetricKind `json:"kind" yaml:"kind"`
	Event string     `json:"event,omitzero" yaml:"event"`  // KPI name, for all but funnels
	Steps []string   `json:"steps,omitempty" yaml:"steps"` // KPI names in order, for funnels
	// Window overrides the experiment's conversion window.
	Window Duration  `json:"window,omitzero" yaml:"window"`
	Better Direction `json:"better,omitzero" yaml:"better"`
}

// Events lists the KPI names that the metric reads, without repeats, in order.
func (m Metric) Events() []string {
	names := m.Steps
	if m.Kind != Funnel {
		names = []string{m.Event}
	}
	var out []string
	for _, n := range names {
		if !contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

// Events lists the KPI names that any metric reads, without repeats.
func (x *Experiment) Events() []string {
	var out []string
	for _, m := range x.Metrics {
		for _, n := range m.Events() {
			if !contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out
}

// Arms are the variants that results are computed for: the declared ones, or
// in calibration, whose draw ignores the declared shares, control and a by
// halves.
func (x *Experiment) Arms() []Variant {
	if x.State == Calibration {
		return []Variant{{Key: ControlKey, Weight: 0.5}, {Key: "a", Weight: 0.5}}
	}
	return x.Variants
}

// ControlArm is the key of the arm that the others are compared with.
func (x *Experiment) ControlArm() string {
	arms := x.Arms()
	if x.Control != "" && x.State != Calibration {
		return x.Control
	}
	for _, v := range arms {
		if v.Key == ControlKey {
			return v.Key
		}
	}
	if len(arms) == 0 {
		return ""
	}
	return arms[0].Key
}

// MetricWindow is the conversion window in force for m, 0 if unbounded.
func (x *Experiment) MetricWindow(m Metric) time.Duration {
	if m.Window > 0 {
		return time.Duration(m.Window)
	}
	return time.Duration(x.ConversionWindow)
}

// openEnd stands for an end that was not set: past any event, since none is
// accepted more than a day ahead of its receipt.
var openEnd = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// Window is [start, end) in µs. It does not depend on the time of asking: an
// experiment without an end takes every event from its start on, so the same
// data give the same result whenever they are looked at.
func (x *Experiment) Window() (start, end int64) {
	if x.End.IsZero() {
		return x.Start.UnixMicro(), openEnd
	}
	return x.Start.UnixMicro(), x.End.UnixMicro()
}

// Served reports whether SDKs are told of the experiment at all.
func (x *Experiment) Served() bool { return x.State != Draft }

// Active reports whether SDKs may draw variants now.
func (x *Experiment) Active() bool { return x.State == Running || x.State == Calibration }

// Project is a namespace of experiments, events and tokens.
type Project struct {
	Key      string `json:"key" yaml:"key"`
	Name     string `json:"name,omitzero" yaml:"name"`
	Timezone string `json:"timezone,omitzero" yaml:"timezone"` // IANA name; shapes day buckets only; "" is UTC
	Version  int64  `json:"version,omitzero" yaml:"-"`
}

// Location is the project's timezone, UTC if it names none or an unknown one.
func (p Project) Location() *time.Location {
	if p.Timezone != "" {
		if loc, err := time.LoadLocation(p.Timezone); err == nil {
			return loc
		}
	}
	return time.UTC
}

// Token lets an SDK write to one project and read its settings. Only the
// SHA-256 of the secret is known.
type Token struct {
	Hash    string    `json:"hash" yaml:"-"` // hex SHA-256 of the secret
	Project string    `json:"project" yaml:"project"`
	Name    string    `json:"name,omitzero" yaml:"name"` // what people call it
	Created time.Time `json:"created,omitzero" yaml:"-"`
	Revoked bool      `json:"revoked,omitzero" yaml:"revoked"`
	Version int64     `json:"version,omitzero" yaml:"-"`
}

// Entry is one record of the registry's log: a whole definition, with the
// version it makes and the one it replaces.
type Entry struct {
	Subject  Subject
	Project  string
	Key      string // experiment or project key, token hash
	Version  int64
	Replaces int64  // 0: must not exist yet
	Writer   string // random id of the writing process, so that it knows its own records
	At       int64  // µs UTC
	Author   string // who asked for it, for the history
	Body     []byte // JSON of the Experiment, Project or Token
}

// Subject says what an Entry defines.
type Subject string

// The subjects.
const (
	SubjectExperiment Subject = "experiment"
	SubjectProject    Subject = "project"
	SubjectToken      Subject = "token"
)

// limits of a definition
const (
	maxVariants  = 32
	maxMetrics   = 100
	maxTags      = 64
	maxOverrides = 10_000
	maxText      = 4096
	maxKey       = event.MaxNameBytes
)

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}
