// Package admin is the HTTP API by which people and tools change projects,
// tokens and experiments: JSON under /v1/admin, described in
// docs/openapi.yaml. It checks what the registry cannot: targeting conditions,
// the order of an experiment's states, and changes that would move users
// between variants.
package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/registry"
)

// Config says who may come in.
type Config struct {
	Key  string `env:"ADMIN_KEY" desc:"key of the admin API, sent as Authorization: Bearer KEY; 16 characters or more" secret:"true"`
	Open bool   `env:"ADMIN_OPEN, default=false" desc:"serve the admin API without a key; only on a loopback address"`
}

// Validate reports a key that is too short to be one.
func (c Config) Validate() error {
	if c.Key != "" && len(c.Key) < 16 {
		return fmt.Errorf("ADMIN_KEY: %d characters, want 16 or more", len(c.Key))
	}
	return nil
}

// Registry is where definitions are kept: see package registry.
type Registry interface {
	Snapshot() *registry.Snapshot
	Ready(ctx context.Context) error
	PutProject(ctx context.Context, p experiment.Project, author string) (experiment.Project, error)
	PutExperiment(ctx context.Context, x *experiment.Experiment, author string) (*experiment.Experiment, error)
	CreateToken(ctx context.Context, project, name, author string) (string, experiment.Token, error)
	ImportToken(ctx context.Context, project, name, secret, author string) (experiment.Token, error)
	RevokeToken(ctx context.Context, hash, author string) (experiment.Token, error)
}

// Handler serves the API.
type Handler struct {
	key  [sha256.Size]byte
	open bool
	reg  Registry
	now  func() time.Time
}

// New makes the handler for a server that listens on addr, "host:port".
// Without a key it refuses, unless it was told to do without and addr is on
// the loopback interface.
func New(cfg Config, reg Registry, addr string) (*Handler, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Key == "" {
		host, _, err := net.SplitHostPort(addr)
		switch {
		case !cfg.Open:
			return nil, errors.New("ADMIN_KEY: required (or ADMIN_OPEN=true, on a loopback address)")
		case err != nil || !loopback(host):
			return nil, fmt.Errorf("ADMIN_OPEN: %s is not a loopback address; set ADMIN_KEY", addr)
		}
	}
	return &Handler{key: sha256.Sum256([]byte(cfg.Key)), open: cfg.Key == "", reg: reg, now: time.Now}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

type route struct {
	method, path string
	serve        func(h *Handler, r *http.Request) (answer, error)
}

// routes are listed in docs/openapi.yaml too; a test compares.
var routes = []route{
	{"GET", "/v1/admin/projects", (*Handler).listProjects},
	{"POST", "/v1/admin/projects", (*Handler).createProject},
	{"GET", "/v1/admin/projects/{project}", (*Handler).getProject},
	{"PUT", "/v1/admin/projects/{project}", (*Handler).putProject},
	{"GET", "/v1/admin/projects/{project}/tokens", (*Handler).listTokens},
	{"POST", "/v1/admin/projects/{project}/tokens", (*Handler).createToken},
	{"DELETE", "/v1/admin/projects/{project}/tokens/{token}", (*Handler).revokeToken},
	{"GET", "/v1/admin/projects/{project}/experiments", (*Handler).listExperiments},
	{"POST", "/v1/admin/projects/{project}/experiments", (*Handler).createExperiment},
	{"GET", "/v1/admin/projects/{project}/experiments/{experiment}", (*Handler).getExperiment},
	{"PUT", "/v1/admin/projects/{project}/experiments/{experiment}", (*Handler).putExperiment},
	{"POST", "/v1/admin/projects/{project}/experiments/{experiment}/calibrate", move(experiment.Calibration)},
	{"POST", "/v1/admin/projects/{project}/experiments/{experiment}/start", move(experiment.Running)},
	{"POST", "/v1/admin/projects/{project}/experiments/{experiment}/stop", move(experiment.Stopped)},
	{"POST", "/v1/admin/projects/{project}/experiments/{experiment}/archive", move(experiment.Archived)},
	{"POST", "/v1/admin/projects/{project}/experiments/{experiment}/draft", move(experiment.Draft)},
	{"POST", "/v1/admin/apply", (*Handler).apply},
}

// Register adds the routes.
func (h *Handler) Register(mux *http.ServeMux) {
	for _, rt := range routes {
		mux.HandleFunc(rt.method+" "+rt.path, func(w http.ResponseWriter, r *http.Request) { h.handle(w, r, rt) })
	}
	mux.HandleFunc("/v1/admin/", func(w http.ResponseWriter, r *http.Request) {
		h.handle(w, r, route{serve: func(*Handler, *http.Request) (answer, error) {
			return answer{}, &fault{http.StatusNotFound, "no_such_route", "there is no " + r.Method + " " + r.URL.Path + " (docs/openapi.yaml lists what there is)", nil}
		}})
	})
}

// answer is a successful response.
type answer struct {
	status  int // 0: 200
	version int64
	body    any
}

// fault is a response that says what is wrong.
type fault struct {
	status  int
	Code    string       `json:"code"`
	Message string       `json:"message"`
	Fields  []fieldFault `json:"fields,omitempty"`
}

type fieldFault struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

func (f *fault) Error() string { return f.Code + ": " + f.Message }

const maxBody = 8 << 20

func (h *Handler) handle(w http.ResponseWriter, r *http.Request, rt route) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	a, err := func() (answer, error) {
		if err := h.admit(r); err != nil {
			return answer{}, err
		}
		if err := h.reg.Ready(r.Context()); err != nil {
			return answer{}, &fault{http.StatusServiceUnavailable, "not_ready", err.Error(), nil}
		}
		return rt.serve(h, r)
	}()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		f := faultOf(err)
		if f.status == http.StatusGatewayTimeout {
			slog.Warn("changing the registry", "method", r.Method, "path", r.URL.Path, "error", err)
		}
		if f.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		a = answer{status: f.status, body: map[string]*fault{"error": f}}
	}
	if a.version > 0 {
		w.Header().Set("ETag", strconv.Quote(strconv.FormatInt(a.version, 10)))
	}
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	if err := json.MarshalWrite(w, a.body, json.Deterministic(true), jsontext.Multiline(true)); err != nil {
		slog.Debug("answering", "error", err) // the client went away
	}
}

