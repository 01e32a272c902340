package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/embedded/broker/brokertest"
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/experiment"
	"github.com/hypostream/hypostream/pkg/registry"
)

// deadline is far beyond what anything here takes.
const deadline = 60 * time.Second

type cluster struct {
	brokers []string
	topic   string
}

func newCluster(t *testing.T) *cluster {
	return &cluster{brokertest.Brokers(t), fmt.Sprintf("registry-%d", time.Now().UnixNano())}
}

func (c *cluster) log(t *testing.T) (*eventlog.Log, *codec.Codec) {
	t.Helper()
	log, err := eventlog.Open(t.Context(), eventlog.Config{Brokers: c.brokers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	cd, err := codec.New(t.Context(), codec.Config{}, event.NewTopics(""))
	if err != nil {
		t.Fatal(err)
	}
	return log, cd
}

// open starts one more process's registry.
func (c *cluster) open(t *testing.T, cfg registry.Config) *registry.Registry {
	t.Helper()
	log, cd := c.log(t)
	if err := log.EnsureTopics(t.Context(), registry.Topic(c.topic)); err != nil {
		t.Fatal(err)
	}
	r, err := registry.Open(cfg, log, cd, c.topic, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("running the registry: %v", err)
		}
		r.Close()
	})
	wait, stop := context.WithTimeout(t.Context(), deadline)
	defer stop()
	if err := r.WaitReady(wait); err != nil {
		t.Fatal(err)
	}
	return r
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func definition(project, key string) *experiment.Experiment {
	return &experiment.Experiment{Project: project, Key: key, State: experiment.Draft, Variants: []experiment.Variant{{Key: "control", Weight: 0.5}, {Key: "b", Weight: 0.5}}}
}

func mustProject(t *testing.T, r *registry.Registry, key string) {
	t.Helper()
	if _, err := r.PutProject(t.Context(), experiment.Project{Key: key}, "test"); err != nil {
		t.Fatal(err)
	}
}

func TestRacingWritersLoseNoUpdate(t *testing.T) {
	c := newCluster(t)
	a, b := c.open(t, registry.Config{Repair: true}), c.open(t, registry.Config{Repair: true})
	follower := c.open(t, registry.Config{})
	mustProject(t, a, "p")
	first, err := a.PutExperiment(t.Context(), definition("p", "x"), "test")
	if err != nil {
		t.Fatal(err)
	}
	if first.Version != 1 || first.ID != 1 {
		t.Fatalf("created as version %d, id %d; want 1, 1", first.Version, first.ID)
	}
	eventually(t, "b sees it", func() bool { return b.Snapshot().Experiment("p", "x") != nil })
	const each = 100
	var mu sync.Mutex
	versions := map[int64]string{}
	var wg sync.WaitGroup
	for name, r := range map[string]*registry.Registry{"a": a, "b": b} {
		wg.Go(func() {
			for done := 0; done < each; {
				x := *r.Snapshot().Experiment("p", "x")
				x.Name = fmt.Sprintf("%s%d", name, done)
				y, err := r.PutExperiment(t.Context(), &x, name)
				if errors.Is(err, registry.ErrConflict) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if by, twice := versions[y.Version]; twice {
					t.Errorf("version %d was won by %s and by %s", y.Version, by, x.Name)
				}
				versions[y.Version] = x.Name
				mu.Unlock()
				done++
			}
		})
	}
	wg.Wait()
	for v := int64(2); v <= 2*each+1; v++ {
		if versions[v] == "" {
			t.Errorf("nobody won version %d", v)
		}
	}
	// A process that starts now, one that followed, and the writers agree.
	for name, r := range map[string]*registry.Registry{"a": a, "b": b, "follower": follower, "fresh": c.open(t, registry.Config{})} {
		eventually(t, name+" holds the last version", func() bool {
			x := r.Snapshot().Experiment("p", "x")
			return x != nil && x.Version == 2*each+1
		})
		if got := r.Snapshot().Experiment("p", "x"); got.Name != versions[2*each+1] || got.ID != 1 {
			t.Errorf("%s holds %q with id %d, won was %q", name, got.Name, got.ID, versions[2*each+1])
		}
	}
}

func TestNoTwoExperimentsShareAnID(t *testing.T) {
	c := newCluster(t)
	rs := []*registry.Registry{c.open(t, registry.Config{Repair: true}), c.open(t, registry.Config{Repair: true})}
	mustProject(t, rs[0], "p")
	eventually(t, "both see the project", func() bool { _, ok := rs[1].Snapshot().Project("p"); return ok })
	var mu sync.Mutex
	ids := map[int64]string{}
	var wg sync.WaitGroup
	for i, r := range rs {
		for j := range 20 {
			wg.Go(func() {
				key := fmt.Sprintf("x%d-%d", i, j)
				x, err := r.PutExperiment(t.Context(), definition("p", key), "test")
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				} else if ids[x.ID] != "" {
					t.Errorf("%s and %s both got id %d", key, ids[x.ID], x.ID)
				} else {
					ids[x.ID] = key
				}
			})
		}
	}
	wg.Wait()
	x := definition("p", "late")
	x.ID = 7
	if _, err := rs[0].PutExperiment(t.Context(), x, "test"); !errors.Is(err, registry.ErrConflict) || !strings.Contains(err.Error(), ids[7]) {
		t.Errorf("asking for id 7: %v; want a conflict that names %s", err, ids[7])
	}
	x.ID = 4711
	if y, err := rs[0].PutExperiment(t.Context(), x, "test"); err != nil || y.ID != 4711 {
		t.Errorf("asking for id 4711: %v, %v", y, err)
	}
	mustProject(t, rs[0], "q") // ids belong to their project
	x = definition("q", "late")
	x.ID = 7
	if _, err := rs[0].PutExperiment(t.Context(), x, "test"); err != nil {
		t.Errorf("asking for id 7 in another project: %v", err)
	}
}

