package eventlog

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Append writes records and returns when every in-sync replica has all of
// them, or with an *[AppendError] that says which ones are not acknowledged.
// Records of one call that go to one partition stay in their order.
//
// The end of ctx ends the waiting, not the writing: a record once taken is
// written if that succeeds before the producer's deadline, whatever its caller
// was told. Keys and values may be reused when Append returns.
func (p *Producer) Append(ctx context.Context, recs []Record) error {
	if len(recs) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return failAll(len(recs), err)
	}
	var size int64
	for i := range recs {
		size += int64(recordSize(&recs[i]))
	}
	if p.waiting.Add(size) > int64(p.cfg.MaxWaitingBytes) {
		p.waiting.Add(-size)
		return failAll(len(recs), ErrOverloaded)
	}
	now := time.Now()
	c := calls.Get().(*call)
	defer c.recycle()
	c.p, c.recs = p, recs
	c.deadline, c.now, c.spread = now.Add(p.cfg.Deadline), now.UnixMilli(), int(p.spread.Add(1))
	c.of = append(c.of[:0], make([]int32, len(recs))...)
	c.take()
	if len(c.late) > 0 {
		c.takeLate(ctx)
	}
	return c.await(ctx)
}

// A call is the state of one Append.
type call struct {
	p        *Producer
	recs     []Record
	deadline time.Time
	now      int64 // ms
	spread   int   // chooses the partition of records without a key

	of      []int32 // by record: index into batches, or one of the below
	batches []*batch
	parts   []*part // by batch
	errs    []error // by batch
	late    []string
	failed  []error // by record, nil while there is none
}

const (
	ofNone = -1 // refused
	ofLate = -2 // of a topic in late
)

var calls = sync.Pool{New: func() any { return new(call) }}

func (c *call) recycle() {
	clear(c.batches)
	clear(c.parts)
	clear(c.errs)
	*c = call{of: c.of[:0], batches: c.batches[:0], parts: c.parts[:0], errs: c.errs[:0]}
	calls.Put(c)
}

func (c *call) fail(i int, err error) {
	if c.failed == nil {
		c.failed = make([]error, len(c.recs))
	}
	c.failed[i], c.of[i] = err, ofNone
}

// refuse is fail for a record that is in no batch.
func (c *call) refuse(i int, err error) {
	c.p.waiting.Add(int64(-recordSize(&c.recs[i])))
	c.fail(i, err)
}

// take puts the records of all topics known into batches. Those of other topics
// are left for takeLate: they must not hold up the rest.
func (c *call) take() {
	var topic string
	var parts []*part
	var err error
	for i := range c.recs {
		r := &c.recs[i]
		if i == 0 || r.Topic != topic {
			topic = r.Topic
			// A topic late once stays so for this call, else its later
			// records would overtake the earlier.
			if parts, err = nil, nil; !slices.Contains(c.late, topic) {
				parts, err = c.p.parts(topic)
			}
		}
		switch {
		case err != nil:
			c.refuse(i, err)
		case parts == nil:
			c.of[i] = ofLate
			if !slices.Contains(c.late, topic) {
				c.late = append(c.late, topic)
			}
		default:
			c.put(i, parts)
		}
	}
	c.announce()
}

// takeLate asks for the topics that were not known and takes their records as
// they become so, until the deadline.
func (c *call) takeLate(ctx context.Context) {
	wait, cancel := context.WithDeadline(ctx, c.deadline)
	defer cancel()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		fault := c.p.log.cluster.refresh(wait, c.late...)
		c.late = slices.DeleteFunc(c.late, func(topic string) bool {
			parts, err := c.p.parts(topic)
			if parts == nil && err == nil {
				return false
			}
			for i := range c.recs {
				switch {
				case c.of[i] != ofLate || c.recs[i].Topic != topic:
				case err != nil:
					c.refuse(i, err)
				default:
					c.put(i, parts)
				}
			}
			return true
		})
		c.announce()
		if len(c.late) == 0 {
			return
		}
		if !sleep(wait, pause) {
			for i := range c.recs {
				if c.of[i] == ofLate {
					c.refuse(i, c.missing(ctx, c.recs[i].Topic, fault))
				}
			}
			return
		}
	}
}

