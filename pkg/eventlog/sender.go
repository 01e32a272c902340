package eventlog

import (
	"bytes"
	"fmt"
	"math"
	"runtime"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"
)

// A sender takes the waiting batches of every partition that one broker leads
// and writes them with one request at a time.
type sender struct {
	p    *Producer
	wake chan struct{}

	mu    sync.Mutex
	addr  string
	ready []*part

	link *link // of run
}

// push puts a part on the list and wakes the sender.
func (s *sender) push(pt *part, addr string) {
	s.mu.Lock()
	s.addr = addr
	s.ready = append(s.ready, pt)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *sender) run() {
	defer func() {
		if s.link != nil {
			s.link.close()
		}
	}()
	for {
		select {
		case <-s.p.ctx.Done():
			return
		case <-s.wake:
		}
		for s.p.ctx.Err() == nil {
			// Callers that could run now add their records first: under load
			// that more than doubles what a request carries, and an idle
			// process goes on at once.
			runtime.Gosched()
			loads := s.load()
			if len(loads) == 0 {
				break
			}
			s.send(loads)
		}
	}
}

// A load is one partition's batch on its way.
type load struct {
	pt *part
	b  *batch
}

// load takes the parts on the list, as many as a request may hold.
func (s *sender) load() []load {
	s.mu.Lock()
	ready := s.ready
	s.ready = nil
	s.mu.Unlock()
	var loads []load
	size := 0
	for i, pt := range ready {
		b := s.take(pt)
		if b == nil {
			continue
		}
		loads = append(loads, load{pt, b})
		if size += len(b.buf); size+s.p.cfg.MaxBatchBytes > s.p.cfg.MaxRequestBytes && i+1 < len(ready) {
			s.mu.Lock()
			s.ready = append(ready[i+1:], s.ready...)
			s.mu.Unlock()
			break
		}
	}
	return loads
}

// take makes a part's oldest batch its batch in flight, if it has one.
func (s *sender) take(pt *part) *batch {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	switch {
	case !pt.waits():
	case pt.flight != nil: // a retry
	case len(pt.full) > 0:
		pt.flight = pt.full[0]
		pt.full = pt.full[1:]
	default:
		pt.flight, pt.open = pt.open, nil
	}
	return pt.flight
}

// pending says whether a scheduled part still has something to send.
func (pt *part) pending() bool {
	pt.mu.Lock()
	defer pt.mu.Unlock()
	return pt.waits()
}

// waits says whether a part has something to send, and takes it off every list
// when it has not. It is for whoever has the part; mu is held.
func (pt *part) waits() bool {
	if b := pt.flight; b != nil {
		if !b.resolved {
			return true
		}
		// Given up while it waited for the retry. If the broker may have it,
		// what its next sequence number is cannot be known.
		if b.sent {
			pt.newEpoch()
		}
		b.release()
		pt.flight = nil
	}
	pt.scheduled = len(pt.full) > 0 || pt.open != nil
	return pt.scheduled
}

// newEpoch starts the partition's sequence anew. Brokers accept a higher epoch
// with sequence 0 at any time, and refuse what is still on its way with a lower.
// It is of the sender that has the part.
func (pt *part) newEpoch() {
	if pt.epoch == math.MaxInt16 {
		pt.producerID = 0 // all used up: ask for another id
		return
	}
	pt.epoch++
	pt.sequence = 0
}

// send writes the loads and settles each of them.
func (s *sender) send(loads []load) {
	req, err := s.prepare(&loads)
	if len(loads) == 0 {
		return
	}
	var res *produce.Response
	if err == nil {
		for _, l := range loads {
			l.b.sent = true
		}
		res, err = ask[*produce.Response](s.p.ctx, s.link, s.p.cfg.AttemptTimeout, req)
	}
	if err != nil {
		s.failed(loads, err)
		return
	}
	s.settle(loads, res)
}

// prepare connects, sees to producer ids and builds the request. Loads that
// cannot be sent at all are settled and taken out.
func (s *sender) prepare(loads *[]load) (*rawproduce.Request, error) {
	if s.link == nil || s.link.broken.Load() {
		s.mu.Lock()
		addr := s.addr
		s.mu.Unlock()
		l, err := s.p.log.cluster.dial(s.p.ctx, addr, s.p.cfg.AttemptTimeout)
		if err != nil {
			return nil, err
		}
		s.link = l
	}
	// The broker gives up waiting for its followers before we give it up.
	req := &rawproduce.Request{Acks: -1, Timeout: int32(s.p.cfg.AttemptTimeout * 3 / 4 / time.Millisecond)}
	kept := (*loads)[:0]
	for i, l := range *loads {
		pt, b := l.pt, l.b
		if pt.producerID <= 0 {
			if err := s.initProducer(pt); err != nil {
				*loads = append(kept, (*loads)[i:]...)
				return nil, err
			}
		}
		if err := b.seal(s.p.codec, pt.producerID, pt.epoch, pt.sequence); err != nil {
			s.finish(l, err)
			s.p.route(pt)
			continue
		}
		kept = append(kept, l)
		var t *rawproduce.RequestTopic
		for j := range req.Topics {
			if req.Topics[j].Topic == pt.topic {
				t = &req.Topics[j]
			}
		}
		if t == nil {
			req.Topics = append(req.Topics, rawproduce.RequestTopic{Topic: pt.topic})
			t = &req.Topics[len(req.Topics)-1]
		}
		t.Partitions = append(t.Partitions, rawproduce.RequestPartition{
			Partition: pt.id,
			RecordSet: protocol.RawRecordSet{Reader: bytes.NewReader(b.wire)},
		})
	}
	*loads = kept
	return req, nil
}

