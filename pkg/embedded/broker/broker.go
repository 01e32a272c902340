// Package broker runs a Kafka broker inside this process: kfake, behind Kafka's
// real protocol on a TCP port. Topics, groups and offsets are kept in a
// directory and survive a restart and the death of the process.
//
// It is one node, for one machine. See [Config] for what it does not do.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Config says where the broker listens and what it keeps.
type Config struct {
	Addr string `env:"BROKER_ADDR, default=127.0.0.1:9092" desc:"address the embedded broker listens on; port 0 takes a free one"`
	// Advertise is the host that clients are told to connect to.
	Advertise string `env:"BROKER_ADVERTISE" desc:"host name that the embedded broker tells its clients to connect to; empty: the host of BROKER_ADDR, 127.0.0.1 if that is every address"`
	// DataDir holds everything; with "" it lives in memory and dies with
	// the Broker.
	DataDir string `env:"BROKER_DATA_DIR" desc:"directory of the embedded broker's data; empty: in memory"`
	// SyncWrites flushes every batch to the disk before it is acknowledged.
	// Without it an acknowledged batch survives the death of the process,
	// but not that of the machine.
	SyncWrites bool `env:"BROKER_SYNC_WRITES, default=false" desc:"flush every batch to the disk before acknowledging it"`
	// Retention deletes old records of topics that are not compacted. What
	// the broker keeps costs memory as well: about 100 bytes per batch.
	Retention time.Duration `env:"BROKER_RETENTION, default=168h" desc:"age at which the embedded broker deletes records; negative: never"`
}

func (c Config) withDefaults() Config {
	if c.Addr == "" {
		c.Addr = "127.0.0.1:9092"
	}
	if c.Retention == 0 {
		c.Retention = 168 * time.Hour
	}
	return c
}

// Validate reports every fault of the configuration at once.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if _, port, err := net.SplitHostPort(c.Addr); err != nil {
		errs = append(errs, fmt.Errorf("BROKER_ADDR: %w", err))
	} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		errs = append(errs, fmt.Errorf("BROKER_ADDR: %q is not a port", port))
	}
	if c.Retention > 0 && c.Retention < time.Second {
		errs = append(errs, fmt.Errorf("BROKER_RETENTION: %s is less than a second", c.Retention))
	}
	return errors.Join(errs...)
}

// A Broker is a running broker.
type Broker struct {
	cluster *kfake.Cluster
	addr    string
	lock    *dirLock
	cancel  context.CancelFunc
	wg      sync.WaitGroup
}

// Start opens the data directory and listens. ctx bounds the start alone; the
// broker runs until Close.
func Start(ctx context.Context, cfg Config) (*Broker, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	lock, err := lockDir(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		lock.release()
		return nil, fmt.Errorf("starting the broker: %w", err)
	}
	guarded := guard(ln, cfg.Advertise)
	retention := int64(-1)
	if cfg.Retention > 0 {
		retention = cfg.Retention.Milliseconds()
	}
	configs := map[string]string{
		"log.retention.ms": strconv.FormatInt(retention, 10),
		// Its compaction deletes a partition's files before it writes
		// their successors: a death in between would empty the topic.
		// So compacted topics only grow, by a record per change.
		"log.cleaner.backoff.ms": strconv.FormatInt((100 * 365 * 24 * time.Hour).Milliseconds(), 10),
		// A group that was away for long still goes on where it was.
		"offsets.retention.minutes": strconv.Itoa(10 * 365 * 24 * 60),
	}
	if cfg.DataDir == "" {
		// In memory a segment is one slice, copied whenever it grows.
		configs["log.segment.bytes"] = strconv.Itoa(4 << 20)
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ClusterID("hypostream"),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return guarded, nil }),
		kfake.WithLogger(logger{}),
		kfake.BrokerConfigs(configs),
	}
	if cfg.DataDir != "" {
		opts = append(opts, kfake.DataDir(cfg.DataDir))
		if cfg.SyncWrites {
			opts = append(opts, kfake.SyncWrites())
		}
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		ln.Close()
		lock.release()
		return nil, fmt.Errorf("starting the broker: %w", err)
	}
	cluster.ControlKey(int16(kmsg.CreateTopics), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		keepCompacted(req.(*kmsg.CreateTopicsRequest))
		return nil, nil, false
	})
	b := &Broker{cluster: cluster, addr: guarded.Addr().String(), lock: lock}
	ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	b.wg.Go(func() { b.retain(ctx) })
	return b, nil
}

// Addr is the host:port for clients to connect to.
func (b *Broker) Addr() string { return b.addr }

// Close writes what is left to write and stops.
func (b *Broker) Close() error {
	b.cancel()
	b.wg.Wait()
	b.cluster.Close()
	b.lock.release()
	return nil
}

// retain deletes old records from time to time. kfake does so on its own only
// along with compaction, which is off.
func (b *Broker) retain(ctx context.Context) {
	t := time.NewTicker(5 * time.Minute)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			b.cluster.ApplyRetention()
		}
	}
}

// keepCompacted gives new compacted topics no retention: kfake deletes by age
// whatever the topic's policy is.
func keepCompacted(req *kmsg.CreateTopicsRequest) {
	for i := range req.Topics {
		t := &req.Topics[i]
		compacted, bounded := false, false
		for _, c := range t.Configs {
			switch c.Name {
			case "cleanup.policy":
				compacted = c.Value != nil && *c.Value == "compact"
			case "retention.ms":
				bounded = true
			}
		}
		if compacted && !bounded {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = "retention.ms", kmsg.StringPtr("-1")
			t.Configs = append(t.Configs, c)
		}
	}
}

// logger passes kfake's warnings on.
type logger struct{}

func (logger) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError:
		slog.Error("embedded broker", "message", fmt.Sprintf(format, args...))
	case kfake.LogLevelWarn:
		slog.Warn("embedded broker", "message", fmt.Sprintf(format, args...))
	}
}
