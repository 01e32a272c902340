package eventlog_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/hypostream/hypostream/pkg/embedded/broker/brokertest"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/eventlog/logtest"
)

// appendAll shares b.N records among callers, size at a time.
func appendAll(b *testing.B, callers, size int, call func([]eventlog.Record) error) {
	value := make([]byte, 200)
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			recs := make([]eventlog.Record, size)
			for i := c; left.Add(-int64(size)) > -int64(size); i += callers {
				for j := range recs {
					recs[j] = eventlog.Record{Topic: "bench", Key: fmt.Appendf(recs[j].Key[:0], "visitor-%d", (i*size+j)%100_000), Value: value}
				}
				if err := call(recs); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// brokersOnDisk are real ones if any are given, else an embedded one that keeps
// its data as it does outside of tests.
func brokersOnDisk(b *testing.B) []string {
	if os.Getenv(brokertest.Env) != "" {
		return brokertest.Brokers(b)
	}
	return []string{brokertest.StartIn(b, b.TempDir()).Addr()}
}

// BenchmarkAppend is beside kafka-go's Writer in the same place, with the
// settings that serve it best here: no linger to speak of.
func BenchmarkAppend(b *testing.B) {
	for _, shape := range []struct{ callers, size int }{{64, 1}, {256, 1}, {32, 100}} {
		open := func(b *testing.B) (*eventlog.Log, []string) {
			brokers := brokersOnDisk(b)
			l := logtest.Open(b, eventlog.Config{Brokers: brokers})
			if err := l.EnsureTopics(b.Context(), eventlog.Topic{Name: "bench", Partitions: 8}); err != nil {
				b.Fatal(err)
			}
			return l, brokers
		}
		b.Run(fmt.Sprintf("producer/callers=%d/size=%d", shape.callers, shape.size), func(b *testing.B) {
			l, _ := open(b)
			p := logtest.Producer(b, l, eventlog.ProducerConfig{Deadline: time.Minute})
			b.ResetTimer()
			appendAll(b, shape.callers, shape.size, func(recs []eventlog.Record) error {
				return p.Append(context.Background(), recs)
			})
		})
		b.Run(fmt.Sprintf("writer/callers=%d/size=%d", shape.callers, shape.size), func(b *testing.B) {
			_, brokers := open(b)
			transport := new(kafka.Transport)
			defer transport.CloseIdleConnections()
			w := &kafka.Writer{
				Transport: transport,
				Addr:      kafka.TCP(brokers...), Topic: "bench", RequiredAcks: kafka.RequireAll,
				Balancer: kafka.Murmur2Balancer{}, BatchSize: max(100, shape.size), BatchTimeout: time.Millisecond,
			}
			defer w.Close()
			b.ResetTimer()
			appendAll(b, shape.callers, shape.size, func(recs []eventlog.Record) error {
				msgs := make([]kafka.Message, len(recs))
				for i, r := range recs {
					msgs[i] = kafka.Message{Key: r.Key, Value: r.Value}
				}
				return w.WriteMessages(context.Background(), msgs...)
			})
		})
	}
}

// BenchmarkRead is beside kafka-go's Reader.
func BenchmarkRead(b *testing.B) {
	brokers := brokersOnDisk(b)
	l := logtest.Open(b, eventlog.Config{Brokers: brokers})
	topic := logtest.Topics(b, l, 1, 1)[0]
	p := logtest.Producer(b, l, eventlog.ProducerConfig{Deadline: time.Minute})
	const filled = 500_000
	recs := make([]eventlog.Record, 1000)
	for i := 0; i < filled; i += len(recs) {
		for j := range recs {
			recs[j] = eventlog.Record{Topic: topic, Key: fmt.Appendf(nil, "visitor-%d", i+j), Value: make([]byte, 200), Headers: []eventlog.Header{{Key: "kind", Value: []byte{1}}}}
		}
		if err := p.Append(b.Context(), recs); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("partition reader", func(b *testing.B) {
		b.ReportAllocs()
		var r *eventlog.PartitionReader
		var buf []eventlog.Record
		var err error
		for n := 0; n < b.N; {
			if r == nil || r.Offset() == filled {
				if r, err = l.OpenPartition(b.Context(), topic, 0, 0); err != nil {
					b.Fatal(err)
				}
				defer r.Close()
			}
			if buf, err = r.Read(b.Context(), 1000, buf); err != nil {
				b.Fatal(err)
			}
			n += len(buf)
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
	b.Run("kafka-go reader", func(b *testing.B) {
		b.ReportAllocs()
		r := kafka.NewReader(kafka.ReaderConfig{Brokers: brokers, Topic: topic, MaxBytes: 10 << 20, QueueCapacity: 1000})
		defer r.Close()
		b.ResetTimer()
		for n := range b.N {
			if n > 0 && n%filled == 0 {
				if err := r.SetOffset(0); err != nil {
					b.Fatal(err)
				}
			}
			if _, err := r.ReadMessage(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer() // its Close waits for the fetch under way
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	})
}
