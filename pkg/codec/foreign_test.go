package codec_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hamba/avro/v2"

	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
)

// olderKPI is a KPI as an earlier version may have had it: without flags and
// sdk_error, with a value of int, one tag type less, and a field since dropped.
const olderKPI = `{"type": "record", "name": "KPI", "namespace": "io.hypostream", "fields": [
	{"name": "event_id", "type": {"type": "fixed", "name": "EventID", "size": 16}},
	{"name": "project", "type": "string"},
	{"name": "dropped", "type": {"type": "array", "items": "string"}},
	{"name": "user_id", "type": "string"}, {"name": "visitor_id", "type": "string"},
	{"name": "time", "type": "long"}, {"name": "received_at", "type": "long"},
	{"name": "tags", "type": {"type": "map", "values": ["int", "string", "boolean"]}},
	{"name": "name", "type": "string"},
	{"name": "value_micro", "type": "int"}
]}`

func olderKPIMessage(t testing.TB) (body []byte, want event.Event) {
	t.Helper()
	body, err := avro.Marshal(avro.MustParse(olderKPI), map[string]any{
		"event_id": [16]byte{7}, "project": "p", "dropped": []string{"x", "y"}, "user_id": "u", "visitor_id": "v",
		"time": int64(11), "received_at": int64(12), "tags": map[string]any{"a": 5, "b": "s", "c": true}, "name": "buy", "value_micro": -3,
	})
	if err != nil {
		t.Fatal(err)
	}
	return body, event.Event{
		Kind: event.KPI, ID: event.ID{7}, Project: "p", UserID: "u", VisitorID: "v", Time: 11, ReceivedAt: 12, Name: "buy", ValueMicro: -3,
		Tags: []event.Tag{{Key: "a", Value: event.IntTag(5)}, {Key: "b", Value: event.StringTag("s")}, {Key: "c", Value: event.BoolTag(true)}},
	}
}

func single(t testing.TB, schema string, body []byte) []byte {
	t.Helper()
	print, err := codec.Fingerprint([]byte(schema))
	if err != nil {
		t.Fatal(err)
	}
	return append(append([]byte{0xC3, 0x01}, print[:]...), body...)
}

func TestMessagesOfAnEarlierVersionAreRead(t *testing.T) {
	c := newCodec(t)
	body, want := olderKPIMessage(t)
	msg := single(t, olderKPI, body)
	var d *codec.DecodeError
	if err := c.NewDecoder().Event(msg, &event.Event{}); !errors.As(err, &d) || d.Reason != event.ReasonUnknown {
		t.Fatalf("before the version is known: %v", err)
	}
	if err := c.Know([]byte(olderKPI)); err != nil {
		t.Fatal(err)
	}
	got := event.Event{Context: "left from the last event", Tags: make([]event.Tag, 3)}
	if err := c.NewDecoder().Event(msg, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Error(diff)
	}
	// Cut anywhere, or with something behind it, it is refused like our own.
	for cut := range len(body) {
		if err := c.NewDecoder().Event(msg[:10+cut], &got); !errors.As(err, &d) || d.Reason != event.ReasonMalformed {
			t.Errorf("cut to %d of %d bytes: %v", cut, len(body), err)
		}
	}
	if err := c.NewDecoder().Event(append(msg, 0), &got); !errors.As(err, &d) {
		t.Errorf("with a byte behind it: %v", err)
	}
}

