package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/stitch"
	"github.com/hypostream/hypostream/pkg/warehouse"
)

// lane works off this member's partitions of one topic in one generation. One
// goroutine per partition reads, one gathers, one stores.
type lane struct {
	*Loader
	gen   *eventlog.Generation
	kind  event.Kind
	topic string
	parts []*part
	dec   *codec.Decoder
	ev    event.Event

	building atomic.Int64 // when the oldest gathered record was written, µs; 0: none
	flying   atomic.Int64 // … of the batch that is being stored
	progress atomic.Int64 // when a batch was last stored, µs
}

// part is one partition of a lane.
type part struct {
	number int32
	at     int64 // the next offset to gather; the gatherer's own
	plan   plan
	redo   bool

	done atomic.Int64 // everything before is stored
	end  atomic.Int64 // of the partition, as the broker last told
}

// chunk is what one read gave.
type chunk struct {
	part *part
	recs []eventlog.Record
	from int64 // where the read began
	next int64 // offset after it
}

// maxRead is how many records are handed over at a time.
const maxRead = 2000

func newLane(l *Loader, gen *eventlog.Generation, kind event.Kind) *lane {
	n := &lane{Loader: l, gen: gen, kind: kind, topic: l.topics.Of(kind), dec: l.codec.NewDecoder()}
	for _, a := range gen.Assigned() {
		if a.Topic != n.topic {
			continue
		}
		p := &part{number: a.Partition, at: a.Offset}
		p.done.Store(a.Offset)
		if p.plan, p.redo = parsePlan(a.Offset, a.Metadata); !p.redo && a.Metadata != "" {
			l.slog.Warn("a committed offset has metadata of others", "topic", a.Topic, "partition", a.Partition, "metadata", a.Metadata)
		}
		n.parts = append(n.parts, p)
	}
	n.progress.Store(time.Now().UnixMicro())
	return n
}

