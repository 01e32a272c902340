package eventlog_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/eventlog/logtest"
)

// values are the values of records, for comparing.
func values(recs []eventlog.Record) []string {
	var vs []string
	for _, r := range recs {
		vs = append(vs, string(r.Value))
	}
	return vs
}

// other is a client of another make, franz-go, as an independent witness.
func other(t *testing.T, c *kfake.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(c.ListenAddrs()...)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func TestAnotherClientReadsWhatWeWrite(t *testing.T) {
	c, _ := fake(t, 1)
	for _, compression := range []string{"none", "lz4", "snappy", "zstd"} {
		t.Run(compression, func(t *testing.T) {
			l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs(), Compression: compression})
			topic := logtest.Topics(t, l, 1, 1)[0]
			p := logtest.Producer(t, l, eventlog.ProducerConfig{})
			var recs []eventlog.Record
			for i := range 300 {
				recs = append(recs, eventlog.Record{
					Topic: topic, Key: fmt.Appendf(nil, "key-%d", i), Value: []byte(strings.Repeat("v", i)),
					Time:    1_700_000_000_000_000 - int64(i)*1000, // going back: deltas are signed
					Headers: []eventlog.Header{{Key: "h", Value: fmt.Appendf(nil, "%d", i)}},
				})
			}
			if err := p.Append(t.Context(), recs); err != nil {
				t.Fatal(err)
			}
			cl := other(t, c, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
			n := 0
			for n < len(recs) {
				for _, r := range cl.PollFetches(t.Context()).Records() {
					want := recs[n]
					if string(r.Key) != string(want.Key) || string(r.Value) != string(want.Value) || r.Offset != int64(n) ||
						r.Timestamp.UnixMicro() != want.Time || len(r.Headers) != 1 || string(r.Headers[0].Value) != fmt.Sprint(n) {
						t.Fatalf("record %d reads %v", n, r)
					}
					n++
				}
			}
		})
	}
}

