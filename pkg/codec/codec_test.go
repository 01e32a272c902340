package codec_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hamba/avro/v2"
	"pgregory.net/rapid"

	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/schemas"
)

func newCodec(t testing.TB) *codec.Codec {
	t.Helper()
	c, err := codec.New(t.Context(), codec.Config{}, event.NewTopics(""))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var compare = cmp.AllowUnexported(event.TagValue{})

func genTags(t *rapid.T) []event.Tag {
	tags := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event.Tag {
		v := event.StringTag(rapid.String().Draw(t, "string"))
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 1:
			v = event.IntTag(rapid.Int64().Draw(t, "int"))
		case 2:
			v = event.FloatTag(rapid.Float64().Draw(t, "float"))
		case 3:
			v = event.BoolTag(rapid.Bool().Draw(t, "bool"))
		}
		return event.Tag{Key: rapid.String().Draw(t, "key"), Value: v}
	}), 0, 5).Draw(t, "tags")
	if tags = event.SortTags(tags); len(tags) == 0 {
		return nil
	}
	return tags
}

func genEvent(t *rapid.T) event.Event {
	s := rapid.String()
	e := event.Event{
		Kind: event.Kind(rapid.IntRange(1, 3).Draw(t, "kind")), Flags: event.Flags(rapid.Byte().Draw(t, "flags")),
		Project: s.Draw(t, "project"), UserID: s.Draw(t, "user"), VisitorID: s.Draw(t, "visitor"),
		Time: rapid.Int64().Draw(t, "time"), ReceivedAt: rapid.Int64().Draw(t, "received"), Tags: genTags(t),
	}
	copy(e.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	switch e.Kind {
	case event.Exposure:
		e.Experiment, e.Variant, e.OverrideReason, e.SDKError = s.Draw(t, "x"), s.Draw(t, "v"), s.Draw(t, "o"), s.Draw(t, "e")
	case event.KPI:
		e.Name, e.ValueMicro, e.SDKError = s.Draw(t, "n"), rapid.Int64().Draw(t, "micro"), s.Draw(t, "e")
	case event.Match:
		e.Context = s.Draw(t, "c")
	}
	return e
}

func TestEventsComeBackAsTheyWere(t *testing.T) {
	c := newCodec(t)
	rapid.Check(t, func(t *rapid.T) {
		want := genEvent(t)
		b, err := c.AppendEvent([]byte("before"), &want)
		if err != nil || string(b[:6]) != "before" {
			t.Fatalf("encoding: %v", err)
		}
		var got event.Event
		if err := c.NewDecoder().Event(b[6:], &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Tags) == 0 {
			got.Tags = nil
		}
		if d := cmp.Diff(want, got, compare); d != "" {
			t.Fatal(d)
		}
	})
}

// The bytes are read by the Avro library from the schema file alone, as any
// other reader of the topic would.
func TestAnyAvroReaderUnderstandsUs(t *testing.T) {
	c := newCodec(t)
	text, err := schemas.Avro.ReadFile("kpi.avsc")
	if err != nil {
		t.Fatal(err)
	}
	schema := avro.MustParse(string(text))
	e := event.Event{
		Kind: event.KPI, ID: event.ID{1, 2, 3}, Project: "p", UserID: "u", Time: 1_700_000_000_000_001, ReceivedAt: 5, Flags: event.ValueRounded,
		Name: "purchase", ValueMicro: -39_900_000,
		Tags: []event.Tag{{Key: "a", Value: event.IntTag(9007199254740993)}, {Key: "b", Value: event.BoolTag(true)}, {Key: "c", Value: event.FloatTag(.5)}, {Key: "d", Value: event.StringTag("x")}},
	}
	b, err := c.AppendEvent(nil, &e)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		ID    [16]byte       `avro:"event_id"`
		User  string         `avro:"user_id"`
		Time  int64          `avro:"time"`
		Flags int            `avro:"flags"`
		Tags  map[string]any `avro:"tags"`
		Name  string         `avro:"name"`
		Micro int64          `avro:"value_micro"`
	}
	if err := avro.Unmarshal(schema, b[10:], &got); err != nil {
		t.Fatal(err)
	}
	if got.ID != e.ID || got.User != "u" || got.Time != e.Time || got.Flags != 2 || got.Name != "purchase" || got.Micro != -39_900_000 {
		t.Errorf("read %+v", got)
	}
	want := map[string]any{"a": int64(9007199254740993), "b": true, "c": .5, "d": "x"}
	if d := cmp.Diff(want, got.Tags); d != "" {
		t.Error(d)
	}
}

