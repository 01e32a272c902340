package admin

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/registry"
)

// Definition is what an installation shall hold. What it does not name stays
// as it is.
type Definition struct {
	Projects    []experiment.Project    `json:"projects,omitempty" yaml:"projects"`
	Tokens      []Token                 `json:"tokens,omitempty" yaml:"tokens"`
	Experiments []experiment.Experiment `json:"experiments,omitempty" yaml:"experiments"`
}

// Token is a token whose secret clients have already.
type Token struct {
	Project   string `json:"project" yaml:"project"`
	Name      string `json:"name" yaml:"name"`
	Secret    string `json:"secret" yaml:"-"`
	SecretEnv string `json:"-" yaml:"secret_env"` // in files: the variable that holds the secret
}

// Change is one step of a plan.
type Change struct {
	Kind    string   `json:"kind"` // project, token or experiment
	Project string   `json:"project"`
	Key     string   `json:"key"`
	Action  string   `json:"action"` // create, update or unchanged
	Fields  []string `json:"fields,omitempty"`
}

// Plan is what Apply did, or with dry_run would do.
type Plan struct {
	DryRun  bool     `json:"dry_run"`
	Changes []Change `json:"changes"`
}

// step is a change and how it is made.
type step struct {
	Change
	do func() error
}

// apply brings the registry to a Definition: all of it is checked before
// anything is written.
func (h *Handler) apply(r *http.Request) (answer, error) {
	var d Definition
	if err := decode(r, &d); err != nil {
		return answer{}, err
	}
	p := planner{h: h, r: r, s: h.reg.Snapshot(), force: r.URL.Query().Get("force") == "true", clock: h.now(), seen: map[string]bool{}, ids: map[string]string{}}
	p.projects(d.Projects)
	p.tokens(d.Tokens)
	p.experiments(d.Experiments)
	if len(p.faults) > 0 {
		return answer{}, invalid(p.faults)
	}
	plan := Plan{DryRun: r.URL.Query().Get("dry_run") == "true", Changes: []Change{}}
	for i, s := range p.steps {
		if !plan.DryRun && s.Action != "unchanged" {
			if err := s.do(); err != nil {
				f := *faultOf(err)
				f.Message = fmt.Sprintf("%s %s: %s (%d of %d changes were made before; the same again goes on)", s.Kind, s.Key, f.Message, i, len(p.steps))
				return answer{}, &f
			}
		}
		plan.Changes = append(plan.Changes, s.Change)
	}
	return answer{body: plan}, nil
}

type planner struct {
	h      *Handler
	r      *http.Request
	s      *registry.Snapshot
	force  bool
	clock  time.Time
	seen   map[string]bool
	ids    map[string]string // project and id → experiment
	steps  []step
	faults []experiment.FieldError
}

func (p *planner) fault(at, field, detail string) {
	switch {
	case field == "":
		field = at
	case at != "":
		field = at + "." + field
	}
	p.faults = append(p.faults, experiment.FieldError{Field: field, Detail: detail})
}

// once reports whether the thing is named for the first time.
func (p *planner) once(at, field, what string) bool {
	if p.seen[what] {
		p.fault(at, field, "stands twice")
		return false
	}
	p.seen[what] = true
	return true
}

func (p *planner) projects(list []experiment.Project) {
	for i, want := range list {
		at := fmt.Sprintf("projects[%d]", i)
		for _, e := range FieldErrors(want.Validate()) {
			p.fault(at, e.Field, e.Detail)
		}
		if !p.once(at, "key", "project/"+want.Key) {
			continue
		}
		now, exists := p.s.Project(want.Key)
		want.Version = now.Version
		p.add("project", want.Key, want.Key, exists, differ(want, now), func() error {
			_, err := p.h.reg.PutProject(p.r.Context(), want, author(p.r))
			return err
		})
	}
}

func (p *planner) add(kind, project, key string, exists bool, fields []string, do func() error) {
	c := Change{Kind: kind, Project: project, Key: key, Action: "update", Fields: fields}
	switch {
	case !exists:
		c.Action, c.Fields = "create", nil
	case len(fields) == 0:
		c.Action = "unchanged"
	}
	p.steps = append(p.steps, step{c, do})
}

