// Command aggregator stores the log's events in the warehouse, each once and
// under its user.
package main

import (
	"context"
	"log/slog"

	"github.com/hypostream/hypostream/cmd/internal/aggregator"
	"github.com/hypostream/hypostream/pkg/runner"
)

func main() {
	runner.Main("aggregator", "stitches visitors to users and loads the log's events into ClickHouse, each counted once",
		func(ctx context.Context, cfg aggregator.Config, log *slog.Logger) error {
			return aggregator.Run(ctx, cfg, log, nil)
		})
}
