package broker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hypostream/hypostream/pkg/embedded/broker"
	"github.com/hypostream/hypostream/pkg/embedded/broker/brokertest"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/eventlog/logtest"
)

// childDir and childAddr make this test binary a broker, for tests that kill it.
const (
	childDir  = "HYPOSTREAM_BROKERTEST_DIR"
	childAddr = "HYPOSTREAM_BROKERTEST_ADDR"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		b, err := broker.Start(context.Background(), broker.Config{Addr: os.Getenv(childAddr), DataDir: dir})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(b.Addr())
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is gone
		b.Close()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child starts a broker in a process of its own. kill ends it by SIGKILL.
func child(t *testing.T, dir, addr string) (at string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childAddr+"="+addr)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	kill = func() {
		once.Do(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			stdin.Close()
		})
	}
	t.Cleanup(kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the child does not start: %v", err)
	}
	return strings.TrimSpace(line), kill
}

func TestAddrIsWhereClientsConnect(t *testing.T) {
	for _, test := range []struct {
		name, host string
		cfg        broker.Config
	}{
		{"a free port", "127.0.0.1", broker.Config{Addr: "127.0.0.1:0"}},
		{"every address", "127.0.0.1", broker.Config{Addr: "0.0.0.0:0"}},
		{"another name", "localhost", broker.Config{Addr: "127.0.0.1:0", Advertise: "localhost"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := broker.Start(t.Context(), test.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			host, port, err := net.SplitHostPort(b.Addr())
			if err != nil || port == "0" || host != test.host {
				t.Errorf("clients are sent to %q", b.Addr())
			}
			// What the broker says of itself must do, not only the first address.
			l := logtest.Open(t, eventlog.Config{Brokers: []string{b.Addr()}})
			topic := logtest.Topics(t, l, 1, 1)[0]
			p := logtest.Producer(t, l, eventlog.ProducerConfig{})
			if err := p.Append(t.Context(), []eventlog.Record{{Topic: topic}}); err != nil {
				t.Error(err)
			}
		})
	}
	b, err := broker.Start(t.Context(), broker.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if other, err := broker.Start(t.Context(), broker.Config{Addr: b.Addr()}); err == nil {
		other.Close()
		t.Error("two brokers listen on one port")
	}
}

func TestTopicsAreNotMadeByAskingForThem(t *testing.T) {
	l := logtest.Open(t, eventlog.Config{Brokers: []string{brokertest.Start(t)}})
	if _, err := l.Partitions(t.Context(), "nowhere"); !errors.Is(err, eventlog.ErrUnknownTopic) {
		t.Errorf("a topic nobody made: %v", err)
	}
}

func TestADirectoryHasOneBroker(t *testing.T) {
	dir := t.TempDir()
	b := brokertest.StartIn(t, dir)
	if other, err := broker.Start(t.Context(), broker.Config{Addr: "127.0.0.1:0", DataDir: dir}); err == nil {
		other.Close()
		t.Fatal("two brokers write to one directory")
	}
	b.Close()
	brokertest.StartIn(t, dir)
}

func TestStrangersDoNotHarmTheBroker(t *testing.T) {
	addr := brokertest.Start(t)
	if _, err := (&http.Client{Timeout: 5 * time.Second}).Get("http://" + addr + "/metrics"); err == nil {
		t.Error("the broker answers HTTP")
	}
	for _, raw := range []string{
		"\xff\xff\xff\xff",         // a size of 4 GB
		"\x00\x00\x00\x02\x00\x00", // too short for a head
		"\x00\x00\x00\x0a\x7f\xff\x00\x00\x00\x00\x00\x00\x00\x00",                 // no such request
		"\x00\x00\x00\x0a\x00\x03\xff\xff\x00\x00\x00\x00\x00\x00",                 // a negative version
		"\x00\x00\x00\x0a\x00\x03\x00\x63\x00\x00\x00\x00\x00\x00",                 // version 99
		"\x00\x00\x00\x0e\x00\x00\x00\x08\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff", // a produce request cut short
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte(raw))
		_ = c.(*net.TCPConn).CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the broker keeps a stranger's connection: %q", raw)
		}
		c.Close()
	}
	if err := logtest.Open(t, eventlog.Config{Brokers: []string{addr}}).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// fill makes a topic of 2 partitions with n records in each, and a group that
// has committed half of them.
func fill(t *testing.T, addr string, n int) {
	t.Helper()
	l := logtest.Open(t, eventlog.Config{Brokers: []string{addr}})
	if err := l.EnsureTopics(t.Context(), eventlog.Topic{Name: "events", Partitions: 2},
		eventlog.Topic{Name: "registry", Partitions: 1, Configs: map[string]string{"cleanup.policy": "compact"}}); err != nil {
		t.Fatal(err)
	}
	p := logtest.Producer(t, l, eventlog.ProducerConfig{})
	keys := map[int32][]byte{}
	for i := 0; len(keys) < 2; i++ {
		k := fmt.Appendf(nil, "%d", i)
		keys[eventlog.Partition(k, 2)] = k
	}
	for i := range n {
		recs := []eventlog.Record{
			{Topic: "events", Key: keys[0], Value: fmt.Appendf(nil, "0-%d", i)},
			{Topic: "events", Key: keys[1], Value: fmt.Appendf(nil, "1-%d", i)},
			{Topic: "registry", Key: []byte("one"), Value: fmt.Appendf(nil, "%d", i)},
		}
		if err := p.Append(t.Context(), recs); err != nil {
			t.Fatal(err)
		}
	}
	g, err := l.NewGroup(eventlog.GroupConfig{ID: "g", Topics: []string{"events"}})
	if err != nil {
		t.Fatal(err)
	}
	gen, err := g.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for part := range int32(2) {
		if err := gen.Commit(t.Context(), "events", part, int64(n/2), "half"); err != nil {
			t.Fatal(err)
		}
	}
	// The group is closed by nobody here: its process may die.
	t.Cleanup(func() { go g.Close() })
}

// check finds what fill left behind.
func check(t *testing.T, addr string, n int) {
	t.Helper()
	l := logtest.Open(t, eventlog.Config{Brokers: []string{addr}})
	for part := range int32(2) {
		recs := logtest.ReadAll(t, l, "events", part)
		if len(recs) != n {
			t.Errorf("partition %d has %d records, want %d", part, len(recs), n)
			continue
		}
		for i, r := range recs {
			if want := fmt.Sprintf("%d-%d", part, i); string(r.Value) != want || r.Offset != int64(i) {
				t.Errorf("partition %d holds %q at %d, want %q at %d", part, r.Value, r.Offset, want, i)
			}
		}
	}
	if recs := logtest.ReadAll(t, l, "registry", 0); len(recs) == 0 || string(recs[len(recs)-1].Value) != fmt.Sprint(n-1) {
		t.Errorf("the registry ends in %v", recs)
	}
	committed, err := l.Committed(t.Context(), "g", "events")
	if err != nil {
		t.Fatal(err)
	}
	for part := range int32(2) {
		if c := committed["events"][part]; c.Offset != int64(n/2) || c.Metadata != "half" {
			t.Errorf("partition %d: committed %+v", part, c)
		}
	}
}

func TestDataSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	b := brokertest.StartIn(t, dir)
	fill(t, b.Addr(), 20)
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b = brokertest.StartIn(t, dir)
		check(t, b.Addr(), 20)
	}
}

