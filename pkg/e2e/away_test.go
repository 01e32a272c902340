package e2e

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hypostream/hypostream/pkg/embedded/broker"
)

// A log that is away at the start is waited for: SDKs get the 504 on which they
// try again, the probe says what is missing, and when the log is there what was
// retried is in. SIGTERM then ends each service in order.
func TestServicesWaitForALogThatIsAway(t *testing.T) {
	if os.Getenv("HYPOSTREAM_TEST_BROKERS") != "" {
		t.Skip("skipped: the real broker is not this test's to stop")
	}
	h := newHouse(t)
	addr := freeAddr(t)
	h.brokers = addr
	h.env = append(h.env, "KAFKA_BROKERS="+addr)
	base := freeAddr(t)
	h.ingest = "http://" + base
	ingest := h.start("ingest", nil, "HTTP_ADDR="+base)
	aggregator := h.startAggregator()
	status := func(method, path string) int {
		req, err := http.NewRequest(method, h.ingest+path, strings.NewReader(`{"events": []}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if !h.eventually(20*time.Second, func() bool { return status(http.MethodGet, "/healthz") == http.StatusOK }) {
		t.Fatal("ingest does not live without a log")
	}
	if got := status(http.MethodGet, "/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("/readyz %d without a log, want 503", got)
	}
	if got := status(http.MethodPost, "/v1/events"); got != http.StatusGatewayTimeout {
		t.Errorf("a POST got %d without a log, want 504", got)
	}
	if !h.eventually(20*time.Second, func() bool { return strings.Contains(ingest.out.String(), "waiting for the log") }) {
		t.Errorf("ingest does not say what it waits for: %s", ingest.out.String())
	}
	b, err := broker.Start(t.Context(), broker.Config{Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	analyzer := h.startAnalyzer() // gives out the token
	h.waitReady(h.ingest, ingest)
	h.knowsToken()
	if err := h.post(t.Context(), http.DefaultClient, []byte(`{"events": [{"event_type": "goal", "user_id": "u", "goal_name": "g"}]}`)); err != nil {
		t.Fatal(err)
	}
	if !h.eventually(60*time.Second, func() bool { return h.number("SELECT toInt64(count()) AS n FROM kpis") == 1 }) {
		t.Error("the event that was sent when the log was there is not stored")
	}
	for _, p := range []*process{ingest, aggregator, analyzer} {
		if code := p.stop(t); code != 0 {
			t.Errorf("%s: exit code %d after SIGTERM, want 0:\n%s", p.name, code, p.out.String())
		}
	}
}
