package eventlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go/compress"
)

// ProducerConfig bounds what a producer holds and for how long. Zero fields
// stand for the defaults named in their tags.
type ProducerConfig struct {
	Deadline        time.Duration `env:"PRODUCE_DEADLINE, default=1500ms" desc:"longest a record waits for the log before its caller is told that it is unavailable"`
	AttemptTimeout  time.Duration `env:"PRODUCE_ATTEMPT_TIMEOUT, default=700ms" desc:"longest one produce request waits for its answer before it is repeated on a new connection"`
	MaxWaitingBytes int           `env:"PRODUCE_MAX_WAITING_BYTES, default=67108864" desc:"bytes of records waiting for the log before more are refused"`
	MaxBatchBytes   int           `env:"PRODUCE_MAX_BATCH_BYTES, default=900000" desc:"bytes of one partition's batch and of the largest record, under the brokers' message.max.bytes"`
	MaxRequestBytes int           `env:"PRODUCE_MAX_REQUEST_BYTES, default=8388608" desc:"bytes of one produce request"`
}

func (c ProducerConfig) withDefaults() ProducerConfig {
	setDefault(&c.Deadline, 1500*time.Millisecond)
	setDefault(&c.AttemptTimeout, min(700*time.Millisecond, c.Deadline))
	setDefault(&c.MaxWaitingBytes, 64<<20)
	setDefault(&c.MaxBatchBytes, 900_000)
	setDefault(&c.MaxRequestBytes, 8<<20)
	return c
}

// Validate reports every fault of the configuration at once.
func (c ProducerConfig) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.Deadline < 0 || c.AttemptTimeout < 0 {
		errs = append(errs, errors.New("PRODUCE_DEADLINE and PRODUCE_ATTEMPT_TIMEOUT must be positive"))
	}
	if c.MaxBatchBytes < 1<<10 || c.MaxBatchBytes > 1<<26 {
		errs = append(errs, fmt.Errorf("PRODUCE_MAX_BATCH_BYTES: %d is not between 1 KiB and 64 MiB", c.MaxBatchBytes))
	}
	if c.MaxRequestBytes < c.MaxBatchBytes {
		errs = append(errs, errors.New("PRODUCE_MAX_REQUEST_BYTES: is less than PRODUCE_MAX_BATCH_BYTES"))
	}
	if c.MaxWaitingBytes < c.MaxBatchBytes {
		errs = append(errs, errors.New("PRODUCE_MAX_WAITING_BYTES: is less than PRODUCE_MAX_BATCH_BYTES"))
	}
	return errors.Join(errs...)
}

// A Producer appends records by group commit: while one request to a broker is
// under way, records gather in the next batch of their partition, and all
// partitions' batches for that broker leave in the next request. One batch per
// partition is in flight at a time and carries a sequence number, so a retry
// neither doubles nor reorders records.
//
// It is safe for concurrent use.
type Producer struct {
	log   *Log
	cfg   ProducerConfig
	codec compress.Codec

	ctx    context.Context // of the goroutines; ends on Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	waiting atomic.Int64  // bytes of unresolved records
	spread  atomic.Uint32 // partition of records without a key
	stirred chan struct{} // wakes the janitor

	mu      sync.RWMutex
	closed  bool
	topics  map[string][]*part
	senders map[int32]*sender
}

// A part is a partition's place in a producer.
type part struct {
	topic string
	id    int32

	mu        sync.Mutex
	open      *batch   // being filled
	full      []*batch // waiting, oldest first
	flight    *batch   // held by a sender until it is resolved
	scheduled bool     // a sender or a retry has it on its list

	// Of the sender that has the part.
	producerID int64 // 0 or less: none yet
	epoch      int16
	sequence   int32
	failures   int // in a row, for the pause
}

