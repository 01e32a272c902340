package eventlog

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// readCommitted is the isolation level at which records of open and aborted
// transactions are not seen.
const readCommitted = 1

// fetchVersions that this reader can speak: 4 is the first with the present
// batch format, 11 the last before the flexible encoding.
const (
	minFetchVersion = 4
	maxFetchVersion = 11
)

// A PartitionReader reads the records of one partition in order. It is for one
// goroutine at a time, and survives broken connections and moved leaders.
//
// It asks for the next stretch of the log as soon as it has one, so that the
// broker works while the caller does.
type PartitionReader struct {
	log       *Log
	topic     string
	partition int32

	link    *link
	version int16
	pending bool   // a request is on its way
	request []byte // scratch
	id      int32  // of the request

	next int64 // offset to ask for
	end  int64 // of the partition, as last heard
	dec  decoder
}

// OpenPartition returns a reader that starts at an offset. It connects on the
// first read.
func (l *Log) OpenPartition(ctx context.Context, topic string, partition int32, offset int64) (*PartitionReader, error) {
	if offset < 0 {
		return nil, fmt.Errorf("opening %s-%d: %w: %d", topic, partition, ErrOffsetOutOfRange, offset)
	}
	n, err := l.cluster.partitions(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("opening %s-%d: %w", topic, partition, err)
	}
	if partition < 0 || int(partition) >= n {
		return nil, fmt.Errorf("opening %s-%d: the topic has %d partitions", topic, partition, n)
	}
	r := &PartitionReader{log: l, topic: topic, partition: partition, next: offset, end: -1}
	r.dec.reset(topic, partition, offset)
	return r, nil
}

// Close drops the reader's connection.
func (r *PartitionReader) Close() error {
	if r.link != nil {
		r.link.close()
	}
	r.link, r.pending = nil, false
	return nil
}

// Offset returns the offset after everything that was read or passed over:
// where another reader would go on. Offsets between two records that no record
// has (transaction markers, compacted records) are passed over silently.
func (r *PartitionReader) Offset() int64 { return r.dec.position }

// EndOffset returns the end of the partition as the broker last told it, -1
// before the first read. EndOffset()-Offset() is the lag.
func (r *PartitionReader) EndOffset() int64 { return r.end }

// Read appends up to max of the next records to buf[:0] and returns them. It
// returns what there is, and waits (Config.FetchWait) for at least one record;
// when none comes, it returns none and no error.
//
// Keys, values and headers point into memory that is not used again: they stay
// valid for as long as the caller holds them.
//
// After an error the reader may be used again and goes on where it was.
// [ErrLogUnavailable] means that the partition's leader does not answer,
// [ErrOffsetOutOfRange] that the offset is gone or was never there.
func (r *PartitionReader) Read(ctx context.Context, max int, buf []Record) ([]Record, error) {
	buf = buf[:0]
	until := time.Now().Add(r.log.cfg.FetchWait)
	var last error
	for pause := time.Millisecond; ; {
		var err error
		if buf, err = r.dec.read(buf, max); err != nil {
			// The same again for whoever reads on: nothing is passed over.
			r.next = r.dec.position
			_ = r.Close()
			return buf, err
		}
		if len(buf) > 0 {
			return buf, nil
		}
		if ctx.Err() != nil {
			return buf, ctx.Err()
		}
		// last is told only when it is older than one try and one pause.
		if left := time.Until(until); left <= 0 {
			if last != nil {
				return buf, fmt.Errorf("%w: reading %s-%d: %w", ErrLogUnavailable, r.topic, r.partition, last)
			}
			return buf, nil
		}
		err = r.fetch(ctx, until)
		switch {
		case err == nil:
			last = nil
			continue
		case ctx.Err() != nil:
			return buf, ctx.Err()
		case errors.Is(err, ErrOffsetOutOfRange), errors.Is(err, ErrCorrupt), errors.Is(err, errForbidden):
			return buf, fmt.Errorf("reading %s-%d at %d: %w", r.topic, r.partition, r.next, err)
		}
		last = err
		sleep(ctx, pause)
		pause = min(2*pause, 100*time.Millisecond)
		if err := r.log.cluster.refresh(ctx); err != nil {
			last = err
		}
	}
}

