// Package aggregator wires the log to the warehouse.
package aggregator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/deadletter"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/load"
	"github.com/hypostream/hypostream/pkg/runner"
	"github.com/hypostream/hypostream/pkg/telemetry"
	"github.com/hypostream/hypostream/pkg/warehouse"
)

// Config is all that the aggregator reads from its environment.
type Config struct {
	AdminAddr   string `env:"ADMIN_ADDR, default=:8081" desc:"where health and metrics are served"`
	TopicPrefix string `env:"TOPIC_PREFIX, default=hypostream" desc:"what the topics' names start with"`
	Migrate     bool   `env:"MIGRATE, default=true" desc:"bring the warehouse's tables to this version at start"`
	Load        load.Config
	Warehouse   warehouse.Config
	Kafka       eventlog.Config
	Codec       codec.Config
	HTTP        runner.HTTP
}

// Run loads events until ctx ends; what is under way is then stored and
// committed. started, if not nil, is told the admin address once it listens.
func Run(ctx context.Context, cfg Config, log *slog.Logger, started func(addr net.Addr)) error {
	ln, err := runner.Listen(cfg.AdminAddr, "ADMIN_ADDR")
	if err != nil {
		return err
	}
	defer ln.Close()
	events, err := eventlog.Open(ctx, cfg.Kafka)
	if err != nil {
		return err
	}
	defer events.Close()
	db, err := warehouse.Open(ctx, cfg.Warehouse)
	if err != nil {
		return err
	}
	defer db.Close()
	tel := telemetry.New("aggregator")
	tel.Probe("log", events.Ping)
	tel.Probe("warehouse", db.Ping)
	mux := http.NewServeMux()
	tel.Register(mux)
	if started != nil {
		started(ln.Addr())
	}

	var loader atomic.Pointer[load.Loader]
	tel.Probe("load", func(ctx context.Context) error {
		if l := loader.Load(); l != nil {
			return l.Ready(ctx)
		}
		return errors.New("waiting for the log and the warehouse")
	})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return runner.Serve(ctx, ln, mux, cfg.HTTP, tel) })
	group.Go(func() error {
		topics := event.NewTopics(cfg.TopicPrefix)
		if err := prepare(ctx, cfg, events, db, topics); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		c, err := codec.New(ctx, cfg.Codec, topics)
		if err != nil {
			return err
		}
		producer, err := events.NewProducer(eventlog.ProducerConfig{})
		if err != nil {
			return err
		}
		defer producer.Close()
		l, err := load.New(cfg.Load, topics, events, c, db, deadletter.New(producer, c, topics.DeadLetters), tel, log)
		if err != nil {
			return err
		}
		loader.Store(l)
		return l.Run(ctx)
	})
	return group.Wait()
}

// prepare waits for both ends and makes what is missing there.
func prepare(ctx context.Context, cfg Config, events *eventlog.Log, db *warehouse.DB, topics event.Topics) error {
	if err := events.WaitReady(ctx); err != nil {
		return err
	}
	// Whichever service comes first makes the topics.
	if err := events.EnsureTopics(ctx, eventlog.Topic{Name: topics.Exposures}, eventlog.Topic{Name: topics.KPIs},
		eventlog.Topic{Name: topics.Matches}, eventlog.Topic{Name: topics.DeadLetters}); err != nil {
		return fmt.Errorf("making sure of the topics: %w", err)
	}
	if err := db.WaitReady(ctx); err != nil {
		return err
	}
	if cfg.Migrate {
		if err := db.Migrate(ctx); err != nil {
			return fmt.Errorf("migrating the warehouse: %w", err)
		}
	}
	return nil
}