// initProducer gets the part a producer id of its own: epochs are then its own
// as well, and a fault of one partition touches no other.
func (s *sender) initProducer(pt *part) error {
	res, err := ask[*initproducerid.Response](s.p.ctx, s.link, s.p.cfg.AttemptTimeout,
		&initproducerid.Request{TransactionTimeoutMs: 60_000, ProducerID: -1, ProducerEpoch: -1})
	if err != nil {
		return err
	}
	if res.ErrorCode != 0 {
		// Among others: the coordinator is still loading. Retried like any
		// other fault, until the batches' deadline.
		return fmt.Errorf("getting a producer id: %w", kafka.Error(res.ErrorCode))
	}
	pt.producerID, pt.epoch, pt.sequence = res.ProducerID, res.ProducerEpoch, 0
	return nil
}

// failed sees to loads that got no answer.
func (s *sender) failed(loads []load, err error) {
	parts := make([]*part, len(loads))
	var pause time.Duration
	for i, l := range loads {
		l.b.attempts++
		l.pt.mu.Lock()
		l.b.cause = err
		l.pt.mu.Unlock()
		pause = max(pause, s.p.pause(l.pt))
		parts[i] = l.pt
	}
	s.p.retryLater(parts, pause, true)
}

// settle reads the answer, partition by partition.
func (s *sender) settle(loads []load, res *produce.Response) {
	answers := make(map[topicPartition]*produce.ResponsePartition, len(loads))
	for i := range res.Topics {
		t := &res.Topics[i]
		for j := range t.Partitions {
			answers[topicPartition{t.Topic, t.Partitions[j].Partition}] = &t.Partitions[j]
		}
	}
	for _, l := range loads {
		pt, b := l.pt, l.b
		b.attempts++
		a := answers[topicPartition{pt.topic, pt.id}]
		if a == nil {
			s.again(l, fmt.Errorf("%w: the answer leaves out the partition", kafka.Unknown), false)
			continue
		}
		cause := error(kafka.Error(a.ErrorCode))
		if a.ErrorMessage != "" {
			cause = fmt.Errorf("%w: %s", cause, a.ErrorMessage)
		}
		switch judge(a.ErrorCode) {
		case verdictDone:
			pt.sequence = nextSequence(pt.sequence, b.n)
			s.finish(l, nil)
			s.p.route(pt)
		case verdictReroute:
			s.again(l, cause, true)
		case verdictRetry:
			s.again(l, cause, false)
		case verdictNewEpoch:
			pt.newEpoch()
			s.again(l, cause, false)
		case verdictNewID:
			pt.producerID = 0
			s.again(l, cause, false)
		case verdictFail:
			switch kafka.Error(a.ErrorCode) {
			case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidMessageSize:
				cause = fmt.Errorf("%w: %s-%d: the brokers' limit is below this producer's: %w", ErrTooLarge, pt.topic, pt.id, cause)
			default:
				cause = fmt.Errorf("appending to %s-%d: %w", pt.topic, pt.id, cause)
			}
			s.finish(l, cause)
			s.p.route(pt)
		}
	}
}

type topicPartition struct {
	topic     string
	partition int32
}

// nextSequence adds with Kafka's wrap from the largest int32 to 0.
func nextSequence(sequence, n int32) int32 {
	if sequence > math.MaxInt32-n {
		return n - (math.MaxInt32 - sequence) - 1
	}
	return sequence + n
}

// again leaves a batch in flight and tries the part later.
func (s *sender) again(l load, cause error, refresh bool) {
	l.pt.mu.Lock()
	l.b.cause = cause
	l.pt.mu.Unlock()
	s.p.retryLater([]*part{l.pt}, s.p.pause(l.pt), refresh)
}

// finish resolves a batch in flight.
func (s *sender) finish(l load, err error) {
	l.pt.mu.Lock()
	defer l.pt.mu.Unlock()
	s.p.resolve(l.b, err)
	l.b.release()
	l.pt.flight = nil
	l.pt.failures = 0
}
