package runner_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hypostream/hypostream/pkg/runner"
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
