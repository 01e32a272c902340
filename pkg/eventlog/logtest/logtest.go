// Package logtest is the log's contract as a test suite: what the rest of the
// house relies on, checked against whatever brokers it is given.
package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hypostream/hypostream/pkg/eventlog"
)

// Open returns a log on the brokers, closed at the end of the test.
func Open(t testing.TB, cfg eventlog.Config) *eventlog.Log {
	t.Helper()
	if cfg.FetchWait == 0 {
		cfg.FetchWait = 100 * time.Millisecond
	}
	l, err := eventlog.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// Topics creates topics with names of the test's own, and returns the names.
func Topics(t testing.TB, l *eventlog.Log, count, partitions int) []string {
	t.Helper()
	names := make([]string, count)
	topics := make([]eventlog.Topic, count)
	for i := range names {
		names[i] = fmt.Sprintf("logtest.%d.%d", time.Now().UnixNano(), i)
		topics[i] = eventlog.Topic{Name: names[i], Partitions: partitions}
	}
	if err := l.EnsureTopics(t.Context(), topics...); err != nil {
		t.Fatal(err)
	}
	return names
}

// Producer returns a producer, closed at the end of the test.
func Producer(t testing.TB, l *eventlog.Log, cfg eventlog.ProducerConfig) *eventlog.Producer {
	t.Helper()
	p, err := l.NewProducer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// ReadAll reads a partition from its first offset to its end as of now.
func ReadAll(t testing.TB, l *eventlog.Log, topic string, partition int32) []eventlog.Record {
	t.Helper()
	ends, err := l.EndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	starts, err := l.StartOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.OpenPartition(t.Context(), topic, partition, starts[topic][partition])
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all, buf []eventlog.Record
	for r.Offset() < ends[topic][partition] {
		buf, err = r.Read(t.Context(), 1000, buf)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, buf...)
	}
	return all
}

// Run checks the contract on brokers by their addresses.
func Run(t *testing.T, brokers []string) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *eventlog.Log)
	}{
		{"what is appended is read back whole and in order", readBack},
		{"equal keys share a partition number in every topic", coPartitioned},
		{"order within a key holds under many callers", orderWithinKey},
		{"every compression is read back", nil},
		{"an offset outside the partition is refused by the read", outOfRange},
		{"a read at the end waits and returns nothing", readAtEnd},
		{"a commit keeps its metadata and is handed to the next generation", commitMetadata},
		{"two members share the partitions and one takes over at the other's leave", twoMembers},
		{"a commit of a stale generation is refused", staleCommit},
		{"a commit is accepted after a rebalance began and before the function returns", commitWhileRevoked},
		{"following a topic gives the past, says when, and goes on", follow},
		{"an existing topic with another partition count is an error", partitionCounts},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.run == nil {
				compressions(t, brokers)
				return
			}
			test.run(t, Open(t, eventlog.Config{Brokers: brokers}))
		})
	}
}