// errForbidden is of codes that asking again will not change.
var errForbidden = errors.New("not allowed")

// fetch waits for the answer to the request on its way, sending one before if
// there is none, and gives it to the decoder.
func (r *PartitionReader) fetch(ctx context.Context, until time.Time) error {
	if err := r.connect(ctx); err != nil {
		return err
	}
	stop := r.link.watch(ctx)
	defer stop()
	if !r.pending {
		if err := r.ask(until); err != nil {
			return r.drop(err)
		}
	}
	body, err := r.answer()
	if err != nil {
		return r.drop(err)
	}
	r.pending = false
	f, err := parseFetch(body, r.version)
	if err != nil {
		return r.drop(err)
	}
	switch code := kafka.Error(f.code); code {
	case 0:
	case kafka.OffsetOutOfRange:
		return ErrOffsetOutOfRange
	case kafka.TopicAuthorizationFailed, kafka.ClusterAuthorizationFailed:
		return fmt.Errorf("%w: %w", errForbidden, code)
	default:
		return r.drop(code)
	}
	// The stable end is what committed readers can reach.
	r.end = f.stable
	next, whole := span(f.records)
	if len(whole) == 0 {
		if len(f.records) > 0 {
			return fmt.Errorf("%w: no whole batch in %d bytes", ErrCorrupt, len(f.records))
		}
		return nil
	}
	r.dec.feed(whole, f.aborted)
	r.next = next
	// The link is closed when this fails, and the next fetch sees to it.
	if err := r.ask(time.Time{}); err != nil {
		_ = r.drop(err)
	}
	return nil
}

// drop closes the link: what is still on its way must not be mistaken for the
// answer to a later request, and the leader may be another one.
func (r *PartitionReader) drop(err error) error {
	r.link.close()
	r.link, r.pending = nil, false
	return err
}

func (r *PartitionReader) connect(ctx context.Context) error {
	if r.link != nil && !r.link.broken.Load() {
		return nil
	}
	r.link, r.pending = nil, false
	_, addr, ok := r.log.cluster.leader(r.topic, r.partition)
	if !ok {
		return kafka.LeaderNotAvailable
	}
	l, err := r.log.cluster.dial(ctx, addr, r.log.cfg.DialTimeout)
	if err != nil {
		return err
	}
	v := l.versions[protocol.Fetch]
	if v.min > maxFetchVersion || v.max < minFetchVersion {
		l.close()
		return fmt.Errorf("%s: speaks fetch versions %d to %d, not %d to %d", addr, v.min, v.max, minFetchVersion, maxFetchVersion)
	}
	r.link, r.version = l, min(v.max, maxFetchVersion)
	return nil
}

