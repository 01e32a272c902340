package deadletter_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/deadletter"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
)

// tape keeps what is appended to it.
type tape struct {
	recs []eventlog.Record
	err  error
}

func (l *tape) Append(_ context.Context, recs []eventlog.Record) error {
	l.recs = append(l.recs, recs...)
	return l.err
}

func write(t *testing.T, letters ...event.DeadLetter) ([]eventlog.Record, []event.DeadLetter) {
	t.Helper()
	c, err := codec.New(t.Context(), codec.Config{}, event.NewTopics(""))
	if err != nil {
		t.Fatal(err)
	}
	var l tape
	if err := deadletter.New(&l, c, "dead").Write(t.Context(), letters); err != nil {
		t.Fatal(err)
	}
	got := make([]event.DeadLetter, len(l.recs))
	for i, r := range l.recs {
		if got[i], err = c.NewDecoder().DeadLetter(r.Value); err != nil {
			t.Fatal(err)
		}
		if r.Topic != "dead" || r.Time != letters[i].At {
			t.Errorf("record %d is of topic %q and time %d", i, r.Topic, r.Time)
		}
	}
	return l.recs, got
}

func TestLettersAreWrittenAsTheyAre(t *testing.T) {
	want := []event.DeadLetter{
		{At: 1, Stage: "ingest", Project: "p", Reason: event.ReasonType, Field: "value", Detail: "a list", Partition: -1, Offset: -1, Original: []byte(`{"value": []}`)},
		{At: 2, Stage: "aggregator", Reason: event.ReasonMalformed, Topic: "t", Partition: 3, Offset: 4, Original: []byte{0xFF, 0}},
	}
	_, got := write(t, want...)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestLongOriginalsAreCutWithANote(t *testing.T) {
	whole := bytes.Repeat([]byte("x"), 64<<10)
	long := append(bytes.Clone(whole), 'y')
	_, got := write(t, event.DeadLetter{Detail: "why", Original: whole}, event.DeadLetter{Detail: "why", Original: long})
	if !bytes.Equal(got[0].Original, whole) || got[0].Detail != "why" {
		t.Errorf("64 KiB: %d bytes, %q", len(got[0].Original), got[0].Detail)
	}
	if !bytes.Equal(got[1].Original, whole) || !strings.HasPrefix(got[1].Detail, "why") || !strings.Contains(got[1].Detail, "65537 bytes") {
		t.Errorf("a byte more: %d bytes, %q", len(got[1].Original), got[1].Detail)
	}
	if len(long) != 64<<10+1 {
		t.Error("the caller's bytes were changed")
	}
}

// A record that is read again after a restart, or a request that is sent
// again, gives the same key, so that a compacting reader keeps one of each.
func TestRepeatsShareAKeyAndNothingElseDoes(t *testing.T) {
	read := event.DeadLetter{At: 1, Stage: "aggregator", Topic: "a.b", Partition: 1, Offset: 23, Original: []byte("x")}
	sent := event.DeadLetter{At: 1, Stage: "ingest", Project: "p", Reason: event.ReasonType, Partition: -1, Offset: -1, Original: []byte("x")}
	with := func(d event.DeadLetter, change func(*event.DeadLetter)) event.DeadLetter { change(&d); return d }
	recs, _ := write(t,
		read, with(read, func(d *event.DeadLetter) { d.At = 2 }),
		sent, with(sent, func(d *event.DeadLetter) { d.At = 2 }),
		with(read, func(d *event.DeadLetter) { d.Topic = "a.c" }),
		with(read, func(d *event.DeadLetter) { d.Partition = 12 }),
		with(read, func(d *event.DeadLetter) { d.Offset = 3 }),
		with(sent, func(d *event.DeadLetter) { d.Project = "q" }),
		with(sent, func(d *event.DeadLetter) { d.Reason = event.ReasonValue }),
		with(sent, func(d *event.DeadLetter) { d.Original = []byte("y") }),
		// Only what was cut off differs.
		with(sent, func(d *event.DeadLetter) { d.Original = append(bytes.Repeat([]byte("z"), 64<<10), 'a') }),
		with(sent, func(d *event.DeadLetter) { d.Original = append(bytes.Repeat([]byte("z"), 64<<10), 'b') }),
	)
	if string(recs[0].Key) != string(recs[1].Key) || string(recs[2].Key) != string(recs[3].Key) {
		t.Errorf("repeats have keys %s and %s, %s and %s", recs[0].Key, recs[1].Key, recs[2].Key, recs[3].Key)
	}
	if got := string(recs[0].Key); got != "a.b/1/23" {
		t.Errorf("key %q", got)
	}
	seen := map[string]int{}
	for i, r := range recs {
		if i == 1 || i == 3 {
			continue
		}
		if other, ok := seen[string(r.Key)]; ok {
			t.Errorf("letters %d and %d share the key %s", other, i, r.Key)
		}
		seen[string(r.Key)] = i
	}
}

func TestTheLogsErrorIsPassedOn(t *testing.T) {
	c, err := codec.New(t.Context(), codec.Config{}, event.NewTopics(""))
	if err != nil {
		t.Fatal(err)
	}
	l := tape{err: eventlog.ErrLogUnavailable}
	if err := deadletter.New(&l, c, "dead").Write(t.Context(), make([]event.DeadLetter, 2)); !errors.Is(err, eventlog.ErrLogUnavailable) {
		t.Errorf("error %v", err)
	}
}
