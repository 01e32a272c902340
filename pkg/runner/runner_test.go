package runner_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hypostream/hypostream/pkg/runner"
	"github.com/hypostream/hypostream/pkg/telemetry"
)

type cfg struct {
	Limit int `env:"TEST_LIMIT, default=7" desc:"how many"`
}

func (c cfg) Validate() error {
	if c.Limit < 1 {
		return errors.New("TEST_LIMIT: must be at least 1")
	}
	return nil
}

func TestExitCodes(t *testing.T) {
	tests := []struct {
		name  string
		args  []string
		limit string
		err   error
		code  int
		says  string
	}{
		{"a service that ends well", nil, "7", nil, 0, ""},
		{"a service that fails", nil, "7", errors.New("the roof fell in"), 1, "the roof fell in"},
		{"help names the variables", []string{"-help"}, "7", nil, 0, "TEST_LIMIT"},
		{"validate prints what is in force", []string{"-validate"}, "9", nil, 0, "TEST_LIMIT=9"},
		{"validate refuses", []string{"-validate"}, "0", nil, 2, "must be at least 1"},
		{"an unknown argument", []string{"now"}, "7", nil, 2, `"now"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("TEST_LIMIT", tt.limit)
			var out bytes.Buffer
			code := runner.Run("svc", "does a thing", tt.args, &out, &out, func(_ context.Context, _ cfg, _ *slog.Logger) error { return tt.err })
			if code != tt.code || !strings.Contains(out.String(), tt.says) {
				t.Errorf("code %d, want %d; said %q, want %q in it", code, tt.code, out.String(), tt.says)
			}
		})
	}
}

func TestServeFinishesWhatIsUnderWay(t *testing.T) {
	ln, err := runner.Listen("127.0.0.1:0", "ADDR")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	entered, release := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		io.WriteString(w, "done")
	})
	served := make(chan error, 1)
	go func() { served <- runner.Serve(ctx, ln, h, runner.HTTP{DrainTimeout: 10 * time.Second}, nil) }()
	got := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + ln.Addr().String())
		if err != nil {
			got <- err.Error()
			return
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		got <- string(b)
	}()
	<-entered
	cancel()
	close(release)
	if s := <-got; s != "done" {
		t.Errorf("the request under way got %q", s)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// child is the service that the tests below start as a process of its own: it
// serves until it is told to stop, and then takes as long as CHILD_DRAIN says.
func child() {
	runner.Main("svc", "does a thing", func(ctx context.Context, _ cfg, _ *slog.Logger) error {
		fmt.Println("started")
		<-ctx.Done()
		fmt.Println("draining")
		if os.Getenv("CHILD_DRAIN") == "for ever" {
			select {}
		}
		fmt.Println("drained")
		return ctx.Err()
	})
}

func TestMain(m *testing.M) {
	if os.Getenv("CHILD_DRAIN") != "" {
		child()
	}
	os.Exit(m.Run())
}

// start runs the child and gives it with a reader of its lines.
func start(t *testing.T, drain string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), "CHILD_DRAIN="+drain)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

func want(t *testing.T, lines *bufio.Scanner, line string) {
	t.Helper()
	if !lines.Scan() || lines.Text() != line {
		t.Fatalf("the process said %q, want %q", lines.Text(), line)
	}
}

func TestASignalDrainsAndEndsWell(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd, lines := start(t, "at once")
			want(t, lines, "started")
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			want(t, lines, "draining")
			want(t, lines, "drained")
			if err := cmd.Wait(); err != nil {
				t.Errorf("the process ended with %v, want code 0", err)
			}
		})
	}
}

func TestASecondSignalEndsTheProcessAtOnce(t *testing.T) {
	cmd, lines := start(t, "for ever")
	want(t, lines, "started")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	want(t, lines, "draining")
	// "draining" is said once the context has ended; the signal's usual effect
	// is back a moment later.
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		cmd.Process.Signal(os.Interrupt)
		select {
		case err := <-ended:
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGINT {
				t.Errorf("the process ended with %v, want the signal", err)
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestServeTurnsNotReadyBeforeTheDoorCloses(t *testing.T) {
	ln, err := runner.Listen("127.0.0.1:0", "ADDR")
	if err != nil {
		t.Fatal(err)
	}
	tel := telemetry.New("test")
	mux := http.NewServeMux()
	tel.Register(mux)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- runner.Serve(ctx, ln, mux, runner.HTTP{DrainDelay: 500 * time.Millisecond, DrainTimeout: 10 * time.Second}, tel)
	}()
	url := "http://" + ln.Addr().String() + "/readyz"
	status := func() (int, error) {
		resp, err := http.Get(url)
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		return resp.StatusCode, nil
	}
	if code, err := status(); err != nil || code != 200 {
		t.Fatalf("before: %d, %v", code, err)
	}
	cancel()
	// Whoever asks while the balancer is given time hears that it is not ready.
	seen := false
	for {
		code, err := status()
		if err != nil {
			break
		}
		seen = seen || code == 503
	}
	if err := <-served; err != nil || !seen {
		t.Errorf("Serve: %v; not ready was seen: %v", err, seen)
	}
}

func TestServeGivesUpAtTheDeadline(t *testing.T) {
	ln, err := runner.Listen("127.0.0.1:0", "ADDR")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	entered := make(chan struct{})
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	})
	served := make(chan error, 1)
	go func() { served <- runner.Serve(ctx, ln, h, runner.HTTP{DrainTimeout: 20 * time.Millisecond}, nil) }()
	go http.Get("http://" + ln.Addr().String())
	<-entered
	cancel()
	if err := <-served; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Serve: %v, want the deadline", err)
	}
}

func TestAnAddressInUseNamesItsVariable(t *testing.T) {
	ln, err := runner.Listen("127.0.0.1:0", "HTTP_ADDR")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := runner.Listen(ln.Addr().String(), "HTTP_ADDR"); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "HTTP_ADDR="+ln.Addr().String()) {
		t.Errorf("error %v", err)
	}
}

func TestTheLogFollowsItsVariables(t *testing.T) {
	var out bytes.Buffer
	t.Setenv("LOG_LEVEL", "warn")
	t.Setenv("LOG_FORMAT", "json")
	log, err := runner.Logger(&out)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("quiet")
	log.Warn("loud")
	if s := out.String(); strings.Contains(s, "quiet") || !strings.HasPrefix(s, "{") || !strings.Contains(s, `"msg":"loud"`) {
		t.Errorf("logged %q", s)
	}
	for name, value := range map[string]string{"LOG_LEVEL": "verbose", "LOG_FORMAT": "xml"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			if _, err := runner.Logger(&out); err == nil || !strings.HasPrefix(err.Error(), name+": ") {
				t.Errorf("error %v", err)
			}
		})
	}
}
