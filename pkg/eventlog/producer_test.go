package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/eventlog/logtest"
)

// underFault writes 4 keys of 50 records each from as many goroutines while
// the fault is on, and checks that each record is in the log once, in order.
func underFault(t *testing.T, brokers int, start func(t *testing.T, c *kfake.Cluster, w *wire, topic string)) {
	c, w := fake(t, brokers)
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs()})
	topic := logtest.Topics(t, l, 1, 2)[0]
	p := logtest.Producer(t, l, patient)
	start(t, c, w, topic)
	keys := []string{"a", "b", "c", "d"}
	var wg sync.WaitGroup
	for _, key := range keys {
		wg.Go(func() { write(t, p, topic, key, 0, 50) })
	}
	wg.Wait()
	wantOnce(t, l, topic, 2, keys, 50)
}

func TestRecordsAreInTheLogOnceAndInOrder(t *testing.T) {
	produceFault := func(err *kerr.Error, count int) func(*testing.T, *kfake.Cluster, *wire, string) {
		return func(_ *testing.T, c *kfake.Cluster, _ *wire, topic string) {
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: err, Count: count})
		}
	}
	tests := []struct {
		name    string
		brokers int
		start   func(*testing.T, *kfake.Cluster, *wire, string)
	}{
		{"when nothing fails", 1, func(*testing.T, *kfake.Cluster, *wire, string) {}},
		{"when replicas are missing after the append", 1, produceFault(kerr.NotEnoughReplicasAfterAppend, 5)},
		{"when replicas are missing", 1, produceFault(kerr.NotEnoughReplicas, 5)},
		{"when requests time out after the append", 1, produceFault(kerr.RequestTimedOut, 5)},
		{"when the storage fails for a while", 1, produceFault(kerr.KafkaStorageError, 3)},
		{"when the broker does not know why it failed", 1, produceFault(kerr.UnknownServerError, 3)},
		{"when the broker lost the sequence", 1, produceFault(kerr.OutOfOrderSequenceNumber, 2)},
		{"when the broker lost the producer", 1, produceFault(kerr.UnknownProducerID, 2)},
		{"when the producer's epoch is refused", 1, produceFault(kerr.InvalidProducerEpoch, 2)},
		{"when answers are lost", 1, func(_ *testing.T, _ *kfake.Cluster, w *wire, _ string) { w.loseAnswers(produceKey, 5) }},
		{"when the first producer ids are refused", 1, func(_ *testing.T, c *kfake.Cluster, _ *wire, _ string) {
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, Err: kerr.CoordinatorLoadInProgress, Count: 3, TopLevel: true})
		}},
		{"when leaders move", 3, func(t *testing.T, c *kfake.Cluster, _ *wire, topic string) {
			var wg sync.WaitGroup
			wg.Go(func() {
				for range 8 {
					for p := range int32(2) {
						_ = c.MoveTopicPartition(topic, p, (c.LeaderFor(topic, p)+1)%3)
					}
					time.Sleep(5 * time.Millisecond)
				}
			})
			t.Cleanup(wg.Wait)
		}},
		{"when the broker falls silent for a while", 1, func(_ *testing.T, _ *kfake.Cluster, w *wire, _ string) {
			w.silence(produceKey)
			time.AfterFunc(500*time.Millisecond, w.resume)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { underFault(t, test.brokers, test.start) })
	}
}

func TestLateAnswersAreNotTakenForOthers(t *testing.T) {
	// The first attempt's answer comes after the second attempt was sent. On
	// one connection it would answer the wrong request.
	c, w := fake(t, 1)
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs()})
	topic := logtest.Topics(t, l, 1, 1)[0]
	p := logtest.Producer(t, l, eventlog.ProducerConfig{Deadline: 30 * time.Second, AttemptTimeout: 30 * time.Millisecond})
	write(t, p, topic, "k", 0, 1)
	for i := range 5 {
		w.silence(produceKey)
		time.AfterFunc(50*time.Millisecond, w.resume)
		write(t, p, topic, "k", 1+10*i, 11+10*i)
	}
	wantOnce(t, l, topic, 1, []string{"k"}, 51)
}

