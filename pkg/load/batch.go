package load

import (
	"fmt"
	"time"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/stitch"
)

// batch is one range of each of some partitions of a topic, and what stands in
// them.
type batch struct {
	rows    *stitch.Rows
	letters []event.DeadLetter
	ranges  []span
	bytes   int
	started time.Time // when the first record came
	oldest  int64     // when it was written to the log, µs
	attempt uint32
}

// span is the range of one partition in a batch: [from, to).
type span struct {
	part         *part
	from, to     int64
	stored, dead uint64
}

func (b *batch) reset() {
	b.rows.Reset()
	clear(b.letters)
	b.letters, b.ranges = b.letters[:0], b.ranges[:0]
	b.bytes, b.attempt, b.oldest, b.started = 0, 0, 0, time.Time{}
}

// span finds a partition's range, which starts where the last one ended.
func (b *batch) span(p *part) *span {
	for i := range b.ranges {
		if b.ranges[i].part == p {
			return &b.ranges[i]
		}
	}
	b.ranges = append(b.ranges, span{part: p, from: p.at, to: p.at})
	return &b.ranges[len(b.ranges)-1]
}

// A ledger row, table batches.
type ledgerRow struct {
	Topic     string    `ch:"topic"`
	Partition uint16    `ch:"topic_partition"`
	From      int64     `ch:"from_offset"`
	To        int64     `ch:"to_offset"`
	Stored    uint64    `ch:"stored"`
	Dead      uint64    `ch:"dead"`
	Attempt   uint32    `ch:"attempt"`
	Member    string    `ch:"member"`
	At        time.Time `ch:"at"`
}

func (b *batch) ledger(topic, member string) []ledgerRow {
	rows := make([]ledgerRow, len(b.ranges))
	now := time.Now().UTC()
	for i, s := range b.ranges {
		rows[i] = ledgerRow{topic, uint16(s.part.number), s.from, s.to, s.stored, s.dead, b.attempt, member, now}
	}
	return rows
}

// starts is the commit that plans the batch, ends the one that closes it.
func (b *batch) starts(topic string) []eventlog.Assigned {
	out := make([]eventlog.Assigned, len(b.ranges))
	for i, s := range b.ranges {
		out[i] = eventlog.Assigned{Topic: topic, Partition: s.part.number, Offset: s.from, Metadata: plan{s.to, b.attempt}.String()}
	}
	return out
}

func (b *batch) ends(topic string) []eventlog.Assigned {
	out := make([]eventlog.Assigned, len(b.ranges))
	for i, s := range b.ranges {
		out[i] = eventlog.Assigned{Topic: topic, Partition: s.part.number, Offset: s.to}
	}
	return out
}

// plan is what the metadata of a committed offset says: the range from that
// offset up to this one was begun, for the attempt-th time.
type plan struct {
	to      int64
	attempt uint32
}

func (p plan) String() string { return fmt.Sprintf("plan/1 %d %d", p.to, p.attempt) }

// parsePlan reads the metadata of an offset; none, or one that others wrote,
// plans nothing.
func parsePlan(offset int64, metadata string) (plan, bool) {
	var p plan
	n, err := fmt.Sscanf(metadata, "plan/1 %d %d", &p.to, &p.attempt)
	if err != nil || n != 2 || p.to <= offset || p.String() != metadata {
		return plan{}, false
	}
	return p, true
}
