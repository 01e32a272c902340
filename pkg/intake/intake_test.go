package intake_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/deadletter"
	"github.com/hypostream/hypostream/pkg/embedded/broker/brokertest"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/intake"
	"github.com/hypostream/hypostream/pkg/registry"
)

const secret = "hs_intake-test-token"

// front is a front door over a real wire: HTTP before it, a broker behind it.
type front struct {
	url    string
	log    *eventlog.Log
	codec  *codec.Codec
	topics event.Topics
	reg    *registry.Registry
}

func open(t *testing.T, cfg intake.Config) *front {
	t.Helper()
	return openOn(t, cfg, brokertest.Brokers(t), eventlog.ProducerConfig{})
}

func openOn(t *testing.T, cfg intake.Config, brokers []string, producer eventlog.ProducerConfig) *front {
	t.Helper()
	ctx := t.Context()
	f := &front{topics: event.NewTopics(fmt.Sprintf("intake-%d", time.Now().UnixNano()))}
	var err error
	if f.log, err = eventlog.Open(ctx, eventlog.Config{Brokers: brokers, Partitions: 3, FetchWait: 50 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.log.Close() })
	for _, name := range append(f.topics.Events(), f.topics.DeadLetters) {
		if err := f.log.EnsureTopics(ctx, eventlog.Topic{Name: name, Partitions: 3}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.log.EnsureTopics(ctx, registry.Topic(f.topics.Registry)); err != nil {
		t.Fatal(err)
	}
	if f.codec, err = codec.New(ctx, codec.Config{}, f.topics); err != nil {
		t.Fatal(err)
	}
	if f.reg, err = registry.Open(registry.Config{Repair: true, Bootstrap: "shop:" + secret}, f.log, f.codec, f.topics.Registry, slog.Default()); err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	run, stop := context.WithCancel(ctx)
	go func() { ran <- f.reg.Run(run) }()
	t.Cleanup(func() { stop(); <-ran; f.reg.Close() })
	if err := f.reg.Bootstrap(ctx); err != nil {
		t.Fatal(err)
	}
	p, err := f.log.NewProducer(producer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if cfg.MaxBodyBytes == 0 {
		cfg.MaxBodyBytes = 1 << 20
	}
	h := intake.New(cfg, p, deadletter.New(p, f.codec, f.topics.DeadLetters), f.codec, f.topics, func() intake.Projects { return f.reg.Snapshot() }, nil)
	mux := http.NewServeMux()
	h.Register(mux)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	f.url = s.URL
	return f
}

func (f *front) do(t *testing.T, method, path, token string, body io.Reader, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, f.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// stored reads everything that a topic holds.
func (f *front) stored(t *testing.T, topic string) []eventlog.Record {
	t.Helper()
	ends, err := f.log.EndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	var all []eventlog.Record
	for p, end := range ends[topic] {
		r, err := f.log.OpenPartition(t.Context(), topic, p, 0)
		if err != nil {
			t.Fatal(err)
		}
		for r.Offset() < end {
			recs, err := r.Read(t.Context(), 1000, nil)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, recs...)
		}
		r.Close()
	}
	return all
}

func (f *front) events(t *testing.T, topic string) []event.Event {
	t.Helper()
	d := f.codec.NewDecoder()
	var out []event.Event
	for _, r := range f.stored(t, topic) {
		var e event.Event
		if err := d.Event(r.Value, &e); err != nil {
			t.Fatal(err)
		}
		if e.Key() != string(r.Key) {
			t.Errorf("key %q of an event keyed %q", r.Key, e.Key())
		}
		out = append(out, e)
	}
	return out
}

func TestAcceptedEventsAreInTheLogAndARetryIsTheSameEvent(t *testing.T) {
	f := open(t, intake.Config{})
	body := `{"events": [
		{"event_type": "visit", "visitor_id": "v1", "time": "2026-11-21 00:11:34.763093", "test_name": "x", "variant": "b"},
		{"event_type": "goal", "user_id": "u1", "time": "2026-11-21 00:11:34.763093", "goal_name": "g", "goal_value": 2.5},
		{"event_type": "goal", "user_id": "u1", "time": "2026-11-21 00:11:34.763093", "goal_name": "g", "goal_value": 2.5},
		{"event_type": "match_user_visitor", "user_id": "u1", "visitor_id": "v1", "time": "2026-11-21 00:11:34.763093"}]}`
	for range 2 {
		if code, answer := f.do(t, "POST", "/v1/events", secret, strings.NewReader(body)); code != 200 || !json.Valid([]byte(answer)) {
			t.Fatalf("%d %s", code, answer)
		}
	}
	ids := map[event.ID]int{}
	for _, e := range f.events(t, f.topics.KPIs) {
		if e.Project != "shop" || e.ValueMicro != 2_500_000 {
			t.Errorf("stored %+v", e)
		}
		ids[e.ID]++
	}
	// Two equal events of one request are two; the request sent again adds none.
	if len(ids) != 2 {
		t.Errorf("%d identities, want 2", len(ids))
	}
	for id, n := range ids {
		if n != 2 {
			t.Errorf("identity %s stands %d times, want 2", id, n)
		}
	}
	if n := len(f.events(t, f.topics.Exposures)); n != 2 {
		t.Errorf("%d exposures, want 2", n)
	}
	if n := len(f.events(t, f.topics.Matches)); n != 2 {
		t.Errorf("%d matches, want 2", n)
	}
}

func TestRefusedEventsOfASilentWireAreDeadLetters(t *testing.T) {
	f := open(t, intake.Config{})
	bad := `{"event_type": "goal", "goal_name": "g", "user_id": "u", "goal_value": NaN}`
	code, answer := f.do(t, "POST", "/v1/events", secret, strings.NewReader(`{"events": [`+bad+`, {"event_type": "goal", "goal_name": "g", "user_id": "u"}]}`))
	if code != 200 || !strings.Contains(answer, `"field":"goal_value"`) {
		t.Errorf("%d %s", code, answer)
	}
	if n := len(f.events(t, f.topics.KPIs)); n != 1 {
		t.Errorf("%d KPIs, want the good one", n)
	}
	letters := f.stored(t, f.topics.DeadLetters)
	if len(letters) != 1 {
		t.Fatalf("%d dead letters, want 1", len(letters))
	}
	d, err := f.codec.NewDecoder().DeadLetter(letters[0].Value)
	if err != nil {
		t.Fatal(err)
	}
	if d.Stage != "ingest" || d.Project != "shop" || d.Reason != event.ReasonValue || d.Field != "goal_value" || string(d.Original) != bad {
		t.Errorf("dead letter %+v", d)
	}
}

func TestBadInputIsAnsweredWithWhatIsWrong(t *testing.T) {
	f := open(t, intake.Config{MaxBodyBytes: 2000})
	good := `{"type":"kpi","user_id":"u","name":"n"}`
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	z.Write(bytes.Repeat([]byte(" "), 1<<20))
	z.Close()
	tests := []struct {
		name, path, token, body string
		header                  []string
		code                    int
		says                    string
	}{
		{"no token", "/v1/events", "", `{}`, nil, 401, `"unauthorized"`},
		{"a wrong token", "/v1/track", "hs_nobody", good, nil, 401, `"unauthorized"`},
		{"a body that is too large", "/v1/track", secret, strings.Repeat(" ", 2001), nil, 413, `"too_large"`},
		{"a small body that unfolds", "/v1/track", secret, bomb.String(), []string{"Content-Encoding", "gzip"}, 413, `"too_large"`},
		{"a body that is not what it says", "/v1/track", secret, good, []string{"Content-Encoding", "gzip"}, 400, `decompressing`},
		{"an encoding nobody knows", "/v1/track", secret, good, []string{"Content-Encoding", "br"}, 415, `br`},
		{"no JSON", "/v1/events", secret, `{"events": [?]}`, nil, 400, `"offset":12`},
		{"one bad among good ones", "/v1/track", secret, "[" + good + `,{"type":"kpi","user_id":"u"}]`, nil, 207, `"index":1,"offset":41,"field":"name","reason":"missing"`},
		{"none good", "/v1/track", secret, `{"type":"kpi","user_id":"u"}`, nil, 400, `"accepted":0`},
		{"another method", "/v1/all_series_tests", secret, "", nil, 405, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, answer := f.do(t, "POST", tt.path, tt.token, strings.NewReader(tt.body), tt.header...)
			if code != tt.code || !strings.Contains(answer, tt.says) {
				t.Errorf("%d %s, want %d and %s", code, answer, tt.code, tt.says)
			}
		})
	}
	if n := len(f.events(t, f.topics.KPIs)); n != 1 {
		t.Errorf("%d events stored, want the one good one", n)
	}
}

func TestCompressedBodiesAreRead(t *testing.T) {
	f := open(t, intake.Config{})
	good := []byte(`{"type":"kpi","user_id":"u","name":"n"}`)
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	w.Write(good)
	w.Close()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for encoding, body := range map[string][]byte{"gzip": gz.Bytes(), "zstd": e.EncodeAll(good, nil)} {
		for range 3 { // decoders are used again
			if code, answer := f.do(t, "POST", "/v1/track", secret, bytes.NewReader(body), "Content-Encoding", encoding); code != 200 {
				t.Errorf("%s: %d %s", encoding, code, answer)
			}
		}
	}
}

func TestAbsurdTimesBecomeTheTimeOfReceipt(t *testing.T) {
	f := open(t, intake.Config{})
	ahead := time.Now().Add(25 * time.Hour).UTC().Format(time.RFC3339)
	body := `[{"type":"kpi","user_id":"u","name":"n","time":"1999-12-31T23:59:59Z"},{"type":"kpi","user_id":"u","name":"n","time":"` + ahead + `"},{"type":"kpi","user_id":"u","name":"n"}]`
	if code, answer := f.do(t, "POST", "/v1/track", secret, strings.NewReader(body)); code != 200 {
		t.Fatalf("%d %s", code, answer)
	}
	flags := map[event.Flags]int{}
	for _, e := range f.events(t, f.topics.KPIs) {
		flags[e.Flags]++
		if e.Time != e.ReceivedAt {
			t.Errorf("time %d, received %d", e.Time, e.ReceivedAt)
		}
	}
	if flags[event.TimeReplaced] != 2 || flags[event.TimeMissing] != 1 {
		t.Errorf("flags %v, want two replaced times and one missing", flags)
	}
}

func TestSettingsFollowTheRegistry(t *testing.T) {
	f := open(t, intake.Config{})
	// The SDK sends a body with its GET.
	if code, answer := f.do(t, "GET", "/v1/all_series_tests", secret, strings.NewReader("{}")); code != 200 || answer != `{"tests": {}}`+"\n" {
		t.Fatalf("%d %s", code, answer)
	}
	x := &experiment.Experiment{Project: "shop", Key: "x", State: experiment.Running, Start: time.Now(), Variants: []experiment.Variant{{Key: "control", Weight: .5}, {Key: "b", Weight: .5}}}
	if _, err := f.reg.PutExperiment(t.Context(), x, "test"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; {
		_, answer := f.do(t, "GET", "/v1/all_series_tests", secret, nil)
		if strings.Contains(answer, `"variants_distribution": {"control": 0.5, "b": 0.5}`) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the change is not served: %s", answer)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if code, _ := f.do(t, "GET", "/v1/all_series_tests", "", nil); code != 401 {
		t.Errorf("settings without a token: %d", code)
	}
}

type brokenLog struct{ err error }

func (b brokenLog) Append(context.Context, []eventlog.Record) error { return b.err }

// The log's absence is a 504, the one status on which the SDKs try again.
func TestALogThatDoesNotAnswerIsA504(t *testing.T) {
	f := open(t, intake.Config{})
	for _, cause := range []error{eventlog.ErrLogUnavailable, eventlog.ErrOverloaded, context.DeadlineExceeded} {
		h := intake.New(intake.Config{MaxBodyBytes: 1 << 20}, brokenLog{cause}, nil, f.codec, f.topics, func() intake.Projects { return f.reg.Snapshot() }, nil)
		mux := http.NewServeMux()
		h.Register(mux)
		r := httptest.NewRequest("POST", "/v1/events", strings.NewReader(`{"events": [{"event_type": "goal", "goal_name": "g", "user_id": "u"}]}`))
		r.Header.Set("Authorization", "Bearer "+secret)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code != http.StatusGatewayTimeout || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%v: %d %s", cause, w.Code, w.Body)
		}
	}
}
