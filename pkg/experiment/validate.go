package experiment

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"time"
	"unicode/utf8"
)

// FieldError says which field of a definition is wrong, and how. The field is
// a path such as "variants[1].weight".
type FieldError struct {
	Field  string
	Detail string
}

// Error is "field: detail".
func (e *FieldError) Error() string { return e.Field + ": " + e.Detail }

// keyPattern is what the keys of projects may look like: they are parts of log
// keys and of addresses. SDK-facing keys are freer, since clients use them already.
var keyPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

type faults struct{ list []error }

func (f *faults) add(field, format string, args ...any) {
	f.list = append(f.list, &FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
}

func (f *faults) text(field, s string, limit int, required bool) {
	switch {
	case s == "" && required:
		f.add(field, "required, and must not be empty")
	case len(s) > limit:
		f.add(field, "%d bytes, at most %d are accepted", len(s), limit)
	case !utf8.ValidString(s):
		f.add(field, "not valid UTF-8")
	}
}

func (f *faults) err() error { return errors.Join(f.list...) }

// Validate reports everything that is wrong with the definition, each fault a
// *FieldError. The targeting condition's syntax is the assigner's to judge.
func (x *Experiment) Validate() error {
	var f faults
	f.text("project", x.Project, maxKey, true)
	f.text("key", x.Key, maxKey, true)
	f.text("name", x.Name, maxText, false)
	f.text("hypothesis", x.Hypothesis, maxText, false)
	f.text("owner", x.Owner, maxText, false)
	f.text("targeting.condition", x.Targeting.Condition, maxText, false)
	if x.ID < 0 || x.ID > math.MaxInt32 {
		f.add("id", "%d is not between 0 and %d", x.ID, math.MaxInt32)
	}
	switch x.State {
	case Draft, Calibration, Running, Stopped, Archived:
	default:
		f.add("state", "%q is none of draft, calibration, running, stopped, archived", x.State)
	}
	if (x.State == Running || x.State == Calibration || x.State == Stopped) && x.Start.IsZero() {
		f.add("start", "required once an experiment has started")
	}
	if !x.End.IsZero() && !x.End.After(x.Start) {
		f.add("end", "%s is not after the start, %s", x.End.Format(time.RFC3339), x.Start.Format(time.RFC3339))
	}
	switch x.Switch {
	case "", SwitchExclude, SwitchFirst:
	default:
		f.add("switch", "%q is neither exclude nor first", x.Switch)
	}
	switch x.Attribution {
	case "", ByExposure, ByProperty:
	default:
		f.add("attribution", "%q is neither exposure nor property", x.Attribution)
	}
	if x.ConversionWindow < 0 {
		f.add("conversion_window", "must not be negative")
	}
	x.validateVariants(&f)
	x.validateMetrics(&f)
	return f.err()
}

func (x *Experiment) validateVariants(f *faults) {
	if len(x.Variants) == 0 {
		f.add("variants", "at least one is required")
	}
	if len(x.Variants) > maxVariants {
		f.add("variants", "%d entries, at most %d are accepted", len(x.Variants), maxVariants)
	}
	keys := map[string]bool{}
	total := 0.0
	for i, v := range x.Variants {
		f.text(fmt.Sprintf("variants[%d].key", i), v.Key, maxKey, true)
		if keys[v.Key] {
			f.add(fmt.Sprintf("variants[%d].key", i), "%q stands twice", v.Key)
		}
		keys[v.Key] = true
		if !(v.Weight >= 0 && v.Weight <= 1) {
			f.add(fmt.Sprintf("variants[%d].weight", i), "%v is not a share between 0 and 1", v.Weight)
		}
		total += v.Weight
	}
	// Thirds written as decimals may add up to a little over one.
	if total > 1+1e-9 {
		f.add("variants", "the weights add up to %v, more than 1", total)
	}
	if x.Control != "" && !keys[x.Control] {
		f.add("control", "%q is none of the variants", x.Control)
	}
	if len(x.Targeting.Tags) > maxTags {
		f.add("targeting.tags", "%d entries, at most %d are accepted", len(x.Targeting.Tags), maxTags)
	}
	n := 0
	for variant, ids := range x.Overrides {
		n += len(ids)
		if !keys[variant] {
			f.add("overrides", "%q is none of the variants", variant)
		}
	}
	if n > maxOverrides {
		f.add("overrides", "%d ids, at most %d are accepted", n, maxOverrides)
	}
}

func (x *Experiment) validateMetrics(f *faults) {
	if len(x.Metrics) > maxMetrics {
		f.add("metrics", "%d entries, at most %d are accepted", len(x.Metrics), maxMetrics)
	}
	keys := map[string]bool{}
	for i, m := range x.Metrics {
		at := func(field string) string { return fmt.Sprintf("metrics[%d].%s", i, field) }
		f.text(at("key"), m.Key, maxKey, true)
		if keys[m.Key] {
			f.add(at("key"), "%q stands twice", m.Key)
		}
		keys[m.Key] = true
		switch m.Kind {
		case Funnel:
			if len(m.Steps) == 0 || len(m.Steps) > MaxFunnelSteps {
				f.add(at("steps"), "%d steps; a funnel has 1 to %d", len(m.Steps), MaxFunnelSteps)
			}
			for j, s := range m.Steps {
				f.text(fmt.Sprintf("metrics[%d].steps[%d]", i, j), s, maxKey, true)
			}
			if m.Event != "" {
				f.add(at("event"), "a funnel has steps, not an event")
			}
		case Count, Sum, Mean, Unique:
			f.text(at("event"), m.Event, maxKey, true)
			if len(m.Steps) > 0 {
				f.add(at("steps"), "only a funnel has steps")
			}
		default:
			f.add(at("kind"), "%q is none of funnel, count, sum, mean, unique", m.Kind)
		}
		switch m.Better {
		case "", Increase, Decrease:
		default:
			f.add(at("better"), "%q is neither increase nor decrease", m.Better)
		}
		if m.Window < 0 {
			f.add(at("window"), "must not be negative")
		}
	}
}

// Validate reports everything that is wrong with the project.
func (p Project) Validate() error {
	var f faults
	f.text("key", p.Key, 64, true)
	if p.Key != "" && !keyPattern.MatchString(p.Key) {
		f.add("key", "%q has a character other than letters, digits and _ . -", p.Key)
	}
	f.text("name", p.Name, maxText, false)
	if p.Timezone != "" {
		if _, err := time.LoadLocation(p.Timezone); err != nil {
			f.add("timezone", "%q is not a known IANA timezone", p.Timezone)
		}
	}
	return f.err()
}
