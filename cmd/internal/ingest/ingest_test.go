package ingest_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hypostream/hypostream/cmd/internal/ingest"
	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/config"
	"github.com/hypostream/hypostream/pkg/embedded/broker"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/registry"
)

const secret = "hs_front-door-token"

func do(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// The door opens before the log is there, says so, takes events as soon as the
// log and the registry are, and lets a request under way at the end finish.
func TestIngestWaitsForTheLogAndDrains(t *testing.T) {
	// An address that nobody has yet: a broker's, which is gone again.
	b, err := broker.Start(t.Context(), broker.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	brokers := b.Addr()
	b.Close()

	var cfg ingest.Config
	if err := config.LoadFrom(t.Context(), &cfg, map[string]string{"HTTP_ADDR": "127.0.0.1:0", "KAFKA_BROKERS": brokers}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	started, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		ended <- ingest.Run(ctx, cfg, slog.Default(), func(addr net.Addr) { started <- addr })
	}()
	url := "http://" + (<-started).String()

	if code, answer := do(t, "GET", url+"/healthz", ""); code != 200 {
		t.Errorf("health without a log: %d %s", code, answer)
	}
	if code, answer := do(t, "GET", url+"/readyz", ""); code != 503 || !strings.Contains(answer, `"log":`) {
		t.Errorf("readiness without a log: %d %s", code, answer)
	}
	const goal = `{"events": [{"event_type": "goal", "user_id": "u", "time": "2026-11-21 00:11:34.000001", "goal_name": "g"}]}`
	if code, answer := do(t, "POST", url+"/v1/events", goal); code != 504 {
		t.Errorf("an event without a log: %d %s, want the 504 that SDKs retry", code, answer)
	}

	if b, err = broker.Start(t.Context(), broker.Config{Addr: brokers}); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	bootstrap(t, brokers)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		code, answer := do(t, "GET", url+"/readyz", "")
		if code == 200 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("not ready though the log is: %d %s", code, answer)
		}
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		code, answer := do(t, "POST", url+"/v1/events", goal)
		if code == 200 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("an event: %d %s", code, answer)
		}
	}
	if _, metrics := do(t, "GET", url+"/metrics", ""); !strings.Contains(metrics, `hypostream_ingest_events_accepted_total{kind="kpi",project="shop"} 1`) {
		t.Errorf("the accepted event is not counted: %s", metrics)
	}

	// A request whose body is half sent when the end comes.
	reader, writer := io.Pipe()
	req, err := http.NewRequest("POST", url+"/v1/events", reader)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	last := make(chan string, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			last <- err.Error()
			return
		}
		defer resp.Body.Close()
		last <- fmt.Sprint(resp.StatusCode)
	}()
	writer.Write([]byte(goal[:20]))
	time.Sleep(50 * time.Millisecond) // for the headers to arrive
	stop()
	time.Sleep(50 * time.Millisecond)
	writer.Write([]byte(goal[20:]))
	writer.Close()
	if got := <-last; got != "200" {
		t.Errorf("the request under way at the end: %s", got)
	}
	if err := <-ended; err != nil {
		t.Errorf("running: %v", err)
	}
}

// bootstrap gives the registry a project with a token.
func bootstrap(t *testing.T, brokers string) {
	t.Helper()
	ctx := t.Context()
	topics := event.NewTopics("")
	log, err := eventlog.Open(ctx, eventlog.Config{Brokers: []string{brokers}})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := log.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	if err := log.EnsureTopics(ctx, registry.Topic(topics.Registry)); err != nil {
		t.Fatal(err)
	}
	c, err := codec.New(ctx, codec.Config{}, topics)
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(registry.Config{Bootstrap: "shop:" + secret}, log, c, topics.Registry, slog.New(slog.NewTextHandler(new(bytes.Buffer), nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	run, stop := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- reg.Run(run) }()
	defer func() { stop(); <-ran }()
	if err := reg.Bootstrap(ctx); err != nil {
		t.Fatal(err)
	}
}