func TestEntriesAndLettersComeBackAsTheyWere(t *testing.T) {
	c := newCodec(t)
	x := experiment.Entry{Subject: experiment.SubjectExperiment, Project: "p", Key: "k", Version: 3, Replaces: 2, Writer: "w", At: 9, Author: "a", Body: []byte(`{}`)}
	b, _ := c.AppendEntry(nil, &x)
	got, err := c.NewDecoder().Entry(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(x, got); d != "" {
		t.Error(d)
	}
	l := event.DeadLetter{At: 1, Stage: "ingest", Project: "p", Reason: event.ReasonType, Field: "f", Detail: "d", Topic: "t", Partition: -1, Offset: -1, Original: []byte{0, 255}}
	b, _ = c.AppendDeadLetter(nil, &l)
	letter, err := c.NewDecoder().DeadLetter(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(l, letter); d != "" {
		t.Error(d)
	}
}

func TestDamagedMessagesAreRefusedWithAReason(t *testing.T) {
	c := newCodec(t)
	whole, _ := c.AppendEvent(nil, &event.Event{Kind: event.Match, Project: "p", UserID: "u", VisitorID: "v"})
	entry, _ := c.AppendEntry(nil, &experiment.Entry{Key: "k"})
	unknown := append([]byte(nil), whole...)
	unknown[2] ^= 1
	tests := []struct {
		name   string
		bytes  []byte
		reason event.Reason
	}{
		{"nothing at all", nil, event.ReasonMalformed},
		{"not ours", []byte(`{"json": true}`), event.ReasonMalformed},
		{"a fingerprint nobody knows", unknown, event.ReasonUnknown},
		{"cut short", whole[:len(whole)-1], event.ReasonMalformed},
		{"too long", append(whole[:len(whole):len(whole)], 0), event.ReasonMalformed},
		{"another type of message", entry, event.ReasonMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var d *codec.DecodeError
			if err := c.NewDecoder().Event(tt.bytes, &event.Event{}); !errors.As(err, &d) || d.Reason != tt.reason {
				t.Errorf("error %v, want a DecodeError with reason %s", err, tt.reason)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	c := newCodec(f)
	for _, k := range []event.Kind{event.Exposure, event.KPI, event.Match} {
		b, _ := c.AppendEvent(nil, &event.Event{Kind: k, Project: "p", UserID: "u", Tags: []event.Tag{{Key: "k", Value: event.FloatTag(1)}}})
		f.Add(b)
	}
	b, _ := c.AppendEntry(nil, &experiment.Entry{Key: "k", Body: []byte("{}")})
	f.Add(b)
	b, _ = c.AppendDeadLetter(nil, &event.DeadLetter{Reason: "r"})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		d := c.NewDecoder()
		var e event.Event
		if err := d.Event(b, &e); err == nil {
			again, err := c.AppendEvent(nil, &e)
			if err != nil {
				t.Fatal(err)
			}
			var twice event.Event
			if err := d.Event(again, &twice); err != nil {
				t.Fatalf("what was read cannot be read again: %v", err)
			}
		}
		d.Entry(b)
		d.DeadLetter(b)
	})
}

func BenchmarkEvent(b *testing.B) {
	c := newCodec(b)
	e := event.Event{Kind: event.Exposure, Project: "default", VisitorID: "visitor-1234567", Time: 1_763_700_000_000_000, ReceivedAt: 1_763_700_000_000_000,
		Experiment: "landing/headline", Variant: "control", Tags: []event.Tag{{Key: "sdk_type", Value: event.StringTag("python3")}, {Key: "sdk_version", Value: event.StringTag("1.0.9")}}}
	msg, _ := c.AppendEvent(nil, &e)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 1024)
		for b.Loop() {
			buf, _ = c.AppendEvent(buf[:0], &e)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		d := c.NewDecoder()
		var got event.Event
		for b.Loop() {
			if err := d.Event(msg, &got); err != nil {
				b.Fatal(err)
			}
		}
	})
}
