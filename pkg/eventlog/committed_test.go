package eventlog_test

import (
	"testing"

	"github.com/hypostream/hypostream/pkg/embedded/broker/brokertest"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/eventlog/logtest"
)

// A broker may know nothing of a group that nobody has joined, and say so as an
// error: whoever asked how far it is too early was told that it failed.
func TestAGroupThatNobodyJoinedHasCommittedNothing(t *testing.T) {
	l := logtest.Open(t, eventlog.Config{Brokers: brokertest.Brokers(t)})
	topic := logtest.Topics(t, l, 1, 2)[0]
	got, err := l.Committed(t.Context(), "nobody-"+topic, topic)
	if err != nil {
		t.Fatal(err)
	}
	for p := range int32(2) {
		if c, ok := got[topic][p]; !ok || c.Offset != -1 {
			t.Errorf("partition %d: %+v, %v, want offset -1", p, c, ok)
		}
	}
}
