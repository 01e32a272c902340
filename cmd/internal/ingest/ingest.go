// Package ingest wires the front door: HTTP in, the log out.
package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/deadletter"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/intake"
	"github.com/hypostream/hypostream/pkg/registry"
	"github.com/hypostream/hypostream/pkg/runner"
	"github.com/hypostream/hypostream/pkg/telemetry"
)

// Config is all that ingest reads from its environment.
type Config struct {
	Addr        string `env:"HTTP_ADDR, default=:8080" desc:"where SDKs post to"`
	AdminAddr   string `env:"ADMIN_ADDR" desc:"a second address for health and metrics; empty: on HTTP_ADDR"`
	TopicPrefix string `env:"TOPIC_PREFIX, default=hypostream" desc:"what the topics' names start with"`
	Intake      intake.Config
	Producer    eventlog.ProducerConfig
	Kafka       eventlog.Config
	Codec       codec.Config
	HTTP        runner.HTTP
}

// Run serves until ctx ends, and then lets requests under way finish. started,
// if not nil, is told the address once it listens.
func Run(ctx context.Context, cfg Config, log *slog.Logger, started func(addr net.Addr)) error {
	// The door opens before the log is there: a balancer sees why it is not
	// ready, and SDKs get a 504 that they retry.
	ln, err := runner.Listen(cfg.Addr, "HTTP_ADDR")
	if err != nil {
		return err
	}
	defer ln.Close()
	events, err := eventlog.Open(ctx, cfg.Kafka)
	if err != nil {
		return err
	}
	defer events.Close()
	tel := telemetry.New("ingest")
	tel.Probe("log", events.Ping)
	mux, admin := http.NewServeMux(), http.NewServeMux()
	var adminLn net.Listener
	if cfg.AdminAddr == "" {
		admin = mux
	} else if adminLn, err = runner.Listen(cfg.AdminAddr, "ADMIN_ADDR"); err != nil {
		return err
	}
	tel.Register(admin)
	if started != nil {
		started(ln.Addr())
	}

	topics := event.NewTopics(cfg.TopicPrefix)
	group, ctx := errgroup.WithContext(ctx)
	if adminLn != nil {
		group.Go(func() error { return runner.Serve(ctx, adminLn, admin, cfg.HTTP, tel) })
	}
	front := runner.NewDoor()
	tel.Probe("registry", front.Ready)
	mux.Handle("/", front)
	// Requests under way at shutdown still need the log: what they stand on is
	// torn down after the server has drained.
	serving, drained := context.WithCancel(context.WithoutCancel(ctx))
	defer drained()
	group.Go(func() error { defer drained(); return runner.Serve(ctx, ln, mux, cfg.HTTP, tel) })

	group.Go(func() error {
		defer drained()
		stop := context.AfterFunc(ctx, func() {
			if front.Ready(ctx) != nil {
				drained() // never opened: nothing is under way
			}
		})
		defer stop()
		if err := events.WaitReady(serving); err != nil {
			return nil
		}
		if err := events.EnsureTopics(serving, Topics(topics)...); err != nil {
			return fmt.Errorf("making sure of the topics: %w", err)
		}
		c, err := codec.New(serving, cfg.Codec, topics)
		if err != nil {
			return err
		}
		reg, err := registry.Open(registry.Config{}, events, c, topics.Registry, log)
		if err != nil {
			return err
		}
		defer reg.Close()
		producer, err := events.NewProducer(cfg.Producer)
		if err != nil {
			return err
		}
		defer producer.Close()
		handler := intake.New(cfg.Intake, producer, deadletter.New(producer, c, topics.DeadLetters), c, topics,
			func() intake.Projects { return reg.Snapshot() }, tel)
		inner, innerCtx := errgroup.WithContext(serving)
		inner.Go(func() error { return reg.Run(innerCtx) })
		inner.Go(func() error {
			if err := reg.WaitReady(innerCtx); err != nil {
				return nil
			}
			routes := http.NewServeMux()
			handler.Register(routes)
			front.Open(routes)
			log.Info("ingest is ready", "addr", ln.Addr().String())
			return nil
		})
		return inner.Wait()
	})
	return group.Wait()
}

// Topics are the topics that must exist, as they are created.
func Topics(t event.Topics) []eventlog.Topic {
	return []eventlog.Topic{{Name: t.Exposures}, {Name: t.KPIs}, {Name: t.Matches}, {Name: t.DeadLetters}, registry.Topic(t.Registry)}
}
