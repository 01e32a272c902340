package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"sort"
	"strconv"

	"github.com/hypostream/hypostream/pkg/experiment"
)

// subjectID is the claim of an experiment's integer id. It has a key of its
// own, so that whether an id is taken depends on the records of one key alone,
// and survives compaction as everything else does.
const subjectID experiment.Subject = "id"

// claim says that an id belongs to an experiment. It is never given back.
type claim struct {
	Project string `json:"project"`
	ID      int64  `json:"id"`
	Owner   string `json:"owner"` // the experiment's key
}

// logKey is a record's key in the topic: what compaction keeps the last of.
func logKey(s experiment.Subject, project, key string) string {
	switch s {
	case experiment.SubjectExperiment, subjectID:
		return string(s) + "/" + project + "/" + key
	}
	return string(s) + "/" + key
}

// outcome is what became of a record.
type outcome uint8

const (
	accepted outcome = iota
	repeated         // the standing entry once more
	lost             // another change came first
	invalid          // its body cannot be read
)

// state is the registry as a function of the log: fed the same records in the
// same order, every process holds the same state, and compaction does not
// change it. Each key is on its own.
//
// A change names the version that it replaces, and stands unless something
// newer does: of two that replace the same version, the first. (Who has read
// the whole log finds that very version standing; who reads a compacted one may
// have missed some.) Any other change is void.
//
// A void record is the newest of its key, so compaction would drop the winner
// and keep the loser. Hence restatements: an entry that replaces its own
// version says again what its writer has seen accepted, and is believed unless
// something newer stands. A reader that meets the loser first takes it, having
// nothing better, until the restatement behind it. No record's version is more
// than one above what stood when it was written, so what such a reader holds
// never outranks the truth, and the next change or restatement puts it right.
type state struct {
	standing map[string]experiment.Entry
	parsed   map[string]any              // *experiment.Experiment, experiment.Project, experiment.Token, claim
	ids      map[string]map[int64]string // project → integer id → the experiment that has it
	// stale holds the keys whose newest record is not the standing entry.
	// Compaction would keep the wrong one: it has to be written again.
	stale map[string]bool
	// distrusted holds keys that were restated over a record that could not
	// be read. Once is enough: a newer release may well read it, and would
	// restate it over ours for ever.
	distrusted map[string]bool
	revision   uint64
}

func newState() *state {
	return &state{
		standing: map[string]experiment.Entry{}, parsed: map[string]any{}, ids: map[string]map[int64]string{},
		stale: map[string]bool{}, distrusted: map[string]bool{},
	}
}

// apply takes the next record of the log.
func (s *state) apply(x experiment.Entry) outcome {
	key := logKey(x.Subject, x.Project, x.Key)
	if now, stands := s.standing[key]; stands {
		restates := x.Replaces == x.Version
		switch {
		case restates && x.Version == now.Version && bytes.Equal(x.Body, now.Body):
			delete(s.stale, key)
			return repeated
		case restates && x.Version < now.Version, !restates && (x.Replaces < now.Version || x.Version <= x.Replaces):
			s.stale[key] = true
			return lost
		}
	}
	parsed, ok := parse(x)
	if !ok {
		s.unreadable(key)
		return invalid
	}
	if c, ok := parsed.(claim); ok {
		if s.ids[c.Project] == nil {
			s.ids[c.Project] = map[int64]string{}
		}
		s.ids[c.Project][c.ID] = c.Owner
	}
	delete(s.stale, key)
	s.standing[key], s.parsed[key] = x, parsed
	s.revision++
	return accepted
}

// unreadable takes a record that could not be decoded, or a foreign tombstone:
// what stands under its key has to be written again.
func (s *state) unreadable(key string) {
	if _, stands := s.standing[key]; stands && !s.distrusted[key] {
		s.distrusted[key], s.stale[key] = true, true
	}
}

// restatement is the entry that says again what stands.
func (s *state) restatement(key string) (experiment.Entry, bool) {
	x, ok := s.standing[key]
	x.Replaces = x.Version
	return x, ok
}

// parse reads an entry's body.
func parse(x experiment.Entry) (any, bool) {
	switch x.Subject {
	case experiment.SubjectExperiment:
		d := new(experiment.Experiment)
		ok := json.Unmarshal(x.Body, d) == nil && d.Key == x.Key && d.Project == x.Project
		d.Version = x.Version
		return d, ok
	case experiment.SubjectProject:
		var d experiment.Project
		ok := json.Unmarshal(x.Body, &d) == nil && d.Key == x.Key
		d.Version = x.Version
		return d, ok
	case experiment.SubjectToken:
		var d experiment.Token
		ok := json.Unmarshal(x.Body, &d) == nil && d.Hash == x.Key
		d.Version = x.Version
		return d, ok
	case subjectID:
		var d claim
		ok := json.Unmarshal(x.Body, &d) == nil && d.Project == x.Project && strconv.FormatInt(d.ID, 10) == x.Key
		return d, ok
	}
	return nil, false
}

// idOf is the id that the experiment has claimed already, else the least one
// above all that the project has.
func (s *state) idOf(project, owner string) int64 {
	mine, next := int64(0), int64(1)
	for id, by := range s.ids[project] {
		next = max(next, id+1)
		if by == owner && (mine == 0 || id < mine) {
			mine = id
		}
	}
	if mine != 0 {
		return mine
	}
	return next
}

// snapshot copies what readers need.
func (s *state) snapshot() *Snapshot {
	out := &Snapshot{
		revision: s.revision, projects: map[string]experiment.Project{}, tokens: map[string]experiment.Token{},
		experiments: map[string]map[string]*experiment.Experiment{}, sorted: map[string][]*experiment.Experiment{},
		ids: map[string]map[int64]string{},
	}
	for project, owners := range s.ids {
		out.ids[project] = maps.Clone(owners)
	}
	for _, d := range s.parsed {
		switch d := d.(type) {
		case *experiment.Experiment:
			if out.experiments[d.Project] == nil {
				out.experiments[d.Project] = map[string]*experiment.Experiment{}
			}
			out.experiments[d.Project][d.Key] = d
			out.sorted[d.Project] = append(out.sorted[d.Project], d)
		case experiment.Project:
			out.projects[d.Key] = d
		case experiment.Token:
			out.tokens[d.Hash] = d
		case claim:
		default:
			panic(fmt.Sprintf("registry: a %T is filed", d))
		}
	}
	for _, list := range out.sorted {
		sort.Slice(list, func(i, j int) bool { return list[i].Key < list[j].Key })
	}
	return out
}
