// Package intake is ingest's front door: events in, settings out. A 200 means
// that all in-sync replicas of the log have every event that was accepted, and
// that every event that was not is named in the answer or kept as a dead
// letter.
package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/telemetry"
	"github.com/hypostream/hypostream/pkg/wire"
	"github.com/hypostream/hypostream/pkg/wire/batch"
	"github.com/hypostream/hypostream/pkg/wire/hypotest"
)

// Config bounds what is taken.
type Config struct {
	MaxBodyBytes int64 `env:"MAX_BODY_BYTES, default=8388608" desc:"largest body accepted, before and after decompression"`
}

// Validate reports a bound that cannot work.
func (c Config) Validate() error {
	if c.MaxBodyBytes < 1024 {
		return fmt.Errorf("MAX_BODY_BYTES: %d is below 1024", c.MaxBodyBytes)
	}
	return nil
}

// Appender is the log: nil means that every record is durable.
type Appender interface {
	Append(ctx context.Context, recs []eventlog.Record) error
}

// DeadLetters keeps refused events: nil means that they are durable.
type DeadLetters interface {
	Write(ctx context.Context, letters []event.DeadLetter) error
}

// Projects is what the registry knows at one moment.
type Projects interface {
	Authenticate(token string) (project string, ok bool)
	Experiments(project string) []*experiment.Experiment
	Revision() uint64
}

// Handler serves the SDKs.
type Handler struct {
	cfg      Config
	log      Appender
	letters  DeadLetters
	codec    *codec.Codec
	topics   event.Topics
	projects func() Projects
	now      func() time.Time
	metrics  metrics
	requests sync.Pool
	settings settings
}

// New makes the handler. projects gives the registry's newest snapshot.
func New(cfg Config, log Appender, letters DeadLetters, c *codec.Codec, topics event.Topics, projects func() Projects, t *telemetry.Telemetry) *Handler {
	h := &Handler{cfg: cfg, log: log, letters: letters, codec: c, topics: topics, projects: projects, now: time.Now, metrics: newMetrics(t)}
	h.requests.New = func() any { return new(request) }
	h.settings.answers = map[string]answer{}
	return h
}

// Register adds the routes.
func (h *Handler) Register(mux *http.ServeMux) {
	mux.HandleFunc("POST /v1/events", h.hypotest)
	mux.HandleFunc("POST /v1/track", h.track)
	mux.HandleFunc("GET /v1/all_series_tests", h.allSeriesTests)
}

// request is one request's memory, used again by the next.
type request struct {
	body  []byte
	batch wire.Batch
	ids   event.Identifier
	arena []byte
	recs  []eventlog.Record
	spans []int // in the arena: key and value ends of each record
}

// keepBytes is the largest memory that a pooled request may hold on to.
const keepBytes = 1 << 20

func (h *Handler) take() *request {
	q := h.requests.Get().(*request)
	q.batch.Reset()
	q.ids.Reset()
	q.arena, q.recs, q.spans = q.arena[:0], q.recs[:0], q.spans[:0]
	return q
}

func (h *Handler) give(q *request) {
	if cap(q.body) <= keepBytes && cap(q.arena) <= keepBytes && cap(q.batch.Events) <= 1024 {
		h.requests.Put(q)
	}
}

// hypotest is POST /v1/events. Its SDK reads no body of an answer and gives up
// on any status but 408 and 504, so refused events go to the dead letters.
func (h *Handler) hypotest(w http.ResponseWriter, r *http.Request) {
	h.serve(w, r, wireHypoTest, func(q *request, project string) error {
		return hypotest.Decode(q.body, project, &q.batch)
	})
}

