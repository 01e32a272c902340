// Command ingest is the HTTP front door: events in, settings out.
package main

import (
	"context"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/hypostream/hypostream/cmd/internal/ingest"
	"github.com/hypostream/hypostream/pkg/runner"
)

func main() {
	// Its live memory is a few megabytes, so a larger heap is cheap, and saves a
	// tenth of its CPU.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	runner.Main("ingest", "takes events from SDKs and answers once the log has them; serves them their settings",
		func(ctx context.Context, cfg ingest.Config, log *slog.Logger) error {
			return ingest.Run(ctx, cfg, log, nil)
		})
}