func TestDataSurvivesSIGKILL(t *testing.T) {
	dir := t.TempDir()
	addr, kill := child(t, dir, "127.0.0.1:0")
	fill(t, addr, 20)
	kill()
	for range 2 {
		addr, kill = child(t, dir, "127.0.0.1:0")
		check(t, addr, 20)
		kill()
	}
}

// A producer that outlives its broker finds the next one, though that one has
// forgotten all producers; what was acknowledged is there.
func TestProducersOutliveTheBrokersDeath(t *testing.T) {
	dir := t.TempDir()
	addr, kill := child(t, dir, "127.0.0.1:0")
	l := logtest.Open(t, eventlog.Config{Brokers: []string{addr}})
	if err := l.EnsureTopics(t.Context(), eventlog.Topic{Name: "events", Partitions: 3}); err != nil {
		t.Fatal(err)
	}
	p := logtest.Producer(t, l, eventlog.ProducerConfig{Deadline: 60 * time.Second, AttemptTimeout: time.Second})
	const callers = 8
	stop := make(chan struct{})
	acked := make([]int, callers)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				rec := eventlog.Record{Topic: "events", Key: fmt.Appendf(nil, "%d", c), Value: fmt.Appendf(nil, "%d", acked[c])}
				if err := p.Append(context.Background(), []eventlog.Record{rec}); err != nil {
					t.Errorf("caller %d after %d records: %v", c, acked[c], err)
					return
				}
				acked[c]++
			}
		})
	}
	for range 4 {
		time.Sleep(100 * time.Millisecond)
		kill()
		time.Sleep(50 * time.Millisecond)
		_, kill = child(t, dir, addr)
	}
	time.Sleep(100 * time.Millisecond)
	close(stop)
	wg.Wait()
	got := map[string][]string{}
	for part := range int32(3) {
		for _, r := range logtest.ReadAll(t, l, "events", part) {
			got[string(r.Key)] = append(got[string(r.Key)], string(r.Value))
		}
	}
	for c := range callers {
		// A batch whose acknowledgement died with the broker may stand twice,
		// as kfake does not find its producers again in the log; next to
		// itself, since nothing of the partition was sent in between.
		unique := slices.Compact(slices.Clone(got[fmt.Sprint(c)]))
		if len(unique) != acked[c] || acked[c] == 0 {
			t.Errorf("caller %d: %d records acknowledged, %d in the log", c, acked[c], len(unique))
		}
		for i, v := range unique {
			if v != fmt.Sprint(i) {
				t.Errorf("caller %d: %s in place of %d", c, v, i)
				break
			}
		}
	}
}
