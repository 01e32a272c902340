// Package load brings events from the log into the warehouse, each counted
// once: it is what the aggregator runs.
//
// A consumer group shares out the partitions. Each member has one lane per
// topic, which gathers the records of all its partitions of that topic into one
// batch, a contiguous range of offsets per partition, and stores it in steps:
//
//  1. commit the ranges' starts, with their ends as metadata: the plan
//  2. insert the rows
//  3. append what could not be read to the dead letters
//  4. write the ranges to the ledger, table batches
//  5. commit the ranges' ends
//
// A process may die between any two. Whoever owns a partition next finds the
// plan and works the same range off again, from step 1; every target is
// idempotent, so a repetition changes no number, and the ledger's ranges never
// overlap. A step that fails is repeated until it works: nothing is dropped,
// and nothing more is read than two batches per lane.
package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/deadletter"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/telemetry"
	"github.com/hypostream/hypostream/pkg/warehouse"
)

// Config bounds batches and waits. Zero fields stand for the defaults named in
// their tags.
type Config struct {
	GroupID        string        `env:"GROUP_ID, default=hypostream-aggregator" desc:"consumer group that shares the partitions out"`
	SessionTimeout time.Duration `env:"SESSION_TIMEOUT, default=10s" desc:"how long a member may be silent before others take over"`
	BatchRows      int           `env:"BATCH_ROWS, default=118000" desc:"a batch is stored when it has this many events"`
	BatchBytes     int           `env:"BATCH_BYTES, default=33554432" desc:"… or this many bytes of log"`
	BatchAge       time.Duration `env:"BATCH_AGE, default=1s" desc:"… or its first event has waited this long"`
	Inserts        int           `env:"INSERTS, default=3" desc:"inserts under way at once; each costs a batch of memory"`
	InsertTimeout  time.Duration `env:"INSERT_TIMEOUT, default=2m" desc:"limit on one insert, after which it is repeated"`
	FlushTimeout   time.Duration `env:"FLUSH_TIMEOUT, default=10s" desc:"what is under way may take this long when partitions are given up or the process stops"`
	StallAfter     time.Duration `env:"STALL_AFTER, default=1m" desc:"not ready when events wait and nothing is stored for this long"`
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if c.GroupID == "" {
		c.GroupID = "hypostream-aggregator"
	}
	if c.BatchRows == 0 {
		c.BatchRows = 118_000
	}
	if c.BatchBytes == 0 {
		c.BatchBytes = 32 << 20
	}
	if c.Inserts == 0 {
		c.Inserts = 3
	}
	set(&c.SessionTimeout, 10*time.Second)
	set(&c.BatchAge, time.Second)
	set(&c.InsertTimeout, 2*time.Minute)
	set(&c.FlushTimeout, 10*time.Second)
	set(&c.StallAfter, time.Minute)
	return c
}

// Validate reports every fault.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.BatchRows < 1 || c.BatchRows > 1_000_000 {
		errs = append(errs, fmt.Errorf("BATCH_ROWS: %d is not between 1 and 1000000", c.BatchRows))
	}
	if c.BatchBytes < 1 || c.BatchBytes > 1<<30 {
		errs = append(errs, fmt.Errorf("BATCH_BYTES: %d is not between 1 and 1 GiB", c.BatchBytes))
	}
	if c.Inserts < 1 || c.Inserts > 16 {
		errs = append(errs, fmt.Errorf("INSERTS: %d is not between 1 and 16", c.Inserts))
	}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"SESSION_TIMEOUT", c.SessionTimeout}, {"BATCH_AGE", c.BatchAge}, {"INSERT_TIMEOUT", c.InsertTimeout},
		{"FLUSH_TIMEOUT", c.FlushTimeout}, {"STALL_AFTER", c.StallAfter},
	} {
		if d.v < 0 {
			errs = append(errs, fmt.Errorf("%s: %s is negative", d.name, d.v))
		}
	}
	// The group waits 30 s for a member to let go.
	if c.FlushTimeout > 25*time.Second {
		errs = append(errs, fmt.Errorf("FLUSH_TIMEOUT: %s is over the 25 s that a rebalance leaves", c.FlushTimeout))
	}
	return errors.Join(errs...)
}

