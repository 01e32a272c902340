package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/deadletter"
	"github.com/hypostream/hypostream/pkg/embedded/broker/brokertest"
	"github.com/hypostream/hypostream/pkg/embedded/engine/enginetest"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/stitch"
	"github.com/hypostream/hypostream/pkg/warehouse"
	"github.com/hypostream/hypostream/pkg/warehouse/warehousetest"
)

func TestMain(m *testing.M) { warehousetest.Main(m) }

const partitions = 3

// bench is a log and a warehouse, and what was put into the log.
type bench struct {
	t        *testing.T
	dsn      string
	db       *warehouse.DB
	log      *eventlog.Log
	codec    *codec.Codec
	producer *eventlog.Producer
	topics   event.Topics
	cfg      Config
	said     *buffer
	sent     atomic.Int64
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

var prefixes atomic.Int64

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dsn: enginetest.Database(t), said: &buffer{}}
	b.db = warehousetest.OpenDSN(t, b.dsn)
	var err error
	b.log, err = eventlog.Open(t.Context(), eventlog.Config{Brokers: brokertest.Brokers(t), FetchWait: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.log.Close() })
	b.fresh()
	return b
}

// fresh goes on with new topics and a new group.
func (b *bench) fresh() {
	b.t.Helper()
	// A real broker keeps topics from one run to the next.
	prefix := fmt.Sprintf("load-%d-%d", time.Now().UnixNano(), prefixes.Add(1))
	b.topics = event.NewTopics(prefix)
	b.cfg = Config{GroupID: prefix, BatchAge: 20 * time.Millisecond, SessionTimeout: 6 * time.Second}
	for _, topic := range append(b.topics.Events(), b.topics.DeadLetters) {
		if err := b.log.EnsureTopics(b.t.Context(), eventlog.Topic{Name: topic, Partitions: partitions}); err != nil {
			b.t.Fatal(err)
		}
	}
	var err error
	if b.codec, err = codec.New(b.t.Context(), codec.Config{}, b.topics); err != nil {
		b.t.Fatal(err)
	}
	if b.producer, err = b.log.NewProducer(eventlog.ProducerConfig{}); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { b.producer.Close() })
	b.sent.Store(0)
}

// send appends events to their topics.
func (b *bench) send(events ...event.Event) {
	b.t.Helper()
	recs := make([]eventlog.Record, len(events))
	for i := range events {
		v, err := b.codec.AppendEvent(nil, &events[i])
		if err != nil {
			b.t.Fatal(err)
		}
		recs[i] = eventlog.Record{Topic: b.topics.Of(events[i].Kind), Key: []byte(events[i].Key()), Value: v}
	}
	b.sendRaw(recs...)
}

func (b *bench) sendRaw(recs ...eventlog.Record) {
	b.t.Helper()
	if err := b.producer.Append(b.t.Context(), recs); err != nil {
		b.t.Fatal(err)
	}
	b.sent.Add(int64(len(recs)))
}

// member makes a loader.
func (b *bench) member(db *warehouse.DB) *Loader {
	b.t.Helper()
	letters := deadletter.New(b.producer, b.codec, b.topics.DeadLetters)
	l, err := New(b.cfg, b.topics, b.log, b.codec, db, letters, nil, slog.New(slog.NewTextHandler(b.said, nil)))
	if err != nil {
		b.t.Fatal(err)
	}
	return l
}

// run starts a loader; stop ends it in order and waits.
func (b *bench) run(l *Loader) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("the loader ended with %v", err)
		}
	})
}

// caughtUp waits until the group has committed the end of every partition.
func (b *bench) caughtUp() {
	b.t.Helper()
	b.eventually("the group has caught up", func() bool {
		ends, err := b.log.EndOffsets(b.t.Context(), b.topics.Events()...)
		if err != nil {
			b.t.Fatal(err)
		}
		committed, err := b.log.Committed(b.t.Context(), b.cfg.GroupID, b.topics.Events()...)
		if err != nil {
			b.t.Fatal(err)
		}
		for topic, parts := range ends {
			for p, end := range parts {
				if c := committed[topic][p]; end > 0 && (c.Offset != end || c.Metadata != "") {
					return false
				}
			}
		}
		return true
	})
}

func (b *bench) eventually(what string, holds func() bool) {
	b.t.Helper()
	for end := time.Now().Add(60 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("not within a minute: %s\n%s", what, b.said.String())
		}
	}
}

func query[T any](b *bench, sql string, params map[string]any) []T {
	b.t.Helper()
	rows, err := warehouse.Select[T](b.t.Context(), b.db, sql, params)
	if err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	return rows
}

