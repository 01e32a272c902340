// Package warehouse speaks to ClickHouse: it opens connections, brings the
// tables to the schema, inserts columns of events, and reads typed rows by
// queries with server-side parameters. It is the only importer of the client.
package warehouse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/google/uuid"
)

// Config says where the warehouse is.
type Config struct {
	DSN         string        `env:"CLICKHOUSE_DSN, default=clickhouse://127.0.0.1:9000/default" desc:"clickhouse://user:password@host:9000/database (native), or http:// or https:// with the HTTP port; the database is created when it is missing" secret:"true"`
	Cluster     string        `env:"CLICKHOUSE_CLUSTER" desc:"name of a ClickHouse cluster: tables become replicated and sharded; empty: one server"`
	DialTimeout time.Duration `env:"CLICKHOUSE_DIAL_TIMEOUT, default=5s" desc:"limit on opening a connection"`
	ReadTimeout time.Duration `env:"CLICKHOUSE_READ_TIMEOUT, default=5m" desc:"limit on the server's silence while a query runs"`
	MaxConns    int           `env:"CLICKHOUSE_MAX_CONNS, default=8" desc:"connections kept at most"`
}

var clusterName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// Validate reports every fault.
func (c Config) Validate() error {
	var errs []error
	if _, err := c.options(); err != nil {
		errs = append(errs, err)
	}
	if c.Cluster != "" && !clusterName.MatchString(c.Cluster) {
		errs = append(errs, fmt.Errorf("CLICKHOUSE_CLUSTER: %q is no cluster name (letters, digits, _ . -)", c.Cluster))
	}
	if c.DialTimeout < 0 || c.ReadTimeout < 0 || c.MaxConns < 0 {
		errs = append(errs, errors.New("CLICKHOUSE_DIAL_TIMEOUT, CLICKHOUSE_READ_TIMEOUT and CLICKHOUSE_MAX_CONNS must not be negative"))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.DSN == "" {
		c.DSN = "clickhouse://127.0.0.1:9000/default"
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = 5 * time.Second
	}
	if c.ReadTimeout == 0 {
		c.ReadTimeout = 5 * time.Minute
	}
	if c.MaxConns == 0 {
		c.MaxConns = 8
	}
	return c
}

func (c Config) options() (*clickhouse.Options, error) {
	c = c.withDefaults()
	o, err := clickhouse.ParseDSN(c.DSN)
	if err != nil {
		return nil, fmt.Errorf("CLICKHOUSE_DSN: %w", err)
	}
	o.DialTimeout, o.ReadTimeout = c.DialTimeout, c.ReadTimeout
	o.MaxOpenConns, o.MaxIdleConns = c.MaxConns, c.MaxConns
	o.ConnOpenStrategy = clickhouse.ConnOpenRoundRobin
	settings := clickhouse.Settings{
		// The planner may otherwise build the join's hash table on the
		// events, which are many, instead of the identities.
		"query_plan_join_swap_table": "false",
		"async_insert":               0,
	}
	if o.Protocol == clickhouse.HTTP {
		// A client that hangs up ends its query.
		settings["cancel_http_readonly_queries_on_client_close"] = 1
	}
	if c.Cluster != "" {
		// Equal keys share a shard, so a join inside a shard is whole; and an
		// insert has returned only when the shards have it.
		settings["distributed_product_mode"] = "local"
		settings["distributed_foreground_insert"] = 1
	}
	if o.Settings == nil {
		o.Settings = clickhouse.Settings{}
	}
	for k, v := range settings {
		if _, ok := o.Settings[k]; !ok { // the DSN has the last word
			o.Settings[k] = v
		}
	}
	return o, nil
}

// DB is the warehouse. It is safe for concurrent use.
type DB struct {
	cfg  Config
	opts *clickhouse.Options
	conn driver.Conn

	scratch sync.Pool // *scratch
	spares  spares

	mu    sync.Mutex
	types map[string][]clickhouse.ColumnNameAndType // by table, as far as asked
}

// Open checks the configuration and returns a DB. It does not wait for the
// server: connections are made when they are needed, see [DB.WaitReady].
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	opts, err := cfg.options()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn, err := clickhouse.Open(opts)
	if err != nil {
		return nil, fmt.Errorf("opening the warehouse: %w", err)
	}
	return &DB{cfg: cfg.withDefaults(), opts: opts, conn: conn, scratch: sync.Pool{New: func() any { return new(scratch) }}}, nil
}

// Close drops the connections.
func (db *DB) Close() error { return db.conn.Close() }

// Ping asks the server for an answer, for readiness probes.
func (db *DB) Ping(ctx context.Context) error {
	if err := db.Exec(ctx, "SELECT 1", nil); err != nil {
		return fmt.Errorf("asking the warehouse: %w", err)
	}
	return nil
}

// WaitReady waits until the server answers. It says so in the log when it has
// to wait, and returns only ctx's error, or one that waiting will not change,
// such as a wrong password.
func (db *DB) WaitReady(ctx context.Context) error {
	const every = 10 * time.Second
	start := time.Now()
	var said time.Time
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := db.Ping(ctx)
		// A missing database is made by Migrate.
		if err == nil || code(err) == codeUnknownDatabase {
			if !said.IsZero() {
				slog.Info("warehouse is ready", "addresses", db.opts.Addr, "waited", time.Since(start).Round(time.Millisecond))
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !IsRetryable(err) {
			return err
		}
		if time.Since(said) >= every {
			slog.Warn("waiting for the warehouse", "addresses", db.opts.Addr, "error", err)
			said = time.Now()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// Exec runs a statement that gives no rows. Values go by {name:Type}
// parameters, see [Select].
func (db *DB) Exec(ctx context.Context, sql string, params map[string]any) error {
	args, err := arguments(params)
	if err != nil {
		return err
	}
	return db.conn.Exec(db.query(ctx, nil), sql, args...)
}

// query gives a query its id and settings.
func (db *DB) query(ctx context.Context, settings clickhouse.Settings) context.Context {
	opts := []clickhouse.QueryOption{clickhouse.WithQueryID("hypostream-" + uuid.NewString())}
	if settings != nil {
		opts = append(opts, clickhouse.WithSettings(settings))
	}
	return clickhouse.Context(ctx, opts...)
}

// arguments are parameters in a steady order.
func arguments(params map[string]any) ([]any, error) {
	args := make([]any, 0, len(params))
	for _, name := range slices.Sorted(maps.Keys(params)) {
		arg, err := argument(name, params[name])
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		args = append(args, arg)
	}
	return args, nil
}