// Loader is one member of the group.
type Loader struct {
	cfg     Config
	log     *eventlog.Log
	codec   *codec.Codec
	db      *warehouse.DB
	letters *deadletter.Writer
	topics  event.Topics
	slog    *slog.Logger
	member  string
	metrics *metrics
	inserts chan struct{} // one for each insert that may be under way

	// step is asked before each step of a batch; an error ends the member on
	// the spot, as a kill would. For tests.
	step func(step) error

	mu     sync.Mutex
	joined bool
	lanes  []*lane
	faults map[place]error // what is being retried
}

// place is where something may be retried.
type place struct {
	topic     string
	partition int32 // -1: all of the member's
}

// step is one of the steps of storing a batch.
type step int

const (
	stepPlan step = iota
	stepInsert
	stepLetters
	stepLedger
	stepCommit
	stepDone
)

// New makes a member; Run joins the group.
func New(cfg Config, topics event.Topics, log *eventlog.Log, c *codec.Codec, db *warehouse.DB, letters *deadletter.Writer, t *telemetry.Telemetry, logger *slog.Logger) (*Loader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	host, _ := os.Hostname()
	l := &Loader{
		cfg: cfg.withDefaults(), log: log, codec: c, db: db, letters: letters, topics: topics, slog: logger,
		member: fmt.Sprintf("%s-%s", host, uuid.NewString()[:8]),
		step:   func(step) error { return nil },
		faults: map[place]error{},
	}
	l.inserts = make(chan struct{}, l.cfg.Inserts)
	l.metrics = newMetrics(t, l)
	return l, nil
}

// errEnded ends a member on the spot.
var errEnded = errors.New("ended")

// Run works until ctx ends: what is under way is then stored, committed, and
// the group left.
func (l *Loader) Run(ctx context.Context) error {
	group, err := l.log.NewGroup(eventlog.GroupConfig{ID: l.cfg.GroupID, Topics: l.topics.Events(), SessionTimeout: l.cfg.SessionTimeout})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for {
		gen, err := group.Next(ctx)
		if err != nil {
			// Close waits for the lanes, which flush.
			closeErr := group.Close()
			l.begin(nil)
			if cause := context.Cause(ctx); ctx.Err() != nil {
				if errors.Is(cause, errEnded) {
					return cause
				}
				return nil
			}
			return errors.Join(err, closeErr)
		}
		var lanes []*lane
		for _, kind := range []event.Kind{event.Exposure, event.KPI, event.Match} {
			if n := newLane(l, gen, kind); len(n.parts) > 0 {
				lanes = append(lanes, n)
			}
		}
		l.begin(lanes)
		for _, n := range lanes {
			gen.Start(func(genCtx context.Context) {
				if err := n.run(genCtx); errors.Is(err, errEnded) {
					cancel(err)
				}
			})
		}
	}
}

// begin notes the lanes of a new generation.
func (l *Loader) begin(lanes []*lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lanes, l.joined = lanes, true
	clear(l.faults)
}

// Ready says why the member is not doing its work, for a readiness probe.
func (l *Loader) Ready(context.Context) error {
	l.mu.Lock()
	joined := l.joined
	var errs []error
	for at, err := range l.faults {
		errs = append(errs, fmt.Errorf("%s: %w", at, err))
	}
	l.mu.Unlock()
	if !joined {
		return errors.New("joining the consumer group")
	}
	if stalled := l.stalled(); stalled > l.cfg.StallAfter {
		errs = append(errs, fmt.Errorf("%d events wait, and nothing was stored for %s", l.lag(), stalled.Round(time.Second)))
	}
	return errors.Join(errs...)
}

// fault notes what is being retried somewhere, or that it is over (nil).
func (l *Loader) fault(at place, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		delete(l.faults, at)
	} else {
		l.faults[at] = err
	}
}

func (p place) String() string {
	if p.partition < 0 {
		return p.topic
	}
	return fmt.Sprintf("%s-%d", p.topic, p.partition)
}