// track is POST /v1/track: refused events are named in the answer.
func (h *Handler) track(w http.ResponseWriter, r *http.Request) {
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	lines := media == "application/x-ndjson" || media == "application/jsonl"
	h.serve(w, r, wireTrack, func(q *request, project string) error {
		return batch.Decode(q.body, lines, project, &q.batch)
	})
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, wireName string, decode func(*request, string) error) {
	start := h.now()
	status := http.StatusOK
	defer func() { h.metrics.observe(wireName, status, time.Since(start)) }()

	project, ok := h.authenticate(r)
	if !ok {
		status = h.fail(w, http.StatusUnauthorized, "unauthorized", "the Authorization header must be Bearer and a token of a project")
		return
	}
	q := h.take()
	defer h.give(q)
	if err := h.readBody(w, r, q); err != nil {
		status = h.bodyError(w, err)
		return
	}
	h.metrics.bytes[wireName].Add(float64(len(q.body)))
	if err := decode(q, project); err != nil {
		status = h.bodyError(w, err)
		return
	}
	// Not the request's context: what is in the log is there, whether or not
	// the client still listens, and must be counted. The log has a deadline.
	if err := h.store(context.Background(), q, project, wireName); err != nil {
		status = h.logError(w, err)
		return
	}
	h.metrics.count(project, q.batch.Events)
	for _, f := range q.batch.Refused {
		h.metrics.refuse(project, wireName, f.Err.Reason)
	}
	if wireName == wireTrack && len(q.batch.Refused) > 0 {
		status = http.StatusMultiStatus
		if len(q.batch.Events) == 0 {
			status = http.StatusBadRequest
		}
	}
	h.answer(w, status, q)
}

// store makes the accepted events and, for the wire whose SDK reads no answer,
// the refused ones durable.
func (h *Handler) store(ctx context.Context, q *request, project, wireName string) error {
	now := h.now().UnixMicro()
	var err error
	for i := range q.batch.Events {
		e := &q.batch.Events[i]
		q.ids.Identify(e, now) // before Receive, which may change the time
		e.Receive(now)
		q.arena = append(q.arena, e.Key()...)
		q.spans = append(q.spans, len(q.arena))
		if q.arena, err = h.codec.AppendEvent(q.arena, e); err != nil {
			return err
		}
		q.spans = append(q.spans, len(q.arena))
	}
	at := 0
	for i := range q.batch.Events {
		key, value := q.spans[2*i], q.spans[2*i+1]
		rec := eventlog.Record{Topic: h.topics.Of(q.batch.Events[i].Kind), Value: q.arena[key:value:value], Time: now}
		if key > at {
			rec.Key = q.arena[at:key:key]
		}
		q.recs = append(q.recs, rec)
		at = value
	}
	if len(q.recs) > 0 {
		if err := h.log.Append(ctx, q.recs); err != nil {
			return err
		}
	}
	if wireName != wireHypoTest || len(q.batch.Refused) == 0 {
		return nil
	}
	letters := make([]event.DeadLetter, len(q.batch.Refused))
	for i, f := range q.batch.Refused {
		letters[i] = event.DeadLetter{
			At: now, Stage: "ingest", Project: project, Reason: f.Err.Reason, Field: f.Err.Field, Detail: f.Err.Detail,
			Partition: -1, Offset: -1, Original: f.Raw,
		}
	}
	return h.letters.Write(ctx, letters)
}

func (h *Handler) authenticate(r *http.Request) (string, bool) {
	const scheme = "Bearer "
	a := r.Header.Get("Authorization")
	if len(a) <= len(scheme) || !strings.EqualFold(a[:len(scheme)], scheme) {
		return "", false
	}
	return h.projects().Authenticate(a[len(scheme):])
}

// jsonType is shared by all answers: nobody changes it.
var jsonType = []string{"application/json"}

