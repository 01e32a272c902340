package engine

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says where the engine is, where its data are and how it is reached.
type Config struct {
	// Library is the path of libchdb; "" asks [FindLibrary].
	Library string `env:"ENGINE_LIBRARY" desc:"path of the ClickHouse engine's shared library; empty searches for what make engine installed"`
	// DataDir keeps databases and tables; "" is a directory that Close removes.
	DataDir string `env:"ENGINE_DATA_DIR" desc:"directory of the embedded ClickHouse engine's data; empty keeps nothing"`
	// Addr is where the HTTP interface listens; port 0 picks a free one.
	Addr string `env:"ENGINE_ADDR, default=127.0.0.1:8123" desc:"address of the embedded engine's ClickHouse HTTP interface"`
	// User and Password are what clients must give. User defaults to
	// "default"; an empty Password means that none is asked for.
	User     string `env:"ENGINE_USER, default=default" desc:"user of the embedded engine"`
	Password string `env:"ENGINE_PASSWORD" desc:"password of the embedded engine" secret:"true"`
	// MaxMemory bounds what all queries together may use, in bytes; 0 is half
	// of the machine's.
	MaxMemory int64 `env:"ENGINE_MAX_MEMORY, default=0" desc:"bytes that the embedded engine may use; 0 is half of the machine's memory"`
	// MaxQueries run at once, MaxQueued wait; more are refused.
	MaxQueries int `env:"ENGINE_MAX_QUERIES, default=32" desc:"queries that the embedded engine runs at once"`
	MaxQueued  int `env:"ENGINE_MAX_QUEUED, default=1024" desc:"queries that may wait for the embedded engine"`
	// MaxBody bounds a request's body as it arrives and once uncompressed.
	MaxBody int64 `env:"ENGINE_MAX_BODY, default=4294967296" desc:"bytes of one request to the embedded engine, uncompressed"`
	// Settings are ClickHouse settings that every query starts with.
	Settings map[string]string
	// Log gets what an operator should know; nil is silent.
	Log *slog.Logger
}

func (c *Config) setDefaults() {
	if c.Addr == "" {
		c.Addr = "127.0.0.1:8123"
	}
	if c.User == "" {
		c.User = "default"
	}
	if c.MaxQueries <= 0 {
		c.MaxQueries = 32
	}
	if c.MaxQueued <= 0 {
		c.MaxQueued = 1024
	}
	if c.MaxBody <= 0 {
		c.MaxBody = 4 << 30
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// baseSettings are the settings in which the library differs from a server, or
// in which Hypostream's queries need one answer everywhere.
var baseSettings = map[string]string{
	"async_insert":               "0",     // an insert that returned is in the table
	"query_plan_join_swap_table": "false", // keep the small side of a join on the right
	"implicit_select":            "0",     // the library would take "SELEC" for "SELECT SELEC"
}

// Server is the engine and its HTTP interface.
type Server struct {
	cfg      Config
	lib      *library
	args     []string
	anchor   *connection // holds the engine open, and kills queries
	anchorMu sync.Mutex
	spool    string // directory of bodies on their way into the engine
	tempData bool

	listener net.Listener
	http     *http.Server
	served   chan struct{}
	base     context.Context // ends when queries must
	stop     context.CancelFunc
	slots    chan struct{}
	waiting  atomic.Int64
	queries  sync.WaitGroup
	userHash [sha256.Size]byte
	sessions sessions
	timezone string
	name     string
	closing  sync.Once
	closeErr error
}

// running is set while a server is open: the engine has one data directory a
// process.
var running atomic.Bool

// ErrRunning means that this process has an engine open already.
var ErrRunning = errors.New("opening the engine: this process has one open already, and the library holds only one")

// Start loads the library, opens the data and listens. The caller must Close
// the server: a process that exits with the engine open crashes. The end of
// ctx stops nothing that Start has brought up.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	cfg.setDefaults()
	if cfg.Library == "" {
		if cfg.Library, err = FindLibrary(); err != nil {
			return nil, err
		}
	}
	if !running.CompareAndSwap(false, true) {
		return nil, ErrRunning
	}
	s := &Server{cfg: cfg, slots: make(chan struct{}, cfg.MaxQueries), served: make(chan struct{})}
	s.base, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.userHash = credentials(cfg.User, cfg.Password)
	s.sessions.byID = map[string]*session{}
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	// Listen first: a port in use is the commonest fault, and the cheapest.
	if s.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr); err != nil {
		return nil, fmt.Errorf("opening the engine's HTTP interface: %w", err)
	}
	if s.lib, err = load(cfg.Library); err != nil {
		return nil, err
	}
	if s.cfg.DataDir == "" {
		if s.cfg.DataDir, err = os.MkdirTemp("", "hypostream-engine-data-"); err != nil {
			return nil, fmt.Errorf("opening the engine: %w", err)
		}
		s.tempData = true
	} else if err = os.MkdirAll(s.cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("opening the engine: %w", err)
	}
	if s.spool, err = makeSpool(); err != nil {
		return nil, fmt.Errorf("opening the engine: %w", err)
	}
	if s.cfg.MaxMemory <= 0 {
		s.cfg.MaxMemory = machineMemory() / 2
	}
	s.args = []string{"--path=" + s.cfg.DataDir}
	if s.cfg.MaxMemory > 0 {
		s.args = append(s.args,
			"--max_server_memory_usage="+strconv.FormatInt(s.cfg.MaxMemory, 10),
			"--mark_cache_size="+strconv.FormatInt(s.cfg.MaxMemory/8, 10))
	}
	keepSignals(func() { s.anchor, err = s.lib.open(s.args...) })
	if err != nil {
		return nil, err
	}
	hello := s.anchor.query("SELECT timezone(), displayName()", "TSV", nil)
	name := string(hello.bytes())
	err = hello.err()
	hello.close()
	if err != nil {
		return nil, fmt.Errorf("opening the engine: %w", err)
	}
	s.timezone, s.name, _ = strings.Cut(strings.TrimSpace(name), "\t")

	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    1 << 20, // a query and its parameters may stand in the URL
		BaseContext:       func(net.Listener) context.Context { return s.base },
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn),
	}
	go func() {
		defer close(s.served)
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			cfg.Log.Error("the engine's HTTP interface stopped", "error", err)
		}
	}()
	return s, nil
}

