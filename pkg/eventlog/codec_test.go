package eventlog

import (
	"math"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/compress"
)

// The hashes are those of Kafka's own test, UtilsTest.testMurmur2.
func TestMurmur2(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("murmur2(%q) = %d, want %d", key, got, want)
		}
		// toPositive(hash) % partitions
		if got, want := Partition([]byte(key), 7), (want&math.MaxInt32)%7; got != want {
			t.Errorf("Partition(%q, 7) = %d, want %d", key, got, want)
		}
	}
}

// As DefaultRecordBatch.incrementSequence: 2147483647 is followed by 0.
func TestSequenceNumbersWrap(t *testing.T) {
	for _, test := range []struct{ sequence, n, want int32 }{
		{0, 5, 5},
		{math.MaxInt32 - 1, 1, math.MaxInt32},
		{math.MaxInt32, 1, 0},
		{math.MaxInt32 - 1, 5, 3},
	} {
		if got := nextSequence(test.sequence, test.n); got != test.want {
			t.Errorf("%d + %d = %d, want %d", test.sequence, test.n, got, test.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, codec := range []compress.Codec{nil, &compress.Lz4Codec, &compress.ZstdCodec, &compress.SnappyCodec} {
		b := newBatch(time.Now())
		b.add(&Record{Key: []byte("key"), Value: []byte("value"), Headers: []Header{{"h", nil}}}, 1_700_000_000_000)
		b.add(&Record{Value: make([]byte, 300)}, 1_600_000_000_000)
		if err := b.seal(codec, 7, 1, 2); err != nil {
			f.Fatal(err)
		}
		f.Add(b.wire[sizePrefix:], int64(0))
	}
	f.Fuzz(func(t *testing.T, raw []byte, from int64) {
		var d decoder
		d.reset("t", 0, from)
		_, whole := span(raw)
		d.feed(whole, []abortedTxn{{producer: 7, first: 1}})
		for {
			before := d.position
			recs, err := d.read(nil, 10)
			if err != nil || len(recs) == 0 {
				return
			}
			for _, r := range recs {
				if r.Offset < before || r.Offset < from {
					t.Fatalf("offset %d from %d on", r.Offset, before)
				}
				before = r.Offset
			}
		}
	})
}

func FuzzParseFetch(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"), int16(11))
	f.Fuzz(func(t *testing.T, raw []byte, version int16) {
		got, err := parseFetch(raw, version)
		if err == nil && len(got.records) > len(raw) {
			t.Fatalf("%d bytes of records in %d", len(got.records), len(raw))
		}
	})
}