// answer tells what became of the events.
func (h *Handler) answer(w http.ResponseWriter, status int, q *request) {
	w.Header()["Content-Type"] = jsonType
	if len(q.batch.Refused) == 0 && q.batch.Unknown == 0 {
		q.arena = append(q.arena[:0], `{"accepted":`...)
		q.arena = strconv.AppendInt(q.arena, int64(len(q.batch.Events)), 10)
		q.arena = append(q.arena, `,"refused":0}`+"\n"...)
		w.WriteHeader(status)
		w.Write(q.arena)
		return
	}
	type fault struct {
		Index  int          `json:"index"`
		Offset int64        `json:"offset"`
		Field  string       `json:"field"`
		Reason event.Reason `json:"reason"`
		Detail string       `json:"detail"`
	}
	out := struct {
		Accepted int     `json:"accepted"`
		Refused  int     `json:"refused"`
		Ignored  int     `json:"ignored_fields,omitempty"`
		Errors   []fault `json:"errors,omitempty"`
	}{Accepted: len(q.batch.Events), Refused: len(q.batch.Refused), Ignored: q.batch.Unknown}
	for _, f := range q.batch.Refused {
		out.Errors = append(out.Errors, fault{f.Index, f.Offset, f.Err.Field, f.Err.Reason, f.Err.Detail})
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(out)
}

// fail answers {"error": {…}} and gives the status back.
func (h *Handler) fail(w http.ResponseWriter, status int, code, message string) int {
	return h.failAt(w, status, code, message, -1)
}

func (h *Handler) failAt(w http.ResponseWriter, status int, code, message string, offset int64) int {
	type fault struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Offset  *int64 `json:"offset,omitempty"`
	}
	f := fault{Code: code, Message: message}
	if offset >= 0 {
		f.Offset = &offset
	}
	w.Header()["Content-Type"] = jsonType
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]fault{"error": f})
	return status
}

func (h *Handler) bodyError(w http.ResponseWriter, err error) int {
	var syntax *wire.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return h.failAt(w, http.StatusBadRequest, "bad_body", syntax.Detail, syntax.Offset)
	case errors.Is(err, errTooLarge):
		return h.fail(w, http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("the body is over %d bytes; send fewer events at a time", h.cfg.MaxBodyBytes))
	case errors.Is(err, errEncoding):
		return h.fail(w, http.StatusUnsupportedMediaType, "content_encoding", err.Error())
	case errors.Is(err, errCompressed):
		return h.fail(w, http.StatusBadRequest, "bad_body", err.Error())
	}
	// The client went away or was too slow; if it still listens, it may retry.
	return h.fail(w, http.StatusRequestTimeout, "incomplete_body", "the body did not arrive in time")
}

// logError is 504 for whatever may pass: the SDKs retry on 408 and 504 alone,
// and a retried event is the same event.
func (h *Handler) logError(w http.ResponseWriter, err error) int {
	switch {
	case errors.Is(err, eventlog.ErrTooLarge):
		return h.fail(w, http.StatusRequestEntityTooLarge, "too_large", "an event is larger than the log takes")
	case errors.Is(err, eventlog.ErrOverloaded):
		return h.fail(w, http.StatusGatewayTimeout, "overloaded", "too much is waiting for the log; retry")
	case errors.Is(err, context.Canceled), errors.Is(err, eventlog.ErrLogUnavailable), errors.Is(err, context.DeadlineExceeded):
	default:
		slog.Error("events could not be stored", "error", err)
	}
	return h.fail(w, http.StatusGatewayTimeout, "log_unavailable", "the log did not acknowledge the events in time; retry")
}

// allSeriesTests is GET /v1/all_series_tests, HypoTest's settings.
func (h *Handler) allSeriesTests(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, io.LimitReader(r.Body, 1024)) // the SDK sends a body with its GET
	project, ok := h.authenticate(r)
	if !ok {
		h.fail(w, http.StatusUnauthorized, "unauthorized", "the Authorization header must be Bearer and a token of a project")
		return
	}
	a := h.settings.of(h.projects(), project)
	w.Header().Set("ETag", a.etag)
	w.Header()["Content-Type"] = jsonType
	if r.Header.Get("If-None-Match") == a.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Write(a.body)
}

// settings keeps each project's encoded settings until the registry changes.
type settings struct {
	mu      sync.Mutex
	answers map[string]answer
}

type answer struct {
	revision uint64
	etag     string
	body     []byte
}

func (s *settings) of(p Projects, project string) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	revision := p.Revision()
	if a, ok := s.answers[project]; ok && a.revision == revision {
		return a
	}
	a := answer{revision: revision, body: hypotest.AppendSettings(nil, p.Experiments(project))}
	a.etag = `"` + contentHash(a.body) + `"`
	s.answers[project] = a
	return a
}
