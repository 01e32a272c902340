package registry

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"sort"

	"github.com/hypostream/hypostream/pkg/experiment"
)

// Snapshot is what the registry knew at one moment. It never changes; what it
// hands out must not be changed either.
type Snapshot struct {
	revision    uint64
	projects    map[string]experiment.Project
	tokens      map[string]experiment.Token                  // by hash
	experiments map[string]map[string]*experiment.Experiment // by project and key
	sorted      map[string][]*experiment.Experiment
	ids         map[string]map[int64]string // project → integer id → the experiment that has it
}

// Revision changes with every change of the registry.
func (s *Snapshot) Revision() uint64 { return s.revision }

// HashToken is how a token's secret is stored: its SHA-256 in hex. Secrets are
// random, so a slow hash would gain nothing.
func HashToken(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Authenticate finds the project of a token's secret. What is looked up is a
// hash, so the time it takes tells nothing of the secret.
func (s *Snapshot) Authenticate(token string) (project string, ok bool) {
	hash := HashToken(token)
	t, found := s.tokens[hash]
	if !found || t.Revoked || subtle.ConstantTimeCompare([]byte(t.Hash), []byte(hash)) != 1 {
		return "", false
	}
	return t.Project, true
}

// Experiments are a project's experiments, sorted by key.
func (s *Snapshot) Experiments(project string) []*experiment.Experiment { return s.sorted[project] }

// Experiment is one experiment, nil if there is none.
func (s *Snapshot) Experiment(project, key string) *experiment.Experiment {
	return s.experiments[project][key]
}

// Project is one project.
func (s *Snapshot) Project(key string) (experiment.Project, bool) {
	p, ok := s.projects[key]
	return p, ok
}

// IDOwner is the key of the experiment that has an integer id, "" if none has.
func (s *Snapshot) IDOwner(project string, id int64) string { return s.ids[project][id] }

// Token is a token by its hash.
func (s *Snapshot) Token(hash string) (experiment.Token, bool) {
	t, ok := s.tokens[hash]
	return t, ok
}

// Projects are all projects, sorted by key.
func (s *Snapshot) Projects() []experiment.Project {
	out := make([]experiment.Project, 0, len(s.projects))
	for _, p := range s.projects {
		out = append(out, p)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	return out
}

// Tokens are a project's tokens, oldest first; secrets are not known.
func (s *Snapshot) Tokens(project string) []experiment.Token {
	var out []experiment.Token
	for _, t := range s.tokens {
		if t.Project == project {
			out = append(out, t)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if !out[i].Created.Equal(out[j].Created) {
			return out[i].Created.Before(out[j].Created)
		}
		return out[i].Hash < out[j].Hash
	})
	return out
}
