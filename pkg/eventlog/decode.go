package eventlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/segmentio/kafka-go/compress"
)

// maxBatchBytes bounds what one compressed batch may become.
const maxBatchBytes = 256 << 20

// span finds the whole batches at the start of b and the offset after them.
// Brokers cut the last batch of an answer where the asked size ends.
func span(b []byte) (next int64, whole []byte) {
	n := 0
	for len(b)-n >= posRecords {
		h := b[n:]
		size := posLeaderEpoch + int(int32(binary.BigEndian.Uint32(h[posLength:])))
		if size < posRecords || size > len(h) {
			break
		}
		next = int64(binary.BigEndian.Uint64(h)) + int64(int32(binary.BigEndian.Uint32(h[posLastDelta:]))) + 1
		n += size
	}
	return next, b[:n]
}

// A decoder turns batches into records.
type decoder struct {
	topic     string
	partition int32
	position  int64 // offset of the next record wanted

	batches []byte // not yet begun
	aborted []abortedTxn
	dead    map[int64]struct{} // producers inside an aborted transaction

	// The batch under way.
	records    []byte
	left       int32
	base       int64
	baseTime   int64
	appendTime bool
	after      int64 // offset after the batch

	headers []Header // slab of which records get their headers
	names   map[string]string
}

func (d *decoder) reset(topic string, partition int32, offset int64) {
	*d = decoder{topic: topic, partition: partition, position: offset, names: make(map[string]string)}
}

// feed gives the decoder whole batches; all earlier ones are used up.
func (d *decoder) feed(batches []byte, aborted []abortedTxn) {
	d.batches, d.aborted = batches, aborted
	clear(d.dead)
}

// read appends up to max records to buf.
func (d *decoder) read(buf []Record, max int) ([]Record, error) {
	for len(buf) < max {
		if d.left == 0 {
			if d.records != nil {
				d.records, d.position = nil, d.after
			}
			if len(d.batches) == 0 {
				return buf, nil
			}
			if err := d.begin(); err != nil {
				return buf, fmt.Errorf("decoding %s-%d at %d: %w", d.topic, d.partition, d.position, err)
			}
			continue
		}
		n := len(buf)
		if n == cap(buf) {
			buf = append(buf, Record{})[:n]
		}
		buf = buf[:n+1]
		ok, err := d.record(&buf[n])
		if err != nil {
			d.left, d.records, d.batches = 0, nil, nil
			return buf[:n], fmt.Errorf("decoding %s-%d at %d: %w", d.topic, d.partition, d.position, err)
		}
		if !ok {
			buf = buf[:n]
			continue
		}
		d.position = buf[n].Offset + 1
	}
	return buf, nil
}

