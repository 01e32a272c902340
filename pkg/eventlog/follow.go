package eventlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Follow calls fn with every record of a topic from its beginning, and then
// with every new one as it comes, until ctx ends or fn returns an error, which
// it returns. caughtUp, if not nil, is called once, when fn has seen all that
// was in the topic when Follow started.
//
// fn is never called twice at a time; records of one partition come in order.
// Follow waits for a topic that does not exist yet and outlives the brokers'
// absence. When retention has deleted what it was about to read, it goes on at
// the new beginning.
func (l *Log) Follow(ctx context.Context, topic string, fn func(Record) error, caughtUp func()) error {
	if caughtUp == nil {
		caughtUp = func() {}
	}
	starts, ends, err := l.extent(ctx, topic)
	if err != nil {
		return err
	}
	var mu sync.Mutex // held for fn and caughtUp
	behind := 0
	for p := range starts {
		if starts[p] < ends[p] {
			behind++
		}
	}
	if behind == 0 {
		caughtUp()
	}
	group, ctx := errgroup.WithContext(ctx)
	for p := range starts {
		group.Go(func() error {
			waiting := starts[p] < ends[p]
			return l.followPartition(ctx, topic, p, starts[p], func(recs []Record, position int64) error {
				mu.Lock()
				defer mu.Unlock()
				for i := range recs {
					if err := fn(recs[i]); err != nil {
						return err
					}
				}
				if waiting && position >= ends[p] {
					waiting = false
					if behind--; behind == 0 {
						caughtUp()
					}
				}
				return nil
			})
		})
	}
	return group.Wait()
}

// extent waits for a topic and returns where its partitions start and end.
func (l *Log) extent(ctx context.Context, topic string) (starts, ends map[int32]int64, err error) {
	var said time.Time
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		var s, e map[string]map[int32]int64
		if s, err = l.StartOffsets(ctx, topic); err == nil {
			if e, err = l.EndOffsets(ctx, topic); err == nil {
				return s[topic], e[topic], nil
			}
		}
		if ctx.Err() == nil && time.Since(said) > 10*time.Second {
			slog.Warn("waiting for a topic", "topic", topic, "error", err)
			said = time.Now()
		}
		if !sleep(ctx, pause) {
			return nil, nil, ctx.Err()
		}
	}
}

func (l *Log) followPartition(ctx context.Context, topic string, partition int32, offset int64, give func([]Record, int64) error) error {
	var r *PartitionReader
	defer func() {
		if r != nil {
			r.Close()
		}
	}()
	var buf []Record
	var failing, said time.Time
	for {
		var err error
		if r == nil {
			r, err = l.OpenPartition(ctx, topic, partition, offset)
		}
		if err == nil {
			buf, err = r.Read(ctx, 1000, buf)
			if err == nil {
				failing, said = time.Time{}, time.Time{}
				if err := give(buf, r.Offset()); err != nil {
					return err
				}
				continue
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, ErrOffsetOutOfRange) {
			if starts, serr := l.StartOffsets(ctx, topic); serr == nil {
				slog.Warn("topic was cut under its reader", "topic", topic, "partition", partition, "at", r.Offset(), "start", starts[topic][partition])
				r.Close()
				r, offset = nil, starts[topic][partition]
			}
		}
		if failing.IsZero() {
			failing = time.Now()
		}
		if time.Since(said) > 10*time.Second {
			slog.Warn("following a topic is interrupted", "topic", topic, "partition", partition,
				"for", time.Since(failing).Round(time.Millisecond), "error", err)
			said = time.Now()
		}
		if !sleep(ctx, 200*time.Millisecond) {
			return fmt.Errorf("following %s: %w", topic, ctx.Err())
		}
	}
}
