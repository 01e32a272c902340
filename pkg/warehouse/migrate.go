package warehouse

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/hypostream/hypostream/schemas"
)

// ErrAltered: a migration that the database has already run reads differently
// in this program. Released files never change; a change is a new file.
var ErrAltered = errors.New("a released migration was altered")

// migration is one file of schemas/clickhouse.
type migration struct {
	version  uint32
	name     string
	checksum string
	text     string
}

var migrationName = regexp.MustCompile(`^(\d{4})_([a-z0-9_]+)\.sql$`)

// migrations lists the files of one form in order.
func migrations(files fs.FS, form string) ([]migration, error) {
	entries, err := fs.ReadDir(files, path.Join("clickhouse", form)) // sorted
	if err != nil {
		return nil, fmt.Errorf("listing migrations: %w", err)
	}
	var out []migration
	for _, e := range entries {
		m := migrationName.FindStringSubmatch(e.Name())
		if m == nil {
			if path.Ext(e.Name()) == ".sql" {
				return nil, fmt.Errorf("migration %s: want NNNN_name.sql", e.Name())
			}
			continue
		}
		b, err := fs.ReadFile(files, path.Join("clickhouse", form, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading migration: %w", err)
		}
		version, _ := strconv.ParseUint(m[1], 10, 32)
		if n := len(out); n > 0 && out[n-1].version == uint32(version) {
			return nil, fmt.Errorf("migrations %s and %s have one number", out[n-1].name, e.Name())
		}
		sum := sha256.Sum256(b)
		out = append(out, migration{uint32(version), strings.TrimSuffix(e.Name(), ".sql"), hex.EncodeToString(sum[:]), string(b)})
	}
	return out, nil
}

// applied is a row of schema_migrations.
type applied struct {
	Version  uint32    `ch:"version"`
	Name     string    `ch:"name"`
	Checksum string    `ch:"checksum"`
	At       time.Time `ch:"at"`
}

const (
	createApplied = `CREATE TABLE IF NOT EXISTS schema_migrations (
		version UInt32, name String, checksum String, at DateTime64(6, 'UTC')
	) ENGINE = ReplacingMergeTree(at) ORDER BY version`
	createAppliedCluster = `CREATE TABLE IF NOT EXISTS schema_migrations ON CLUSTER '$cluster' (
		version UInt32, name String, checksum String, at DateTime64(6, 'UTC')
	) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{database}/schema_migrations', '{shard}-{replica}', at) ORDER BY version`
)

// Migrate makes the database, and runs the migrations that it has not run yet.
// Every statement of a migration may run again, so a kill in the middle needs
// no repair, and processes that migrate at once do not hinder each other. A
// released file that reads differently now is [ErrAltered].
func (db *DB) Migrate(ctx context.Context) error { return db.migrate(ctx, schemas.ClickHouse) }

func (db *DB) migrate(ctx context.Context, files fs.FS) error {
	form, table := "single", createApplied
	if db.cfg.Cluster != "" {
		form, table = "cluster", createAppliedCluster
	}
	all, err := migrations(files, form)
	if err != nil {
		return err
	}
	if err := db.createDatabase(ctx); err != nil {
		return fmt.Errorf("creating the database: %w", err)
	}
	if err := db.define(ctx, table); err != nil {
		return fmt.Errorf("creating schema_migrations: %w", err)
	}
	rows, err := Select[applied](ctx, db, "SELECT version, name, checksum, at FROM schema_migrations FINAL ORDER BY version", nil)
	if err != nil {
		return fmt.Errorf("reading schema_migrations: %w", err)
	}
	done := map[uint32]applied{}
	for _, r := range rows {
		done[r.Version] = r
	}
	for _, m := range all {
		if was, ok := done[m.version]; ok {
			if was.Checksum != m.checksum {
				return fmt.Errorf("migration %s, run %s as %s: %w", m.name, was.At.Format(time.RFC3339), was.Name, ErrAltered)
			}
			continue
		}
		for i, s := range statements(m.text) {
			if err := db.define(ctx, s); err != nil {
				return fmt.Errorf("migration %s, statement %d: %w", m.name, i+1, err)
			}
		}
		row := applied{m.version, m.name, m.checksum, time.Now().UTC()}
		if err := InsertRows(ctx, db, "schema_migrations", []applied{row}); err != nil {
			return fmt.Errorf("noting migration %s: %w", m.name, err)
		}
	}
	return nil
}

// define runs a statement of a schema, several times where two processes may
// stand in each other's way.
func (db *DB) define(ctx context.Context, sql string) error {
	sql = strings.ReplaceAll(sql, "$cluster", db.cfg.Cluster)
	for attempt := 1; ; attempt++ {
		err := db.Exec(ctx, sql, nil)
		if err == nil {
			return nil
		}
		// IF NOT EXISTS looks and then makes: another may be between the two.
		if c := code(err); attempt == 10 || c != codeTableExists && c != codeDatabaseExists && !IsRetryable(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(attempt) * 50 * time.Millisecond):
		}
	}
}

// createDatabase makes the DSN's database, which a connection to it needs.
func (db *DB) createDatabase(ctx context.Context) error {
	name := db.opts.Auth.Database
	if name == "" || name == "default" {
		return nil
	}
	if err := db.Ping(ctx); code(err) != codeUnknownDatabase {
		return err
	}
	opts := *db.opts
	opts.Auth.Database = "default"
	conn, err := clickhouse.Open(&opts)
	if err != nil {
		return err
	}
	defer conn.Close()
	outside := &DB{cfg: db.cfg, opts: &opts, conn: conn}
	if db.cfg.Cluster != "" {
		return outside.define(ctx, "CREATE DATABASE IF NOT EXISTS "+quoteIdentifier(name)+" ON CLUSTER '$cluster'")
	}
	return outside.define(ctx, "CREATE DATABASE IF NOT EXISTS "+quoteIdentifier(name))
}

func quoteIdentifier(s string) string {
	return "`" + strings.NewReplacer("\\", `\\`, "`", "\\`").Replace(s) + "`"
}

// statements splits a file at its semicolons, those in strings, quoted names
// and comments apart. Comments go with the statement that they stand before.
func statements(text string) []string {
	var out []string
	start, blank := 0, true // blank: nothing but space and comments so far
	end := func(i int) {
		if !blank {
			out = append(out, strings.TrimSpace(text[start:i]))
		}
		start, blank = i+1, true
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ';':
			end(i)
		case strings.HasPrefix(text[i:], "--"):
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case strings.HasPrefix(text[i:], "/*"):
			if n := strings.Index(text[i+2:], "*/"); n >= 0 {
				i += n + 3
			} else {
				i = len(text)
			}
		case c == '\'' || c == '"' || c == '`':
			blank = false
			for i++; i < len(text) && text[i] != c; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case c != ' ' && c != '\t' && c != '\n' && c != '\r':
			blank = false
		}
	}
	end(len(text))
	return out
}