// checkLedger sees that the ranges of each partition follow each other from 0
// to the end, and that stored and dead make up all that was sent.
func (b *bench) checkLedger() {
	b.t.Helper()
	ends, err := b.log.EndOffsets(b.t.Context(), b.topics.Events()...)
	if err != nil {
		b.t.Fatal(err)
	}
	next := map[string]int64{}
	var total int64
	for _, r := range query[ledgerRow](b, `SELECT topic, topic_partition, from_offset, to_offset, stored, dead, attempt, member, at
		FROM batches FINAL WHERE topic IN {topics:Array(String)} ORDER BY topic, topic_partition, from_offset`, map[string]any{"topics": b.topics.Events()}) {
		at := fmt.Sprintf("%s-%d", r.Topic, r.Partition)
		if r.From != next[at] || r.To <= r.From {
			b.t.Errorf("%s: range %d to %d after %d", at, r.From, r.To, next[at])
		}
		next[at] = r.To
		total += int64(r.Stored + r.Dead)
	}
	for topic, parts := range ends {
		for p, end := range parts {
			if at := fmt.Sprintf("%s-%d", topic, p); next[at] != end {
				b.t.Errorf("%s: the ledger ends at %d, the log at %d", at, next[at], end)
			}
		}
	}
	if total != b.sent.Load() {
		b.t.Errorf("the ledger has %d messages, %d were sent", total, b.sent.Load())
	}
}

var base = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// person is an entity's figures as the views must show them.
type person struct {
	Entity    uint64 `ch:"entity"`
	Exposures uint64 `ch:"exposures"`
	KPIs      uint64 `ch:"kpis"`
	Micro     int64  `ch:"micro"`
}

type identity struct {
	Visitor uint64 `ch:"visitor"`
	User    string `ch:"user_id"`
	Owner   uint64 `ch:"owner"`
	Shared  bool   `ch:"shared"`
}

// population is events of a few visitors and users who meet in every way.
func population(rnd *rand.Rand, project string, n int) []event.Event {
	visitor := func() string { return fmt.Sprint("v", rnd.IntN(8)) }
	user := func() string { return fmt.Sprint("u", rnd.IntN(5)) }
	var out []event.Event
	for i := range n {
		at := base + rnd.Int64N(1000)
		e := event.Event{Project: project, ID: event.ID{byte(i), byte(i >> 8), byte(rnd.Int()), 1}, Time: at, ReceivedAt: at + 5}
		switch e.Kind = event.Kind(1 + rnd.IntN(3)); e.Kind {
		case event.Match:
			e.VisitorID, e.UserID = visitor(), user()
		default:
			switch rnd.IntN(3) {
			case 0:
				e.VisitorID = visitor()
			case 1:
				e.UserID = user()
			default:
				e.VisitorID, e.UserID = visitor(), user()
			}
			e.Experiment, e.Variant = "x", "b"
			if e.Kind == event.KPI {
				e.Experiment, e.Variant = "", ""
				e.Name, e.ValueMicro = "buy", rnd.Int64N(1_000_000)
			}
		}
		out = append(out, e)
	}
	return out
}

// truth works the answer out from the events alone, in plain loops.
func truth(events []event.Event) (map[uint64]person, map[uint64]identity) {
	once := map[event.ID]event.Event{}
	for _, e := range events {
		once[e.ID] = e
	}
	first := map[string]event.Event{}
	users := map[string]map[string]bool{}
	for _, e := range once {
		if e.Kind != event.Match {
			continue
		}
		if users[e.VisitorID] == nil {
			users[e.VisitorID] = map[string]bool{}
		}
		users[e.VisitorID][e.UserID] = true
		f, ok := first[e.VisitorID]
		if !ok || e.Time < f.Time || e.Time == f.Time && e.UserID < f.UserID {
			first[e.VisitorID] = e
		}
	}
	people := map[uint64]person{}
	for _, e := range once {
		if e.Kind == event.Match {
			continue
		}
		id := stitch.Visitor(e.VisitorID)
		if owner, ok := first[e.VisitorID]; ok {
			id = stitch.User(owner.UserID)
		}
		if e.UserID != "" {
			id = stitch.User(e.UserID)
		}
		p := people[id]
		p.Entity = id
		if e.Kind == event.Exposure {
			p.Exposures++
		} else {
			p.KPIs++
			p.Micro += e.ValueMicro
		}
		people[id] = p
	}
	ids := map[uint64]identity{}
	for v, e := range first {
		ids[stitch.Visitor(v)] = identity{stitch.Visitor(v), e.UserID, stitch.User(e.UserID), len(users[v]) > 1}
	}
	return people, ids
}

