// Command analyzer turns what the warehouse holds into results.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"

	"github.com/hypostream/hypostream/cmd/internal/analyzer"
	"github.com/hypostream/hypostream/pkg/analyze"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/runner"
)

const usage = `analyzer: turns what the warehouse holds into results

usage: analyzer COMMAND [flags]   (analyzer COMMAND -help tells flags and environment)

  serve    the API, and running experiments on a schedule
  run      one pass over all running experiments, or one of them; for cron
  report   one experiment's result on the terminal
`

func main() {
	os.Exit(command(os.Args[1:]))
}

func command(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	switch args[0] {
	case "serve":
		return runner.Run("analyzer serve", "the API, and running experiments on a schedule", args[1:], os.Stdout, os.Stderr,
			func(ctx context.Context, cfg analyzer.Config, log *slog.Logger) error {
				return analyzer.Serve(ctx, cfg, log, nil)
			})
	case "run":
		return run(args[1:])
	case "report":
		return report(args[1:])
	case "help", "-h", "-help", "--help":
		fmt.Print(usage)
		return 0
	case "version", "-version", "--version":
		fmt.Println("analyzer", runner.Version())
		return 0
	}
	fmt.Fprintf(os.Stderr, "analyzer: there is no command %q\n\n%s", args[0], usage)
	return 2
}

func run(args []string) int {
	var project, key string
	return runner.Run("analyzer run", "one pass over all running experiments, for cron", args, os.Stdout, os.Stderr,
		func(ctx context.Context, cfg analyzer.Config, log *slog.Logger) error {
			return analyzer.Once(ctx, cfg, log, func(ctx context.Context, an *analyze.Analyzer, known analyze.Experiments) error {
				if key == "" {
					return an.RunAll(ctx)
				}
				x, p, err := find(known, project, key)
				if err != nil {
					return err
				}
				_, err = an.Refresh(ctx, x, p)
				return err
			})
		}, func(f *flag.FlagSet) {
			f.StringVar(&project, "project", "default", "the experiment's project")
			f.StringVar(&key, "experiment", "", "only this one; empty: all that have started")
		})
}

func report(args []string) int {
	var project, key, format string
	return runner.Run("analyzer report", "one experiment's result on the terminal", args, os.Stdout, os.Stderr,
		func(ctx context.Context, cfg analyzer.Config, log *slog.Logger) error {
			switch {
			case key == "":
				return errors.New("-experiment is needed: the experiment's key")
			case format != "table" && format != "json" && format != "csv":
				return fmt.Errorf("-o %s: want table, json or csv", format)
			}
			return analyzer.Once(ctx, cfg, log, func(ctx context.Context, an *analyze.Analyzer, known analyze.Experiments) error {
				x, p, err := find(known, project, key)
				if err != nil {
					return err
				}
				r, err := an.Compute(ctx, x, p)
				if err != nil {
					return err
				}
				return analyzer.Report(os.Stdout, format, r)
			})
		}, func(f *flag.FlagSet) {
			f.StringVar(&project, "project", "default", "the experiment's project")
			f.StringVar(&key, "experiment", "", "the experiment's key")
			f.StringVar(&format, "o", "table", "table, json or csv")
		})
}

func find(known analyze.Experiments, project, key string) (*experiment.Experiment, experiment.Project, error) {
	p, ok := known.Project(project)
	if !ok {
		return nil, p, fmt.Errorf("there is no project %q", project)
	}
	x := known.Experiment(project, key)
	if x == nil {
		return nil, p, fmt.Errorf("project %q has no experiment %q", project, key)
	}
	return x, p, nil
}
