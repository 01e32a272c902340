package warehouse

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/hypostream/hypostream/pkg/embedded/engine/enginetest"
	"github.com/hypostream/hypostream/schemas"
)

func open(t *testing.T, dsn string) *DB {
	t.Helper()
	db, err := Open(t.Context(), Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func tables(t *testing.T, db *DB) []string {
	t.Helper()
	names, err := Select[string](t.Context(), db, "SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name", nil)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestMigratingAgainAndAtOnceChangesNothing(t *testing.T) {
	dsn := enginetest.Database(t)
	var wg sync.WaitGroup
	for range 4 {
		db := open(t, dsn)
		wg.Go(func() {
			if err := db.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	db := open(t, dsn)
	before := tables(t, db)
	if !slices.Contains(before, "exposures") || !slices.Contains(before, "identities_mv") {
		t.Fatalf("tables %v", before)
	}
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, tables(t, db)); d != "" {
		t.Error(d)
	}
	// what a kill between the statements and the note leaves: all runs again
	if err := db.Exec(t.Context(), "TRUNCATE TABLE schema_migrations", nil); err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestAnAlteredMigrationIsRefused(t *testing.T) {
	db := open(t, enginetest.Database(t))
	files := func(first string, more ...string) fstest.MapFS {
		fs := fstest.MapFS{"clickhouse/single/0001_first.sql": {Data: []byte(first)}}
		for i, s := range more {
			fs[fmt.Sprintf("clickhouse/single/%04d_more.sql", i+2)] = &fstest.MapFile{Data: []byte(s)}
		}
		return fs
	}
	const first = "CREATE TABLE IF NOT EXISTS a (x Int8) ENGINE = Memory;"
	if err := db.migrate(t.Context(), files(first)); err != nil {
		t.Fatal(err)
	}
	if err := db.migrate(t.Context(), files(strings.Replace(first, "Int8", "Int16", 1))); !errors.Is(err, ErrAltered) {
		t.Errorf("error %v, want ErrAltered", err)
	}
	// a new file runs, and one that fails is not noted
	const second = "CREATE TABLE IF NOT EXISTS b (x Int8) ENGINE = Memory; ALTER TABLE nowhere ADD COLUMN y Int8"
	if err := db.migrate(t.Context(), files(first, second)); err == nil || IsRetryable(err) {
		t.Errorf("a failing migration gave %v", err)
	}
	if err := db.migrate(t.Context(), files(first, strings.Replace(second, "nowhere", "b", 1))); err != nil {
		t.Errorf("the mended migration gave %v", err)
	}
	if d := cmp.Diff([]string{"a", "b", "schema_migrations"}, tables(t, db)); d != "" {
		t.Error(d)
	}
}

func TestStatementsEndAtTheirSemicolons(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"two", "A;B;", []string{"A", "B"}},
		{"the last without an end", "A;\n B\n", []string{"A", "B"}},
		{"in a string", `A ';' 'it\'s; --' ;B`, []string{`A ';' 'it\'s; --'`, "B"}},
		{"a doubled quote", `A 'it''s;';B`, []string{`A 'it''s;'`, "B"}},
		{"in quoted names", "A `a;b` \"c;d\";B", []string{"A `a;b` \"c;d\"", "B"}},
		{"in comments", "-- one; two\nA /* x; ' y */ ; -- three;\n", []string{"-- one; two\nA /* x; ' y */"}},
		{"nothing but comments", "-- one\n/* two */ ;\n;", nil},
		{"an open comment", "A; /* B;", []string{"A"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, statements(tt.text)); d != "" {
				t.Error(d)
			}
		})
	}
}

// The two forms differ in where data lies, never in what it is.
func TestTheClusterFormHasTheSameColumns(t *testing.T) {
	create := regexp.MustCompile(`(?s)CREATE (TABLE|VIEW|MATERIALIZED VIEW) IF NOT EXISTS (\w+)(.*)`)
	comment := regexp.MustCompile(`(?m)--.*$`)
	// bodies are the columns and queries by name, with _local and ON CLUSTER taken away
	bodies := func(form string) map[string]string {
		out := map[string]string{}
		all, err := migrations(schemas.ClickHouse, form)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			for _, s := range statements(m.text) {
				s = strings.ReplaceAll(comment.ReplaceAllString(s, ""), " ON CLUSTER '$cluster'", "")
				c := create.FindStringSubmatch(s)
				if c == nil {
					t.Errorf("%s: not of the form CREATE … IF NOT EXISTS: %.80s", m.name, s)
					continue
				}
				if strings.Contains(c[3], "ENGINE = Distributed") {
					continue
				}
				body, _, _ := strings.Cut(strings.ReplaceAll(c[3], "_local", ""), "ENGINE =")
				out[strings.TrimSuffix(c[2], "_local")] = strings.Join(strings.Fields(body), " ")
			}
		}
		return out
	}
	single, cluster := bodies("single"), bodies("cluster")
	if len(single) < 12 {
		t.Fatalf("only %v were found", slices.Sorted(maps.Keys(single)))
	}
	if d := cmp.Diff(single, cluster); d != "" {
		t.Error(d)
	}
}

// The engine here has no keeper and no cluster, so the statements are parsed
// and not run.
func TestTheClusterFormParses(t *testing.T) {
	db := open(t, enginetest.Database(t))
	if err := db.createDatabase(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := migrations(schemas.ClickHouse, "cluster")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range all {
		for _, s := range statements(m.text) {
			if _, err := Select[string](t.Context(), db, "EXPLAIN AST "+strings.ReplaceAll(s, "$cluster", "main"), nil); err != nil {
				t.Errorf("%s: %.100s…: %v", m.name, s, err)
			}
			n++
		}
	}
	if n < 20 {
		t.Errorf("only %d statements", n)
	}
	if _, err := Select[string](t.Context(), db, "EXPLAIN AST CREATE TABLE x ON CLUSTER 'main' (a Int8) ENGIN = Memory", nil); err == nil {
		t.Error("a misspelt statement parses")
	}
}
