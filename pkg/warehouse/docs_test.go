package warehouse_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/warehouse"
	"github.com/hypostream/hypostream/pkg/warehouse/warehousetest"
)

func page(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/warehouse.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestThePageNamesEveryColumn(t *testing.T) {
	db := warehousetest.Open(t)
	type column struct {
		Table string `ch:"table"`
		Name  string `ch:"name"`
		Type  string `ch:"type"`
	}
	cols, err := warehouse.Select[column](t.Context(), db, `SELECT table, name, type FROM system.columns
		WHERE database = currentDatabase() AND table NOT IN (
			SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'MaterializedView')
		ORDER BY table, position`, nil)
	if err != nil {
		t.Fatal(err)
	}
	have := map[string][]string{}
	for _, c := range cols {
		have[c.Table] = append(have[c.Table], c.Name+" "+c.Type)
	}
	heading, row := regexp.MustCompile(`^### (\w+)$`), regexp.MustCompile(`^\| (\w+) \| (.+?) \| .*\|$`)
	told := map[string][]string{}
	table := ""
	for line := range strings.Lines(page(t)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "## ") {
			table = ""
		} else if m := heading.FindStringSubmatch(line); m != nil {
			table = m[1]
		} else if m := row.FindStringSubmatch(line); m != nil && table != "" && m[1] != "Column" {
			told[table] = append(told[table], m[1]+" "+m[2])
		}
	}
	if len(told) < 10 {
		t.Fatalf("only %d tables were found in the page", len(told))
	}
	if d := cmp.Diff(have, told); d != "" {
		t.Errorf("the database and the page:\n%s", d)
	}
}

func TestTheQueriesOfThePageRun(t *testing.T) {
	db := warehousetest.Open(t)
	us := int64(time.Second / time.Microsecond)
	var events []event.Event
	add := func(e event.Event) {
		e.Project, e.ReceivedAt, e.ID = "p", now, event.ID{byte(len(events) + 1)}
		events = append(events, e)
	}
	// three visitors see a, one of them b; two buy, one of them before the
	// exposure; the match comes last
	for i, v := range []string{"v1", "v2", "v3"} {
		add(event.Event{Kind: event.Exposure, VisitorID: v, Experiment: "x", Variant: []string{"a", "a", "b"}[i], Time: now - 10*us})
	}
	add(event.Event{Kind: event.KPI, VisitorID: "v1", Name: "buy", ValueMicro: 2_500_000, Time: now - 5*us, Tags: []event.Tag{{Key: "page", Value: event.StringTag("/cart")}}})
	add(event.Event{Kind: event.KPI, UserID: "u1", Name: "buy", ValueMicro: 1_500_000, Time: now - 4*us})
	add(event.Event{Kind: event.KPI, VisitorID: "v3", Name: "buy", ValueMicro: 9_000_000, Time: now - 20*us})
	add(event.Event{Kind: event.Match, VisitorID: "v1", UserID: "u1", Time: now})
	insert(t, db, events...)
	insert(t, db, events...)
	ledger := []struct {
		Topic     string    `ch:"topic"`
		Partition uint16    `ch:"topic_partition"`
		From      int64     `ch:"from_offset"`
		To        int64     `ch:"to_offset"`
		Stored    uint64    `ch:"stored"`
		Dead      uint64    `ch:"dead"`
		At        time.Time `ch:"at"`
	}{{"t", 0, 0, 8, 7, 1, time.Now().UTC()}}
	if err := warehouse.InsertRows(t.Context(), db, "batches", ledger); err != nil {
		t.Fatal(err)
	}
	start, end := time.UnixMicro(now).Add(-time.Hour), time.UnixMicro(now).Add(time.Hour)
	params := map[string]any{"project": "p", "experiment": "x", "kpi": "buy", "start": start, "end": end}
	// what each gives, worked out by hand; day is 2026-11-21
	want := [][]string{
		{"a|2026-11-21|2", "b|2026-11-21|1"},
		{"a|2|1|50|4", "b|1|0|0|0"}, // u1's two, 2.5 and 1.5; v3 bought before
		{"2026-11-21|buy|3|2|13"},
		{"|2|2", "/cart|1|1"},
		{"1|1|0"},
		{"t|7|1|0"},
	}
	queries := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(page(t), -1)
	if len(queries) != len(want) {
		t.Fatalf("%d queries, want %d", len(queries), len(want))
	}
	for i, q := range queries {
		used := map[string]any{}
		for name, v := range params {
			if strings.Contains(q[1], "{"+name+":") {
				used[name] = v
			}
		}
		rows, err := warehouse.Select[string](t.Context(), db, "SELECT concatWithSeparator('|', * APPLY toString) FROM ("+q[1]+")", used)
		if err != nil {
			t.Errorf("query %d: %v", i+1, err)
			continue
		}
		if i == len(want)-1 { // the seconds since
			rows[0] = regexp.MustCompile(`\|\d$`).ReplaceAllString(rows[0], "|0")
		}
		if d := cmp.Diff(want[i], rows); d != "" {
			t.Errorf("query %d:\n%s", i+1, d)
		}
	}
}