// The registry's topic is compacted: entries are read years after they were
// written, by whatever version is then running.
func TestEntriesAndLettersOfAnEarlierVersionAreRead(t *testing.T) {
	c := newCodec(t)
	const olderEntry = `{"type": "record", "name": "RegistryEntry", "namespace": "io.hypostream", "fields": [
		{"name": "subject", "type": "string"}, {"name": "project", "type": "string"}, {"name": "key", "type": "string"},
		{"name": "version", "type": "int"}, {"name": "replaces", "type": "int"}, {"name": "writer", "type": "string"},
		{"name": "at", "type": "long"}, {"name": "body", "type": "string"}]}`
	const olderLetter = `{"type": "record", "name": "DeadLetter", "namespace": "io.hypostream", "fields": [
		{"name": "at", "type": "long"}, {"name": "stage", "type": "string"}, {"name": "reason", "type": "string"},
		{"name": "original", "type": "bytes"}]}`
	for _, text := range []string{olderEntry, olderLetter} {
		if err := c.Know([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	body, err := avro.Marshal(avro.MustParse(olderEntry), map[string]any{
		"subject": "project", "project": "p", "key": "k", "version": 2, "replaces": 1, "writer": "w", "at": int64(9), "body": `{"key":"k"}`})
	if err != nil {
		t.Fatal(err)
	}
	entry, err := c.NewDecoder().Entry(single(t, olderEntry, body))
	if err != nil {
		t.Fatal(err)
	}
	wantEntry := experiment.Entry{Subject: experiment.SubjectProject, Project: "p", Key: "k", Version: 2, Replaces: 1, Writer: "w", At: 9, Body: []byte(`{"key":"k"}`)}
	if d := cmp.Diff(wantEntry, entry); d != "" {
		t.Error(d)
	}
	body, err = avro.Marshal(avro.MustParse(olderLetter), map[string]any{"at": int64(1), "stage": "ingest", "reason": "missing", "original": []byte{1, 0}})
	if err != nil {
		t.Fatal(err)
	}
	letter, err := c.NewDecoder().DeadLetter(single(t, olderLetter, body))
	if err != nil {
		t.Fatal(err)
	}
	// partition and offset have the defaults of the schema, -1.
	wantLetter := event.DeadLetter{At: 1, Stage: "ingest", Reason: event.ReasonMissing, Partition: -1, Offset: -1, Original: []byte{1, 0}}
	if d := cmp.Diff(wantLetter, letter); d != "" {
		t.Error(d)
	}
}

// server is a schema registry as far as we use one: it gives ids and returns
// schemas, with Confluent's paths and error codes.
type server struct {
	mu       sync.Mutex
	schemas  []string // id is index + 1
	subjects []string
	down     bool
}

func (s *server) add(text string) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.schemas = append(s.schemas, text)
	return uint32(len(s.schemas))
}

func (s *server) set(down bool) { s.mu.Lock(); s.down = down; s.mu.Unlock() }

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	user, password, _ := r.BasicAuth()
	switch {
	case down:
		http.Error(w, "<html>no upstream</html>", http.StatusBadGateway)
	case user != "us" || password != "secret":
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"error_code": 401, "message": "Unauthorized"}`)
	case r.Method == "POST" && strings.HasPrefix(r.URL.Path, "/subjects/") && strings.HasSuffix(r.URL.Path, "/versions"):
		var body struct{ Schema string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), 400)
			return
		}
		id := s.add(body.Schema)
		s.mu.Lock()
		s.subjects = append(s.subjects, strings.Split(r.URL.Path, "/")[2])
		s.mu.Unlock()
		fmt.Fprintf(w, `{"id": %d}`, id)
	case r.Method == "GET" && strings.HasPrefix(r.URL.Path, "/schemas/ids/"):
		var id int
		fmt.Sscan(strings.TrimPrefix(r.URL.Path, "/schemas/ids/"), &id)
		s.mu.Lock()
		defer s.mu.Unlock()
		if id < 1 || id > len(s.schemas) {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error_code": 40403, "message": "Schema not found"}`)
			return
		}
		json.NewEncoder(w).Encode(map[string]string{"schema": s.schemas[id-1]})
	default:
		http.NotFound(w, r)
	}
}

