// Command hypostream is the whole platform in one process, on embedded
// engines: a broker that speaks Kafka's protocol and ClickHouse as a library.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
)

// command is one thing that hypostream does.
type command struct {
	name     string
	synopsis string
	run      func(ctx context.Context, args []string, out io.Writer) error
}

func commands() []command {
	return []command{
		{"demo", "play a population with a known truth, print the verdicts, go on serving", demo},
		{"serve", "ingest, aggregator and analyzer on embedded engines", serve},
		{"apply", "bring projects, tokens and experiments to what a YAML file says", apply},
		{"broker", "only the embedded broker, for other processes", runBroker},
		{"clickhouse", "only the embedded ClickHouse engine, for other processes", runClickHouse},
	}
}

// errUsage marks a mistake in the command line: exit code 2.
var errUsage = errors.New("usage")

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level()})))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(dispatch(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func dispatch(ctx context.Context, args []string, out, errOut io.Writer) int {
	if len(args) == 0 {
		usage(errOut)
		return 2
	}
	switch args[0] {
	case "help", "-h", "-help", "--help":
		usage(out)
		return 0
	case "version", "-version", "--version":
		fmt.Fprintln(out, "hypostream", version())
		return 0
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		switch err := c.run(ctx, args[1:], out); {
		case err == nil, errors.Is(err, flag.ErrHelp):
			return 0
		case errors.Is(err, errUsage):
			fmt.Fprintf(errOut, "hypostream %s: %v\n", c.name, err)
			return 2
		default:
			fmt.Fprintf(errOut, "hypostream %s: %v\n", c.name, err)
			return 1
		}
	}
	fmt.Fprintf(errOut, "hypostream: there is no command %q\n\n", args[0])
	usage(errOut)
	return 2
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Hypostream: experimentation on your own event stream.\n\nusage: hypostream COMMAND [flags]   (hypostream COMMAND -h lists them)\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-11s %s\n", c.name, c.synopsis)
	}
	fmt.Fprintf(w, "  %-11s %s\n", "version", "print the version")
}

// newFlags is a flag set that says what the command does and reports mistakes
// as errUsage.
func newFlags(name, synopsis string, out io.Writer) *flag.FlagSet {
	f := flag.NewFlagSet("hypostream "+name, flag.ContinueOnError)
	f.SetOutput(out)
	f.Usage = func() {
		fmt.Fprintf(out, "usage: hypostream %s [flags]\n\n%s.\n\n", name, strings.ToUpper(synopsis[:1])+synopsis[1:])
		f.PrintDefaults()
	}
	return f
}

func parse(f *flag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%w: unexpected argument %q", errUsage, f.Arg(0))
	}
	return nil
}

func level() slog.Level {
	var l slog.Level
	if err := l.UnmarshalText([]byte(os.Getenv("LOG_LEVEL"))); err != nil {
		return slog.LevelInfo
	}
	return l
}

func version() string {
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "(devel)"
}
