package e2e

import (
	"encoding/csv"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The rows of a real landing-page test, replayed through HTTP as an SDK would
// have sent them: an exposure, and for a subscriber a KPI at the same moment.
//
// By hand: the file has 476 rows of 474 users. Users 680345 and 917610 stand
// twice, both times in control, with the same time and without subscribing: the
// same event again. So control has 238 − 2 = 236 entities with 17 subscribers,
// experimental 238 with 45, and nobody is set aside.
func TestARealTestGivesWhatTheFileSays(t *testing.T) {
	f, err := os.Open(filepath.Join("..", "..", "..", "shared", "data", "subscription_ab.csv"))
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("the data are not here: %v", err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	h := newHouse(t)
	h.startAnalyzer()
	h.startIngest()
	h.knowsToken()
	h.startAggregator()
	h.create(`{"key": "subscription", "state": "running", "start": "2021-01-05T00:00:00Z", "end": "2021-01-20T00:00:00Z",
		"variants": [{"key": "control", "weight": 0.5}, {"key": "experimental", "weight": 0.5}],
		"metrics": [{"key": "subscribed", "kind": "unique", "event": "subscribed"}]}`)
	client := &http.Client{Timeout: 5 * time.Second}
	for _, r := range rows[1:] {
		body := fmt.Sprintf(`{"events": [{"event_type": "visit", "user_id": %q, "time": %q, "test_name": "subscription", "variant": %q}`, r[0], r[1], r[2])
		if r[4] == "1" {
			body += fmt.Sprintf(`, {"event_type": "goal", "user_id": %q, "time": %q, "goal_name": "subscribed"}`, r[0], r[1])
		}
		if err := h.post(t.Context(), client, []byte(body+"]}")); err != nil {
			t.Fatal(err)
		}
	}
	// 474 distinct exposures; 17 + 45 KPIs
	if !h.eventually(60*time.Second, func() bool {
		return h.number("SELECT toInt64(count()) AS n FROM exposures") == 474 && h.number("SELECT toInt64(count()) AS n FROM kpis") == 62
	}) {
		t.Fatalf("stored %d exposures and %d KPIs, want 474 and 62", h.number("SELECT toInt64(count()) AS n FROM exposures"), h.number("SELECT toInt64(count()) AS n FROM kpis"))
	}
	res := h.result("subscription")
	m := res.Metric("subscribed")
	for _, want := range []struct {
		variant       string
		n, converters uint64
	}{{"control", 236, 17}, {"experimental", 238, 45}} {
		a := m.Arm(want.variant)
		if a.N != want.n || a.Converters != want.converters {
			t.Errorf("%s: %d of %d, want %d of %d", want.variant, a.Converters, a.N, want.converters, want.n)
		}
	}
	if res.Arms[0].SetAside+res.Arms[1].SetAside != 0 {
		t.Errorf("%d and %d set aside, want none", res.Arms[0].SetAside, res.Arms[1].SetAside)
	}
	c := m.Comparison("experimental")
	want := welchP(236, 17, 238, 45)
	if math.Abs(c.P-want) > 1e-9 {
		t.Errorf("p = %.12g, want %.12g", c.P, want)
	}
	if uplift := (45./238)/(17./236) - 1; math.Abs(c.Relative-uplift) > 1e-12 {
		t.Errorf("uplift %.12g, want %.12g", c.Relative, uplift)
	}
}

// welchP is the two-sided p of Welch's t-test on two samples of zeros and
// ones, from the textbook's formulas, its tail integrated by Simpson's rule.
func welchP(n1, k1, n2, k2 float64) float64 {
	v := func(n, k float64) float64 { p := k / n; return p * (1 - p) * n / (n - 1) / n }
	a, b := v(n1, k1), v(n2, k2)
	t := math.Abs(k2/n2-k1/n1) / math.Sqrt(a+b)
	df := (a + b) * (a + b) / (a*a/(n1-1) + b*b/(n2-1))
	g1, _ := math.Lgamma((df + 1) / 2)
	g2, _ := math.Lgamma(df / 2)
	density := func(x float64) float64 {
		return math.Exp(g1-g2-(df+1)/2*math.Log1p(x*x/df)) / math.Sqrt(df*math.Pi)
	}
	const n = 20000
	h := t / n
	s := density(0) + density(t)
	for i := 1; i < n; i++ {
		s += density(float64(i)*h) * float64(2+2*(i%2))
	}
	return 1 - 2*s*h/3
}
