package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/config"
	"github.com/hypostream/hypostream/pkg/embedded/broker"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/intake"
	"github.com/hypostream/hypostream/pkg/registry"
	"github.com/hypostream/hypostream/pkg/runner"
	"github.com/hypostream/hypostream/pkg/telemetry"
)

const benchToken = "hs_benchmark-token"

func serveBroker(ctx context.Context) error {
	b, err := broker.Start(ctx, broker.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	fmt.Println(b.Addr())
	<-ctx.Done()
	return b.Close()
}

// one is a registry that knows one token, and hashes what it is asked for as
// the real one does.
type one struct{}

var benchHash = registry.HashToken(benchToken)

func (one) Authenticate(token string) (string, bool) {
	return "bench", registry.HashToken(token) == benchHash
}
func (one) Experiments(string) []*experiment.Experiment { return nil }
func (one) Revision() uint64                            { return 1 }

// nothing is a log that keeps nothing: the floor.
type nothing struct{}

func (nothing) Append(context.Context, []eventlog.Record) error { return nil }
func (nothing) Write(context.Context, []event.DeadLetter) error { return nil }

// writer is kafka-go's own Writer in the log's place, with the setting that was
// best for it at one event a request.
type writer struct{ w *kafka.Writer }

func (w writer) Append(ctx context.Context, recs []eventlog.Record) error {
	msgs := make([]kafka.Message, len(recs))
	for i, r := range recs {
		msgs[i] = kafka.Message{Topic: r.Topic, Key: r.Key, Value: r.Value}
	}
	return w.w.WriteMessages(ctx, msgs...)
}

// serveIngest is cmd/ingest's handler with a choice of sink.
func serveIngest(ctx context.Context, sink, brokers, profile string) error {
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	var cfg struct { // with the defaults
		Intake   intake.Config
		Producer eventlog.ProducerConfig
		HTTP     runner.HTTP
	}
	if err := config.LoadFrom(ctx, &cfg, nil); err != nil {
		return err
	}
	topics, tel := event.NewTopics("bench"), telemetry.New("ingest")
	c, err := codec.New(ctx, codec.Config{}, topics)
	if err != nil {
		return err
	}
	var to intake.Appender = nothing{}
	if sink != "none" {
		l, err := eventlog.Open(ctx, eventlog.Config{Brokers: []string{brokers}})
		if err != nil {
			return err
		}
		defer l.Close()
		for _, name := range topics.Events() {
			if err := l.EnsureTopics(ctx, eventlog.Topic{Name: name, Partitions: 8}); err != nil {
				return err
			}
		}
		switch sink {
		case "log":
			p, err := l.NewProducer(cfg.Producer)
			if err != nil {
				return err
			}
			defer p.Close()
			to = p
		case "writer":
			w := &kafka.Writer{Addr: kafka.TCP(brokers), Balancer: kafka.Murmur2Balancer{}, RequiredAcks: kafka.RequireAll, BatchSize: 100, BatchTimeout: time.Millisecond}
			defer w.Close()
			to = writer{w}
		}
	}
	h := intake.New(cfg.Intake, to, nothing{}, c, topics, func() intake.Projects { return one{} }, tel)
	mux := http.NewServeMux()
	h.Register(mux)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	debug.SetGCPercent(400) // as cmd/ingest does
	fmt.Println(ln.Addr())
	return runner.Serve(ctx, ln, mux, cfg.HTTP, tel)
}