// checkViews compares the views with the truth.
func (b *bench) checkViews(project string, events []event.Event) {
	b.t.Helper()
	wantPeople, wantIDs := truth(events)
	people := map[uint64]person{}
	for _, p := range query[person](b, `SELECT entity, countIf(kind = 1) AS exposures, countIf(kind = 2) AS kpis, sum(micro) AS micro FROM (
			SELECT entity, 1 AS kind, toInt64(0) AS micro FROM exposures WHERE project = {project:String}
			UNION ALL SELECT entity, 2 AS kind, value_micro AS micro FROM kpis WHERE project = {project:String}) GROUP BY entity`,
		map[string]any{"project": project}) {
		people[p.Entity] = p
	}
	if d := cmp.Diff(wantPeople, people); d != "" {
		b.t.Errorf("entities, expected and stored:\n%s", d)
	}
	ids := map[uint64]identity{}
	for _, x := range query[identity](b, "SELECT visitor, user_id, owner, shared FROM identities WHERE project = {project:String}", map[string]any{"project": project}) {
		ids[x.Visitor] = x
	}
	if d := cmp.Diff(wantIDs, ids); d != "" {
		b.t.Errorf("identities, expected and stored:\n%s", d)
	}
}

// Any order, any repetition, any delay, with members that come and go between:
// the views say what brute force says.
func TestAnyOrderAndRepetitionGivesTheSameViews(t *testing.T) {
	b := newBench(t)
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for round := range rounds {
		rnd := rand.New(rand.NewPCG(seed, uint64(round)))
		b.fresh()
		b.cfg.BatchRows = 1 + rnd.IntN(40)
		project := fmt.Sprint("p", round)
		events := population(rnd, project, 200)
		var all []event.Event
		for _, e := range events {
			for range 1 + rnd.IntN(3) { // a retried request is received later
				all = append(all, e)
				e.ReceivedAt += rnd.Int64N(40 * int64(24*time.Hour/time.Microsecond))
			}
		}
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for len(all) > 0 {
			n := min(len(all), 1+rnd.IntN(150))
			stop := b.run(b.member(b.db))
			b.send(all[:n]...)
			if rnd.IntN(2) == 0 {
				b.caughtUp()
			}
			stop()
			all = all[n:]
		}
		stop := b.run(b.member(b.db))
		b.caughtUp()
		stop()
		b.checkViews(project, events)
		b.checkLedger()
	}
}

