// Package analyzer wires the warehouse and the registry to results: the API
// and the scheduler, one pass for cron, and a report on the terminal.
package analyzer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/hypostream/hypostream/cmd/internal/ingest"
	"github.com/hypostream/hypostream/pkg/admin"
	"github.com/hypostream/hypostream/pkg/analyze"
	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/registry"
	"github.com/hypostream/hypostream/pkg/report"
	"github.com/hypostream/hypostream/pkg/runner"
	"github.com/hypostream/hypostream/pkg/telemetry"
	"github.com/hypostream/hypostream/pkg/warehouse"
	"github.com/hypostream/hypostream/pkg/web"
)

// Config is all that the analyzer reads from its environment.
type Config struct {
	Addr        string `env:"HTTP_ADDR, default=:8090" desc:"where the API listens"`
	APIKey      string `env:"API_KEY" desc:"key that may read results, beside ADMIN_KEY" secret:"true"`
	TopicPrefix string `env:"TOPIC_PREFIX, default=hypostream" desc:"what the topics' names start with"`
	Migrate     bool   `env:"MIGRATE, default=true" desc:"bring the warehouse's tables to this version at start"`
	Analyze     analyze.Config
	Admin       admin.Config
	Registry    registry.Config
	Warehouse   warehouse.Config
	Kafka       eventlog.Config
	Codec       codec.Config
	HTTP        runner.HTTP
}

// house is what every command stands on.
type house struct {
	events *eventlog.Log
	db     *warehouse.DB
	reg    *registry.Registry
	an     *analyze.Analyzer
	group  *errgroup.Group
}

// known adapts the registry to what the analyzer asks of it.
func (h *house) known() analyze.Experiments { return h.reg.Snapshot() }

// prepare waits for both ends, follows the registry, and makes the analyzer.
func (h *house) prepare(ctx context.Context, cfg Config, log *slog.Logger, tel *telemetry.Telemetry) error {
	topics := event.NewTopics(cfg.TopicPrefix)
	if err := h.events.WaitReady(ctx); err != nil {
		return err
	}
	if err := h.events.EnsureTopics(ctx, ingest.Topics(topics)...); err != nil {
		return fmt.Errorf("making sure of the topics: %w", err)
	}
	c, err := codec.New(ctx, cfg.Codec, topics)
	if err != nil {
		return err
	}
	cfg.Registry.Repair = true
	if h.reg, err = registry.Open(cfg.Registry, h.events, c, topics.Registry, log); err != nil {
		return err
	}
	h.group.Go(func() error { return h.reg.Run(ctx) })
	if err := h.db.WaitReady(ctx); err != nil {
		return err
	}
	if cfg.Migrate {
		if err := h.db.Migrate(ctx); err != nil {
			return fmt.Errorf("migrating the warehouse: %w", err)
		}
	}
	if err := h.reg.Bootstrap(ctx); err != nil {
		return err
	}
	h.an = analyze.New(cfg.Analyze, h.db, topics, h.known, log, tel)
	return nil
}

func open(ctx context.Context, cfg Config) (*house, error) {
	events, err := eventlog.Open(ctx, cfg.Kafka)
	if err != nil {
		return nil, err
	}
	db, err := warehouse.Open(ctx, cfg.Warehouse)
	if err != nil {
		events.Close()
		return nil, err
	}
	return &house{events: events, db: db}, nil
}

func (h *house) close() {
	if h.reg != nil {
		h.reg.Close()
	}
	h.db.Close()
	h.events.Close()
}

// Serve answers the API and looks at running experiments on a schedule, until
// ctx ends. started, if not nil, is told the address once it listens.
func Serve(ctx context.Context, cfg Config, log *slog.Logger, started func(addr net.Addr)) error {
	ln, err := runner.Listen(cfg.Addr, "HTTP_ADDR")
	if err != nil {
		return err
	}
	defer ln.Close()
	h, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	defer h.close()
	tel := telemetry.New("analyzer")
	tel.Probe("log", h.events.Ping)
	tel.Probe("warehouse", h.db.Ping)
	door := runner.NewDoor()
	tel.Probe("registry", door.Ready)
	mux := http.NewServeMux()
	tel.Register(mux)
	mux.Handle("/", door)
	if started != nil {
		started(ln.Addr())
	}
	h.group, ctx = errgroup.WithContext(ctx)
	h.group.Go(func() error { return runner.Serve(ctx, ln, mux, cfg.HTTP, tel) })
	h.group.Go(func() error {
		if err := h.prepare(ctx, cfg, log, tel); err != nil {
			return stopped(ctx, err)
		}
		routes := http.NewServeMux()
		adm, err := admin.New(cfg.Admin, h.reg, ln.Addr().String())
		if err != nil {
			return err
		}
		adm.Register(routes)
		web.New(h.an, h.known, cfg.Admin.Open && cfg.Admin.Key == "", cfg.Admin.Key, cfg.APIKey).Register(routes)
		tel.GaugeFunc("registry_unreadable_records", "Registry records that were passed over.", func() float64 { return float64(h.reg.Unreadable()) })
		door.Open(routes)
		log.Info("analyzer is ready", "addr", ln.Addr().String())
		return h.an.Serve(ctx)
	})
	return h.group.Wait()
}

// stopped hides the error of work that ctx's end cut short.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Once prepares everything, does one thing, and ends.
func Once(ctx context.Context, cfg Config, log *slog.Logger, do func(ctx context.Context, an *analyze.Analyzer, known analyze.Experiments) error) error {
	h, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	defer h.close()
	ctx, cancel := context.WithCancel(ctx)
	h.group, ctx = errgroup.WithContext(ctx)
	err = h.prepare(ctx, cfg, log, nil)
	if err == nil {
		err = h.reg.WaitReady(ctx)
	}
	if err == nil {
		err = do(ctx, h.an, h.known())
	}
	cancel()
	return errors.Join(err, h.group.Wait())
}

// Report writes one experiment's newest result: "table", "json" or "csv".
func Report(w io.Writer, format string, r *report.Result) error {
	switch format {
	case "json":
		return report.JSON(w, r)
	case "csv":
		return report.CSV(w, r)
	}
	return report.Table(w, r)
}
