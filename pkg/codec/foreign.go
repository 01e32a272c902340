package codec

import (
	"github.com/hamba/avro/v2"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
)

// foreignRecord is an event of another schema version, as hamba reads it by
// the resolved schema: all fields of all kinds.
type foreignRecord struct {
	EventID        [16]byte       `avro:"event_id"`
	Project        string         `avro:"project"`
	UserID         string         `avro:"user_id"`
	VisitorID      string         `avro:"visitor_id"`
	Time           int64          `avro:"time"`
	ReceivedAt     int64          `avro:"received_at"`
	Flags          int            `avro:"flags"`
	Tags           map[string]any `avro:"tags"`
	Experiment     string         `avro:"experiment"`
	Variant        string         `avro:"variant"`
	OverrideReason string         `avro:"override_reason"`
	SDKError       string         `avro:"sdk_error"`
	Name           string         `avro:"name"`
	ValueMicro     int64          `avro:"value_micro"`
	Context        string         `avro:"context"`
}

// bounded keeps a foreign message from asking for more memory than the largest
// record of the log has.
var bounded = avro.Config{MaxByteSliceSize: 1 << 20, MaxSliceAllocSize: 1 << 20}.Freeze()

// readForeign reads the whole of body. The library's Unmarshal would take a
// message that is cut short for one whose last fields are empty.
func readForeign(s avro.Schema, body []byte, dst any) error {
	r := avro.NewReader(nil, 0, avro.WithReaderConfig(bounded)).Reset(body)
	r.ReadVal(s, dst)
	if r.Error != nil {
		return malformed("%v", r.Error)
	}
	if r.Peek(); r.Error == nil {
		return malformed("more bytes stand behind the record")
	}
	return nil
}

func foreignEvent(s avro.Schema, r record, body []byte, e *event.Event) error {
	var f foreignRecord
	if err := readForeign(s, body, &f); err != nil {
		return err
	}
	*e = event.Event{
		Kind: event.Kind(r), Flags: event.Flags(f.Flags), ID: f.EventID, Project: f.Project, UserID: f.UserID, VisitorID: f.VisitorID,
		Time: f.Time, ReceivedAt: f.ReceivedAt, Experiment: f.Experiment, Variant: f.Variant, OverrideReason: f.OverrideReason,
		SDKError: f.SDKError, Name: f.Name, ValueMicro: f.ValueMicro, Context: f.Context,
	}
	for k, v := range f.Tags {
		t := event.Tag{Key: k}
		switch v := v.(type) {
		case string:
			t.Value = event.StringTag(v)
		case int64:
			t.Value = event.IntTag(v)
		case float64:
			t.Value = event.FloatTag(v)
		case bool:
			t.Value = event.BoolTag(v)
		default:
			return malformed("tag %q has a value of type %T", k, v)
		}
		e.Tags = append(e.Tags, t)
	}
	e.Tags = event.SortTags(e.Tags)
	return nil
}

func foreignEntry(s avro.Schema, body []byte) (experiment.Entry, error) {
	var f struct {
		Subject  string `avro:"subject"`
		Project  string `avro:"project"`
		Key      string `avro:"key"`
		Version  int64  `avro:"version"`
		Replaces int64  `avro:"replaces"`
		Writer   string `avro:"writer"`
		At       int64  `avro:"at"`
		Author   string `avro:"author"`
		Body     string `avro:"body"`
	}
	if err := readForeign(s, body, &f); err != nil {
		return experiment.Entry{}, err
	}
	return experiment.Entry{
		Subject: experiment.Subject(f.Subject), Project: f.Project, Key: f.Key, Version: f.Version, Replaces: f.Replaces,
		Writer: f.Writer, At: f.At, Author: f.Author, Body: []byte(f.Body),
	}, nil
}

func foreignLetter(s avro.Schema, body []byte) (event.DeadLetter, error) {
	var f struct {
		At        int64  `avro:"at"`
		Stage     string `avro:"stage"`
		Project   string `avro:"project"`
		Reason    string `avro:"reason"`
		Field     string `avro:"field"`
		Detail    string `avro:"detail"`
		Topic     string `avro:"topic"`
		Partition int32  `avro:"partition"`
		Offset    int64  `avro:"offset"`
		Original  []byte `avro:"original"`
	}
	if err := readForeign(s, body, &f); err != nil {
		return event.DeadLetter{}, err
	}
	return event.DeadLetter{
		At: f.At, Stage: f.Stage, Project: f.Project, Reason: event.Reason(f.Reason), Field: f.Field, Detail: f.Detail,
		Topic: f.Topic, Partition: f.Partition, Offset: f.Offset, Original: f.Original,
	}, nil
}