// admit checks the key. Without one, what keeps web pages out is that the
// host is named as the loopback and that browsers say where they come from.
func (h *Handler) admit(r *http.Request) error {
	if h.open {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !loopback(strings.Trim(host, "[]")) || http.NewCrossOriginProtection().Check(r) != nil {
			return &fault{http.StatusForbidden, "forbidden", "without a key the admin API serves local programs only", nil}
		}
		return nil
	}
	const scheme = "Bearer "
	a := r.Header.Get("Authorization")
	if len(a) > len(scheme) && strings.EqualFold(a[:len(scheme)], scheme) {
		sum := sha256.Sum256([]byte(a[len(scheme):])) // so that lengths tell nothing either
		if subtle.ConstantTimeCompare(sum[:], h.key[:]) == 1 {
			return nil
		}
	}
	return &fault{http.StatusUnauthorized, "unauthorized", "the Authorization header must be Bearer and the ADMIN_KEY", nil}
}

// faultOf finds the answer to an error.
func faultOf(err error) *fault {
	var f *fault
	var field *experiment.FieldError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &field):
		return invalid(FieldErrors(err))
	case errors.Is(err, registry.ErrNotFound):
		return &fault{http.StatusNotFound, "not_found", err.Error(), nil}
	case errors.Is(err, registry.ErrConflict):
		return &fault{http.StatusConflict, "conflict", err.Error(), nil}
	case errors.Is(err, registry.ErrTooLarge):
		return &fault{http.StatusUnprocessableEntity, "too_large", err.Error(), nil}
	}
	return &fault{http.StatusGatewayTimeout, "log_unavailable", "the log did not confirm the change; it may have happened all the same, so read before trying again", nil}
}

func invalid(fields []experiment.FieldError) *fault {
	f := &fault{status: http.StatusUnprocessableEntity, Code: "invalid", Message: "the definition is not valid"}
	for _, e := range fields {
		f.Fields = append(f.Fields, fieldFault{e.Field, e.Detail})
	}
	if len(fields) > 0 {
		f.Message += ": " + fields[0].Error()
	}
	return f
}

// FieldErrors takes joined errors apart; what is no *experiment.FieldError
// comes without a field.
func FieldErrors(err error) []experiment.FieldError {
	if err == nil {
		return nil
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []experiment.FieldError
		for _, e := range many.Unwrap() {
			out = append(out, FieldErrors(e)...)
		}
		return out
	}
	var f *experiment.FieldError
	if errors.As(err, &f) {
		return []experiment.FieldError{*f}
	}
	return []experiment.FieldError{{Detail: err.Error()}}
}

// decode reads a body strictly: an unknown field is somebody's typing error.
func decode(r *http.Request, dst any) error {
	err := json.UnmarshalRead(r.Body, dst, json.RejectUnknownMembers(true))
	var large *http.MaxBytesError
	var semantic *json.SemanticError
	var syntax *jsontext.SyntacticError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &large):
		return &fault{http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("the body is over %d bytes", large.Limit), nil}
	case errors.As(err, &semantic):
		detail := "has a value of another type"
		switch {
		case errors.Is(err, json.ErrUnknownName):
			detail = "is not known"
		case semantic.Err != nil:
			detail = semantic.Err.Error()
		}
		f := invalid([]experiment.FieldError{{Field: fieldOf(semantic.JSONPointer), Detail: detail}})
		f.status, f.Code = http.StatusBadRequest, "bad_body"
		return f
	case errors.As(err, &syntax):
		return &fault{http.StatusBadRequest, "bad_body", fmt.Sprintf("byte %d: %v", syntax.ByteOffset, syntax.Err), nil}
	}
	return &fault{http.StatusBadRequest, "bad_body", err.Error(), nil}
}

// fieldOf writes /variants/1/weight as variants[1].weight.
func fieldOf(p jsontext.Pointer) string {
	var b strings.Builder
	for name := range p.Tokens() {
		if _, err := strconv.Atoi(name); err == nil {
			b.WriteString("[" + name + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(name)
	}
	return b.String()
}

// author is who asked for a change, for the log's readers.
func author(r *http.Request) string {
	a := r.Header.Get("X-Author")
	if a == "" {
		return "admin"
	}
	return strings.ToValidUTF8(a[:min(len(a), 200)], "?")
}

// replaces is the version that a request replaces: of If-Match, else of the
// body. ok is false if it names none.
func replaces(r *http.Request, body int64) (version int64, ok bool, err error) {
	tag := r.Header.Get("If-Match")
	if tag == "" {
		return body, body != 0, nil
	}
	text, uerr := strconv.Unquote(tag)
	if uerr != nil {
		text = tag
	}
	v, perr := strconv.ParseInt(text, 10, 64)
	if perr != nil || v < 1 {
		return 0, false, &fault{http.StatusBadRequest, "bad_version", fmt.Sprintf("If-Match %s is not a version such as \"3\"", tag), nil}
	}
	return v, true, nil
}

var errNoVersion = &fault{http.StatusPreconditionRequired, "version_required", "name the version that this replaces, in If-Match or as version", nil}
