package load

import (
	"context"
	"errors"
	"time"

	"github.com/hypostream/hypostream/pkg/eventlog"
)

// read hands a partition's records to the gatherer until ctx ends. The channel
// has no buffer: when a chunk is taken, the one before it has been used up, so
// two buffers in turn do.
func (n *lane) read(ctx context.Context, p *part, out chan<- chunk) {
	var bufs [2][]eventlog.Record
	s := source{lane: n, part: p, next: p.at}
	defer s.close()
	for i := 0; ctx.Err() == nil; i ^= 1 {
		recs, from, err := s.read(ctx, maxRead, bufs[i])
		if err != nil {
			return // only ctx's
		}
		bufs[i] = recs
		if len(recs) == 0 {
			continue
		}
		select {
		case out <- chunk{p, recs, from, s.next}:
		case <-ctx.Done():
		}
	}
}

// repeat works a planned range off again, exactly as it was: its rows may be
// in the warehouse in part, in whole or not at all.
func (n *lane) repeat(ctx, late context.Context, p *part) error {
	b := n.newBatch()
	b.attempt = p.plan.attempt
	s := source{lane: n, part: p, next: p.at, limit: p.plan.to}
	defer s.close()
	var buf []eventlog.Record
	for p.at < p.plan.to {
		recs, from, err := s.read(ctx, maxRead, buf)
		if err != nil {
			return err
		}
		buf = recs
		for len(recs) > 0 && recs[len(recs)-1].Offset >= p.plan.to {
			recs = recs[:len(recs)-1]
		}
		if len(recs) > 0 {
			if err := n.add(ctx, b, chunk{p, recs, from, min(s.next, p.plan.to)}); err != nil {
				return err
			}
		}
		if s.next >= p.plan.to || s.short {
			break
		}
	}
	// Nothing but markers or lost records stand behind the last record.
	span := b.span(p)
	span.to, p.at = p.plan.to, p.plan.to
	if err := n.store(late, b); err != nil {
		return err
	}
	p.redo = false
	return nil
}

// source reads a partition through faults of the log.
type source struct {
	lane   *lane
	part   *part
	reader *eventlog.PartitionReader
	next   int64 // offset after what was read
	limit  int64 // where the caller will stop, 0: nowhere
	short  bool  // the log ends before limit
}

func (s *source) close() {
	if s.reader != nil {
		s.reader.Close()
	}
	s.reader = nil
}

// read gives what there is, or nothing after a while. from is where it began.
// The error is only ctx's.
func (s *source) read(ctx context.Context, max int, buf []eventlog.Record) (recs []eventlog.Record, from int64, err error) {
	err = s.lane.again(ctx, "read", s.part.number, func(try context.Context) error {
		if s.reader == nil {
			r, err := s.lane.log.OpenPartition(try, s.lane.topic, s.part.number, s.next)
			if err != nil {
				return err
			}
			s.reader = r
		}
		var err error
		from = s.next
		recs, err = s.reader.Read(try, max, buf)
		switch {
		case len(recs) > 0: // an error comes again with the next read
		case errors.Is(err, eventlog.ErrOffsetOutOfRange):
			return s.reset(try)
		case err != nil:
			return err
		}
		s.next = s.reader.Offset()
		if end := s.reader.EndOffset(); end >= 0 {
			s.part.end.Store(end)
			s.short = s.limit > end && s.next >= end
		}
		if s.short {
			s.lane.slog.Error("the log ends before what was planned: it lost records", "topic", s.lane.topic,
				"partition", s.part.number, "end", s.next, "planned", s.limit)
		}
		return nil
	})
	return recs, from, err
}

// reset goes on at the earliest record when the log does not have the next one:
// retention was faster than the warehouse, or the topic was made anew. Nothing
// can bring the records back, so it is said loudly and counted.
func (s *source) reset(ctx context.Context) error {
	n, p := s.lane, s.part
	starts, err := n.log.StartOffsets(ctx, n.topic)
	if err != nil {
		return err
	}
	start := starts[n.topic][p.number]
	lost := start - s.next
	if s.limit > 0 {
		lost = min(start, s.limit) - s.next
	}
	n.slog.Error("the log does not have the next record; going on at the earliest it has", "topic", n.topic,
		"partition", p.number, "offset", s.next, "earliest", start, "lost", lost)
	if lost > 0 {
		n.metrics.lost.WithLabelValues(n.topic).Add(float64(lost))
	}
	s.close()
	if s.limit > 0 && start < s.next {
		s.short = true // another log: nothing of the plan is in it
		return nil
	}
	s.next = start
	// A pause, in case that one goes as well.
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Millisecond):
	}
	return nil
}
