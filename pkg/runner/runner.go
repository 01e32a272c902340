// Package runner starts and stops a service: flags that help, configuration
// from the environment, one logger, signals, exit codes, and an HTTP server
// that drains.
package runner

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/hypostream/hypostream/pkg/config"
	"github.com/hypostream/hypostream/pkg/telemetry"
)

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

// Main is a service's main function: it answers --help, --version and
// --validate, loads a C from the environment, and runs until run returns or a
// signal ends its context; a second signal ends the process at once. It does
// not return.
func Main[C any](name, synopsis string, run func(ctx context.Context, cfg C, log *slog.Logger) error) {
	os.Exit(Run(name, synopsis, os.Args[1:], os.Stdout, os.Stderr, run))
}

// Run is Main with everything given, and with the exit code as its result.
// define adds flags of a command's own.
func Run[C any](name, synopsis string, args []string, out, errOut io.Writer, run func(ctx context.Context, cfg C, log *slog.Logger) error, define ...func(*flag.FlagSet)) int {
	var cfg C
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(errOut)
	showVersion := f.Bool("version", false, "print the version")
	validate := f.Bool("validate", false, "check the configuration, print what is in force, and exit")
	for _, d := range define {
		d(f)
	}
	f.Usage = func() {
		fmt.Fprintf(out, "%s: %s\n\nusage: %s [flags]\n\n", name, synopsis, name)
		f.SetOutput(out)
		f.PrintDefaults()
		fmt.Fprint(out, "\nIt is configured by its environment:\n\n")
		config.Usage(out, &cfg)
		fmt.Fprint(out, "  LOG_LEVEL  info  debug, info, warn or error\n  LOG_FORMAT  text  text or json\n")
	}
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return exitUsage
	}
	if *showVersion {
		fmt.Fprintln(out, name, Version())
		return 0
	}
	if f.NArg() > 0 {
		fmt.Fprintf(errOut, "%s: unexpected argument %q; -help tells what there is\n", name, f.Arg(0))
		return exitUsage
	}
	log, err := Logger(errOut)
	if err == nil {
		err = config.Load(context.Background(), &cfg)
	}
	if err != nil {
		fmt.Fprintf(errOut, "%s: configuration: %v\n", name, err)
		return exitUsage
	}
	if *validate {
		config.Print(out, &cfg)
		return 0
	}
	slog.SetDefault(log)
	ctx, stop := Signals(context.Background())
	defer stop()
	if err := run(ctx, cfg, log); err != nil && !(ctx.Err() != nil && errors.Is(err, context.Canceled)) {
		log.Error(name+" ended", "error", err)
		return exitFailed
	}
	return 0
}

// Signals is a context that the first SIGINT or SIGTERM ends; from then on the
// signals have their usual effect again, so a second one ends the process.
func Signals(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// Logger is the process's logger, by LOG_LEVEL and LOG_FORMAT.
func Logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if s := os.Getenv("LOG_LEVEL"); s != "" {
		if err := level.UnmarshalText([]byte(s)); err != nil {
			return nil, fmt.Errorf("LOG_LEVEL: %q is none of debug, info, warn, error", s)
		}
	}
	opt := &slog.HandlerOptions{Level: level}
	switch s := os.Getenv("LOG_FORMAT"); s {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, opt)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opt)), nil
	default:
		return nil, fmt.Errorf("LOG_FORMAT: %q is neither text nor json", s)
	}
}

// Version is the version the binary was built from.
func Version() string {
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "(devel)"
}

// HTTP bounds an HTTP server.
type HTTP struct {
	ReadHeaderTimeout time.Duration `env:"HTTP_READ_HEADER_TIMEOUT, default=5s" desc:"a client must have sent its headers by then"`
	ReadTimeout       time.Duration `env:"HTTP_READ_TIMEOUT, default=30s" desc:"… and its body by then"`
	IdleTimeout       time.Duration `env:"HTTP_IDLE_TIMEOUT, default=2m" desc:"how long an idle connection is kept"`
	MaxHeaderBytes    int           `env:"HTTP_MAX_HEADER_BYTES, default=16384" desc:"largest header accepted"`
	DrainDelay        time.Duration `env:"DRAIN_DELAY, default=0s" desc:"between turning not ready and closing the door: the balancer's time to notice"`
	DrainTimeout      time.Duration `env:"DRAIN_TIMEOUT, default=20s" desc:"requests under way may take this long at shutdown"`
}

// Listen opens a listener, with an error that says what to do.
func Listen(addr, variable string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening (%s=%s; another process may have it): %w", variable, addr, err)
	}
	return ln, nil
}

// Serve answers requests on ln until ctx ends, and then drains: not ready,
// wait for the balancer, stop accepting, let requests under way finish.
func Serve(ctx context.Context, ln net.Listener, h http.Handler, cfg HTTP, t *telemetry.Telemetry) error {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: cfg.ReadHeaderTimeout,
		ReadTimeout:       cfg.ReadTimeout,
		IdleTimeout:       cfg.IdleTimeout,
		MaxHeaderBytes:    cfg.MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ln) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	t.Draining()
	time.Sleep(cfg.DrainDelay)
	// The parent is done: draining has a time of its own.
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.DrainTimeout)
	defer cancel()
	if err := s.Shutdown(drain); err != nil {
		s.Close()
		return fmt.Errorf("draining %s: %w", ln.Addr(), err)
	}
	<-ended
	return nil
}