func TestWeReadWhatAnotherClientWrites(t *testing.T) {
	c, _ := fake(t, 1)
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs()})
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "lz4": kgo.Lz4Compression(), "snappy": kgo.SnappyCompression(), "zstd": kgo.ZstdCompression(),
	} {
		t.Run(name, func(t *testing.T) {
			topic := logtest.Topics(t, l, 1, 1)[0]
			cl := other(t, c, kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic(topic))
			var want []eventlog.Record
			var recs []*kgo.Record
			for i := range 300 {
				w := eventlog.Record{Topic: topic, Key: fmt.Appendf(nil, "key-%d", i), Value: []byte(strings.Repeat("v", i)), Time: 1_700_000_000_000_000 + int64(i)*1000, Offset: int64(i)}
				want = append(want, w)
				recs = append(recs, &kgo.Record{Key: w.Key, Value: w.Value, Timestamp: time.UnixMicro(w.Time)})
			}
			if err := cl.ProduceSync(t.Context(), recs...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, logtest.ReadAll(t, l, topic, 0)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAbortedTransactionsAreNotRead(t *testing.T) {
	c, _ := fake(t, 1)
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs()})
	topic := logtest.Topics(t, l, 1, 1)[0]
	cl := other(t, c, kgo.TransactionalID("tx"), kgo.DefaultProduceTopic(topic))
	p := logtest.Producer(t, l, eventlog.ProducerConfig{})
	transact := func(v string, end kgo.TransactionEndTry) {
		t.Helper()
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := cl.ProduceSync(t.Context(), kgo.StringRecord(fmt.Sprint(v, i))).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		// A record outside, in the middle of the transaction's stretch.
		if err := p.Append(t.Context(), []eventlog.Record{{Topic: topic, Value: []byte(v + "-outside")}}); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	transact("a", kgo.TryCommit)
	transact("b", kgo.TryAbort)
	transact("c", kgo.TryCommit)
	transact("d", kgo.TryAbort)
	// Four transactions of three records, one outside and one marker each.
	want := []string{"a0", "a1", "a2", "a-outside", "b-outside", "c0", "c1", "c2", "c-outside", "d-outside"}
	if got := values(logtest.ReadAll(t, l, topic, 0)); !slices.Equal(got, want) {
		t.Errorf("read %v, want %v", got, want)
	}
	// The marker at the end has an offset too, and the reader passes it over.
	r, err := l.OpenPartition(t.Context(), topic, 0, 16)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []eventlog.Record
	for r.Offset() < 20 {
		recs, err := r.Read(t.Context(), 2, nil)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, recs...)
	}
	if len(got) != 1 || string(got[0].Value) != "d-outside" || r.Offset() != 20 || r.EndOffset() != 20 {
		t.Errorf("read %v up to %d of %d", values(got), r.Offset(), r.EndOffset())
	}
}

func TestCompactedOffsetsArePassedOver(t *testing.T) {
	c, _ := fake(t, 1)
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs()})
	topic := "compacted"
	if err := l.EnsureTopics(t.Context(), eventlog.Topic{Name: topic, Partitions: 1, Configs: map[string]string{"cleanup.policy": "compact"}}); err != nil {
		t.Fatal(err)
	}
	p := logtest.Producer(t, l, eventlog.ProducerConfig{})
	for i := range 9 {
		rec := eventlog.Record{Topic: topic, Key: fmt.Appendf(nil, "%d", i%2), Value: fmt.Appendf(nil, "%d", i)}
		if err := p.Append(t.Context(), []eventlog.Record{rec}); err != nil {
			t.Fatal(err)
		}
	}
	c.Compact()
	// The last batch is never compacted away; before it the last of each key.
	var want []eventlog.Record
	for _, i := range []int{6, 7, 8} {
		want = append(want, eventlog.Record{Topic: topic, Key: fmt.Appendf(nil, "%d", i%2), Value: fmt.Appendf(nil, "%d", i), Offset: int64(i)})
	}
	seen := make(chan eventlog.Record, 10)
	ctx, cancel := context.WithCancel(t.Context())
	err := l.Follow(ctx, topic, func(r eventlog.Record) error { r.Time = 0; seen <- r; return nil }, cancel)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	close(seen)
	var got []eventlog.Record
	for r := range seen {
		got = append(got, r)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReadingSurvivesFaults(t *testing.T) {
	c, w := fake(t, 3)
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs(), RequestTimeout: 300 * time.Millisecond})
	topic := logtest.Topics(t, l, 1, 1)[0]
	p := logtest.Producer(t, l, patient)
	write(t, p, topic, "k", 0, 100)
	const fetchKey = 1
	interfere := []func(){
		func() { _ = c.MoveTopicPartition(topic, 0, (c.LeaderFor(topic, 0)+1)%3) },
		func() { w.loseAnswers(fetchKey, 2) },
		func() {
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: topic, Err: kerr.UnknownServerError, Count: 2})
		},
		func() { w.silence(fetchKey); time.AfterFunc(100*time.Millisecond, w.resume) },
	}
	r, err := l.OpenPartition(t.Context(), topic, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got, buf []eventlog.Record
	for len(got) < 100 {
		if n := len(got) / 10; n < len(interfere) && len(got)%10 == 0 {
			interfere[n]()
		}
		buf, err = r.Read(t.Context(), 10, buf)
		if err != nil && !errors.Is(err, eventlog.ErrLogUnavailable) {
			t.Fatal(err)
		}
		got = append(got, buf...)
		// So that the stretch asked for in advance is not all there is.
		write(t, p, topic, "k", 100+len(got), 101+len(got))
	}
	for i, rec := range got {
		if rec.Offset != int64(i) {
			t.Fatalf("offset %d in place of %d", rec.Offset, i)
		}
	}
}

