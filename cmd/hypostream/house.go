package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hypostream/hypostream/cmd/internal/aggregator"
	"github.com/hypostream/hypostream/cmd/internal/analyzer"
	"github.com/hypostream/hypostream/cmd/internal/ingest"
	"github.com/hypostream/hypostream/pkg/config"
	"github.com/hypostream/hypostream/pkg/embedded/broker"
	"github.com/hypostream/hypostream/pkg/embedded/engine"
)

// place is where the house keeps its data and listens.
type place struct {
	data       string
	throwAway  bool
	http       string
	api        string
	kafka      string
	clickhouse string
}

func (p *place) flags(f *flag.FlagSet) {
	f.StringVar(&p.data, "data", "./data", "folder to keep everything in")
	f.BoolVar(&p.throwAway, "throwaway", false, "keep nothing: a temporary folder, and any free ports")
	f.StringVar(&p.http, "http", "127.0.0.1:8080", "where SDKs post events to")
	f.StringVar(&p.api, "api", "127.0.0.1:8090", "where results and the admin API are")
	f.StringVar(&p.kafka, "kafka", "127.0.0.1:9092", "where the embedded broker listens")
	f.StringVar(&p.clickhouse, "clickhouse", "127.0.0.1:8123", "where the embedded ClickHouse engine listens")
}

// house is the whole platform in this process.
type house struct {
	broker *broker.Broker
	engine *engine.Server
	group  *errgroup.Group
	cancel context.CancelFunc
	ctx    context.Context
	ingest string // host:port
	api    string
	temp   string // removed at the end
}

// settle is called before the services start, to change their configuration.
type settle func(*ingest.Config, *aggregator.Config, *analyzer.Config)

// open starts the engines and then the three services on them.
func open(ctx context.Context, p place, change settle) (_ *house, err error) {
	h := &house{}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	if p.throwAway {
		if h.temp, err = os.MkdirTemp("", "hypostream-"); err != nil {
			return nil, err
		}
		p.data = h.temp
		p.http, p.api, p.kafka, p.clickhouse = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	}
	if err := os.MkdirAll(p.data, 0o755); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	// The engines outlive ctx: the services drain into them first.
	whole := context.WithoutCancel(ctx)
	if h.broker, err = broker.Start(whole, broker.Config{Addr: p.kafka, DataDir: filepath.Join(p.data, "broker")}); err != nil {
		return nil, fmt.Errorf("starting the broker (-kafka %s, -data %s): %w", p.kafka, p.data, err)
	}
	if h.engine, err = engine.Start(whole, engine.Config{Addr: p.clickhouse, DataDir: filepath.Join(p.data, "clickhouse")}); err != nil {
		return nil, fmt.Errorf("starting the ClickHouse engine (-clickhouse %s): %w", p.clickhouse, err)
	}
	var in ingest.Config
	var ag aggregator.Config
	var an analyzer.Config
	for _, cfg := range []any{&in, &ag, &an} {
		if err := config.Load(ctx, cfg); err != nil {
			return nil, err
		}
	}
	in.Addr, ag.AdminAddr, an.Addr = p.http, "127.0.0.1:0", p.api
	in.Kafka.Brokers, ag.Kafka.Brokers, an.Kafka.Brokers = []string{h.broker.Addr()}, []string{h.broker.Addr()}, []string{h.broker.Addr()}
	in.Kafka.Partitions, ag.Kafka.Partitions, an.Kafka.Partitions = 4, 4, 4 // as many as a small machine can make use of
	ag.Warehouse.DSN, an.Warehouse.DSN = h.engine.DSN(), h.engine.DSN()
	an.Admin.Open = an.Admin.Key == ""
	if change != nil {
		change(&in, &ag, &an)
	}
	ctx, h.cancel = context.WithCancel(ctx)
	h.group, h.ctx = errgroup.WithContext(ctx)
	log := slog.Default()
	addrs := make(chan [2]string, 2)
	tell := func(name string) func(net.Addr) {
		return func(a net.Addr) { addrs <- [2]string{name, a.String()} }
	}
	h.group.Go(func() error { return ingest.Run(h.ctx, in, log, tell("ingest")) })
	h.group.Go(func() error { return aggregator.Run(h.ctx, ag, log, nil) })
	h.group.Go(func() error { return analyzer.Serve(h.ctx, an, log, tell("api")) })
	for range 2 {
		select {
		case a := <-addrs:
			if a[0] == "ingest" {
				h.ingest = a[1]
			} else {
				h.api = a[1]
			}
		case <-h.ctx.Done():
			return nil, h.group.Wait()
		}
	}
	for _, base := range []string{h.ingest, h.api} {
		if err := waitReady(h.ctx, base); err != nil {
			h.cancel()
			return nil, errors.Join(h.group.Wait(), err)
		}
	}
	return h, nil
}

// close stops the services, and then what they stood on.
func (h *house) close() error {
	var errs []error
	if h.group != nil {
		h.cancel()
		errs = append(errs, h.group.Wait())
	}
	if h.engine != nil {
		errs = append(errs, h.engine.Close())
	}
	if h.broker != nil {
		errs = append(errs, h.broker.Close())
	}
	if h.temp != "" {
		errs = append(errs, os.RemoveAll(h.temp))
	}
	return errors.Join(errs...)
}

// addresses tells where everything is.
func (h *house) addresses(out io.Writer) {
	fmt.Fprintf(out, "  events     http://%s/v1/events, /v1/track (SDKs)\n", h.ingest)
	fmt.Fprintf(out, "  results    http://%s/v1/projects/{project}/experiments/{key}/results\n", h.api)
	fmt.Fprintf(out, "  ClickHouse http://%s (views exposures, kpis, identities, experiment_results)\n", h.engine.Addr())
	fmt.Fprintf(out, "  Kafka      %s\n", h.broker.Addr())
}

// serve is the house without a population.
func serve(ctx context.Context, args []string, out io.Writer) error {
	f := newFlags("serve", "ingest, aggregator and analyzer in one process on embedded engines; BOOTSTRAP=project:token makes the first token", out)
	var p place
	p.flags(f)
	if err := parse(f, args); err != nil {
		return err
	}
	began := time.Now()
	h, err := open(ctx, p, nil)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "hypostream is up after %.1f s; Ctrl-C stops it\n", time.Since(began).Seconds())
	h.addresses(out)
	<-h.ctx.Done()
	return h.close()
}
