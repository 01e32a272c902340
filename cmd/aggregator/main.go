// Command aggregator stores the log's events in the warehouse, each once and
// under its user.
package main

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/hypostream/hypostream/cmd/internal/aggregator"
	"github.com/hypostream/hypostream/pkg/runner"
)

// What a row of a batch costs at most: each lane holds two batches, and one of
// them stands a second time in the client's form, besides what it outgrew.
const (
	bytesPerRow = 2 << 10
	bytesBeside = 40 << 20
)

func main() {
	runner.Main("aggregator", "stitches visitors to users and loads the log's events into ClickHouse, each counted once",
		func(ctx context.Context, cfg aggregator.Config, log *slog.Logger) error {
			// Batches come and go as fast as memory is taken: without a limit
			// the collector would let the heap double first.
			if os.Getenv("GOMEMLIMIT") == "" {
				debug.SetMemoryLimit(bytesBeside + bytesPerRow*int64(max(cfg.Load.BatchRows, 50_000)))
			}
			return aggregator.Run(ctx, cfg, log, nil)
		})
}