func TestOfTwoCreationsOneWinsAndBothKnow(t *testing.T) {
	c := newCluster(t)
	rs := []*registry.Registry{c.open(t, registry.Config{Repair: true}), c.open(t, registry.Config{Repair: true})}
	mustProject(t, rs[0], "p")
	eventually(t, "both see the project", func() bool { _, ok := rs[1].Snapshot().Project("p"); return ok })
	for round := range 20 {
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i, r := range rs {
			wg.Go(func() {
				x := definition("p", fmt.Sprintf("x%d", round))
				x.Name = fmt.Sprint(i)
				_, errs[i] = r.PutExperiment(t.Context(), x, "test")
			})
		}
		wg.Wait()
		winner := slices.Index(errs, nil)
		if winner < 0 || !errors.Is(errs[1-winner], registry.ErrConflict) {
			t.Fatalf("round %d: %v; want one nil and one conflict", round, errs)
		}
		for _, r := range rs {
			eventually(t, "the winner stands", func() bool {
				x := r.Snapshot().Experiment("p", fmt.Sprintf("x%d", round))
				return x != nil && x.Name == fmt.Sprint(winner)
			})
		}
	}
}

// newest reads the topic from its beginning and gives each key's newest entry.
func (c *cluster) newest(t *testing.T) map[string]experiment.Entry {
	t.Helper()
	log, cd := c.log(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := map[string]experiment.Entry{}
	dec := cd.NewDecoder()
	log.Follow(ctx, c.topic, func(rec eventlog.Record) error {
		x, err := dec.Entry(rec.Value)
		if err != nil {
			x = experiment.Entry{}
		}
		out[string(rec.Key)] = x
		return nil
	}, cancel)
	return out
}

func TestWhatLostDoesNotStayOnTop(t *testing.T) {
	c := newCluster(t)
	r := c.open(t, registry.Config{Repair: true})
	mustProject(t, r, "p")
	log, cd := c.log(t)
	p, err := log.NewProducer(eventlog.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	// A process that was asleep replaces what is long gone; another's bytes
	// are not ours at all.
	late, err := cd.AppendEntry(nil, &experiment.Entry{Subject: experiment.SubjectProject, Key: "p", Version: 1, Body: []byte(`{"key":"p","name":"late"}`)})
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string][]byte{"a void record": late, "rubbish": []byte("rubbish")} {
		if err := p.Append(t.Context(), []eventlog.Record{{Topic: c.topic, Key: []byte("project/p"), Value: value}}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "what stands is written over "+name, func() bool {
			x := c.newest(t)["project/p"]
			return x.Version == 1 && !strings.Contains(string(x.Body), "late")
		})
	}
	if got, _ := r.Snapshot().Project("p"); got.Name != "" {
		t.Errorf("stands: %+v", got)
	}
	if r.Unreadable() != 1 {
		t.Errorf("%d records counted as unreadable, want 1", r.Unreadable())
	}
}

func TestTokens(t *testing.T) {
	c := newCluster(t)
	r, other := c.open(t, registry.Config{Repair: true, Bootstrap: "p:a-known-secret, q:another-secret"}), c.open(t, registry.Config{})
	for range 2 { // the second time there is nothing to do
		if err := r.Bootstrap(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	secret, token, err := r.CreateToken(t.Context(), "p", "web", "test")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(secret, "hs_") || len(secret) != 46 { // 62^43 > 2^256
		t.Errorf("secret %q", secret)
	}
	for s, project := range map[string]string{secret: "p", "a-known-secret": "p", "another-secret": "q"} {
		eventually(t, "the other process knows the token", func() bool {
			got, ok := other.Snapshot().Authenticate(s)
			return ok && got == project
		})
	}
	for _, s := range []string{"", "a-known-secre", token.Hash, strings.Repeat("x", 1000)} {
		if p, ok := r.Snapshot().Authenticate(s); ok {
			t.Errorf("%q authenticates as %s", s, p)
		}
	}
	if _, err := r.ImportToken(t.Context(), "q", "", "a-known-secret", "test"); !errors.Is(err, registry.ErrConflict) {
		t.Errorf("another project's secret: %v", err)
	}
	if _, err := r.ImportToken(t.Context(), "nowhere", "", "some-secret", "test"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("a project that does not exist: %v", err)
	}
	if _, err := r.ImportToken(t.Context(), "p", "", "short", "test"); err == nil || strings.Contains(err.Error(), "short") {
		t.Errorf("a short secret: %v", err)
	}
	if _, err := r.RevokeToken(t.Context(), token.Hash, "test"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token is useless everywhere", func() bool {
		_, ok := other.Snapshot().Authenticate(secret)
		return !ok
	})
	if _, err := r.ImportToken(t.Context(), "p", "", secret, "test"); !errors.Is(err, registry.ErrConflict) {
		t.Errorf("a revoked secret again: %v", err)
	}
	for key, x := range c.newest(t) {
		for _, s := range []string{secret, "a-known-secret"} {
			if strings.Contains(string(x.Body)+key, s) {
				t.Errorf("%s holds a secret: %s", key, x.Body)
			}
		}
	}
}

func TestWhatCannotBeWritten(t *testing.T) {
	c := newCluster(t)
	r := c.open(t, registry.Config{Repair: true})
	mustProject(t, r, "p")
	x, err := r.PutExperiment(t.Context(), definition("p", "x"), "test")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*experiment.Experiment)
		want   error
	}{
		{"a project that does not exist", func(x *experiment.Experiment) { x.Project, x.Version = "nowhere", 0 }, registry.ErrNotFound},
		{"a new version of what does not exist", func(x *experiment.Experiment) { x.Key = "y" }, registry.ErrNotFound},
		{"a creation of what exists", func(x *experiment.Experiment) { x.Version = 0 }, registry.ErrConflict},
		{"a version that is not there yet", func(x *experiment.Experiment) { x.Version = 2 }, registry.ErrConflict},
		{"a definition that fits no message", func(x *experiment.Experiment) {
			for range 2000 {
				x.Overrides["b"] = append(x.Overrides["b"], strings.Repeat("i", 300))
			}
		}, registry.ErrTooLarge},
	}
	for _, tt := range tests {
		y := *x
		y.Overrides = map[string][]string{}
		tt.change(&y)
		if _, err := r.PutExperiment(t.Context(), &y, "test"); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	y := *x
	y.ID = 99
	var field *experiment.FieldError
	if _, err := r.PutExperiment(t.Context(), &y, "test"); !errors.As(err, &field) || field.Field != "id" {
		t.Errorf("another id: %v", err)
	}
	for _, b := range []string{"no-colon", ":secret-secret", "p:short"} {
		if err := (registry.Config{Bootstrap: b}).Validate(); err == nil {
			t.Errorf("BOOTSTRAP %q is taken", b)
		}
	}
}