// ask sends a fetch request. A zero until stands for the whole wait.
func (r *PartitionReader) ask(until time.Time) error {
	wait := r.log.cfg.FetchWait
	if !until.IsZero() {
		wait = max(time.Until(until), time.Millisecond)
	}
	r.id++
	b := append(r.request[:0], 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(protocol.Fetch))
	b = binary.BigEndian.AppendUint16(b, uint16(r.version))
	b = binary.BigEndian.AppendUint32(b, uint32(r.id))
	b = appendString(b, r.link.clientID)
	b = binary.BigEndian.AppendUint32(b, ^uint32(0)) // replica id: a consumer
	b = binary.BigEndian.AppendUint32(b, uint32(wait/time.Millisecond))
	b = binary.BigEndian.AppendUint32(b, 1) // min bytes
	b = binary.BigEndian.AppendUint32(b, uint32(r.log.cfg.FetchBytes))
	b = append(b, readCommitted)
	if r.version >= 7 { // no fetch session
		b = binary.BigEndian.AppendUint32(b, 0)
		b = binary.BigEndian.AppendUint32(b, ^uint32(0))
	}
	b = binary.BigEndian.AppendUint32(b, 1)
	b = appendString(b, r.topic)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint32(b, uint32(r.partition))
	if r.version >= 9 { // leader epoch: not checked
		b = binary.BigEndian.AppendUint32(b, ^uint32(0))
	}
	b = binary.BigEndian.AppendUint64(b, uint64(r.next))
	if r.version >= 5 { // log start offset: of followers only
		b = binary.BigEndian.AppendUint64(b, ^uint64(0))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(r.log.cfg.FetchBytes))
	if r.version >= 7 { // no forgotten topics
		b = binary.BigEndian.AppendUint32(b, 0)
	}
	if r.version >= 11 { // rack
		b = appendString(b, "")
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	r.request = b
	if err := r.link.pc.SetDeadline(time.Now().Add(wait + r.log.cfg.RequestTimeout)); err != nil {
		return err
	}
	if _, err := r.link.pc.Write(b); err != nil {
		return err
	}
	r.pending = true
	return nil
}

func appendString(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// answer reads the body of the answer to the last request.
func (r *PartitionReader) answer() ([]byte, error) {
	// The caller may have been away for long since the request was sent.
	if err := r.link.pc.SetDeadline(time.Now().Add(r.log.cfg.FetchWait + r.log.cfg.RequestTimeout)); err != nil {
		return nil, err
	}
	var head [8]byte
	if _, err := io.ReadFull(r.link.pc, head[:]); err != nil {
		return nil, err
	}
	size := int(int32(binary.BigEndian.Uint32(head[:]))) - 4
	// A broker may exceed what was asked by one batch.
	if limit := r.log.cfg.FetchBytes + 128<<20; size < 0 || size > limit {
		return nil, fmt.Errorf("%w: an answer of %d bytes", ErrCorrupt, size)
	}
	if id := int32(binary.BigEndian.Uint32(head[4:])); id != r.id {
		return nil, fmt.Errorf("answer %d to request %d", id, r.id)
	}
	body := make([]byte, size)
	_, err := io.ReadFull(r.link.pc, body)
	return body, err
}

// isEOF says whether the other side hung up.
func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// A fetched is the one partition of a fetch answer.
type fetched struct {
	code    int16
	stable  int64
	aborted []abortedTxn
	records []byte
}

// An abortedTxn says that a producer's records from an offset on, up to its
// next abort marker, do not count.
type abortedTxn struct{ producer, first int64 }

// parseFetch reads a fetch answer for one partition.
func parseFetch(b []byte, version int16) (fetched, error) {
	p := parser{b: b}
	var f fetched
	p.skip(4) // throttle time
	if version >= 7 {
		f.code = p.int16()
		p.skip(4) // session
	}
	if n := p.int32(); n != 1 {
		if p.err == nil && f.code != 0 {
			return f, nil
		}
		return f, p.fault("%d topics", n)
	}
	p.skip(int(p.int16()))
	if n := p.int32(); n != 1 {
		return f, p.fault("%d partitions", n)
	}
	p.skip(4)
	if code := p.int16(); code != 0 {
		f.code = code
	}
	p.skip(8) // high watermark
	f.stable = p.int64()
	if version >= 5 {
		p.skip(8) // log start
	}
	n := p.int32()
	if n > int32(len(p.b)/16) {
		return f, p.fault("%d aborted transactions", n)
	}
	for range max(n, 0) {
		f.aborted = append(f.aborted, abortedTxn{p.int64(), p.int64()})
	}
	slices.SortFunc(f.aborted, func(a, b abortedTxn) int { return cmp.Compare(a.first, b.first) })
	if version >= 11 {
		p.skip(4) // preferred replica
	}
	if n := p.int32(); n > 0 {
		f.records = p.take(int(n))
	}
	return f, p.err
}

// A parser reads big-endian fields and remembers the first fault.
type parser struct {
	b   []byte
	err error
}

func (p *parser) fault(format string, args ...any) error {
	if p.err == nil {
		p.err = fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
	}
	return p.err
}

func (p *parser) take(n int) []byte {
	if n < 0 || n > len(p.b) {
		_ = p.fault("an answer ends early")
		p.b = nil
		return nil
	}
	b := p.b[:n:n]
	p.b = p.b[n:]
	return b
}

func (p *parser) skip(n int) { p.take(max(n, 0)) }

func (p *parser) int16() int16 {
	if b := p.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (p *parser) int32() int32 {
	if b := p.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (p *parser) int64() int64 {
	if b := p.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}
