// Command aggregator measures the way from a filled topic to queryable rows,
// beside a bare clickhouse-go insert of the same rows into the same tables, in
// one run: broker, engine and aggregator are processes of their own.
//
//	go run ./bench/aggregator -events 2000000
//	go run ./bench/aggregator -rate 5000 -for 20s   # latency from log to view
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/uuid"

	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/embedded/broker"
	"github.com/hypostream/hypostream/pkg/embedded/engine"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/stitch"
	"github.com/hypostream/hypostream/pkg/warehouse"
)

const partitions = 8

func main() {
	log.SetFlags(0)
	role := flag.String("role", "", "for its own child processes")
	events := flag.Int("events", 2_000_000, "events to fill the topics with")
	rate := flag.Int("rate", 0, "events per second: measure latency instead")
	span := flag.Duration("for", 20*time.Second, "how long to measure latency")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case *role != "":
		err = serve(ctx, *role)
	case *rate > 0:
		err = latency(ctx, *rate, *span)
	default:
		err = throughput(ctx, *events)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// serve runs one engine until it is told to stop, and says where.
func serve(ctx context.Context, role string) error {
	addr, stop := "", func() error { return nil }
	switch role {
	case "broker":
		b, err := broker.Start(ctx, broker.Config{Addr: "127.0.0.1:0"})
		if err != nil {
			return err
		}
		addr, stop = b.Addr(), b.Close
	case "engine":
		s, err := engine.Start(ctx, engine.Config{Addr: "127.0.0.1:0"})
		if err != nil {
			return err
		}
		addr, stop = s.DSN(), s.Close
	}
	fmt.Println(addr)
	<-ctx.Done()
	return stop()
}

// house is what a measurement runs on.
type house struct {
	dir, brokers, dsn string
	children          []*exec.Cmd
	log               *eventlog.Log
	codec             *codec.Codec
	producer          *eventlog.Producer
	topics            event.Topics
	db                *warehouse.DB
}

func newHouse(ctx context.Context) (*house, error) {
	h := &house{topics: event.NewTopics("")}
	var err error
	if h.dir, err = os.MkdirTemp("", "hypostream-bench-"); err != nil {
		return nil, err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", h.dir, "./cmd/aggregator")
	if out, err := build.CombinedOutput(); err != nil {
		return h, fmt.Errorf("building the aggregator: %w\n%s", err, out)
	}
	if h.brokers, err = h.child(os.Args[0], "-role", "broker"); err != nil {
		return h, err
	}
	dsn, err := h.child(os.Args[0], "-role", "engine")
	if err != nil {
		return h, err
	}
	h.dsn = dsn
	if h.log, err = eventlog.Open(ctx, eventlog.Config{Brokers: []string{h.brokers}, Partitions: partitions}); err != nil {
		return h, err
	}
	for _, t := range append(h.topics.Events(), h.topics.DeadLetters) {
		if err := h.log.EnsureTopics(ctx, eventlog.Topic{Name: t, Partitions: partitions}); err != nil {
			return h, err
		}
	}
	if h.codec, err = codec.New(ctx, codec.Config{}, h.topics); err != nil {
		return h, err
	}
	if h.producer, err = h.log.NewProducer(eventlog.ProducerConfig{}); err != nil {
		return h, err
	}
	if h.db, err = warehouse.Open(ctx, warehouse.Config{DSN: h.dsn}); err != nil {
		return h, err
	}
	return h, h.db.Migrate(ctx)
}

// child starts a process and reads the line that says where it listens.
func (h *house) child(name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := c.Start(); err != nil {
		return "", err
	}
	h.children = append(h.children, c)
	line, err := bufio.NewReader(out).ReadString('\n')
	return strings.TrimSpace(line), err
}

func (h *house) aggregator() (*exec.Cmd, error) {
	c := exec.Command(filepath.Join(h.dir, "aggregator"))
	c.Env = append(os.Environ(), "KAFKA_BROKERS="+h.brokers, "CLICKHOUSE_DSN="+h.dsn, "ADMIN_ADDR=127.0.0.1:0", "LOG_LEVEL=warn")
	c.Stderr = os.Stderr
	err := c.Start()
	if err == nil {
		h.children = append(h.children, c)
	}
	return c, err
}

func (h *house) close() {
	for _, c := range slices.Backward(h.children) {
		c.Process.Signal(syscall.SIGTERM)
		c.Wait()
	}
	os.RemoveAll(h.dir)
}

// make gives the i-th event: three exposures for seven KPIs, ids as browsers
// make them, the tags that the SDKs send.
func makeEvent(rnd *rand.Rand, i int, now int64) event.Event {
	v := rnd.Uint64N(300_000)
	e := event.Event{
		Project: "default", VisitorID: fmt.Sprintf("%08x-1b2c-4d3e-8f90-%012x", v, v*2654435761), Time: now - rnd.Int64N(5_000_000), ReceivedAt: now,
		Tags: []event.Tag{
			{Key: "page", Value: event.StringTag(fmt.Sprint("/p/", rnd.IntN(200)))},
			{Key: "sdk_type", Value: event.StringTag("python3")},
			{Key: "sdk_version", Value: event.StringTag("1.0.9")},
		},
	}
	binary.LittleEndian.PutUint64(e.ID[:], uint64(i)+1)
	binary.LittleEndian.PutUint64(e.ID[8:], rnd.Uint64())
	if rnd.IntN(4) == 0 {
		e.UserID = fmt.Sprint("user-", rnd.IntN(100_000))
	}
	if i%10 < 3 {
		e.Kind, e.Experiment, e.Variant = event.Exposure, fmt.Sprint("experiment-", rnd.IntN(5)), []string{"control", "b"}[rnd.IntN(2)]
	} else {
		e.Kind, e.Name, e.ValueMicro = event.KPI, []string{"view", "click", "signup", "purchase"}[rnd.IntN(4)], rnd.Int64N(100_000_000)
	}
	return e
}

func (h *house) append(ctx context.Context, events []event.Event) error {
	recs := make([]eventlog.Record, len(events))
	for i := range events {
		v, err := h.codec.AppendEvent(nil, &events[i])
		if err != nil {
			return err
		}
		recs[i] = eventlog.Record{Topic: h.topics.Of(events[i].Kind), Key: []byte(events[i].Key()), Value: v}
	}
	return h.producer.Append(ctx, recs)
}

func throughput(ctx context.Context, n int) error {
	h, err := newHouse(ctx)
	if h != nil {
		defer h.close()
	}
	if err != nil {
		return err
	}
	now := time.Now().UnixMicro()
	rnd := rand.New(rand.NewPCG(1, 2))
	filled := time.Now()
	for from := 0; from < n; from += 20_000 {
		batch := make([]event.Event, 0, 20_000)
		for i := from; i < min(from+20_000, n); i++ {
			batch = append(batch, makeEvent(rnd, i, now))
		}
		if err := h.append(ctx, batch); err != nil {
			return fmt.Errorf("filling the topics: %w", err)
		}
	}
	log.Printf("%d events in the log after %.1f s", n, time.Since(filled).Seconds())

	bare, err := bareInsert(ctx, h, n, now)
	if err != nil {
		return fmt.Errorf("inserting by hand: %w", err)
	}

	before := h.cpu()
	start := time.Now()
	agg, err := h.aggregator()
	if err != nil {
		return err
	}
	count := func(table string) (int, error) {
		rows, err := warehouse.Select[uint64](ctx, h.db, "SELECT count() FROM "+table, nil)
		if err != nil {
			return 0, err
		}
		return int(rows[0]), nil
	}
	var first, all time.Duration
	for all == 0 {
		time.Sleep(50 * time.Millisecond)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		e, err := count("exposures_raw")
		if err != nil {
			return err
		}
		k, err := count("kpis_raw")
		if err != nil {
			return err
		}
		if first == 0 && e+k > 0 {
			first = time.Since(start)
		}
		if e+k >= n {
			all = time.Since(start)
		}
	}
	used := h.cpu()
	rss, err := peakRSS(agg.Process.Pid)
	if err != nil {
		return err
	}
	once, err := warehouse.Select[uint64](ctx, h.db, "SELECT (SELECT uniqExact(event_id) FROM exposures_raw) + (SELECT uniqExact(event_id) FROM kpis_raw)", nil)
	if err != nil {
		return err
	}
	if int(once[0]) != n {
		return fmt.Errorf("%d different events are stored, want %d", once[0], n)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "from a filled topic to queryable rows, %d events\tevents/s\tratio\tpeak RSS\n", n)
	fmt.Fprintf(w, "bare clickhouse-go, row by row, blocks of 100000\t%.0f\t1.00\t\n", float64(n)/bare.Seconds())
	fmt.Fprintf(w, "aggregator, from its process's start\t%.0f\t%.2f\t%d MB\n", float64(n)/all.Seconds(), bare.Seconds()/all.Seconds(), rss>>20)
	fmt.Fprintf(w, "aggregator, until the first rows\t%s\t\t\n", first.Round(time.Millisecond))
	fmt.Fprintf(w, "CPU of broker, engine, aggregator\t%.1f s, %.1f s, %.1f s of %.1f s\t\t\n", used[0]-before[0], used[1]-before[1], used[2], all.Seconds()*float64(runtime.NumCPU()))
	return w.Flush()
}

// bareInsert stores the same rows as a program without a log would: rows made
// in a loop, appended to the client's batch, sent in blocks.
func bareInsert(ctx context.Context, h *house, n int, now int64) (time.Duration, error) {
	opts, err := clickhouse.ParseDSN(h.dsn)
	if err != nil {
		return 0, err
	}
	conn, err := clickhouse.Open(opts)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	for _, t := range []string{"exposures", "kpis"} {
		// the tables without the views that hang on them
		if err := conn.Exec(ctx, "CREATE TABLE bare_"+t+" AS "+t+"_raw"); err != nil {
			return 0, err
		}
	}
	const size = 100_000
	blocks := map[event.Kind][]event.Event{}
	var took time.Duration
	flush := func(kind event.Kind) error {
		events := blocks[kind]
		if len(events) == 0 {
			return nil
		}
		start := time.Now()
		table := map[event.Kind]string{event.Exposure: "bare_exposures", event.KPI: "bare_kpis"}[kind]
		b, err := conn.PrepareBatch(clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"optimize_on_insert": 0})), "INSERT INTO "+table)
		if err != nil {
			return err
		}
		for i := range events {
			e := &events[i]
			tags := make(map[string]string, len(e.Tags))
			for _, t := range e.Tags {
				tags[t.Key] = t.Value.Text()
			}
			anchor, user, at, received := stitch.Anchor(e.VisitorID, e.UserID), stitch.User(e.UserID), time.UnixMicro(e.Time), time.UnixMicro(e.ReceivedAt)
			if kind == event.Exposure {
				err = b.Append(e.Project, e.Experiment, anchor, user, uuid.UUID(e.ID), at, received, e.Variant, e.SDKError, e.OverrideReason,
					uint8(e.Flags), e.VisitorID, e.UserID, tags, uint16(0), int64(i))
			} else {
				err = b.Append(e.Project, e.Name, anchor, user, uuid.UUID(e.ID), at, received, e.ValueMicro, e.SDKError,
					uint8(e.Flags), e.VisitorID, e.UserID, tags, uint16(0), int64(i))
			}
			if err != nil {
				return err
			}
		}
		if err := b.Send(); err != nil {
			return err
		}
		took += time.Since(start)
		blocks[kind] = events[:0]
		return nil
	}
	// what the engine still merges is none of the other's business
	defer conn.Exec(ctx, "DROP TABLE bare_kpis")
	defer conn.Exec(ctx, "DROP TABLE bare_exposures")
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		e := makeEvent(rnd, i, now)
		blocks[e.Kind] = append(blocks[e.Kind], e)
		if len(blocks[e.Kind]) == size {
			if err := flush(e.Kind); err != nil {
				return 0, err
			}
		}
	}
	for kind := range blocks {
		if err := flush(kind); err != nil {
			return 0, err
		}
	}
	return took, nil
}

