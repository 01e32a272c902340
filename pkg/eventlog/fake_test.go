package eventlog_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/eventlog/logtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		// kfake's goroutines end a moment after Close.
		if err := goleak.Find(goleak.IgnoreTopFunction("github.com/twmb/franz-go/pkg/kfake.(*Cluster).run")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Kafka's api keys that the tests interfere with.
const (
	produceKey        = 0
	metadataKey       = 3
	initProducerIDKey = 22
)

// A wire is the network between clients and a fake cluster, with scissors.
type wire struct {
	mu     sync.Mutex
	lose   map[int16]int  // by api key: answers to lose, along with their connection
	silent map[int16]bool // by api key: answers wait
	speak  chan struct{}  // closed when nothing is silent
}

// loseAnswers makes the next n answers to an api's requests disappear.
func (w *wire) loseAnswers(key int16, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lose[key] = n
}

// silence holds back all answers to an api's requests until resume.
func (w *wire) silence(keys ...int16) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.speak = make(chan struct{})
	for _, k := range keys {
		w.silent[k] = true
	}
}

func (w *wire) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.silent) > 0 {
		clear(w.silent)
		close(w.speak)
	}
}

func (w *wire) listen(network, address string) (net.Listener, error) {
	ln, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	return &wireListener{ln, w}, nil
}

type wireListener struct {
	net.Listener
	w *wire
}

func (l *wireListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wireConn{Conn: c, w: l.w, closed: make(chan struct{})}, nil
}

type wireConn struct {
	net.Conn
	w      *wire
	once   sync.Once
	closed chan struct{}

	mu   sync.Mutex
	head bool  // the next read is a request's body
	key  int16 // of the last request
}

// Read learns the request's api key: kfake reads four bytes and then the rest.
func (c *wireConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case n == 4 && len(p) == 4:
		c.head = true
	case c.head && n >= 2:
		c.key, c.head = int16(binary.BigEndian.Uint16(p)), false
	}
	return n, err
}

func (c *wireConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	key := c.key
	c.mu.Unlock()
	c.w.mu.Lock()
	lose := c.w.lose[key] > 0
	if lose {
		c.w.lose[key]--
	}
	silent, speak := c.w.silent[key], c.w.speak
	c.w.mu.Unlock()
	if lose {
		c.Close()
		return 0, errors.New("cut")
	}
	if silent {
		select {
		case <-speak:
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	return c.Conn.Write(p)
}

func (c *wireConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// fake starts a cluster of n brokers behind a wire.
func fake(t testing.TB, n int, opts ...kfake.Opt) (*kfake.Cluster, *wire) {
	t.Helper()
	w := &wire{lose: map[int16]int{}, silent: map[int16]bool{}}
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(n), kfake.ListenFn(w.listen)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.resume()
		c.Close()
	})
	return c, w
}

// write appends values with one key, in calls of one record, and fails the test
// when one is refused.
func write(t testing.TB, p *eventlog.Producer, topic, key string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		rec := eventlog.Record{Topic: topic, Key: []byte(key), Value: fmt.Appendf(nil, "%s-%d", key, i)}
		if err := p.Append(context.Background(), []eventlog.Record{rec}); err != nil {
			t.Errorf("appending %s: %v", rec.Value, err)
			return
		}
	}
}

// wantOnce checks that the topic holds, by key, exactly the values 0 to n in
// their order.
func wantOnce(t testing.TB, l *eventlog.Log, topic string, partitions int, keys []string, n int) {
	t.Helper()
	got := map[string][]string{}
	for p := range partitions {
		for _, r := range logtest.ReadAll(t, l, topic, int32(p)) {
			got[string(r.Key)] = append(got[string(r.Key)], string(r.Value))
		}
	}
	for _, key := range keys {
		want := make([]string, n)
		for i := range want {
			want[i] = fmt.Sprintf("%s-%d", key, i)
		}
		if !slices.Equal(got[key], want) {
			t.Errorf("key %s: the log has %d records %v, want %d in order", key, len(got[key]), got[key], n)
		}
	}
}

// patient is for faults that shall be overcome, hasty for those that shall not.
var (
	patient = eventlog.ProducerConfig{Deadline: 30 * time.Second, AttemptTimeout: 200 * time.Millisecond}
	hasty   = eventlog.ProducerConfig{Deadline: 150 * time.Millisecond, AttemptTimeout: 50 * time.Millisecond}
)

// settle waits until something waits for the log and no more is added.
func settle(p *eventlog.Producer) {
	same, last := 0, int64(0)
	for same < 5 {
		time.Sleep(10 * time.Millisecond)
		if n := p.Waiting(); n == last && n > 0 {
			same++
		} else {
			same, last = 0, n
		}
	}
}
