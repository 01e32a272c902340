package e2e

import (
	"encoding/json"
	"math"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// python is the interpreter that has the real clients, by make venv.
func python(t *testing.T) string {
	t.Helper()
	path := os.Getenv("HYPOSTREAM_PYTHON")
	if path == "" {
		path = filepath.Join("..", "..", ".venv", "bin", "python")
	}
	if err := exec.Command(path, "-c", "import hypotest_python3_sdk").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s has no hypotest-python3-sdk: %v", path, err)
		}
		t.Skipf("skipped: %s has no hypotest-python3-sdk (make venv): %v", path, err)
	}
	return path
}

// The unmodified HypoTest SDK plays a small population through the binaries,
// and the verdict is held against arithmetic done here.
func TestTheUnmodifiedSDKsPopulationGetsARightVerdict(t *testing.T) {
	interpreter := python(t)
	h := newHouse(t)
	h.startAnalyzer()
	h.startIngest()
	h.startAggregator()
	start := time.Now().Add(-time.Minute).UTC()
	h.create(`{"key": "sdk/headline", "state": "running", "start": "` + start.Format(time.RFC3339) + `",
		"variants": [{"key": "control", "weight": 0.5}, {"key": "b", "weight": 0.5}],
		"targeting": {"condition": "country == 'fr'", "tags": ["country"]},
		"metrics": [
			{"key": "funnel", "kind": "funnel", "steps": ["signup", "purchase"]},
			{"key": "revenue", "kind": "sum", "event": "purchase"}]}`)
	const visitors = 300
	u, err := url.Parse(h.ingest)
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	// Ingest follows the registry by itself; the SDK asks anew at every call.
	if !h.eventually(10*time.Second, func() bool { return strings.Contains(h.settings(), `"sdk/headline"`) }) {
		t.Fatal("ingest does not serve the experiment")
	}
	cmd := exec.Command(interpreter, filepath.Join("testdata", "population.py"), "http://"+host, port, token, strconv.Itoa(visitors))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the SDK: %v", err)
	}
	var variants []string
	if err := json.Unmarshal(out, &variants); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	type arm struct{ n, signups, buyers, microRevenue float64 }
	want := map[string]*arm{"control": {}, "b": {}}
	matches, kpis := 0, 0
	for i, v := range variants {
		a := want[v]
		if a == nil {
			t.Fatalf("visitor %d was given %q", i, v)
		}
		a.n++
		every := 5
		if v == "b" {
			every = 3
		}
		if i%every != 0 {
			continue
		}
		a.signups++
		matches++
		kpis++
		if i%2 == 0 {
			a.buyers++
			kpis++
			a.microRevenue += (10 + float64(i%7) + 0.25) * 1e6
		}
	}
	kpis += 2 // the note by user-0 and the note by nobody; NaN is a dead letter
	if !h.eventually(60*time.Second, func() bool {
		return h.number("SELECT toInt64(count()) AS n FROM exposures") == visitors &&
			h.number("SELECT toInt64(count()) AS n FROM kpis") == int64(kpis) &&
			h.number("SELECT toInt64(uniqExact(event_id)) AS n FROM matches_raw") == int64(matches)
	}) {
		t.Fatalf("stored %d exposures, %d KPIs, %d matches; want %d, %d, %d",
			h.number("SELECT toInt64(count()) AS n FROM exposures"), h.number("SELECT toInt64(count()) AS n FROM kpis"),
			h.number("SELECT toInt64(uniqExact(event_id)) AS n FROM matches_raw"), visitors, kpis, matches)
	}
	res := h.result("sdk/headline")
	for _, variant := range []string{"control", "b"} {
		a := want[variant]
		funnel, revenue := res.Metric("funnel").Arm(variant), res.Metric("revenue").Arm(variant)
		if float64(funnel.N) != a.n || float64(funnel.Steps[0].Entities) != a.signups || float64(funnel.Steps[1].Entities) != a.buyers {
			t.Errorf("%s: %d entities, %d signed up, %d bought; want %v", variant, funnel.N, funnel.Steps[0].Entities, funnel.Steps[1].Entities, *a)
		}
		if mean := a.microRevenue / 1e6 / a.n; math.Abs(revenue.Value-mean) > 1e-12 {
			t.Errorf("%s: revenue per entity %v, want %v", variant, revenue.Value, mean)
		}
	}
	c, b := want["control"], want["b"]
	if p := welchP(c.n, c.buyers, b.n, b.buyers); math.Abs(res.Metric("funnel").Comparison("b").P-p) > 1e-9 {
		t.Errorf("p = %.12g, want %.12g", res.Metric("funnel").Comparison("b").P, p)
	}
	// The NaN and the match without a user: two dead letters, and nothing else.
	if n := h.letters(); n != 2 {
		t.Errorf("%d dead letters, want 2", n)
	}
}
