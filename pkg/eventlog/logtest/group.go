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

	"github.com/hypostream/hypostream/pkg/eventlog"
)

func group(t *testing.T, l *eventlog.Log, id string, topics []string) *eventlog.Group {
	t.Helper()
	g, err := l.NewGroup(eventlog.GroupConfig{
		ID: id, Topics: topics, SessionTimeout: 6 * time.Second, RebalanceTimeout: 10 * time.Second, HeartbeatInterval: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func next(t *testing.T, g *eventlog.Group) *eventlog.Generation {
	t.Helper()
	gen, err := g.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return gen
}

func commitMetadata(t *testing.T, l *eventlog.Log) {
	topics := Topics(t, l, 2, 2)
	id := topics[0] + ".group"
	p := Producer(t, l, eventlog.ProducerConfig{})
	for range 10 {
		for _, topic := range topics {
			if err := p.Append(t.Context(), []eventlog.Record{{Topic: topic, Key: []byte("a")}, {Topic: topic, Key: []byte("b")}, {Topic: topic, Key: []byte("c")}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	g := group(t, l, id, topics)
	gen := next(t, g)
	// Nothing is committed: from the beginning, by partition and then topic.
	want := []eventlog.Assigned{
		{Topic: topics[0], Partition: 0}, {Topic: topics[1], Partition: 0},
		{Topic: topics[0], Partition: 1}, {Topic: topics[1], Partition: 1},
	}
	if diff := cmp.Diff(want, gen.Assigned()); diff != "" {
		t.Errorf("first assignment (-want +got):\n%s", diff)
	}
	if err := gen.Commit(t.Context(), topics[0], 1, 3, `{"until":7}`); err != nil {
		t.Fatal(err)
	}
	if err := gen.CommitAll(t.Context(), []eventlog.Assigned{{Topic: topics[1], Partition: 0, Offset: 2, Metadata: "m"}, {Topic: topics[1], Partition: 1, Offset: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := l.Committed(t.Context(), id, topics...)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]map[int32]eventlog.Committed{
		topics[0]: {0: {Offset: -1}, 1: {Offset: 3, Metadata: `{"until":7}`}},
		topics[1]: {0: {Offset: 2, Metadata: "m"}, 1: {Offset: 1}},
	}, got); diff != "" {
		t.Errorf("committed (-want +got):\n%s", diff)
	}
	g = group(t, l, id, topics)
	defer g.Close()
	want[2].Offset, want[2].Metadata = 3, `{"until":7}`
	want[1].Offset, want[1].Metadata = 2, "m"
	want[3].Offset = 1
	if diff := cmp.Diff(want, next(t, g).Assigned()); diff != "" {
		t.Errorf("second assignment (-want +got):\n%s", diff)
	}
}

// A member runs a group's generations until the test ends or it is closed.
type member struct {
	g       *eventlog.Group
	mu      sync.Mutex
	now     []eventlog.Assigned // of the generation under way
	changed chan struct{}
	done    chan struct{}
}

func join(t *testing.T, l *eventlog.Log, id string, topics []string) *member {
	m := &member{g: group(t, l, id, topics), changed: make(chan struct{}, 100), done: make(chan struct{})}
	go func() {
		defer close(m.done)
		for {
			gen, err := m.g.Next(context.Background())
			if err != nil {
				return
			}
			m.set(gen.Assigned())
			gen.Start(func(ctx context.Context) {
				<-ctx.Done()
				m.set(nil)
			})
		}
	}()
	t.Cleanup(func() { m.close() })
	return m
}

func (m *member) set(a []eventlog.Assigned) {
	m.mu.Lock()
	m.now = a
	m.mu.Unlock()
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// owns returns the partition numbers that it has, of every topic alike.
func (m *member) owns(t *testing.T, topics []string) []int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	byTopic := map[string][]int32{}
	for _, a := range m.now {
		byTopic[a.Topic] = append(byTopic[a.Topic], a.Partition)
	}
	for _, topic := range topics {
		if !slices.Equal(byTopic[topic], byTopic[topics[0]]) {
			t.Errorf("partition numbers differ between topics: %v", byTopic)
		}
	}
	return byTopic[topics[0]]
}

func (m *member) close() {
	m.g.Close()
	<-m.done
}

func twoMembers(t *testing.T, l *eventlog.Log) {
	topics := Topics(t, l, 3, 4)
	id := topics[0] + ".group"
	await := func(what string, ok func() bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		for !ok() {
			select {
			case <-ctx.Done():
				t.Fatalf("waited in vain for %s", what)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	all := []int32{0, 1, 2, 3}
	a := join(t, l, id, topics)
	await("one member to have all", func() bool { return slices.Equal(a.owns(t, topics), all) })
	b := join(t, l, id, topics)
	await("two members to have two each", func() bool {
		x, y := a.owns(t, topics), b.owns(t, topics)
		both := slices.Sorted(slices.Values(append(slices.Clone(x), y...)))
		return len(x) == 2 && len(y) == 2 && slices.Equal(both, all)
	})
	a.close()
	await("the one left to have all", func() bool { return slices.Equal(b.owns(t, topics), all) })
}

func staleCommit(t *testing.T, l *eventlog.Log) {
	topics := Topics(t, l, 1, 2)
	id := topics[0] + ".group"
	g := group(t, l, id, topics)
	old := next(t, g)
	if err := old.Commit(t.Context(), topics[0], 0, 0, "of the old"); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	g = group(t, l, id, topics)
	defer g.Close()
	gen := next(t, g)
	if err := gen.Commit(t.Context(), topics[0], 0, 0, "of the new"); err != nil {
		t.Fatal(err)
	}
	if err := old.Commit(t.Context(), topics[0], 0, 0, "stale"); !errors.Is(err, eventlog.ErrStaleGeneration) {
		t.Errorf("commit of a member that left: %v", err)
	}
	got, err := l.Committed(t.Context(), id, topics...)
	if err != nil {
		t.Fatal(err)
	}
	if m := got[topics[0]][0].Metadata; m != "of the new" {
		t.Errorf("committed metadata is %q", m)
	}
}

func commitWhileRevoked(t *testing.T, l *eventlog.Log) {
	topics := Topics(t, l, 1, 2)
	id := topics[0] + ".group"
	a := group(t, l, id, topics)
	defer a.Close()
	gen := next(t, a)
	result := make(chan error, 1)
	gen.Start(func(ctx context.Context) {
		<-ctx.Done()
		result <- gen.Commit(context.Background(), topics[0], 0, 0, "flushed late")
	})
	b := group(t, l, id, topics)
	defer b.Close()
	go a.Next(t.Context()) //nolint:errcheck // takes part in the rebalance
	after := next(t, b)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	// The other member starts from what was flushed.
	got, err := l.Committed(t.Context(), id, topics...)
	if err != nil {
		t.Fatal(err)
	}
	if m := got[topics[0]][0].Metadata; m != "flushed late" {
		t.Errorf("committed metadata is %q in generation %d", m, after.ID())
	}
}

func follow(t *testing.T, l *eventlog.Log) {
	topic := Topics(t, l, 1, 3)[0]
	p := Producer(t, l, eventlog.ProducerConfig{})
	put := func(n int) {
		t.Helper()
		if err := p.Append(t.Context(), []eventlog.Record{{Topic: topic, Key: fmt.Appendf(nil, "%d", n)}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		put(i)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := make(chan string, 100)
	caughtUp := make(chan int, 2)
	done := make(chan error, 1)
	count := 0 // no lock: fn and caughtUp are never called at the same time
	go func() {
		done <- l.Follow(ctx, topic, func(r eventlog.Record) error {
			count++
			seen <- string(r.Key)
			if string(r.Key) == "stop" {
				return errors.New("enough")
			}
			return nil
		}, func() { caughtUp <- count })
	}()
	if n := <-caughtUp; n < 20 {
		t.Errorf("caught up after %d of 20 records", n)
	}
	put(20)
	got := map[string]bool{}
	for range 21 {
		got[<-seen] = true
	}
	if len(got) != 21 {
		t.Errorf("%d different records, want 21", len(got))
	}
	if err := p.Append(t.Context(), []eventlog.Record{{Topic: topic, Key: []byte("stop")}}); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil || err.Error() != "enough" {
		t.Errorf("follow ended with %v, want fn's error", err)
	}
	if len(caughtUp) != 0 {
		t.Error("caughtUp was called twice")
	}
}
