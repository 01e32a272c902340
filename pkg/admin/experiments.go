package admin

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/hypostream/hypostream/pkg/assign"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/registry"
)

// moves are the steps that an experiment may take. A stopped one does not run
// again: who came while it was stopped saw control, so its window would count
// people for a variant that they did not see. Copy it under another key.
var moves = map[experiment.State][]experiment.State{
	experiment.Draft:       {experiment.Calibration, experiment.Running, experiment.Archived},
	experiment.Calibration: {experiment.Running, experiment.Stopped, experiment.Draft},
	experiment.Running:     {experiment.Stopped},
	experiment.Stopped:     {experiment.Archived},
}

// Validate lists what is wrong with a definition, its targeting condition
// included.
func Validate(x *experiment.Experiment) []experiment.FieldError {
	out := FieldErrors(x.Validate())
	if _, err := assign.ParseCondition(x.Targeting.Condition, x.Targeting.Tags); err != nil {
		out = append(out, experiment.FieldError{Field: "targeting.condition", Detail: err.Error()})
	}
	return out
}

// Check lists what a server would find wrong with a definition that it does
// not have yet.
func Check(x experiment.Experiment) []experiment.FieldError {
	if _, err := become(x, nil, time.Now(), true); err != nil {
		var out []experiment.FieldError
		for _, f := range faultOf(err).Fields {
			out = append(out, experiment.FieldError{Field: f.Field, Detail: f.Detail})
		}
		return out
	}
	return nil
}

// become is the definition that stands when want replaces now (nil: nothing),
// with what the server decides filled in: state, id, start and end. Faults are
// *experiment.FieldErrors or a refusal to move users between variants.
func become(want experiment.Experiment, now *experiment.Experiment, clock time.Time, force bool) (*experiment.Experiment, error) {
	clock = clock.UTC().Truncate(time.Microsecond)
	x := want
	if now == nil {
		if x.State == "" {
			x.State = experiment.Draft
		}
		if x.Active() && x.Start.IsZero() {
			x.Start = clock
		}
	} else {
		if x.State == "" {
			x.State = now.State
		}
		if x.ID == 0 {
			x.ID = now.ID
		}
		if x.State != now.State && !slices.Contains(moves[now.State], x.State) {
			return nil, &experiment.FieldError{Field: "state", Detail: fmt.Sprintf("cannot become %s while it is %s; possible from there: %v", x.State, now.State, moves[now.State])}
		}
		settleWindow(&x, now, clock)
		if now.State != experiment.Draft && !slices.Equal(x.Variants, now.Variants) && !force {
			return nil, &fault{http.StatusConflict, "moves_users", fmt.Sprintf("experiment %s is %s: other variants, weights or another order of them "+
				"would move users from one variant to another, and results would mix both; start a new experiment, or say force=true", x.Key, now.State),
				[]fieldFault{{"variants", "differ from those that users were drawn from"}}}
		}
	}
	if faults := Validate(&x); len(faults) > 0 {
		return nil, invalid(faults)
	}
	return &x, nil
}

// settleWindow fills in the start and the end of the next definition.
func settleWindow(x, now *experiment.Experiment, clock time.Time) {
	same := x.Start.IsZero() || x.Start.Equal(now.Start)
	switch {
	case x.State == now.State:
		if x.Start.IsZero() {
			x.Start = now.Start
		}
		if x.End.IsZero() && !now.Active() {
			x.End = now.End // a stopped window does not open again by being left out
		}
	case x.State == experiment.Draft:
		x.Start, x.End = time.Time{}, time.Time{}
	case x.Active() && now.State == experiment.Calibration && same:
		// Calibration showed everyone control: its data lie before the window.
		x.Start = clock
	case x.Active() && x.Start.IsZero():
		x.Start = clock
	case x.Start.IsZero():
		x.Start = now.Start
	}
	if x.State == experiment.Stopped && (x.End.IsZero() || x.End.After(clock)) {
		x.End = clock
	}
	if x.State == experiment.Archived && x.End.IsZero() {
		x.End = now.End
	}
}