// latency sends at a steady rate and asks for the newest row of each partition
// over and over: an event is seen when its partition's newest is not older.
func latency(ctx context.Context, rate int, span time.Duration) error {
	h, err := newHouse(ctx)
	if h != nil {
		defer h.close()
	}
	if err != nil {
		return err
	}
	if _, err := h.aggregator(); err != nil {
		return err
	}
	time.Sleep(5 * time.Second) // the group forms
	type sent struct {
		partition uint16
		at        int64
	}
	const tick = 20 * time.Millisecond
	var all []sent
	done := make(chan error, 1)
	var history []sent
	go func() {
		rnd := rand.New(rand.NewPCG(3, 4))
		next := time.Now()
		for end := time.Now().Add(span); time.Now().Before(end) && ctx.Err() == nil; {
			batch := make([]event.Event, rate*int(tick)/int(time.Second))
			for i := range batch {
				batch[i] = makeEvent(rnd, 3+i%7, time.Now().UnixMicro()) // KPIs
				batch[i].ID[15] = byte(len(history))
				history = append(history, sent{uint16(eventlog.Partition([]byte(batch[i].Key()), partitions)), batch[i].ReceivedAt})
			}
			if err := h.append(ctx, batch); err != nil {
				done <- err
				return
			}
			next = next.Add(tick)
			time.Sleep(time.Until(next))
		}
		done <- nil
	}()
	type newest struct {
		Partition uint16 `ch:"p"`
		At        int64  `ch:"at"`
	}
	type poll struct {
		when   int64
		newest [partitions]int64
	}
	var polls []poll
	finished := time.Time{}
	for finished.IsZero() || time.Since(finished) < 5*time.Second {
		rows, err := warehouse.Select[newest](ctx, h.db, "SELECT topic_partition AS p, max(toUnixTimestamp64Micro(received_at)) AS at FROM kpis_raw GROUP BY p", nil)
		if err != nil {
			return err
		}
		p := poll{when: time.Now().UnixMicro()}
		for _, r := range rows {
			p.newest[r.Partition] = r.At
		}
		polls = append(polls, p)
		select {
		case err := <-done:
			if err != nil {
				return err
			}
			finished = time.Now()
		case <-time.After(20 * time.Millisecond):
		}
	}
	all = history
	var took []time.Duration
	for part := range partitions {
		i := 0
		for _, s := range all {
			if int(s.partition) != part {
				continue
			}
			for i < len(polls) && polls[i].newest[part] < s.at {
				i++
			}
			if i == len(polls) {
				return fmt.Errorf("an event of partition %d was never seen", part)
			}
			took = append(took, time.Duration(polls[i].when-s.at)*time.Microsecond)
		}
	}
	slices.Sort(took)
	at := func(q float64) time.Duration { return took[int(q*float64(len(took)-1))].Round(time.Millisecond) }
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "from receipt to a visible row, %d events/s for %s\tp50\tp99\tworst\n", rate, span)
	fmt.Fprintf(w, "aggregator, default settings\t%s\t%s\t%s\n", at(.5), at(.99), at(1))
	return w.Flush()
}

// cpu is what the children have used, in seconds: broker, engine, aggregator.
func (h *house) cpu() (used [3]float64) {
	for i, c := range h.children {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Process.Pid))
		if err != nil || i >= len(used) {
			continue
		}
		// user and system time, in hundredths, behind the name in brackets
		_, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); len(f) > 13 {
			user, _ := strconv.ParseFloat(f[11], 64)
			system, _ := strconv.ParseFloat(f[12], 64)
			used[i] = (user + system) / 100
		}
	}
	return used
}

// peakRSS is the most memory that a process has held, in bytes.
func peakRSS(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the aggregator's memory: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM for process %d", pid)
}