// run works until ctx, the generation's, ends; it then stores what it has,
// for as long as FlushTimeout allows. What it cannot is dropped: the next owner
// reads it again.
func (n *lane) run(ctx context.Context) error {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(n.cfg.FlushTimeout, cancel) })()

	for _, p := range n.parts {
		if p.redo {
			if err := n.repeat(ctx, late, p); err != nil {
				return n.over(ctx, late, err)
			}
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	readCtx, stop := context.WithCancel(ctx)
	defer stop()
	chunks := make(chan chunk)
	for _, p := range n.parts {
		wg.Go(func() { n.read(readCtx, p, chunks) })
	}
	return n.over(ctx, late, n.gather(ctx, late, chunks))
}

// over judges how a lane ended.
func (n *lane) over(ctx, late context.Context, err error) error {
	switch {
	case err == nil, errors.Is(err, errEnded):
	case errors.Is(err, eventlog.ErrStaleGeneration):
		n.slog.Info("partitions went to another member before their batch was stored", "topic", n.topic)
	case late.Err() != nil:
		n.slog.Warn("gave partitions up with a batch unstored; their next owner repeats it", "topic", n.topic, "error", err)
	case ctx.Err() == nil:
		n.slog.Error("a lane ended; the group is joined anew", "topic", n.topic, "error", err)
	}
	return err
}

// gather fills one batch while the other is being stored.
func (n *lane) gather(ctx, late context.Context, chunks <-chan chunk) error {
	cur, spare := n.newBatch(), n.newBatch()
	stored := make(chan error, 1)
	flying := false
	age := time.NewTimer(time.Hour)
	defer age.Stop()
	defer n.building.Store(0)
	done := ctx.Done()
	for {
		if done == nil && len(cur.ranges) == 0 && !flying {
			return nil
		}
		full := cur.rows.Len()+len(cur.letters) >= n.cfg.BatchRows || cur.bytes >= n.cfg.BatchBytes
		ripe := len(cur.ranges) > 0 && (full || done == nil || time.Since(cur.started) >= n.cfg.BatchAge)
		if ripe && !flying {
			b := cur
			cur, spare = spare, b
			flying = true
			n.flying.Store(b.oldest)
			n.building.Store(0)
			go func() { stored <- n.store(late, b) }()
			continue
		}
		in := chunks
		if full || done == nil {
			in = nil
		}
		if len(cur.ranges) > 0 && !ripe {
			age.Reset(n.cfg.BatchAge - time.Since(cur.started))
		}
		select {
		case c := <-in:
			if err := n.add(ctx, cur, c); err != nil && ctx.Err() == nil {
				return n.await(flying, stored, err)
			}
		case err := <-stored:
			flying = false
			n.flying.Store(0)
			if err != nil {
				return err
			}
			spare.reset()
		case <-age.C:
		case <-done:
			done = nil
		}
	}
}

// await lets a batch that is being stored end before its lane does.
func (n *lane) await(flying bool, stored <-chan error, err error) error {
	if flying {
		err = errors.Join(err, <-stored)
	}
	return err
}

func (n *lane) newBatch() *batch { return &batch{rows: stitch.NewRows(n.kind)} }

// add decodes a chunk into a batch. When it fails, ctx ended: the chunk is
// then in the batch up to the record before.
func (n *lane) add(ctx context.Context, b *batch, c chunk) error {
	p := c.part
	s := b.span(p)
	if c.from < p.at { // the log began anew; its ledger does, too
		s.from = c.from
	}
	if b.started.IsZero() {
		b.started, b.oldest = time.Now(), c.recs[0].Time
		n.building.Store(b.oldest)
	}
	for i := range c.recs {
		r := &c.recs[i]
		fault, err := n.decode(ctx, r)
		if err != nil {
			return err
		}
		if fault != nil {
			b.letters = append(b.letters, n.letter(r, fault))
			s.dead++
		} else {
			b.rows.Append(&n.ev, p.number, r.Offset)
			s.stored++
		}
		b.bytes += len(r.Value)
		p.at, s.to = r.Offset+1, r.Offset+1
	}
	p.at, s.to = c.next, c.next
	return nil
}

// decode reads a record into n.ev. fault says what is wrong with it; err is
// only of ctx.
func (n *lane) decode(ctx context.Context, r *eventlog.Record) (fault *event.FieldError, err error) {
	err = n.dec.Event(r.Value, &n.ev)
	if err != nil && errors.Is(err, codec.ErrRegistry) {
		err = n.again(ctx, "decode", -1, func(context.Context) error {
			err := n.dec.Event(r.Value, &n.ev)
			if d := (*codec.DecodeError)(nil); errors.As(err, &d) {
				fault = &event.FieldError{Reason: d.Reason, Detail: d.Detail}
				return nil
			}
			return err
		})
		if err != nil || fault != nil {
			return fault, err
		}
	}
	var d *codec.DecodeError
	switch {
	case errors.As(err, &d):
		return &event.FieldError{Reason: d.Reason, Detail: d.Detail}, nil
	case err != nil:
		return &event.FieldError{Reason: event.ReasonMalformed, Detail: err.Error()}, nil
	}
	return n.check(&n.ev), nil
}

// Bounds of a believable time of receipt.
var (
	earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
)

const maxAhead = int64(24 * time.Hour / time.Microsecond)

// check refuses what ingest would not have let through: other programs may
// write to the topics, and the tables rely on these bounds.
func (n *lane) check(e *event.Event) *event.FieldError {
	if e.Kind != n.kind {
		return &event.FieldError{Field: "kind", Reason: event.ReasonType, Detail: fmt.Sprintf("a %s in the topic of %ss", e.Kind, n.kind)}
	}
	if err := e.Validate(); err != nil {
		var f *event.FieldError
		if errors.As(err, &f) {
			return f
		}
		return &event.FieldError{Reason: event.ReasonValue, Detail: err.Error()}
	}
	switch {
	case e.ID.IsZero():
		return &event.FieldError{Field: "event_id", Reason: event.ReasonMissing, Detail: "the event has no identity"}
	case e.ReceivedAt < earliest || e.ReceivedAt >= latest:
		return &event.FieldError{Field: "received_at", Reason: event.ReasonValue, Detail: fmt.Sprintf("%d µs is not between 2000 and 2200", e.ReceivedAt)}
	case e.Time < earliest || e.Time > e.ReceivedAt+maxAhead:
		return &event.FieldError{Field: "time", Reason: event.ReasonValue, Detail: fmt.Sprintf("%d µs is before 2000 or more than a day after receipt", e.Time)}
	}
	return nil
}

func (n *lane) letter(r *eventlog.Record, f *event.FieldError) event.DeadLetter {
	return event.DeadLetter{
		At: time.Now().UnixMicro(), Stage: "aggregator", Reason: f.Reason, Field: f.Field, Detail: f.Detail,
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Original: append([]byte(nil), r.Value...),
	}
}

// store takes a batch through its steps.
func (n *lane) store(ctx context.Context, b *batch) error {
	began := time.Now()
	b.attempt++
	b.ranges = slices.DeleteFunc(b.ranges, func(s span) bool { return s.from == s.to })
	if len(b.ranges) == 0 {
		return nil
	}
	steps := []struct {
		step step
		name string
		do   func(ctx context.Context) error
	}{
		{stepPlan, "plan", func(ctx context.Context) error { return n.gen.CommitAll(ctx, b.starts(n.topic)) }},
		{stepInsert, "insert", func(ctx context.Context) error { return n.insert(ctx, b) }},
		{stepLetters, "dead_letters", func(ctx context.Context) error {
			if len(b.letters) == 0 {
				return nil
			}
			return n.letters.Write(ctx, b.letters)
		}},
		{stepLedger, "ledger", func(ctx context.Context) error {
			return warehouse.InsertRows(ctx, n.db, "batches", b.ledger(n.topic, n.member))
		}},
		{stepCommit, "commit", func(ctx context.Context) error { return n.gen.CommitAll(ctx, b.ends(n.topic)) }},
	}
	for _, s := range steps {
		if err := n.step(s.step); err != nil {
			return err
		}
		if err := n.again(ctx, s.name, -1, s.do); err != nil {
			return err
		}
	}
	n.metrics.stored.WithLabelValues(n.topic).Add(float64(b.rows.Len()))
	n.metrics.dead.WithLabelValues(n.topic).Add(float64(len(b.letters)))
	n.metrics.batches.WithLabelValues(n.topic).Inc()
	n.metrics.store.WithLabelValues(n.topic).Observe(time.Since(began).Seconds())
	for _, s := range b.ranges {
		s.part.done.Store(s.to)
	}
	n.progress.Store(time.Now().UnixMicro())
	return n.step(stepDone)
}

func (n *lane) insert(ctx context.Context, b *batch) error {
	select {
	case n.inserts <- struct{}{}:
		defer func() { <-n.inserts }()
	case <-ctx.Done():
		return ctx.Err()
	}
	began := time.Now()
	if err := n.db.InsertEvents(ctx, b.rows); err != nil {
		b.attempt++
		return err
	}
	n.metrics.insert.WithLabelValues(n.topic).Observe(time.Since(began).Seconds())
	return nil
}

// again does something until it works, ctx ends, or the generation is over. It
// says once that it holds, and once that it goes on; in between /readyz tells.
func (n *lane) again(ctx context.Context, what string, partition int32, do func(ctx context.Context) error) error {
	at := place{n.topic, partition}
	var since time.Time
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		try, cancel := context.WithTimeout(ctx, n.cfg.InsertTimeout)
		err := do(try)
		cancel()
		if err == nil {
			if !since.IsZero() {
				n.fault(at, nil)
				n.slog.Info("going on", "at", at.String(), "step", what, "held", time.Since(since).Round(time.Millisecond))
			}
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, eventlog.ErrStaleGeneration) {
			return fmt.Errorf("%s: %w", what, err)
		}
		n.metrics.retries.WithLabelValues(n.topic, what).Inc()
		n.fault(at, fmt.Errorf("%s: %w", what, err))
		if since.IsZero() {
			since = time.Now()
			// What will not pass by itself needs somebody to look; what was
			// accepted is held all the same.
			n.slog.Warn("holding: nothing more is read there until this works", "at", at.String(), "step", what, "error", err,
				"needs_help", (what == "insert" || what == "ledger") && !warehouse.IsRetryable(err))
		}
		timer := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s: %w", what, err)
		case <-timer.C:
		}
	}
}
