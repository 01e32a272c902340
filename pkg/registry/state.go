package registry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"

	"github.com/hypostream/hypostream/pkg/experiment"
)

// logKey is a record's key in the topic: what compaction keeps the last of.
func logKey(s experiment.Subject, project, key string) string {
	switch s {
	case experiment.SubjectExperiment:
		return "experiment/" + project + "/" + key
	case experiment.SubjectProject:
		return "project/" + key
	}
	return "token/" + key
}

// outcome is what became of a record.
type outcome uint8

const (
	accepted outcome = iota
	repeated         // the standing entry once more
	lost             // it replaces a version that does not stand
	taken            // another experiment of the project has its integer id
	invalid          // its body cannot be read
)

// state is the registry as a function of the log: fed the same records in the
// same order, every process holds the same state. A record stands if it
// replaces the version that stands; any other is void.
type state struct {
	standing map[string]experiment.Entry
	parsed   map[string]any              // *experiment.Experiment, experiment.Project, experiment.Token
	ids      map[string]map[int64]string // project → integer id → log key
	// stale holds the keys whose newest record is not the standing entry.
	// Compaction would keep the wrong one: it has to be written again.
	stale    map[string]bool
	revision uint64
}

func newState() *state {
	return &state{standing: map[string]experiment.Entry{}, parsed: map[string]any{}, ids: map[string]map[int64]string{}, stale: map[string]bool{}}
}

// apply takes the next record of the log.
func (s *state) apply(x experiment.Entry) outcome {
	key := logKey(x.Subject, x.Project, x.Key)
	now, stands := s.standing[key]
	if stands && x.Version == now.Version && bytes.Equal(x.Body, now.Body) {
		delete(s.stale, key)
		return repeated
	}
	o := s.judge(key, x, now, stands)
	if o != accepted {
		s.stale[key] = true
		return o
	}
	delete(s.stale, key)
	s.standing[key] = x
	s.revision++
	return accepted
}

// judge decides, and files the parsed body of an entry that stands.
func (s *state) judge(key string, x, now experiment.Entry, stands bool) outcome {
	// A key's first record is taken whatever its version: compaction may have
	// removed those before it.
	if stands && (x.Replaces != now.Version || x.Version != now.Version+1) {
		return lost
	}
	switch x.Subject {
	case experiment.SubjectExperiment:
		d := new(experiment.Experiment)
		if err := json.Unmarshal(x.Body, d); err != nil || d.Key != x.Key || d.Project != x.Project {
			return invalid
		}
		d.Version = x.Version
		owner, used := s.ids[x.Project][d.ID]
		if used && owner != key {
			return taken
		}
		if s.ids[x.Project] == nil {
			s.ids[x.Project] = map[int64]string{}
		}
		s.ids[x.Project][d.ID] = key
		s.parsed[key] = d
	case experiment.SubjectProject:
		var d experiment.Project
		if err := json.Unmarshal(x.Body, &d); err != nil || d.Key != x.Key {
			return invalid
		}
		d.Version = x.Version
		s.parsed[key] = d
	case experiment.SubjectToken:
		var d experiment.Token
		if err := json.Unmarshal(x.Body, &d); err != nil || d.Hash != x.Key {
			return invalid
		}
		d.Version = x.Version
		s.parsed[key] = d
	default:
		return invalid
	}
	return accepted
}

// erase takes a tombstone, which is written only where nothing stands; if
// something does by now, it has to be written again.
func (s *state) erase(key string) {
	if _, stands := s.standing[key]; stands {
		s.stale[key] = true
		return
	}
	delete(s.stale, key)
}

// nextID is the least integer id above all that a project has.
func (s *state) nextID(project string) int64 {
	next := int64(1)
	for id := range s.ids[project] {
		next = max(next, id+1)
	}
	return next
}

// snapshot copies what readers need.
func (s *state) snapshot() *Snapshot {
	out := &Snapshot{
		revision: s.revision, projects: map[string]experiment.Project{}, tokens: map[string]experiment.Token{},
		experiments: map[string]map[string]*experiment.Experiment{}, sorted: map[string][]*experiment.Experiment{},
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
		default:
			panic(fmt.Sprintf("registry: a %T is filed", d))
		}
	}
	for _, list := range out.sorted {
		sort.Slice(list, func(i, j int) bool { return list[i].Key < list[j].Key })
	}
	return out
}