// missing says why a topic was not found.
func (c *call) missing(ctx context.Context, topic string, fault error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("waiting for the log: %w", ctx.Err())
	}
	if fault == nil {
		_, fault = c.p.log.cluster.count(topic)
	}
	return fmt.Errorf("%w: finding topic %s: %w", ErrLogUnavailable, topic, fault)
}

// put adds a record to its partition's open batch.
func (c *call) put(i int, parts []*part) {
	r := &c.recs[i]
	size := recordSize(r)
	if size+batchStart > c.p.cfg.MaxBatchBytes {
		c.refuse(i, ErrTooLarge)
		return
	}
	pt := parts[c.spread%len(parts)]
	if r.Key != nil {
		pt = parts[Partition(r.Key, len(parts))]
	}
	ms := c.now
	if r.Time != 0 {
		ms = floorMilli(r.Time)
	}
	c.of[i] = c.touch(pt, pt.add(r, ms, size, c.deadline, c.p.cfg.MaxBatchBytes))
}

// touch notes that the call has a record in a part's batch.
func (c *call) touch(pt *part, b *batch) int32 {
	// One call rarely meets more batches than there are partitions.
	for i := len(c.batches) - 1; i >= 0; i-- {
		if c.batches[i] == b {
			return int32(i)
		}
	}
	c.batches = append(c.batches, b)
	c.parts = append(c.parts, pt)
	c.errs = append(c.errs, nil)
	return int32(len(c.batches) - 1)
}

// announce has the parts that were touched sent: only once all records are in,
// so that those of one call share a batch.
func (c *call) announce() {
	for _, pt := range c.parts {
		c.p.schedule(pt)
	}
	c.p.stir()
}

// await waits for every batch and gathers the verdicts.
func (c *call) await(ctx context.Context) error {
	end := ctx.Done()
	for i, b := range c.batches {
		if end == nil { // half the price of a select
			<-b.done
			c.errs[i] = b.err
			continue
		}
		select {
		case <-b.done:
			c.errs[i] = b.err
			continue
		default:
		}
		select {
		case <-b.done:
			c.errs[i] = b.err
		case <-end:
			c.errs[i] = fmt.Errorf("waiting for the log: %w", ctx.Err())
		}
	}
	for i, of := range c.of {
		if of >= 0 && c.errs[of] != nil {
			c.fail(i, c.errs[of])
		}
	}
	if c.failed != nil {
		return &AppendError{ByRecord: c.failed}
	}
	return nil
}

// floorMilli rounds microseconds down to milliseconds.
func floorMilli(us int64) int64 {
	ms := us / 1000
	if us%1000 < 0 {
		ms--
	}
	return ms
}

// add puts a record into the part's open batch.
func (pt *part) add(r *Record, ms int64, size int, deadline time.Time, limit int) *batch {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	b := pt.open
	if b != nil && len(b.buf)+size > limit {
		pt.full = append(pt.full, b)
		b = nil
	}
	if b == nil {
		b = newBatch(deadline)
		pt.open = b
	}
	b.add(r, ms)
	b.reserved += int64(size)
	return b
}

// parts returns a topic's partitions, none if they are not known.
func (p *Producer) parts(topic string) ([]*part, error) {
	p.mu.RLock()
	ps, closed := p.topics[topic], p.closed
	p.mu.RUnlock()
	if closed {
		return nil, ErrClosed
	}
	if ps != nil {
		return ps, nil
	}
	n := p.log.cluster.known(topic)
	if n == 0 {
		return nil, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, ErrClosed
	}
	if ps := p.topics[topic]; ps != nil {
		return ps, nil
	}
	ps = make([]*part, n)
	for i := range ps {
		ps[i] = &part{topic: topic, id: int32(i)}
	}
	p.topics[topic] = ps
	return ps, nil
}