func (h *Handler) experiment(r *http.Request) (*experiment.Experiment, error) {
	project, key := r.PathValue("project"), r.PathValue("experiment")
	x := h.reg.Snapshot().Experiment(project, key)
	if x == nil {
		return nil, fmt.Errorf("experiment %s/%s: %w", project, key, registry.ErrNotFound)
	}
	return x, nil
}

func (h *Handler) listExperiments(r *http.Request) (answer, error) {
	p, err := h.project(r)
	if err != nil {
		return answer{}, err
	}
	state := experiment.State(r.URL.Query().Get("state"))
	archived := r.URL.Query().Get("archived") == "true" || state == experiment.Archived
	out := []*experiment.Experiment{}
	for _, x := range h.reg.Snapshot().Experiments(p.Key) {
		if (state == "" || x.State == state) && (archived || x.State != experiment.Archived) {
			out = append(out, x)
		}
	}
	return answer{body: map[string]any{"experiments": out}}, nil
}

func (h *Handler) getExperiment(r *http.Request) (answer, error) {
	x, err := h.experiment(r)
	if err != nil {
		return answer{}, err
	}
	return answer{version: x.Version, body: x}, nil
}

func (h *Handler) createExperiment(r *http.Request) (answer, error) {
	p, err := h.project(r)
	if err != nil {
		return answer{}, err
	}
	var want experiment.Experiment
	if err := decode(r, &want); err != nil {
		return answer{}, err
	}
	if err := sameName("project", &want.Project, p.Key); err != nil {
		return answer{}, err
	}
	want.Version = 0
	x, err := become(want, nil, h.now(), false)
	if err != nil {
		return answer{}, err
	}
	if x, err = h.reg.PutExperiment(r.Context(), x, author(r)); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, version: x.Version, body: x}, nil
}

func (h *Handler) putExperiment(r *http.Request) (answer, error) {
	now, err := h.experiment(r)
	if err != nil {
		return answer{}, err
	}
	var want experiment.Experiment
	if err := decode(r, &want); err != nil {
		return answer{}, err
	}
	if err := sameName("project", &want.Project, now.Project); err != nil {
		return answer{}, err
	}
	if err := sameName("key", &want.Key, now.Key); err != nil {
		return answer{}, err
	}
	version, ok, err := replaces(r, want.Version)
	if err != nil {
		return answer{}, err
	}
	if !ok {
		return answer{}, errNoVersion
	}
	want.Version = version
	return h.replace(r, want, now)
}

// replace writes want over now. What it decides by is now, so a version that
// is another's is refused before.
func (h *Handler) replace(r *http.Request, want experiment.Experiment, now *experiment.Experiment) (answer, error) {
	if want.Version != now.Version {
		return answer{}, stale(r, fmt.Errorf("experiment %s/%s is at version %d, not %d: %w", now.Project, now.Key, now.Version, want.Version, registry.ErrConflict))
	}
	x, err := become(want, now, h.now(), r.URL.Query().Get("force") == "true")
	if err != nil {
		return answer{}, err
	}
	if x, err = h.reg.PutExperiment(r.Context(), x, author(r)); err != nil {
		return answer{}, stale(r, err)
	}
	return answer{version: x.Version, body: x}, nil
}

// move is the step to a state, now.
func move(to experiment.State) func(*Handler, *http.Request) (answer, error) {
	return func(h *Handler, r *http.Request) (answer, error) {
		now, err := h.experiment(r)
		if err != nil {
			return answer{}, err
		}
		version, ok, err := replaces(r, 0)
		if err != nil {
			return answer{}, err
		}
		want := *now
		if ok {
			want.Version = version
		}
		if now.State == to {
			return answer{}, &experiment.FieldError{Field: "state", Detail: "is " + string(to) + " already"}
		}
		want.State = to
		if want.Active() {
			want.Start = time.Time{} // now, whatever was planned
		}
		return h.replace(r, want, now)
	}
}