// known reports whether a project exists or is about to.
func (p *planner) known(at, project string) bool {
	if _, ok := p.s.Project(project); !ok && !p.seen["project/"+project] {
		p.fault(at, "project", fmt.Sprintf("there is no project %q, here or on the server", project))
		return false
	}
	return true
}

func (p *planner) tokens(list []Token) {
	for i, want := range list {
		at := fmt.Sprintf("tokens[%d]", i)
		if want.Name == "" {
			p.fault(at, "name", "required, and must not be empty")
		}
		if err := registry.CheckSecret(want.Secret); err != nil {
			for _, e := range FieldErrors(err) {
				p.fault(at, e.Field, e.Detail)
			}
			continue
		}
		hash := registry.HashToken(want.Secret)
		if !p.known(at, want.Project) || !p.once(at, "secret", "token/"+hash) {
			continue
		}
		now, exists := p.s.Token(hash)
		switch {
		case exists && now.Project != want.Project:
			p.fault(at, "secret", "is in use by another project")
		case exists && now.Revoked:
			p.fault(at, "secret", "was revoked; tokens do not come back")
		}
		p.add("token", want.Project, want.Name, exists, nil, func() error {
			_, err := p.h.reg.ImportToken(p.r.Context(), want.Project, want.Name, want.Secret, author(p.r))
			return err
		})
	}
}

func (p *planner) experiments(list []experiment.Experiment) {
	for i, want := range list {
		at := fmt.Sprintf("experiments[%d]", i)
		if !p.known(at, want.Project) || !p.once(at, "key", "experiment/"+want.Project+"/"+want.Key) {
			continue
		}
		now := p.s.Experiment(want.Project, want.Key)
		want.Version = 0
		if now != nil {
			want.Version = now.Version
		}
		x, err := become(want, now, p.clock, p.force)
		if err != nil {
			f := faultOf(err)
			for _, e := range f.Fields {
				if f.Code == "moves_users" {
					e.Detail = f.Message
				}
				p.fault(at, e.Field, e.Detail)
			}
			continue
		}
		if !p.free(at, x, now) {
			continue
		}
		var fields []string
		if now != nil {
			fields = differ(x, now)
		}
		p.add("experiment", x.Project, x.Key, now != nil, fields, func() error {
			_, err := p.h.reg.PutExperiment(p.r.Context(), x, author(p.r))
			return err
		})
	}
}

// free checks an explicit id against the server's and the others' here.
func (p *planner) free(at string, x, now *experiment.Experiment) bool {
	if now != nil && x.ID != now.ID {
		p.fault(at, "id", fmt.Sprintf("is %d and cannot change: every visitor would be drawn anew", now.ID))
		return false
	}
	if x.ID == 0 {
		return true
	}
	slot := x.Project + "/" + strconv.FormatInt(x.ID, 10)
	owner := p.ids[slot]
	if owner == "" {
		owner = p.s.IDOwner(x.Project, x.ID)
	}
	if owner != "" && owner != x.Key {
		p.fault(at, "id", fmt.Sprintf("%d belongs to experiment %s", x.ID, owner))
		return false
	}
	p.ids[slot] = x.Key
	return true
}

// differ names the JSON fields in which two values differ, in order.
func differ(a, b any) []string {
	fields := func(v any) map[string]jsontext.Value {
		out := map[string]jsontext.Value{}
		text, err := json.Marshal(v, json.Deterministic(true))
		if err == nil {
			err = json.Unmarshal(text, &out)
		}
		if err != nil {
			panic(fmt.Sprintf("admin: a %T does not survive JSON: %v", v, err))
		}
		return out
	}
	was, is := fields(b), fields(a)
	var names []string
	for name := range is {
		if !reflect.DeepEqual(is[name], was[name]) {
			names = append(names, name)
		}
		delete(was, name)
	}
	for name := range was {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