// Addr is the host and port that the server listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// DSN is the data source name of database default, for clickhouse-go.
func (s *Server) DSN() string { return s.DatabaseDSN("default") }

// DatabaseDSN is the data source name of a database, for clickhouse-go.
func (s *Server) DatabaseDSN(database string) string {
	u := url.URL{Scheme: "http", Host: s.Addr(), User: url.UserPassword(s.cfg.User, s.cfg.Password), Path: "/" + database}
	if s.cfg.Password == "" {
		u.User = url.User(s.cfg.User)
	}
	return u.String()
}

// drainTimeout is how long Close lets running queries go on.
const drainTimeout = 20 * time.Second

// Close stops accepting, lets running queries finish (for a while: then they
// are cancelled), and shuts the engine down.
func (s *Server) Close() error {
	s.closing.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		err := s.http.Shutdown(ctx)
		s.stop() // cancels what is still running
		if err != nil {
			err = s.http.Close()
		}
		<-s.served
		s.queries.Wait()
		s.closeErr = errors.Join(err, s.release())
	})
	return s.closeErr
}

// release gives back whatever Start took.
func (s *Server) release() error {
	s.stop()
	if s.listener != nil && s.http == nil {
		s.listener.Close()
	}
	s.sessions.close()
	if s.anchor != nil {
		s.anchor.close()
	}
	var errs []error
	if s.spool != "" {
		errs = append(errs, os.RemoveAll(s.spool))
	}
	if s.tempData {
		errs = append(errs, os.RemoveAll(s.cfg.DataDir))
	}
	running.Store(false)
	return errors.Join(errs...)
}

// credentials is what a user and password are compared by: of one length, so
// that the time it takes tells nothing.
func credentials(user, password string) [sha256.Size]byte {
	return sha256.Sum256([]byte(strconv.Itoa(len(user)) + ":" + user + password))
}

func (s *Server) authenticated(user, password string) bool {
	got := credentials(user, password)
	return subtle.ConstantTimeCompare(got[:], s.userHash[:]) == 1
}