func TestACorruptBatchIsAnErrorAndNotPassedOver(t *testing.T) {
	dir := t.TempDir()
	c, _ := fake(t, 1, kfake.DataDir(dir))
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs()})
	topic := logtest.Topics(t, l, 1, 1)[0]
	p := logtest.Producer(t, l, eventlog.ProducerConfig{})
	write(t, p, topic, "k", 0, 3)
	// Flip a bit in the second of three equal batches.
	file := filepath.Join(dir, "partitions", topic+"-0", "0.dat")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := l.OpenPartition(t.Context(), topic, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := r.Read(t.Context(), 10, nil)
	for range 3 {
		if !errors.Is(err, eventlog.ErrCorrupt) {
			t.Fatalf("reading a corrupt batch: %v", err)
		}
		if r.Offset() != 1 {
			t.Fatalf("the reader stands at %d, want 1", r.Offset())
		}
		var more []eventlog.Record
		more, err = r.Read(t.Context(), 10, nil)
		got = append(got, more...)
	}
	if !slices.Equal(values(got), []string{"k-0"}) {
		t.Errorf("read %v before the corrupt batch", values(got))
	}
}

func TestFollowGoesOnWhereRetentionCut(t *testing.T) {
	c, _ := fake(t, 1)
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs()})
	topic := logtest.Topics(t, l, 1, 1)[0]
	p := logtest.Producer(t, l, eventlog.ProducerConfig{})
	write(t, p, topic, "k", 0, 10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reached := make(chan string, 100)
	hold := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- l.Follow(ctx, topic, func(r eventlog.Record) error {
			reached <- string(r.Value)
			<-hold
			return nil
		}, nil)
	}()
	if v := <-reached; v != "k-0" {
		t.Fatalf("begins with %s", v)
	}
	// While the reader is held, all that it has not fetched is deleted.
	write(t, p, topic, "k", 10, 20)
	if err := c.DeleteRecords(topic, 0, 18); err != nil {
		t.Fatal(err)
	}
	close(hold)
	var last string
	for last != "k-19" {
		last = <-reached
	}
	cancel()
	<-done
}

func TestSASLAndWrongCredentials(t *testing.T) {
	c, _ := fake(t, 1, kfake.EnableSASL(),
		kfake.Superuser("PLAIN", "u", "pw"), kfake.Superuser("SCRAM-SHA-256", "u256", "pw"), kfake.Superuser("SCRAM-SHA-512", "u512", "pw"))
	for mechanism, user := range map[string]string{"plain": "u", "scram-sha-256": "u256", "scram-sha-512": "u512"} {
		t.Run(mechanism, func(t *testing.T) {
			cfg := eventlog.Config{Brokers: c.ListenAddrs(), SASLMechanism: mechanism, SASLUsername: user, SASLPassword: "pw"}
			l := logtest.Open(t, cfg)
			topic := logtest.Topics(t, l, 1, 1)[0]
			write(t, logtest.Producer(t, l, patient), topic, "k", 0, 3)
			wantOnce(t, l, topic, 1, []string{"k"}, 3)
			g, err := l.NewGroup(eventlog.GroupConfig{ID: mechanism, Topics: []string{topic}})
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			gen, err := g.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := gen.Commit(t.Context(), topic, 0, 3, ""); err != nil {
				t.Error(err)
			}
			cfg.SASLPassword = "wrong"
			if err := logtest.Open(t, cfg).Ping(t.Context()); !errors.Is(err, eventlog.ErrLogUnavailable) || strings.Contains(err.Error(), "wrong") {
				t.Errorf("with a wrong password: %v", err)
			}
		})
	}
}

func TestTheLogIsReadyOnceTheBrokerIs(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	l := logtest.Open(t, eventlog.Config{Brokers: []string{addr}})
	ready := make(chan error, 1)
	go func() { ready <- l.WaitReady(t.Context()) }()
	time.Sleep(20 * time.Millisecond)
	select {
	case err := <-ready:
		t.Fatalf("ready without a broker: %v", err)
	default:
	}
	fake(t, 1, kfake.ListenFn(func(network, _ string) (net.Listener, error) { return net.Listen(network, addr) }))
	if err := <-ready; err != nil {
		t.Error(err)
	}
}
