package admin

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/registry"
)

func (h *Handler) listProjects(*http.Request) (answer, error) {
	return answer{body: map[string]any{"projects": h.reg.Snapshot().Projects()}}, nil
}

func (h *Handler) project(r *http.Request) (experiment.Project, error) {
	key := r.PathValue("project")
	p, ok := h.reg.Snapshot().Project(key)
	if !ok {
		return p, fmt.Errorf("project %s: %w", key, registry.ErrNotFound)
	}
	return p, nil
}

func (h *Handler) getProject(r *http.Request) (answer, error) {
	p, err := h.project(r)
	return answer{version: p.Version, body: p}, err
}

func (h *Handler) createProject(r *http.Request) (answer, error) {
	var p experiment.Project
	if err := decode(r, &p); err != nil {
		return answer{}, err
	}
	p.Version = 0
	p, err := h.reg.PutProject(r.Context(), p, author(r))
	return answer{status: http.StatusCreated, version: p.Version, body: p}, err
}

func (h *Handler) putProject(r *http.Request) (answer, error) {
	var p experiment.Project
	if err := decode(r, &p); err != nil {
		return answer{}, err
	}
	if err := sameName("key", &p.Key, r.PathValue("project")); err != nil {
		return answer{}, err
	}
	version, ok, err := replaces(r, p.Version)
	if err != nil {
		return answer{}, err
	}
	if !ok {
		return answer{}, errNoVersion
	}
	p.Version = version
	p, err = h.reg.PutProject(r.Context(), p, author(r))
	return answer{version: p.Version, body: p}, stale(r, err)
}

// sameName fills in a name that the address has, or checks that they agree.
func sameName(field string, got *string, want string) error {
	if *got == "" {
		*got = want
	}
	if *got != want {
		return &experiment.FieldError{Field: field, Detail: fmt.Sprintf("is %q here and %q in the address; keys do not change", *got, want)}
	}
	return nil
}

// stale answers a conflict with the status that If-Match asks for.
func stale(r *http.Request, err error) error {
	if r.Header.Get("If-Match") != "" && errors.Is(err, registry.ErrConflict) {
		return &fault{http.StatusPreconditionFailed, "conflict", err.Error(), nil}
	}
	return err
}

// newToken is a token's answer: with its secret once, when it was made.
type newToken struct {
	Secret string `json:"secret,omitzero"`
	experiment.Token
}

func (h *Handler) listTokens(r *http.Request) (answer, error) {
	p, err := h.project(r)
	if err != nil {
		return answer{}, err
	}
	return answer{body: map[string]any{"tokens": h.reg.Snapshot().Tokens(p.Key)}}, nil
}

func (h *Handler) createToken(r *http.Request) (answer, error) {
	p, err := h.project(r)
	if err != nil {
		return answer{}, err
	}
	var q struct {
		Name   string `json:"name"`
		Secret string `json:"secret"`
	}
	if err := decode(r, &q); err != nil {
		return answer{}, err
	}
	var t newToken
	if q.Secret != "" {
		t.Token, err = h.reg.ImportToken(r.Context(), p.Key, q.Name, q.Secret, author(r))
	} else {
		t.Secret, t.Token, err = h.reg.CreateToken(r.Context(), p.Key, q.Name, author(r))
	}
	return answer{status: http.StatusCreated, body: t}, err
}

func (h *Handler) revokeToken(r *http.Request) (answer, error) {
	p, err := h.project(r)
	if err != nil {
		return answer{}, err
	}
	hash := r.PathValue("token")
	for _, t := range h.reg.Snapshot().Tokens(p.Key) {
		if t.Hash == hash {
			t, err := h.reg.RevokeToken(r.Context(), hash, author(r))
			return answer{body: t}, err
		}
	}
	return answer{}, fmt.Errorf("token %s of project %s: %w", hash, p.Key, registry.ErrNotFound)
}