func withRegistry(t *testing.T) (*server, *codec.Codec) {
	t.Helper()
	s := &server{}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	c, err := codec.New(t.Context(), codec.Config{SchemaRegistryURL: h.URL, SchemaRegistryUser: "us", SchemaRegistryPassword: "secret"}, event.NewTopics("x"))
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func TestARegistryGivesTheFraming(t *testing.T) {
	s, c := withRegistry(t)
	e := event.Event{Kind: event.KPI, Project: "p", UserID: "u", Name: "n"}
	msg, err := c.AppendEvent(nil, &e)
	if err != nil {
		t.Fatal(err)
	}
	id := binary.BigEndian.Uint32(msg[1:5])
	if msg[0] != 0 || id < 1 || id > 5 || !strings.Contains(s.schemas[id-1], `"name": "KPI"`) || s.subjects[id-1] != "x.kpis-value" {
		t.Errorf("header %x", msg[:5])
	}
	var got event.Event
	if err := c.NewDecoder().Event(msg, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(e, got, compare); d != "" {
		t.Error(d)
	}
	// What was written before the registry came stays readable.
	before, _ := newCodec(t).AppendEvent(nil, &e)
	if err := c.NewDecoder().Event(before, &got); err != nil {
		t.Errorf("single-object encoding beside a registry: %v", err)
	}
}

func TestSchemasOfOthersAreFetchedOnce(t *testing.T) {
	s, c := withRegistry(t)
	body, want := olderKPIMessage(t)
	msg := append(binary.BigEndian.AppendUint32([]byte{0}, s.add(olderKPI)), body...)
	stranger := append(binary.BigEndian.AppendUint32([]byte{0}, s.add(`{"type": "record", "name": "Stranger", "fields": [{"name": "a", "type": "int"}]}`)), 2)
	breaking := append(binary.BigEndian.AppendUint32([]byte{0}, s.add(`{"type": "record", "name": "io.hypostream.KPI", "fields": [{"name": "name", "type": "int"}]}`)), 2)
	primitive := append(binary.BigEndian.AppendUint32([]byte{0}, s.add(`"int"`)), 2)
	absent := []byte{0, 0, 0, 1, 200, 1}
	var d *codec.DecodeError
	var got event.Event
	dec := c.NewDecoder()

	s.set(true)
	if err := dec.Event(msg, &got); !errors.Is(err, codec.ErrRegistry) || errors.As(err, &d) {
		t.Errorf("while the registry is away the message is not at fault: %v", err)
	}
	s.set(false)
	if err := dec.Event(msg, &got); err != nil {
		t.Fatal(err)
	}
	s.set(true)
	got = event.Event{}
	if err := dec.Event(msg, &got); err != nil {
		t.Errorf("a schema that was fetched before: %v", err)
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Error(diff)
	}
	s.set(false)

	tests := []struct {
		name   string
		msg    []byte
		reason event.Reason
	}{
		{"an id that the registry does not have", absent, event.ReasonUnknown},
		{"a record that is none of ours", stranger, event.ReasonUnknown},
		{"a schema that ours cannot read", breaking, event.ReasonMalformed},
		{"a schema that is no record", primitive, event.ReasonMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := dec.Event(tt.msg, &got); !errors.As(err, &d) || d.Reason != tt.reason || errors.Is(err, codec.ErrRegistry) {
				t.Errorf("error %v, want a DecodeError with reason %s", err, tt.reason)
			}
		})
	}
}

func TestARegistryThatRefusesFailsTheStart(t *testing.T) {
	h := httptest.NewServer(&server{})
	defer h.Close()
	_, err := codec.New(t.Context(), codec.Config{SchemaRegistryURL: h.URL, SchemaRegistryUser: "us", SchemaRegistryPassword: "wrong"}, event.NewTopics(""))
	if !errors.Is(err, codec.ErrRegistry) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("error %v", err)
	}
}

func TestKeptStringsAreBounded(t *testing.T) {
	c := newCodec(t)
	d := c.NewDecoder()
	var e event.Event
	for i := range 3 * codec.MaxNames {
		msg, _ := c.AppendEvent(nil, &event.Event{Kind: event.KPI, Project: "p", UserID: "u", Name: fmt.Sprint("name ", i)})
		if err := d.Event(msg, &e); err != nil || e.Name != fmt.Sprint("name ", i) {
			t.Fatalf("event %d: %q, %v", i, e.Name, err)
		}
	}
	long := strings.Repeat("x", 100_000)
	before := d.Kept()
	msg, _ := c.AppendEvent(nil, &event.Event{Kind: event.KPI, Project: "p", UserID: "u", Name: long})
	if err := d.Event(msg, &e); err != nil || e.Name != long {
		t.Fatal(err)
	}
	if d.Kept() > codec.MaxNames || d.Kept() != before {
		t.Errorf("%d strings kept, %d before a long one", d.Kept(), before)
	}
}

func FuzzForeign(f *testing.F) {
	c := newCodec(f)
	if err := c.Know([]byte(olderKPI)); err != nil {
		f.Fatal(err)
	}
	body, _ := olderKPIMessage(f)
	header := single(f, olderKPI, nil)
	f.Add(body)
	f.Fuzz(func(t *testing.T, b []byte) {
		var e event.Event
		err := c.NewDecoder().Event(append(header[:10:10], b...), &e)
		var d *codec.DecodeError
		if err != nil && !errors.As(err, &d) {
			t.Fatalf("error %v is no DecodeError", err)
		}
	})
}