// NewProducer starts a producer. Close it before the Log.
func (l *Log) NewProducer(cfg ProducerConfig) (*Producer, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	codec, err := l.cfg.codec()
	if err != nil {
		return nil, err
	}
	p := &Producer{
		log: l, cfg: cfg, codec: codec,
		stirred: make(chan struct{}, 1),
		topics:  make(map[string][]*part),
		senders: make(map[int32]*sender),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.wg.Go(p.janitor)
	return p, nil
}

// schedule puts a part that has records on its leader's list, once.
func (p *Producer) schedule(pt *part) {
	pt.mu.Lock()
	already := pt.scheduled
	pt.scheduled = true
	pt.mu.Unlock()
	if !already {
		p.route(pt)
	}
}

// route hands a scheduled part to the sender of its leader.
func (p *Producer) route(pt *part) {
	id, addr, ok := p.log.cluster.leader(pt.topic, pt.id)
	if !ok {
		if pt.pending() {
			p.retryLater([]*part{pt}, p.pause(pt), true)
		}
		return
	}
	p.mu.RLock()
	s := p.senders[id]
	p.mu.RUnlock()
	if s == nil {
		p.mu.Lock()
		if s = p.senders[id]; s == nil && p.ctx.Err() == nil {
			s = &sender{p: p, wake: make(chan struct{}, 1)}
			p.senders[id] = s
			p.wg.Go(s.run)
		}
		p.mu.Unlock()
	}
	if s != nil {
		s.push(pt, addr)
	}
}

// pause grows with the failures of a part in a row: the first retry is at once.
func (p *Producer) pause(pt *part) time.Duration {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	n := pt.failures
	pt.failures++
	if n == 0 {
		return 0
	}
	return min(5*time.Millisecond<<min(n, 10), 200*time.Millisecond)
}

// retryLater routes parts again after a pause.
func (p *Producer) retryLater(parts []*part, pause time.Duration, refresh bool) {
	p.mu.RLock() // so that Close does not stop waiting before this starts
	defer p.mu.RUnlock()
	if p.ctx.Err() != nil {
		return
	}
	p.wg.Go(func() {
		if !sleep(p.ctx, pause) {
			return
		}
		if refresh {
			// Without a new layout in time the old one may still serve.
			ctx, cancel := context.WithTimeout(p.ctx, 250*time.Millisecond)
			_ = p.log.cluster.refresh(ctx)
			cancel()
		}
		for _, pt := range parts {
			p.route(pt)
		}
	})
}

// stir wakes the janitor.
func (p *Producer) stir() {
	select {
	case p.stirred <- struct{}{}:
	default:
	}
}

// janitor gives up batches that are past their deadline, whoever holds them.
func (p *Producer) janitor() {
	const every = 20 * time.Millisecond
	for {
		if p.waiting.Load() == 0 {
			select {
			case <-p.stirred:
			case <-p.ctx.Done():
			}
		}
		if !sleep(p.ctx, every) {
			return
		}
		now := time.Now()
		p.mu.RLock()
		for _, parts := range p.topics {
			for _, pt := range parts {
				p.expire(pt, now)
			}
		}
		p.mu.RUnlock()
	}
}

// expire resolves the batches of a part whose deadline is before now.
func (p *Producer) expire(pt *part, now time.Time) {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	late := func(b *batch) bool { return b != nil && !b.resolved && b.deadline.Before(now) }
	if b := pt.flight; late(b) {
		// Its sender releases it, and minds that its sequence is in doubt.
		p.resolve(b, pt.unavailable(b.cause))
	}
	var cause error
	if pt.flight != nil {
		cause = pt.flight.cause
	}
	for len(pt.full) > 0 && late(pt.full[0]) {
		b := pt.full[0]
		pt.full = pt.full[1:]
		p.resolve(b, pt.unavailable(cause))
		b.release()
	}
	if b := pt.open; len(pt.full) == 0 && late(b) {
		pt.open = nil
		p.resolve(b, pt.unavailable(cause))
		b.release()
	}
}

func (pt *part) unavailable(cause error) error {
	if cause == nil {
		return fmt.Errorf("%w: no answer for %s-%d in time", ErrLogUnavailable, pt.topic, pt.id)
	}
	return fmt.Errorf("%w: %s-%d: %w", ErrLogUnavailable, pt.topic, pt.id, cause)
}

// resolve tells the waiters. The part's lock is held.
func (p *Producer) resolve(b *batch, err error) {
	if b.resolved {
		return
	}
	b.resolved, b.err = true, err
	p.waiting.Add(-b.reserved)
	close(b.done)
}

// Waiting returns the bytes of records that wait for the log.
func (p *Producer) Waiting() int64 { return p.waiting.Load() }

// Close refuses new records, waits for those taken (at most the deadline) and
// stops.
func (p *Producer) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	p.mu.Unlock()
	for end := time.Now().Add(p.cfg.Deadline + 100*time.Millisecond); p.waiting.Load() > 0 && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
	p.mu.Lock()
	p.cancel()
	p.mu.Unlock()
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, parts := range p.topics {
		for _, pt := range parts {
			p.expire(pt, time.Now().Add(2*p.cfg.Deadline))
		}
	}
	return nil
}