// begin opens the next batch.
func (d *decoder) begin() error {
	h := d.batches
	size := posLeaderEpoch + int(binary.BigEndian.Uint32(h[posLength:]))
	h, d.batches = h[:size:size], h[size:]
	if h[posMagic] != 2 {
		d.batches = nil
		return fmt.Errorf("%w: message format %d", ErrCorrupt, h[posMagic])
	}
	if got, want := crc32.Checksum(h[posAttributes:], castagnoli), binary.BigEndian.Uint32(h[posCRC:]); got != want {
		d.batches = nil
		return fmt.Errorf("%w: checksum %08x, not %08x", ErrCorrupt, got, want)
	}
	attributes := binary.BigEndian.Uint16(h[posAttributes:])
	d.base = int64(binary.BigEndian.Uint64(h))
	d.after = d.base + int64(int32(binary.BigEndian.Uint32(h[posLastDelta:]))) + 1
	d.left = int32(binary.BigEndian.Uint32(h[posCount:]))
	d.appendTime = attributes&attrAppendTime != 0
	d.baseTime = int64(binary.BigEndian.Uint64(h[posBaseTime:]))
	if d.appendTime {
		d.baseTime = int64(binary.BigEndian.Uint64(h[posMaxTime:]))
	}
	d.records = h[posRecords:]
	if d.left < 0 || int(d.left) > len(d.records) && attributes&attrCompression == 0 {
		d.left, d.batches = 0, nil
		return fmt.Errorf("%w: %d records in %d bytes", ErrCorrupt, d.left, len(d.records))
	}
	if d.passOver(attributes, int64(binary.BigEndian.Uint64(h[posProducerID:]))) || d.after <= d.position {
		d.left = 0
		d.after = max(d.after, d.position)
		return nil
	}
	if codec := compress.Compression(attributes & attrCompression); codec != compress.None {
		raw, err := decompress(codec, d.records)
		if err != nil {
			d.left, d.batches = 0, nil
			return fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		d.records = raw
	}
	return nil
}

// passOver says whether a batch holds nothing to read: the marker that ends a
// transaction, or records of an aborted one.
func (d *decoder) passOver(attributes uint16, producer int64) bool {
	for len(d.aborted) > 0 && d.aborted[0].first < d.after {
		if d.dead == nil {
			d.dead = make(map[int64]struct{})
		}
		d.dead[d.aborted[0].producer] = struct{}{}
		d.aborted = d.aborted[1:]
	}
	if attributes&attrControl != 0 {
		// Either kind of marker ends the transaction; after a commit marker
		// the producer was not in the set.
		delete(d.dead, producer)
		return true
	}
	if attributes&attrTransaction == 0 {
		return false
	}
	_, dead := d.dead[producer]
	return dead
}

func decompress(c compress.Compression, b []byte) ([]byte, error) {
	codec := c.Codec()
	if codec == nil {
		return nil, fmt.Errorf("compression %d", int(c))
	}
	r := codec.NewReader(bytes.NewReader(b))
	defer r.Close()
	var out bytes.Buffer
	out.Grow(4 * len(b))
	if _, err := io.Copy(&out, io.LimitReader(r, maxBatchBytes+1)); err != nil {
		return nil, fmt.Errorf("decompressing %s: %w", codec.Name(), err)
	}
	if out.Len() > maxBatchBytes {
		return nil, fmt.Errorf("decompressing %s: more than %d bytes", codec.Name(), maxBatchBytes)
	}
	return out.Bytes(), nil
}

// record decodes the next record into r. It reports false for one that lies
// before the offset that was asked for.
func (d *decoder) record(r *Record) (bool, error) {
	b := d.records
	size, n := binary.Varint(b)
	if n <= 0 || size < 0 || size > int64(len(b)-n) {
		return false, fmt.Errorf("%w: a record of %d bytes", ErrCorrupt, size)
	}
	b, d.records = b[n:n+int(size):n+int(size)], b[n+int(size):]
	d.left--
	f := fields{b: b}
	f.skip(1) // attributes
	timeDelta := f.varint()
	r.Offset = d.base + f.varint()
	if r.Offset < d.position && f.ok() {
		return false, nil
	}
	r.Topic, r.Partition = d.topic, d.partition
	if d.appendTime {
		timeDelta = 0
	}
	r.Time = (d.baseTime + timeDelta) * 1000
	r.Key = f.bytes()
	r.Value = f.bytes()
	r.Headers = nil
	if count := f.varint(); count > 0 {
		if count > int64(len(f.b)) {
			return false, fmt.Errorf("%w: %d headers", ErrCorrupt, count)
		}
		r.Headers = d.headerSpace(int(count))
		for i := range r.Headers {
			r.Headers[i] = Header{Key: d.name(f.bytes()), Value: f.bytes()}
		}
	}
	if !f.ok() {
		return false, fmt.Errorf("%w: a record's fields do not fit its size", ErrCorrupt)
	}
	return true, nil
}

// headerSpace cuts n headers off the slab.
func (d *decoder) headerSpace(n int) []Header {
	if n > len(d.headers) {
		d.headers = make([]Header, max(n, 512))
	}
	h := d.headers[:n:n]
	d.headers = d.headers[n:]
	return h
}

// name returns a header's key, the same string for every record that has it.
func (d *decoder) name(b []byte) string {
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(d.names) < 256 {
		d.names[s] = s
	}
	return s
}

// fields reads a record's fields; bad is set when they run out.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) ok() bool { return !f.bad }

func (f *fields) skip(n int) {
	if n > len(f.b) {
		f.bad, f.b = true, nil
		return
	}
	f.b = f.b[n:]
}

func (f *fields) varint() int64 {
	// One byte holds most lengths and deltas.
	if len(f.b) > 0 && f.b[0] < 0x80 {
		u := uint64(f.b[0])
		f.b = f.b[1:]
		return int64(u>>1) ^ -int64(u&1)
	}
	v, n := binary.Varint(f.b)
	if n <= 0 {
		f.bad, f.b = true, nil
		return 0
	}
	f.b = f.b[n:]
	return v
}

// bytes reads a length and so many bytes; -1 is nil.
func (f *fields) bytes() []byte {
	n := f.varint()
	if n < 0 {
		f.bad = f.bad || n != -1
		return nil
	}
	if n > int64(len(f.b)) {
		f.bad, f.b = true, nil
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}
