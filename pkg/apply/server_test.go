package apply_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypostream/hypostream/pkg/admin"
	"github.com/hypostream/hypostream/pkg/apply"
	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/embedded/broker/brokertest"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/registry"
)

// TestTheExampleIsAppliedOnce sends the example to a real server twice.
func TestTheExampleIsAppliedOnce(t *testing.T) {
	log, err := eventlog.Open(t.Context(), eventlog.Config{Brokers: []string{brokertest.Start(t)}})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	topics := event.NewTopics("")
	cd, err := codec.New(t.Context(), codec.Config{}, topics)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.EnsureTopics(t.Context(), registry.Topic(topics.Registry)); err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(registry.Config{Repair: true}, log, cd, topics.Registry, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer reg.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- reg.Run(ctx) }()
	defer func() { cancel(); <-done }()
	if err := reg.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	const key = "a-test-key-0123456789"
	h, err := admin.New(admin.Config{Key: key}, reg, ":8090")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	h.Register(mux)
	srv := httptest.NewServer(mux)
	defer srv.Close()

	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "experiments.example.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	read := func(text string) *apply.File {
		f, err := apply.Read("f.yaml", []byte(text), env(map[string]string{"WEB_TOKEN": "a-known-secret"}))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	c := apply.Client{Server: srv.URL, Key: key}
	apply2 := func(text string, dryRun bool) string {
		plan, err := c.Apply(t.Context(), read(text), dryRun, false)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		apply.Write(&out, plan)
		return out.String()
	}
	const all = "create project shop\ncreate token shop/web\ncreate experiment shop/landing/headline\ncreate experiment shop/checkout/one-page\n4 to create, 0 to update, 0 unchanged\n"
	for _, dryRun := range []bool{true, true, false} { // a dry run changes nothing
		if got := apply2(string(data), dryRun); got != all {
			t.Errorf("the first time: %s", got)
		}
	}
	if got := apply2(string(data), false); got != "0 to create, 0 to update, 4 unchanged\n" {
		t.Errorf("the second time: %s", got)
	}
	changed := strings.Replace(string(data), "owner: growth", "owner: web team", 1)
	if got := apply2(changed, false); got != "update experiment shop/landing/headline (owner)\n0 to create, 1 to update, 3 unchanged\n" {
		t.Errorf("after a change: %s", got)
	}
	if x := reg.Snapshot().Experiment("shop", "landing/headline"); x == nil || x.Owner != "web team" || x.Version != 2 {
		t.Errorf("stands: %+v", x)
	}
	moved := strings.Replace(string(data), "state: running", "state: draft", 1)
	if _, err := c.Apply(t.Context(), read(moved), false, false); err == nil || !strings.HasPrefix(err.Error(), "f.yaml:24:12: experiments[0].state: cannot become draft") {
		t.Errorf("a step that there is not: %v", err)
	}
}