func readBack(t *testing.T, l *eventlog.Log) {
	topic := Topics(t, l, 1, 1)[0]
	p := Producer(t, l, eventlog.ProducerConfig{})
	want := []eventlog.Record{
		{Topic: topic, Key: []byte("k"), Value: []byte("first"), Time: 1_700_000_000_123_000},
		{Topic: topic, Key: []byte("k"), Value: []byte{}, Time: 1_600_000_000_000_000, Headers: []eventlog.Header{{Key: "kind", Value: []byte("kpi")}, {Key: "empty", Value: []byte{}}, {Key: "null"}}},
		{Topic: topic, Key: []byte{}, Value: nil, Time: 1_000},
		{Topic: topic, Value: slices.Repeat([]byte("x"), 100_000), Time: 1_700_000_000_124_000},
	}
	if err := p.Append(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if err := p.Append(t.Context(), []eventlog.Record{{Topic: topic, Value: []byte("µs"), Time: 1_700_000_000_123_999}}); err != nil {
		t.Fatal(err)
	}
	// The log keeps milliseconds.
	want = append(want, eventlog.Record{Topic: topic, Value: []byte("µs"), Time: 1_700_000_000_123_000})
	for i := range want {
		want[i].Offset = int64(i)
	}
	got := ReadAll(t, l, topic, 0)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	// From the middle of a batch, and no more than asked for.
	r, err := l.OpenPartition(t.Context(), topic, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err = r.Read(t.Context(), 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want[1:3], got); diff != "" {
		t.Errorf("from offset 1 (-want +got):\n%s", diff)
	}
	if r.Offset() != 3 || r.EndOffset() != 5 {
		t.Errorf("offset %d, end %d, want 3 and 5", r.Offset(), r.EndOffset())
	}
}

func coPartitioned(t *testing.T, l *eventlog.Log) {
	topics := Topics(t, l, 3, 5)
	p := Producer(t, l, eventlog.ProducerConfig{})
	var recs []eventlog.Record
	for i := range 200 {
		for _, topic := range topics {
			recs = append(recs, eventlog.Record{Topic: topic, Key: fmt.Appendf(nil, "visitor-%d", i)})
		}
	}
	if err := p.Append(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for part := range int32(5) {
		var keys [3][]string
		for i, topic := range topics {
			for _, r := range ReadAll(t, l, topic, part) {
				keys[i] = append(keys[i], string(r.Key))
				seen++
			}
		}
		if len(keys[0]) == 0 {
			t.Errorf("no key of 200 on partition %d", part)
		}
		for i := 1; i < 3; i++ {
			if diff := cmp.Diff(keys[0], keys[i]); diff != "" {
				t.Errorf("partition %d of topics 0 and %d (-0 +%d):\n%s", part, i, i, diff)
			}
		}
	}
	if seen != 600 {
		t.Errorf("read %d records, want 600", seen)
	}
}

func orderWithinKey(t *testing.T, l *eventlog.Log) {
	const callers, each = 16, 200
	topics := Topics(t, l, 2, 3)
	p := Producer(t, l, eventlog.ProducerConfig{MaxBatchBytes: 4 << 10, MaxRequestBytes: 8 << 10})
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			key := fmt.Appendf(nil, "caller-%d", c)
			for i := 0; i < each; {
				n := min(1+(i+c)%7, each-i)
				var recs []eventlog.Record
				for range n {
					recs = append(recs, eventlog.Record{Topic: topics[c%2], Key: key, Value: fmt.Appendf(nil, "%d", i)})
					i++
				}
				if err := p.Append(context.Background(), recs); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	got := map[string][]string{}
	for _, topic := range topics {
		for part := range int32(3) {
			for _, r := range ReadAll(t, l, topic, part) {
				got[string(r.Key)] = append(got[string(r.Key)], string(r.Value))
			}
		}
	}
	var want []string
	for i := range each {
		want = append(want, fmt.Sprint(i))
	}
	if len(got) != callers {
		t.Errorf("%d keys, want %d", len(got), callers)
	}
	for key, values := range got {
		if !slices.Equal(values, want) {
			t.Errorf("%s: %v", key, values)
		}
	}
}

func compressions(t *testing.T, brokers []string) {
	for _, name := range []string{"none", "lz4", "snappy", "zstd"} {
		t.Run(name, func(t *testing.T) {
			l := Open(t, eventlog.Config{Brokers: brokers, Compression: name})
			topic := Topics(t, l, 1, 1)[0]
			p := Producer(t, l, eventlog.ProducerConfig{})
			var recs []eventlog.Record
			for i := range 1000 {
				recs = append(recs, eventlog.Record{Topic: topic, Key: []byte("k"), Value: fmt.Appendf(nil, "some text that repeats, %d", i)})
			}
			if err := p.Append(t.Context(), recs); err != nil {
				t.Fatal(err)
			}
			got := ReadAll(t, l, topic, 0)
			if diff := cmp.Diff(recs, got, cmpopts.IgnoreFields(eventlog.Record{}, "Time", "Offset")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func outOfRange(t *testing.T, l *eventlog.Log) {
	topic := Topics(t, l, 1, 1)[0]
	r, err := l.OpenPartition(t.Context(), topic, 0, 17)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Read(t.Context(), 10, nil); !errors.Is(err, eventlog.ErrOffsetOutOfRange) {
		t.Errorf("reading at 17 of an empty partition: %v", err)
	}
	if _, err := l.OpenPartition(t.Context(), topic, 0, -1); !errors.Is(err, eventlog.ErrOffsetOutOfRange) {
		t.Errorf("opening at -1: %v", err)
	}
	if _, err := l.OpenPartition(t.Context(), topic, 1, 0); err == nil {
		t.Error("partition 1 of a topic with one opens")
	}
	if _, err := l.OpenPartition(t.Context(), topic+".none", 0, 0); !errors.Is(err, eventlog.ErrUnknownTopic) {
		t.Errorf("opening a topic that does not exist: %v", err)
	}
}

func readAtEnd(t *testing.T, l *eventlog.Log) {
	topic := Topics(t, l, 1, 1)[0]
	r, err := l.OpenPartition(t.Context(), topic, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := r.Read(t.Context(), 10, nil); len(got) != 0 || err != nil {
		t.Errorf("read %v, %v from an empty partition", got, err)
	}
	p := Producer(t, l, eventlog.ProducerConfig{})
	if err := p.Append(t.Context(), []eventlog.Record{{Topic: topic, Value: []byte("new")}}); err != nil {
		t.Fatal(err)
	}
	var got []eventlog.Record
	for len(got) == 0 {
		if got, err = r.Read(t.Context(), 10, got); err != nil {
			t.Fatal(err)
		}
	}
	if string(got[0].Value) != "new" || len(got) != 1 {
		t.Errorf("read %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Read(ctx, 10, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("reading with a cancelled context: %v", err)
	}
}

func partitionCounts(t *testing.T, l *eventlog.Log) {
	topics := Topics(t, l, 1, 3)
	ensure := func(ts ...eventlog.Topic) error { return l.EnsureTopics(t.Context(), ts...) }
	if err := ensure(eventlog.Topic{Name: topics[0], Partitions: 4}); err == nil {
		t.Error("a topic of 3 partitions passes for one of 4")
	}
	if err := ensure(eventlog.Topic{Name: topics[0], Partitions: 3}); err != nil {
		t.Error(err)
	}
	// A new topic is cut like its siblings that exist.
	sibling := topics[0] + ".sibling"
	if err := ensure(eventlog.Topic{Name: topics[0]}, eventlog.Topic{Name: sibling}); err != nil {
		t.Error(err)
	}
	if n, err := l.Partitions(t.Context(), sibling); n != 3 || err != nil {
		t.Errorf("the sibling has %d partitions, %v; want 3", n, err)
	}
	other := Topics(t, l, 1, 5)[0]
	if err := ensure(eventlog.Topic{Name: topics[0]}, eventlog.Topic{Name: other}); err == nil {
		t.Error("topics of 3 and 5 partitions pass for siblings")
	}
}