// A member that dies at any step, any number of times, changes no number: the
// next one finds the plan and repeats the range.
func TestDyingAtAnyStepCountsExactly(t *testing.T) {
	b := newBench(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	events := population(rnd, "p", 600)
	b.cfg.BatchRows = 30
	rest := events
	for round := range 3 {
		for s := stepPlan; s <= stepDone; s++ {
			n := min(len(rest), 40)
			b.send(rest[:n]...)
			rest = rest[n:]
			l := b.member(b.db)
			var dead atomic.Bool
			var times atomic.Int64
			l.step = func(at step) error {
				if at == s && times.Add(1) > int64(round) {
					dead.Store(true)
				}
				if dead.Load() {
					return errEnded
				}
				return nil
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			if err := l.Run(ctx); !errors.Is(err, errEnded) {
				t.Fatalf("round %d, step %d: the member ended with %v, and was not killed", round, s, err)
			}
			cancel()
		}
	}
	b.send(rest...)
	stop := b.run(b.member(b.db))
	b.caughtUp()
	stop()
	b.checkViews("p", events)
	b.checkLedger()
	// The deaths did happen between plan and commit: ranges were repeated.
	if n := query[uint64](b, "SELECT countIf(attempt > 1) FROM batches", nil)[0]; n == 0 {
		t.Error("no range was repeated")
	}
}

func TestMembersShareThePartitionsAndTakeOver(t *testing.T) {
	b := newBench(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	events := population(rnd, "p", 900)
	b.cfg.BatchRows = 20
	members := func() uint64 { return query[uint64](b, "SELECT uniqExact(member) FROM batches", nil)[0] }

	stopA := b.run(b.member(b.db))
	b.send(events[:200]...)
	b.caughtUp()
	stopB := b.run(b.member(b.db))
	sent := 200
	b.eventually("two members work", func() bool {
		if sent < 500 {
			b.send(events[sent : sent+10]...)
			sent += 10
		}
		time.Sleep(50 * time.Millisecond)
		return members() >= 2
	})
	stopA()
	b.send(events[sent : sent+100]...)
	stopC := b.run(b.member(b.db))
	b.send(events[sent+100:]...)
	b.caughtUp()
	stopB()
	stopC()
	b.checkViews("p", events)
	b.checkLedger()
}

// proxy passes connections on to the engine while it is open.
type proxy struct {
	addr, target string
	mu           sync.Mutex
	ln           net.Listener
	conns        map[net.Conn]bool
}

func newProxy(t *testing.T, target string) *proxy {
	p := &proxy{target: target, conns: map[net.Conn]bool{}, addr: "127.0.0.1:0"}
	p.open(t)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) open(t *testing.T) {
	ln, err := net.Listen("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	p.addr, p.ln = ln.Addr().String(), ln
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", p.target)
			if err != nil {
				in.Close()
				continue
			}
			p.mu.Lock()
			p.conns[in], p.conns[out] = true, true
			p.mu.Unlock()
			go func() { io.Copy(out, in); out.Close() }()
			go func() { io.Copy(in, out); in.Close() }()
		}
	}()
}

func (p *proxy) close() {
	p.ln.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

func TestAnEngineThatIsAwayHoldsEverythingAndLosesNothing(t *testing.T) {
	b := newBench(t)
	u, err := url.Parse(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, u.Host)
	u.Host = p.addr
	db, err := warehouse.Open(t.Context(), warehouse.Config{DSN: u.String()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	events := population(rand.New(rand.NewPCG(5, 6)), "p", 600)
	b.cfg.BatchRows = 50
	l := b.member(db)
	stop := b.run(l)
	defer stop()
	b.send(events[:200]...)
	b.caughtUp()
	if err := l.Ready(t.Context()); err != nil {
		t.Errorf("not ready at work: %v", err)
	}

	p.close()
	b.send(events[200:400]...)
	b.eventually("it says that it holds", func() bool { return l.Ready(t.Context()) != nil })
	b.send(events[400:]...)
	committed, err := b.log.Committed(t.Context(), b.cfg.GroupID, b.topics.KPIs)
	if err != nil {
		t.Fatal(err)
	}
	p.open(t)
	b.eventually("it goes on", func() bool { return l.Ready(t.Context()) == nil })
	b.caughtUp()
	stop()
	b.checkViews("p", events)
	b.checkLedger()
	planned := 0
	for part, c := range committed[b.topics.KPIs] {
		if _, ok := parsePlan(c.Offset, c.Metadata); ok {
			planned++
		} else if c.Metadata != "" {
			t.Errorf("partition %d has the metadata %q", part, c.Metadata)
		}
	}
	if planned == 0 {
		t.Error("while the engine was away no range was planned")
	}
	said := b.said.String()
	if n := strings.Count(said, "holding:"); n == 0 || n > 3 { // a line per topic
		t.Errorf("%d lines say that it holds, want one per topic:\n%s", n, said)
	}
	if strings.Count(said, "holding:") != strings.Count(said, "going on") {
		t.Errorf("not every hold has its end:\n%s", said)
	}
}

// Stopped while the engine is away, a member gives up within its time, and the
// next one stores all.
func TestStoppingWhileTheEngineIsAwayLosesNothing(t *testing.T) {
	b := newBench(t)
	u, err := url.Parse(b.dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, u.Host)
	u.Host = p.addr
	db, err := warehouse.Open(t.Context(), warehouse.Config{DSN: u.String()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p.close()
	events := population(rand.New(rand.NewPCG(7, 8)), "p", 300)
	b.cfg.BatchRows, b.cfg.FlushTimeout = 50, 200*time.Millisecond
	l := b.member(db)
	stop := b.run(l)
	b.send(events...)
	b.eventually("it says that it holds", func() bool { return l.Ready(t.Context()) != nil })
	stop()
	stop = b.run(b.member(b.db))
	b.caughtUp()
	stop()
	b.checkViews("p", events)
	b.checkLedger()
}

func TestWhatCannotBeReadGoesToTheDeadLetters(t *testing.T) {
	b := newBench(t)
	good := event.Event{Kind: event.KPI, ID: event.ID{1}, Project: "p", UserID: "u", Time: base, ReceivedAt: base, Name: "buy", ValueMicro: 1}
	encoded := func(change func(e *event.Event)) []byte {
		e := good
		change(&e)
		v, err := b.codec.AppendEvent(nil, &e)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	tests := []struct {
		name   string
		value  []byte
		reason event.Reason
	}{
		{"not ours", []byte("hello"), event.ReasonMalformed},
		{"nothing", nil, event.ReasonMalformed},
		{"cut short", encoded(func(*event.Event) {})[:20], event.ReasonMalformed},
		{"of another topic", encoded(func(e *event.Event) {
			*e = event.Event{Kind: event.Match, ID: event.ID{9}, Project: "p", UserID: "u", VisitorID: "v", Time: base, ReceivedAt: base}
		}), event.ReasonType},
		{"without a name", encoded(func(e *event.Event) { e.Name = "" }), event.ReasonMissing},
		{"without an identity", encoded(func(e *event.Event) { e.ID = event.ID{} }), event.ReasonMissing},
		{"received in no time", encoded(func(e *event.Event) { e.ReceivedAt = 1 << 62 }), event.ReasonValue},
		{"long after its receipt", encoded(func(e *event.Event) { e.Time += 1 << 50 }), event.ReasonValue},
	}
	b.send(good)
	var recs []eventlog.Record
	for _, tt := range tests {
		recs = append(recs, eventlog.Record{Topic: b.topics.KPIs, Key: []byte("same"), Value: tt.value})
	}
	b.sendRaw(recs...)
	other := good
	other.ID = event.ID{2}
	b.send(other)
	stop := b.run(b.member(b.db))
	b.caughtUp()
	stop()
	b.checkLedger()
	b.checkViews("p", []event.Event{good, other})
	if n := query[uint64](b, "SELECT sum(dead) FROM batches FINAL", nil)[0]; n != uint64(len(tests)) {
		t.Errorf("the ledger has %d dead, want %d", n, len(tests))
	}

	byOriginal := map[string]event.DeadLetter{}
	part := eventlog.Partition([]byte("same"), partitions)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := b.log.Follow(ctx, b.topics.DeadLetters, func(r eventlog.Record) error {
		d, err := b.codec.NewDecoder().DeadLetter(r.Value)
		byOriginal[string(d.Original)] = d
		return err
	}, cancel)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, ok := byOriginal[string(tt.value)]
			if !ok {
				t.Fatal("no letter has these bytes")
			}
			if d.Reason != tt.reason || d.Stage != "aggregator" || d.Topic != b.topics.KPIs || d.Partition != part || d.Offset < 0 {
				t.Errorf("letter %+v, want reason %s of partition %d", d, tt.reason, part)
			}
		})
	}
}

// A committed offset that the log does not have: said, and gone on from the
// earliest record.
func TestALogThatBeganAnewIsReadFromItsStart(t *testing.T) {
	b := newBench(t)
	events := population(rand.New(rand.NewPCG(9, 10)), "p", 60)
	b.send(events...)
	group, err := b.log.NewGroup(eventlog.GroupConfig{ID: b.cfg.GroupID, Topics: b.topics.Events()})
	if err != nil {
		t.Fatal(err)
	}
	gen, err := group.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var far []eventlog.Assigned
	for i, a := range gen.Assigned() {
		a.Offset = 1_000_000
		if i%2 == 0 {
			a.Metadata = plan{1_000_100, 3}.String()
		}
		far = append(far, a)
	}
	if err := gen.CommitAll(t.Context(), far); err != nil {
		t.Fatal(err)
	}
	if err := group.Close(); err != nil {
		t.Fatal(err)
	}
	stop := b.run(b.member(b.db))
	b.caughtUp()
	stop()
	b.checkViews("p", events)
	if !strings.Contains(b.said.String(), "level=ERROR") {
		t.Errorf("nobody was told:\n%s", b.said.String())
	}
}

func TestPlansAreReadStrictly(t *testing.T) {
	tests := []struct {
		name, metadata string
		want           plan
		ok             bool
	}{
		{"a plan", "plan/1 17 3", plan{17, 3}, true},
		{"none", "", plan{}, false},
		{"of others", "hello", plan{}, false},
		{"of a later version", "plan/2 17 3", plan{}, false},
		{"with something behind", "plan/1 17 3 4", plan{}, false},
		{"that ends before it begins", "plan/1 10 3", plan{}, false},
		{"out of range", "plan/1 99999999999999999999 1", plan{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if p, ok := parsePlan(10, tt.metadata); p != tt.want || ok != tt.ok {
				t.Errorf("%+v %v, want %+v %v", p, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestConfigurationFaultsAreNamed(t *testing.T) {
	err := Config{BatchRows: -1, BatchBytes: -1, BatchAge: -1, FlushTimeout: time.Hour}.Validate()
	for _, name := range []string{"BATCH_ROWS", "BATCH_BYTES", "BATCH_AGE", "FLUSH_TIMEOUT"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v does not name %s", err, name)
		}
	}
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}