// acquire waits for a free slot to run a query in.
func (s *Server) acquire(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
	}
	if s.waiting.Add(1) > int64(s.cfg.MaxQueued) {
		s.waiting.Add(-1)
		return newError(codeTooManyQueries, "TOO_MANY_SIMULTANEOUS_QUERIES", "Too many simultaneous queries, and too many that wait")
	}
	defer s.waiting.Add(-1)
	select {
	case s.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return newError(codeCancelled, "QUERY_WAS_CANCELLED", "Query was cancelled")
	}
}

// prepare brings a connection to a query's database and settings.
func (s *Server) prepare(c *connection, database string, settings map[string]string, mark string) error {
	if database != "" {
		if err := c.exec("USE " + quoteName(database)); err != nil {
			return err
		}
	}
	all := maps.Clone(baseSettings)
	maps.Copy(all, s.cfg.Settings)
	maps.Copy(all, settings)
	readonly, restricted := all["readonly"]
	delete(all, "readonly")
	// The mark finds the query again, to cancel it.
	all["log_comment"] = mark
	var b strings.Builder
	b.WriteString("SET ")
	for i, name := range slices.Sorted(maps.Keys(all)) {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name + " = " + quote(all[name]))
	}
	if restricted {
		// Last: it forbids changing others.
		b.WriteString(", readonly = " + quote(readonly))
	}
	return c.exec(b.String())
}

// exec runs a statement without a result.
func (c *connection) exec(sql string) error {
	r := c.query(sql, "Null", nil)
	defer r.close()
	return r.err()
}

// watch cancels the query that carries mark when ctx ends; the function that
// it returns ends the watch and must be called when the query is over.
func (s *Server) watch(ctx context.Context, mark string) (done func()) {
	over := make(chan struct{})
	var watching sync.WaitGroup
	stop := context.AfterFunc(ctx, func() {
		defer watching.Done()
		// The query may not have begun, or may begin its next part: ask again.
		for {
			s.anchorMu.Lock()
			err := s.anchor.exec("KILL QUERY WHERE Settings['log_comment'] = " + quote(mark) + " ASYNC")
			s.anchorMu.Unlock()
			if err != nil {
				s.cfg.Log.Warn("cancelling a query", "error", err)
			}
			select {
			case <-over:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	watching.Add(1)
	return func() {
		close(over)
		if stop() {
			watching.Done()
		}
		watching.Wait()
	}
}

// newMark returns a name for a query that no other has.
func newMark() string { return "hypostream-" + rand.Text() }

// makeSpool makes a directory for bodies on their way into the engine: in
// memory if there is room, else on disk. It removes those of dead processes.
func makeSpool() (string, error) {
	const prefix, room = "hypostream-engine-", 1 << 30
	parent := os.TempDir()
	if freeBytes("/dev/shm") >= room {
		parent = "/dev/shm"
	}
	old, _ := filepath.Glob(filepath.Join(parent, prefix+"spool-*"))
	for _, dir := range old {
		var pid int
		if _, err := fmt.Sscanf(filepath.Base(dir), prefix+"spool-%d-", &pid); err == nil && !alive(pid) {
			os.RemoveAll(dir)
		}
	}
	return os.MkdirTemp(parent, fmt.Sprintf("%sspool-%d-", prefix, os.Getpid()))
}

// machineMemory is the memory this process may count on, in bytes, or 0 if
// that is not known.
func machineMemory() int64 {
	var memory int64
	if runtime.GOOS == "linux" {
		if text, err := os.ReadFile("/proc/meminfo"); err == nil {
			var kilobytes int64
			if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kilobytes); err == nil {
				memory = kilobytes << 10
			}
		}
		if text, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
			if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && limit < memory {
				memory = limit
			}
		}
	}
	return memory
}

// Exec runs a statement without a result in database default, past the HTTP
// interface: for setting up and tearing down.
func (s *Server) Exec(ctx context.Context, sql string) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	s.queries.Add(1)
	defer s.queries.Done()
	defer func() { <-s.slots }()
	conn, err := s.lib.open(s.args...)
	if err != nil {
		return err
	}
	defer conn.close()
	mark := newMark()
	if err := s.prepare(conn, "", nil, mark); err != nil {
		return err
	}
	defer s.watch(ctx, mark)()
	return conn.exec(sql)
}
