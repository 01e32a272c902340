// Package eventlog is the durable log between the front door and the
// warehouse: Kafka topics written with acks from all in-sync replicas and read
// by partition.
//
//   - [Producer] appends records; a nil error means that every in-sync replica
//     has them.
//   - [Group] hands out partitions to the members of a consumer group,
//     generation by generation, and commits offsets with metadata.
//   - [PartitionReader] reads one partition from an offset.
//   - [Log.Follow] reads a whole (compacted) topic and then every change to it.
//
// It speaks Kafka's protocol through kafka-go, of which it is the only
// importer, and needs brokers of version 2.1 or later.
package eventlog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Header is one header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Record is one entry of the log.
type Record struct {
	Topic string
	// Key chooses the partition, see [Partition]; with a nil key any
	// partition will do.
	Key     []byte
	Value   []byte
	Headers []Header
	// Time is in microseconds UTC; 0 means now. The log keeps milliseconds,
	// so what is read is rounded down to them.
	Time int64
	// Partition and Offset are set on what is read and ignored on Append.
	Partition int32
	Offset    int64
}

// Log is a client of one Kafka cluster. It is safe for concurrent use.
type Log struct {
	cfg     Config
	cluster *cluster

	mu           sync.Mutex
	coordinators map[string]*link // by group id
}

// Open checks the configuration and returns a Log. It does not wait for the
// brokers: connections are made when they are needed, see [Log.WaitReady].
func Open(ctx context.Context, cfg Config) (*Log, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c, err := newCluster(cfg)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return &Log{cfg: cfg, cluster: c, coordinators: make(map[string]*link)}, nil
}

// Close drops the Log's connections. Producers, groups and readers are closed
// by their owners before.
func (l *Log) Close() error {
	l.mu.Lock()
	for id, k := range l.coordinators {
		k.close()
		delete(l.coordinators, id)
	}
	l.mu.Unlock()
	l.cluster.close()
	return nil
}

// WaitReady waits until a broker answers. It says so in the log when it has to
// wait, and returns only ctx's error.
func (l *Log) WaitReady(ctx context.Context) error {
	const every = 10 * time.Second
	start := time.Now()
	var said time.Time
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := l.cluster.refresh(ctx)
		if err == nil {
			if !said.IsZero() {
				slog.Info("log is ready", "brokers", l.cfg.Brokers, "waited", time.Since(start).Round(time.Millisecond))
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Since(said) >= every {
			slog.Warn("waiting for the log", "brokers", l.cfg.Brokers, "error", err)
			said = time.Now()
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// Ping asks a broker for the cluster's layout, for readiness probes.
func (l *Log) Ping(ctx context.Context) error { return l.cluster.refresh(ctx) }

// sleep waits for d and reports whether it did: false when ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
