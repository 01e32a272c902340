package eventlog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/eventlog/logtest"
)

// kafka-go stops its heartbeats when a rebalance begins; a member that then
// flushed for longer than its session time-out lost its membership, and the
// commit of what it had flushed was refused.
func TestALongFlushDoesNotCostTheMembership(t *testing.T) {
	c, _ := fake(t, 1, kfake.GroupMinSessionTimeout(100*time.Millisecond))
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs()})
	topic := logtest.Topics(t, l, 1, 2)[0]
	join := func() *eventlog.Group {
		g, err := l.NewGroup(eventlog.GroupConfig{
			ID: "g", Topics: []string{topic}, SessionTimeout: 500 * time.Millisecond, HeartbeatInterval: 20 * time.Millisecond, RebalanceTimeout: 30 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.Close() })
		return g
	}
	a := join()
	gen, err := a.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	flushed := make(chan error, 1)
	gen.Start(func(ctx context.Context) {
		<-ctx.Done()
		time.Sleep(2 * time.Second) // four session time-outs
		flushed <- gen.Commit(context.Background(), topic, 0, 0, "flushed")
	})
	b := join()
	go a.Next(t.Context()) //nolint:errcheck // takes part in the rebalance
	if _, err := b.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-flushed; err != nil {
		t.Error(err)
	}
}

func TestCommitsAreRetriedUntilTheyAreTakenOrRefused(t *testing.T) {
	c, w := fake(t, 1)
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs()})
	topic := logtest.Topics(t, l, 1, 1)[0]
	g, err := l.NewGroup(eventlog.GroupConfig{ID: "g", Topics: []string{topic}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	gen, err := g.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		code *kerr.Error
		want error
	}{
		{"the coordinator is loading", kerr.CoordinatorLoadInProgress, nil},
		{"the coordinator moved", kerr.NotCoordinator, nil},
		{"the request timed out", kerr.RequestTimedOut, nil},
		{"the generation is over", kerr.IllegalGeneration, eventlog.ErrStaleGeneration},
		{"the member is unknown", kerr.UnknownMemberID, eventlog.ErrStaleGeneration},
		{"the group is rebalancing", kerr.RebalanceInProgress, eventlog.ErrStaleGeneration},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: test.code})
			err := gen.Commit(t.Context(), topic, 0, int64(i), test.name)
			if !errors.Is(err, test.want) {
				t.Errorf("commit: %v, want %v", err, test.want)
			}
			if h.Hits() != 1 {
				t.Errorf("the fault came up %d times", h.Hits())
			}
			got, err := l.Committed(t.Context(), "g", topic)
			if err != nil {
				t.Fatal(err)
			}
			if taken := got[topic][0].Metadata == test.name; taken != (test.want == nil) {
				t.Errorf("committed is %+v", got[topic][0])
			}
		})
	}
	const offsetCommitKey = 8
	w.loseAnswers(offsetCommitKey, 2)
	if err := gen.Commit(t.Context(), topic, 0, 100, "over a bad network"); err != nil {
		t.Error(err)
	}
}
