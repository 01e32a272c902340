package eventlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/compress"
)

// The record batch of Kafka's message format 2,
// https://kafka.apache.org/documentation/#recordbatch: offsets of its fields,
// counted from the base offset.
const (
	posLength        = 8
	posLeaderEpoch   = 12
	posMagic         = 16
	posCRC           = 17
	posAttributes    = 21
	posLastDelta     = 23
	posBaseTime      = 27
	posMaxTime       = 35
	posProducerID    = 43
	posProducerEpoch = 51
	posBaseSequence  = 53
	posCount         = 57
	posRecords       = 61

	attrCompression = 0x07
	attrAppendTime  = 0x08
	attrTransaction = 0x10
	attrControl     = 0x20

	// A produce request has the batch's size in front of it.
	sizePrefix = 4
	batchStart = sizePrefix + posRecords
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A batch is the records of one partition that go into the log together, and
// the callers that wait for them. The part's lock guards it until a sender
// takes it; resolved and err stay under that lock.
type batch struct {
	buf      []byte // size prefix, header, records
	n        int32
	baseTime int64 // ms
	maxTime  int64 // ms
	deadline time.Time
	reserved int64 // bytes held against the producer's limit

	done     chan struct{} // closed when resolved
	err      error
	resolved bool

	// Of the sender that holds it.
	wire     []byte // what is sent, nil until sealed
	attempts int
	sent     bool // an answer may have been lost
	cause    error
}

var batchBuffers = sync.Pool{New: func() any { return new([]byte) }}

func newBatch(deadline time.Time) *batch {
	buf := *batchBuffers.Get().(*[]byte)
	if cap(buf) < batchStart {
		buf = make([]byte, batchStart, 4<<10)
	}
	return &batch{buf: buf[:batchStart], deadline: deadline, done: make(chan struct{})}
}

// release gives the buffers back. Nobody may read the batch's bytes after.
func (b *batch) release() {
	if buf := b.buf; buf != nil && cap(buf) <= 2<<20 {
		batchBuffers.Put(&buf)
	}
	b.buf, b.wire = nil, nil
}

// varintLen is the length of a zigzag varint.
func varintLen(v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	return (bits.Len64(u|1) + 6) / 7
}

func bytesLen(b []byte) int {
	if b == nil {
		return 1
	}
	return varintLen(int64(len(b))) + len(b)
}

// recordSize is an upper bound of a record's size in a batch.
func recordSize(r *Record) int {
	n := 5 + 1 + 10 + 5 + bytesLen(r.Key) + bytesLen(r.Value) + 5
	for i := range r.Headers {
		h := &r.Headers[i]
		n += 5 + len(h.Key) + bytesLen(h.Value)
	}
	return n
}

// add appends a record; ms is its time.
func (b *batch) add(r *Record, ms int64) {
	if b.n == 0 {
		b.baseTime, b.maxTime = ms, ms
	}
	b.maxTime = max(b.maxTime, ms)
	timeDelta, offsetDelta := ms-b.baseTime, int64(b.n)
	body := 1 + varintLen(timeDelta) + varintLen(offsetDelta) + bytesLen(r.Key) + bytesLen(r.Value) + varintLen(int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		body += varintLen(int64(len(h.Key))) + len(h.Key) + bytesLen(h.Value)
	}
	buf := binary.AppendVarint(b.buf, int64(body))
	buf = append(buf, 0)
	buf = binary.AppendVarint(buf, timeDelta)
	buf = binary.AppendVarint(buf, offsetDelta)
	buf = appendBytes(buf, r.Key)
	buf = appendBytes(buf, r.Value)
	buf = binary.AppendVarint(buf, int64(len(r.Headers)))
	for i := range r.Headers {
		h := &r.Headers[i]
		buf = binary.AppendVarint(buf, int64(len(h.Key)))
		buf = append(buf, h.Key...)
		buf = appendBytes(buf, h.Value)
	}
	b.buf = buf
	b.n++
}

func appendBytes(buf, v []byte) []byte {
	if v == nil {
		return append(buf, 1) // zigzag of -1, the null
	}
	buf = binary.AppendVarint(buf, int64(len(v)))
	return append(buf, v...)
}

// seal writes the header for a producer and its sequence, compressing the
// records the first time. It can be called again with another sequence.
func (b *batch) seal(codec compress.Codec, id int64, epoch int16, sequence int32) error {
	if b.wire == nil {
		b.wire = b.buf
		var attributes uint16
		if codec != nil {
			var out bytes.Buffer
			out.Grow(len(b.buf)/2 + 64)
			out.Write(b.buf[:batchStart])
			w := codec.NewWriter(&out)
			_, err := w.Write(b.buf[batchStart:])
			if cerr := w.Close(); err == nil {
				err = cerr
			}
			if err != nil {
				return fmt.Errorf("compressing a batch with %s: %w", codec.Name(), err)
			}
			if out.Len() < len(b.buf) {
				b.wire = out.Bytes()
				attributes = uint16(codec.Code())
			}
		}
		h := b.wire[sizePrefix:]
		binary.BigEndian.PutUint32(b.wire, uint32(len(h)))
		binary.BigEndian.PutUint64(h, 0)
		binary.BigEndian.PutUint32(h[posLength:], uint32(len(h)-posLeaderEpoch))
		binary.BigEndian.PutUint32(h[posLeaderEpoch:], ^uint32(0))
		h[posMagic] = 2
		binary.BigEndian.PutUint16(h[posAttributes:], attributes)
		binary.BigEndian.PutUint32(h[posLastDelta:], uint32(b.n-1))
		binary.BigEndian.PutUint64(h[posBaseTime:], uint64(b.baseTime))
		binary.BigEndian.PutUint64(h[posMaxTime:], uint64(b.maxTime))
		binary.BigEndian.PutUint32(h[posCount:], uint32(b.n))
	}
	h := b.wire[sizePrefix:]
	binary.BigEndian.PutUint64(h[posProducerID:], uint64(id))
	binary.BigEndian.PutUint16(h[posProducerEpoch:], uint16(epoch))
	binary.BigEndian.PutUint32(h[posBaseSequence:], uint32(sequence))
	binary.BigEndian.PutUint32(h[posCRC:], crc32.Checksum(h[posAttributes:], castagnoli))
	return nil
}
