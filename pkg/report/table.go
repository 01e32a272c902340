package report

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/stats"
)

// JSON writes the result as one indented object.
func JSON(w io.Writer, r *Result) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Table writes the result for a terminal of 100 columns.
func Table(w io.Writer, r *Result) error {
	title := r.Experiment
	if r.Name != "" {
		title += " · " + r.Name
	}
	fmt.Fprintf(w, "%s · %s · since %s", title, r.State, r.Start.Format("2006-01-02 15:04 MST"))
	if !r.End.IsZero() {
		fmt.Fprintf(w, " to %s", r.End.Format("2006-01-02 15:04 MST"))
	}
	fmt.Fprintln(w)
	for _, a := range r.Arms {
		fmt.Fprintf(w, "  %-12s %s entities", a.Variant, grouped(a.Entities))
		if a.SetAside > 0 {
			fmt.Fprintf(w, ", %s set aside (seen in two variants)", grouped(a.SetAside))
		}
		fmt.Fprintln(w)
	}
	if r.SRM.Mismatch {
		fmt.Fprintf(w, "  ! sample ratio mismatch (p = %s): entities are missing from an arm; do not trust what follows\n", pText(r.SRM.P))
	} else {
		fmt.Fprintf(w, "  the split is as the weights say (p = %s)\n", pText(r.SRM.P))
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprint(t, "\n  metric\tvariant\tvalue\tuplift\t95 % interval\tp\twins\tverdict\n")
	for i := range r.Metrics {
		m := &r.Metrics[i]
		for j, a := range m.Arms {
			name := ""
			if j == 0 {
				name = m.Key
			}
			fmt.Fprintf(t, "  %s\t%s\t%s\t", name, a.Variant, value(m.Kind, a.Value))
			c := m.Comparison(a.Variant)
			switch {
			case c == nil:
				fmt.Fprint(t, "\t\t\t\t\n")
			case c.Code != stats.OK:
				fmt.Fprintf(t, "\t\t\t\t%s\n", why(c.Code))
			case c.RelativeCode != stats.OK:
				fmt.Fprintf(t, "%s\t%s … %s\t%s\t%s\t%s\n", signed(m.Kind, c.Absolute), signed(m.Kind, c.AbsoluteInterval.Low), signed(m.Kind, c.AbsoluteInterval.High), pText(c.P), percent(c.Win), words(c))
			default:
				fmt.Fprintf(t, "%+.1f %%\t%+.1f %% … %+.1f %%\t%s\t%s\t%s\n", 100*c.Relative, 100*c.RelativeInterval.Low, 100*c.RelativeInterval.High, pText(c.P), percent(c.Win), words(c))
			}
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i := range r.Metrics {
		if m := &r.Metrics[i]; m.Kind == experiment.Funnel && len(m.Arms) > 0 {
			steps(w, m)
		}
	}
	for _, line := range notes(&r.Health) {
		fmt.Fprintf(w, "  %s\n", line)
	}
	return nil
}

// steps tells how far each arm came, and how fast.
func steps(w io.Writer, m *Metric) {
	fmt.Fprintf(w, "  %s, step by step:\n", m.Key)
	for i, s := range m.Arms[0].Steps {
		var parts []string
		for _, a := range m.Arms {
			p := a.Steps[i]
			text := fmt.Sprintf("%s %s (%s", a.Variant, grouped(p.Entities), percent(p.Rate))
			if p.Entities > 0 {
				text += ", median " + span(p.MedianSeconds)
			}
			parts = append(parts, text+")")
		}
		fmt.Fprintf(w, "    %d %s: %s\n", i+1, s.Event, strings.Join(parts, ", "))
	}
}

func notes(h *Health) []string {
	var out []string
	say := func(list []Count, what string) {
		for _, c := range list {
			out = append(out, fmt.Sprintf("%s exposures %s: %s", grouped(c.Events), what, c.Detail))
		}
	}
	say(h.Fallbacks, "left out, not a draw")
	say(h.Overridden, "left out, overridden")
	say(h.UnknownVariants, "left out, of an unknown variant")
	if h.NoIDs > 0 {
		out = append(out, grouped(h.NoIDs)+" exposures without any id")
	}
	return out
}

// words is the verdict in a few words.
func words(c *stats.Comparison) string {
	switch c.Decision {
	case stats.Better:
		return "better"
	case stats.Worse:
		return "worse"
	case stats.Inconclusive:
		return "no difference shown"
	}
	return "too little data yet"
}

func why(c stats.Code) string {
	switch c {
	case stats.NoUnits:
		return "no entities yet"
	case stats.TooFewUnits:
		return "too few entities"
	case stats.ZeroVariance:
		return "all entities alike"
	}
	return string(c)
}

func value(k experiment.MetricKind, v float64) string {
	if k == experiment.Funnel || k == experiment.Unique {
		return fmt.Sprintf("%.2f %%", 100*v)
	}
	return strconv.FormatFloat(v, 'f', 4, 64)
}

func signed(k experiment.MetricKind, v float64) string {
	if k == experiment.Funnel || k == experiment.Unique {
		return fmt.Sprintf("%+.2f pp", 100*v)
	}
	return fmt.Sprintf("%+.4f", v)
}

func percent(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }

func pText(p float64) string {
	switch {
	case p == 0:
		return "< 1e-300"
	case p < 0.0001:
		return strconv.FormatFloat(p, 'e', 1, 64)
	}
	return strconv.FormatFloat(p, 'f', 4, 64)
}

func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	case d >= time.Hour:
		return fmt.Sprintf("%.1f h", d.Hours())
	case d >= time.Minute:
		return fmt.Sprintf("%.1f min", d.Minutes())
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// grouped writes 1234567 as 1,234,567.
func grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// CSV writes one line per metric and arm, in the columns of the warehouse's
// experiment_results.
func CSV(w io.Writer, r *Result) error {
	c := csv.NewWriter(w)
	c.Write([]string{"project", "experiment", "metric", "kind", "variant", "entities", "set_aside", "value", "low", "high", "converters", "total",
		"absolute", "absolute_low", "absolute_high", "relative", "relative_low", "relative_high", "p", "always_valid_p", "win_probability", "expected_loss", "decision", "code", "srm_p"})
	f := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	for i := range r.Metrics {
		m := &r.Metrics[i]
		for j, a := range m.Arms {
			line := []string{r.Project, r.Experiment, m.Key, string(m.Kind), a.Variant, strconv.FormatUint(a.N, 10), strconv.FormatUint(r.Arms[j].SetAside, 10),
				f(a.Value), f(a.Interval.Low), f(a.Interval.High), strconv.FormatUint(a.Converters, 10), a.Total}
			if x := m.Comparison(a.Variant); x != nil {
				line = append(line, f(x.Absolute), f(x.AbsoluteInterval.Low), f(x.AbsoluteInterval.High), f(x.Relative), f(x.RelativeInterval.Low), f(x.RelativeInterval.High),
					f(x.P), f(x.AlwaysP), f(x.Win), f(x.LossIfShip), string(x.Decision), string(x.Code))
			} else {
				line = append(line, make([]string, 12)...)
			}
			c.Write(append(line, f(r.SRM.P)))
		}
	}
	c.Flush()
	return c.Error()
}