func TestASilentBrokerIsUnavailableAndRecovers(t *testing.T) {
	c, w := fake(t, 1)
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs()})
	topic := logtest.Topics(t, l, 1, 2)[0]
	p := logtest.Producer(t, l, hasty)
	rec := func(v string) []eventlog.Record {
		return []eventlog.Record{{Topic: topic, Key: []byte("k"), Value: []byte(v)}}
	}
	if err := p.Append(t.Context(), rec("before")); err != nil {
		t.Fatal(err)
	}
	w.silence(produceKey, metadataKey)
	for range 3 {
		err := p.Append(t.Context(), rec("silent"))
		if !errors.Is(err, eventlog.ErrLogUnavailable) {
			t.Fatalf("a silent broker: %v", err)
		}
		var ae *eventlog.AppendError
		if !errors.As(err, &ae) || len(ae.ByRecord) != 1 || ae.ByRecord[0] == nil {
			t.Fatalf("no verdict by record in %#v", err)
		}
	}
	if n := p.Waiting(); n != 0 {
		t.Errorf("%d bytes are held for records that were given up", n)
	}
	w.resume()
	var err error
	for range 100 {
		if err = p.Append(t.Context(), rec("after")); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	// A record given up may be in the log, but at most once, and in order.
	silent, state := 0, "before"
	for part := range int32(2) {
		for _, r := range logtest.ReadAll(t, l, topic, part) {
			switch v := string(r.Value); {
			case v == "silent" && state == "before":
				silent++
			case v == "after" || v == "before":
				state = v
			default:
				t.Errorf("%q after %q", v, state)
			}
		}
	}
	if silent > 3 || state != "after" {
		t.Errorf("%d copies of 3 records given up; the last record is %q", silent, state)
	}
}

func TestABrokerThatIsAwayIsUnavailable(t *testing.T) {
	l := logtest.Open(t, eventlog.Config{Brokers: []string{"127.0.0.1:1"}})
	p := logtest.Producer(t, l, hasty)
	if err := p.Append(t.Context(), []eventlog.Record{{Topic: "t"}}); !errors.Is(err, eventlog.ErrLogUnavailable) {
		t.Errorf("appending: %v", err)
	}
	if err := l.Ping(t.Context()); !errors.Is(err, eventlog.ErrLogUnavailable) {
		t.Errorf("ping: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(30*time.Millisecond, cancel)
	if err := l.WaitReady(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting: %v", err)
	}
}

func TestACancelledCallerDoesNotTakeItsRecordBack(t *testing.T) {
	c, w := fake(t, 1)
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs()})
	topic := logtest.Topics(t, l, 1, 1)[0]
	p := logtest.Producer(t, l, patient)
	write(t, p, topic, "k", 0, 1)
	w.silence(produceKey)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	err := p.Append(ctx, []eventlog.Record{{Topic: topic, Key: []byte("k"), Value: []byte("k-1")}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	w.resume()
	write(t, p, topic, "k", 2, 4)
	wantOnce(t, l, topic, 1, []string{"k"}, 4)
}

func TestWaitingBytesAreBounded(t *testing.T) {
	c, w := fake(t, 1)
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs()})
	topic := logtest.Topics(t, l, 1, 1)[0]
	p := logtest.Producer(t, l, eventlog.ProducerConfig{Deadline: 30 * time.Second, MaxWaitingBytes: 1 << 20})
	write(t, p, topic, "k", 0, 1)
	w.silence(produceKey)
	big := []eventlog.Record{{Topic: topic, Value: make([]byte, 700_000)}}
	first := make(chan error, 1)
	go func() { first <- p.Append(context.Background(), big) }()
	for p.Waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	// 700,000 bytes wait, 1,048,576 are allowed.
	if err := p.Append(t.Context(), big); !errors.Is(err, eventlog.ErrOverloaded) {
		t.Errorf("over the bound: %v", err)
	}
	w.resume()
	if err := <-first; err != nil {
		t.Error(err)
	}
	if err := p.Append(t.Context(), big); err != nil {
		t.Errorf("within the bound again: %v", err)
	}
	if n := len(logtest.ReadAll(t, l, topic, 0)); n != 3 {
		t.Errorf("%d records, want 3", n)
	}
}

