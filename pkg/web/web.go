// Package web is the analyzer's HTTP API: the results of experiments, from the
// last computation with its age, or computed on request.
package web

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/hypostream/hypostream/pkg/analyze"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/report"
)

// Results computes and keeps results.
type Results interface {
	Last(project, key string) (*report.Result, time.Time)
	Refresh(ctx context.Context, x *experiment.Experiment, p experiment.Project) (*report.Result, error)
	Series(ctx context.Context, x *experiment.Experiment, p experiment.Project) ([]report.Series, error)
}

// Handler answers with results.
type Handler struct {
	results Results
	known   func() analyze.Experiments
	keys    [][32]byte
	open    bool
}

// New makes the handler. Any of keys opens it, empty ones open nothing; open
// is for a loopback address that was told to do without a key.
func New(results Results, known func() analyze.Experiments, open bool, keys ...string) *Handler {
	h := &Handler{results: results, known: known, open: open}
	for _, k := range keys {
		if k != "" {
			h.keys = append(h.keys, sha256.Sum256([]byte(k)))
		}
	}
	return h
}

// Register adds the routes.
func (h *Handler) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/projects/{project}/experiments", h.authorized(h.list))
	mux.HandleFunc("GET /v1/projects/{project}/experiments/{key}/results", h.authorized(h.result))
	mux.HandleFunc("GET /v1/projects/{project}/experiments/{key}/series", h.authorized(h.series))
}

func (h *Handler) authorized(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		sum := sha256.Sum256([]byte(key))
		ok := 0
		for _, k := range h.keys {
			ok |= subtle.ConstantTimeCompare(sum[:], k[:])
		}
		if !h.open && (ok != 1 || !strings.EqualFold(scheme, "Bearer")) {
			fail(w, http.StatusUnauthorized, "unauthorized", "the Authorization header must be Bearer and the API's key")
			return
		}
		next(w, r)
	}
}

// list tells a project's experiments and when each was last computed.
func (h *Handler) list(w http.ResponseWriter, r *http.Request) {
	project := r.PathValue("project")
	known := h.known()
	if _, ok := known.Project(project); !ok {
		fail(w, http.StatusNotFound, "not_found", "there is no project "+project)
		return
	}
	type item struct {
		Key        string           `json:"key"`
		Name       string           `json:"name,omitempty"`
		State      experiment.State `json:"state"`
		Start      time.Time        `json:"start,omitzero"`
		End        time.Time        `json:"end,omitzero"`
		ComputedAt time.Time        `json:"computed_at,omitzero"`
		Mismatch   bool             `json:"sample_ratio_mismatch,omitempty"`
	}
	out := []item{}
	for _, x := range known.Experiments(project) {
		i := item{Key: x.Key, Name: x.Name, State: x.State, Start: x.Start, End: x.End}
		if last, _ := h.results.Last(project, x.Key); last != nil {
			i.ComputedAt, i.Mismatch = last.ComputedAt, last.SRM.Mismatch
		}
		out = append(out, i)
	}
	answer(w, http.StatusOK, map[string]any{"experiments": out})
}

func (h *Handler) find(w http.ResponseWriter, r *http.Request) (*experiment.Experiment, experiment.Project, bool) {
	known := h.known()
	p, ok := known.Project(r.PathValue("project"))
	x := known.Experiment(r.PathValue("project"), r.PathValue("key"))
	if !ok || x == nil {
		fail(w, http.StatusNotFound, "not_found", "there is no experiment "+r.PathValue("project")+"/"+r.PathValue("key"))
		return nil, p, false
	}
	return x, p, true
}

// result answers from the last computation, or with ?refresh=true (and when
// there is none yet) from a new look.
func (h *Handler) result(w http.ResponseWriter, r *http.Request) {
	x, p, ok := h.find(w, r)
	if !ok {
		return
	}
	last, checked := h.results.Last(x.Project, x.Key)
	if last == nil || r.URL.Query().Get("refresh") == "true" {
		var err error
		if last, err = h.results.Refresh(r.Context(), x, p); err != nil {
			computing(w, err)
			return
		}
		checked = time.Now()
	}
	answer(w, http.StatusOK, struct {
		AgeSeconds float64        `json:"age_seconds"` // since the result was last found to be right
		Result     *report.Result `json:"result"`
	}{time.Since(checked).Seconds(), last})
}

func (h *Handler) series(w http.ResponseWriter, r *http.Request) {
	x, p, ok := h.find(w, r)
	if !ok {
		return
	}
	s, err := h.results.Series(r.Context(), x, p)
	if err != nil {
		computing(w, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"timezone": p.Location().String(), "series": s})
}

func computing(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, analyze.ErrNotStarted):
		fail(w, http.StatusConflict, "not_started", err.Error())
	case errors.Is(err, context.Canceled): // nobody listens any more
	case errors.Is(err, context.DeadlineExceeded):
		fail(w, http.StatusGatewayTimeout, "timeout", "the computation took too long; ANALYZE_TIMEOUT bounds it")
	default:
		slog.Error("a result could not be computed", "error", err)
		fail(w, http.StatusBadGateway, "warehouse", "the warehouse did not give the result; the log has the reason")
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func fail(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}
