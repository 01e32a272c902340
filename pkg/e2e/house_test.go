// Package e2e runs the whole path with the real binaries: ingest, aggregator
// and analyzer as processes of their own, a broker and an engine beside them.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hypostream/hypostream/pkg/embedded/broker/brokertest"
	"github.com/hypostream/hypostream/pkg/embedded/engine/enginetest"
	"github.com/hypostream/hypostream/pkg/report"
	"github.com/hypostream/hypostream/pkg/warehouse"
)

// bin is where TestMain built the binaries.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "hypostream-e2e-")
	if err != nil {
		log.Fatal(err)
	}
	bin = dir
	build := exec.Command("go", "build", "-o", dir, "../../cmd/ingest", "../../cmd/aggregator", "../../cmd/analyzer")
	if raceEnabled {
		build.Args = append(build.Args[:2], append([]string{"-race"}, build.Args[2:]...)...)
	}
	if out, err := build.CombinedOutput(); err != nil {
		log.Fatalf("building the binaries: %v\n%s", err, out)
	}
	code := enginetest.Run(m)
	os.RemoveAll(dir)
	os.Exit(code)
}

// house is one installation: addresses and the environment of its processes.
type house struct {
	t       *testing.T
	brokers string
	dsn     string
	prefix  string // of topics and groups: a real broker is shared by tests
	db      *warehouse.DB
	env     []string
	ingest  string // base URL
	api     string // base URL
}

const (
	token    = "hs_e2e-secret-token-0123456789"
	adminKey = "e2e-admin-key-0123456789abcdef"
	project  = "default"
)

// newHouse starts the engines (or uses a real broker, by
// HYPOSTREAM_TEST_BROKERS); processes are the test's to start.
func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, dsn: enginetest.Database(t), brokers: os.Getenv("HYPOSTREAM_TEST_BROKERS")}
	if h.brokers == "" {
		h.brokers = brokertest.Start(t)
	}
	h.prefix = fmt.Sprintf("e2e-%s-%d", strings.ToLower(t.Name()), time.Now().UnixNano())
	h.env = append(os.Environ(),
		"KAFKA_BROKERS="+h.brokers,
		"KAFKA_PARTITIONS=4",
		"TOPIC_PREFIX="+h.prefix,
		"GROUP_ID="+h.prefix+"-aggregator",
		"SESSION_TIMEOUT=6s", // a real broker's least
		"CLICKHOUSE_DSN="+h.dsn,
		"BOOTSTRAP="+project+":"+token,
		"ADMIN_KEY="+adminKey,
		"LOG_LEVEL=warn",
	)
	db, err := warehouse.Open(t.Context(), warehouse.Config{DSN: h.dsn})
	if err != nil {
		t.Fatalf("opening the warehouse: %v", err)
	}
	t.Cleanup(func() { db.Close() })
	h.db = db
	return h
}

// process is one running binary.
type process struct {
	name string
	cmd  *exec.Cmd
	out  output
	done chan struct{}
}

type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// start runs a binary; the test's end kills it, and a failed test prints what
// it said.
func (h *house) start(name string, args []string, env ...string) *process {
	h.t.Helper()
	p := &process{name: name, cmd: exec.Command(filepath.Join(bin, name), args...), done: make(chan struct{})}
	p.cmd.Env = append(h.env, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		h.t.Fatalf("starting %s: %v", name, err)
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	h.t.Cleanup(func() {
		p.kill()
		if h.t.Failed() {
			h.t.Logf("%s said:\n%s", name, p.out.String())
		}
	})
	return p
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
}

// stop asks the process to end and reports its exit code.
func (p *process) stop(t *testing.T) int {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		p.kill()
		t.Fatalf("%s did not stop within 30 s of SIGTERM:\n%s", p.name, p.out.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

func (h *house) startIngest() *process {
	addr := freeAddr(h.t)
	h.ingest = "http://" + addr
	p := h.start("ingest", nil, "HTTP_ADDR="+addr, "ADMIN_ADDR=")
	h.waitReady(h.ingest, p)
	return p
}

// knowsToken waits until ingest has followed the registry to the token that
// the analyzer gave out.
func (h *house) knowsToken() {
	h.t.Helper()
	if !h.eventually(20*time.Second, func() bool { return h.settings() != "" }) {
		h.t.Fatal("ingest does not learn of the token")
	}
}

func (h *house) startAggregator(env ...string) *process {
	return h.start("aggregator", nil, append([]string{"ADMIN_ADDR=" + freeAddr(h.t)}, env...)...)
}

func (h *house) startAnalyzer() *process {
	addr := freeAddr(h.t)
	h.api = "http://" + addr
	p := h.start("analyzer", []string{"serve"}, "HTTP_ADDR="+addr)
	h.waitReady(h.api, p)
	return p
}

// waitReady waits for /readyz, and fails at once when the process ends.
func (h *house) waitReady(base string, p *process) {
	h.t.Helper()
	last := ""
	ok := h.eventually(60*time.Second, func() bool {
		select {
		case <-p.done:
			h.t.Fatalf("%s ended at its start:\n%s", p.name, p.out.String())
		default:
		}
		resp, err := http.Get(base + "/readyz")
		if err != nil {
			last = err.Error()
			return false
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		last = string(body)
		return resp.StatusCode == http.StatusOK
	})
	if !ok {
		h.t.Fatalf("%s is not ready after a minute: %s\n%s", p.name, last, p.out.String())
	}
}

// eventually polls until it holds or the time is up.
func (h *house) eventually(d time.Duration, holds func() bool) bool {
	for end := time.Now().Add(d); ; {
		if holds() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// post sends a body as an SDK does, and retries as it does: on 408, 504 and a
// broken connection, the same body again.
func (h *house) post(ctx context.Context, client *http.Client, body []byte) error {
	for attempt := 0; ; attempt++ {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.ingest+"/v1/events", bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(req)
		if err == nil {
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("status %d: %s", resp.StatusCode, text)
			if resp.StatusCode != http.StatusRequestTimeout && resp.StatusCode != http.StatusGatewayTimeout {
				return err
			}
		}
		if attempt == 100 || ctx.Err() != nil {
			return fmt.Errorf("giving up after %d attempts: %w", attempt+1, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// admin calls the admin API and returns the answer's body.
func (h *house) admin(method, path, body string) []byte {
	h.t.Helper()
	req, err := http.NewRequest(method, h.api+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	out, _ := io.ReadAll(resp.Body)
	if resp.StatusCode >= 300 {
		h.t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, out)
	}
	return out
}

// create makes an experiment by the admin API.
func (h *house) create(definition string) {
	h.t.Helper()
	h.admin(http.MethodPost, "/v1/admin/projects/"+project+"/experiments", definition)
}

// result computes an experiment's result anew.
func (h *house) result(key string) *report.Result {
	h.t.Helper()
	b := h.admin(http.MethodGet, "/v1/projects/"+project+"/experiments/"+url.PathEscape(key)+"/results?refresh=true", "")
	var answer struct {
		Result *report.Result `json:"result"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		h.t.Fatalf("%v in %s", err, b)
	}
	return answer.Result
}

// number is the one number that a query over the warehouse gives.
func (h *house) number(sql string) int64 {
	h.t.Helper()
	rows, err := warehouse.Select[struct {
		N int64 `ch:"n"`
	}](h.t.Context(), h.db, sql, nil)
	if err != nil {
		h.t.Fatalf("%s: %v", sql, err)
	}
	if len(rows) != 1 {
		h.t.Fatalf("%s: %d rows, want 1", sql, len(rows))
	}
	return rows[0].N
}

// freeAddr is a loopback address that nothing listened on a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