func TestOneBadRecordHarmsNoOther(t *testing.T) {
	c, _ := fake(t, 1)
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs()})
	topic := logtest.Topics(t, l, 1, 1)[0]
	p := logtest.Producer(t, l, eventlog.ProducerConfig{})
	// The topics known must not wait for the one that is not: by then their
	// records would be past the deadline.
	err := p.Append(t.Context(), []eventlog.Record{
		{Topic: topic, Value: []byte("good")},
		{Topic: topic, Value: make([]byte, 900_000)},
		{Topic: "nowhere", Value: []byte("lost")},
		{Topic: topic, Value: []byte("good too")},
	})
	var ae *eventlog.AppendError
	if !errors.As(err, &ae) {
		t.Fatalf("error is %T", err)
	}
	for i, want := range []error{nil, eventlog.ErrTooLarge, eventlog.ErrUnknownTopic, nil} {
		if got := ae.ByRecord[i]; !errors.Is(got, want) {
			t.Errorf("record %d: %v, want %v", i, got, want)
		}
	}
	if !errors.Is(err, eventlog.ErrTooLarge) || !errors.Is(err, eventlog.ErrUnknownTopic) {
		t.Errorf("the whole error hides a cause: %v", err)
	}
	got := logtest.ReadAll(t, l, topic, 0)
	if len(got) != 2 || string(got[0].Value) != "good" || string(got[1].Value) != "good too" {
		t.Errorf("the log has %v", got)
	}
	if n := p.Waiting(); n != 0 {
		t.Errorf("%d bytes are held after all is settled", n)
	}
}

func TestTheBrokersSizeLimitIsTooLarge(t *testing.T) {
	c, _ := fake(t, 1, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "10000"}))
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs()})
	topic := logtest.Topics(t, l, 1, 1)[0]
	p := logtest.Producer(t, l, patient)
	if err := p.Append(t.Context(), []eventlog.Record{{Topic: topic, Value: make([]byte, 20_000)}}); !errors.Is(err, eventlog.ErrTooLarge) {
		t.Errorf("over the broker's limit: %v", err)
	}
	// The refused batch leaves no gap in the sequence.
	write(t, p, topic, "k", 0, 3)
	wantOnce(t, l, topic, 1, []string{"k"}, 3)
}

func TestCloseWritesWhatWasTaken(t *testing.T) {
	c, w := fake(t, 1)
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs()})
	topic := logtest.Topics(t, l, 1, 4)[0]
	p, err := l.NewProducer(patient)
	if err != nil {
		t.Fatal(err)
	}
	write(t, p, topic, "k", 0, 1)
	w.silence(produceKey)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			rec := eventlog.Record{Topic: topic, Key: fmt.Appendf(nil, "key-%d", i)}
			if err := p.Append(context.Background(), []eventlog.Record{rec}); err != nil {
				t.Error(err)
			}
		})
	}
	settle(p)
	time.AfterFunc(20*time.Millisecond, w.resume)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := p.Append(t.Context(), []eventlog.Record{{Topic: topic}}); !errors.Is(err, eventlog.ErrClosed) {
		t.Errorf("appending after close: %v", err)
	}
	n := 0
	for part := range int32(4) {
		n += len(logtest.ReadAll(t, l, topic, part))
	}
	if n != 21 {
		t.Errorf("%d records in the log, want 21", n)
	}
}

// Requests with several partitions: what saves most of the cost of kafka-go's
// Writer, one request per partition.
func TestOneRequestCarriesAllWaitingPartitions(t *testing.T) {
	c, w := fake(t, 1)
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs()})
	topics := logtest.Topics(t, l, 3, 8)
	p := logtest.Producer(t, l, eventlog.ProducerConfig{Deadline: 30 * time.Second, AttemptTimeout: 10 * time.Second})
	write(t, p, topics[0], "k", 0, 1)
	var mu sync.Mutex
	var sizes []int
	c.ControlKey(produceKey, func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		n := 0
		for _, rt := range req.(*kmsg.ProduceRequest).Topics {
			n += len(rt.Partitions)
		}
		mu.Lock()
		defer mu.Unlock()
		sizes = append(sizes, n)
		return nil, nil, false
	})
	w.silence(produceKey)
	var wg sync.WaitGroup
	wg.Go(func() { write(t, p, topics[0], "k", 1, 2) })
	settle(p) // that one is under way
	for _, topic := range topics {
		for i := range 64 {
			wg.Go(func() {
				if err := p.Append(context.Background(), []eventlog.Record{{Topic: topic, Key: fmt.Appendf(nil, "%d", i)}}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	settle(p)
	w.resume()
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	// 24 partitions and at most a few requests: the first, the one that
	// gathered while it was held back, and stragglers.
	if len(sizes) > 8 {
		t.Errorf("%d requests of %v partitions for 193 records", len(sizes), sizes)
	}
}
