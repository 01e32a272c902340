// Package registry keeps projects, tokens and experiments in a compacted topic
// of the log: one key per definition, every record a whole definition with the
// version it makes and the one it replaces. What stands is a function of the
// log's order alone: the first record that replaces the standing version wins,
// and its writer learns of it by reading its own write back.
//
// Compaction keeps the newest record of a key, which may be one that lost. So
// whoever may write puts the standing entry behind such a record; the topic's
// min.compaction.lag.ms covers the time until then. Nothing is ever deleted:
// what is over is archived or revoked.
package registry

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/hypostream/hypostream/pkg/codec"
	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/experiment"
)

// What a writer can be told.
var (
	ErrConflict = errors.New("somebody else changed it first")
	ErrNotFound = errors.New("there is none")
	ErrTooLarge = errors.New("the definition is too large")
)

// Config says who may write.
type Config struct {
	// Repair makes this process put standing entries behind void ones. Every
	// process that writes does; ingest only reads.
	Repair    bool
	Bootstrap string `env:"BOOTSTRAP" desc:"projects and tokens to have from the start: project:token, comma-separated" secret:"true"`
}

// Validate reports a bootstrap that cannot be read.
func (c Config) Validate() error {
	_, err := c.bootstrap()
	return err
}

func (c Config) bootstrap() ([][2]string, error) {
	var out [][2]string
	for part := range strings.SplitSeq(c.Bootstrap, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		project, token, ok := strings.Cut(part, ":")
		if !ok || project == "" || len(token) < 8 {
			return nil, errors.New("BOOTSTRAP: want project:token pairs, each token of 8 characters or more")
		}
		out = append(out, [2]string{project, token})
	}
	return out, nil
}

// Topic is the registry's topic as it has to be created.
func Topic(name string) eventlog.Topic {
	return eventlog.Topic{Name: name, Partitions: 1, Configs: map[string]string{
		"cleanup.policy":        "compact",
		"min.compaction.lag.ms": strconv.FormatInt((24 * time.Hour).Milliseconds(), 10),
	}}
}

// maxBody bounds a definition, well below what the log takes.
const maxBody = 512 << 10

// maxName bounds a token's name, in bytes.
const maxName = 512

// writeTimeout bounds the wait for reading a write back.
const writeTimeout = 10 * time.Second

// Registry follows the topic and writes to it.
type Registry struct {
	cfg      Config
	log      *eventlog.Log
	producer *eventlog.Producer
	codec    *codec.Codec
	topic    string
	logger   *slog.Logger
	writer   string // this process, in its records
	serial   atomic.Int64

	unreadable atomic.Int64

	snapshot atomic.Pointer[Snapshot]
	caughtUp chan struct{}
	once     sync.Once

	mu      sync.Mutex
	state   *state
	waiting map[string]chan outcome // by the Writer field of a record
}

// Open makes a registry; Run follows the topic, which must exist.
func Open(cfg Config, log *eventlog.Log, c *codec.Codec, topic string, logger *slog.Logger) (*Registry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	p, err := log.NewProducer(eventlog.ProducerConfig{})
	if err != nil {
		return nil, fmt.Errorf("opening the registry's producer: %w", err)
	}
	id := make([]byte, 8)
	rand.Read(id)
	r := &Registry{
		cfg: cfg, log: log, producer: p, codec: c, topic: topic, logger: logger, writer: hex.EncodeToString(id),
		caughtUp: make(chan struct{}), state: newState(), waiting: map[string]chan outcome{},
	}
	r.snapshot.Store(r.state.snapshot())
	return r, nil
}

// Close ends writing; Run must have returned.
func (r *Registry) Close() error { return r.producer.Close() }

// Snapshot is the newest state; it costs nothing.
func (r *Registry) Snapshot() *Snapshot { return r.snapshot.Load() }

// Unreadable counts the records that were passed over because they could not
// be decoded. Each is logged.
func (r *Registry) Unreadable() int64 { return r.unreadable.Load() }

// Ready reports whether the topic was read up to where it ended at the start.
func (r *Registry) Ready(context.Context) error {
	select {
	case <-r.caughtUp:
		return nil
	default:
		return errors.New("the registry is still being read")
	}
}

// WaitReady waits until the registry has been read.
func (r *Registry) WaitReady(ctx context.Context) error {
	select {
	case <-r.caughtUp:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run follows the topic until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if r.cfg.Repair {
		wg.Go(func() { r.repairs(ctx) })
	}
	decoder := r.codec.NewDecoder()
	err := r.log.Follow(ctx, r.topic, func(rec eventlog.Record) error {
		r.take(decoder, rec)
		return nil
	}, func() {
		r.publish()
		r.once.Do(func() { close(r.caughtUp) })
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("following the registry: %w", err)
}

// take applies one record and tells its writer, if that is us.
func (r *Registry) take(decoder *codec.Decoder, rec eventlog.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x, err := decoder.Entry(rec.Value)
	if err == nil && logKey(x.Subject, x.Project, x.Key) != string(rec.Key) {
		err = fmt.Errorf("it is about %s", logKey(x.Subject, x.Project, x.Key))
	}
	if err != nil {
		r.unreadable.Add(1)
		r.state.unreadable(string(rec.Key))
		r.logger.Error("a registry record cannot be read and is passed over", "offset", rec.Offset, "key", string(rec.Key), "error", err)
		return
	}
	o := r.state.apply(x)
	if o == invalid {
		r.unreadable.Add(1)
		r.logger.Error("a registry record has a body that cannot be read and is passed over", "offset", rec.Offset, "key", string(rec.Key))
	}
	if o == accepted && r.Ready(context.Background()) == nil {
		r.snapshot.Store(r.state.snapshot())
	}
	if ch, ok := r.waiting[x.Writer]; ok {
		ch <- o // has room
		delete(r.waiting, x.Writer)
	}
}

func (r *Registry) publish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snapshot.Store(r.state.snapshot())
}

// repairEvery is how often void records are looked for: well within the
// topic's compaction lag, and slow enough that several processes which repair
// the same key soon see each other's repair.
const repairEvery = time.Second

func (r *Registry) repairs(ctx context.Context) {
	t := time.NewTicker(repairEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if r.Ready(ctx) != nil {
			continue
		}
		if err := r.repair(ctx); err != nil && ctx.Err() == nil {
			r.logger.Warn("repairing the registry", "error", err)
		}
	}
}

// repair writes every standing entry whose key has a void record behind it.
func (r *Registry) repair(ctx context.Context) error {
	var recs []eventlog.Record
	r.mu.Lock()
	for key := range r.state.stale {
		x, _ := r.state.restatement(key) // only what stands can be stale
		value, err := r.codec.AppendEntry(nil, &x)
		if err != nil {
			r.mu.Unlock()
			return fmt.Errorf("encoding a registry entry: %w", err)
		}
		recs = append(recs, eventlog.Record{Topic: r.topic, Key: []byte(key), Value: value})
	}
	r.mu.Unlock()
	if len(recs) == 0 {
		return nil
	}
	return r.producer.Append(ctx, recs)
}

// write appends an entry and waits until it is read back.
func (r *Registry) write(ctx context.Context, x experiment.Entry) (outcome, error) {
	if len(x.Body) > maxBody {
		return 0, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(x.Body), maxBody)
	}
	if err := r.WaitReady(ctx); err != nil {
		return 0, err
	}
	x.Writer = r.writer + "-" + strconv.FormatInt(r.serial.Add(1), 10)
	x.At = time.Now().UnixMicro()
	value, err := r.codec.AppendEntry(nil, &x)
	if err != nil {
		return 0, fmt.Errorf("encoding a registry entry: %w", err)
	}
	ch := make(chan outcome, 1)
	r.mu.Lock()
	r.waiting[x.Writer] = ch
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.waiting, x.Writer)
		r.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	key := logKey(x.Subject, x.Project, x.Key)
	if err := r.producer.Append(ctx, []eventlog.Record{{Topic: r.topic, Key: []byte(key), Value: value, Time: x.At}}); err != nil {
		return 0, fmt.Errorf("writing to the registry: %w", err)
	}
	select {
	case o := <-ch:
		return o, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("reading the registry's answer back: %w", ctx.Err())
	}
}

// PutExperiment creates an experiment (x.Version 0) or replaces the version
// that x.Version names, and returns it as it stands: with its new version and
// its integer id. The error is ErrNotFound without the project or the
// experiment, ErrConflict when another writer was first or the id belongs to
// another experiment, and for a definition that is not valid joins
// *experiment.FieldErrors.
func (r *Registry) PutExperiment(ctx context.Context, x *experiment.Experiment, author string) (*experiment.Experiment, error) {
	d := *x
	d.Start, d.End = d.Start.UTC().Truncate(time.Microsecond), d.End.UTC().Truncate(time.Microsecond)
	if err := d.Validate(); err != nil {
		return nil, err
	}
	if err := r.WaitReady(ctx); err != nil {
		return nil, err
	}
	s := r.Snapshot()
	if _, ok := s.Project(d.Project); !ok {
		return nil, fmt.Errorf("project %s: %w", d.Project, ErrNotFound)
	}
	now := s.Experiment(d.Project, d.Key)
	switch {
	case now == nil && d.Version != 0:
		return nil, fmt.Errorf("experiment %s/%s: %w", d.Project, d.Key, ErrNotFound)
	case now == nil:
		// Checked before an id is spent; the log has the last word on both.
		if err := r.claimID(ctx, &d, author); err != nil {
			return nil, err
		}
	case now.Version != d.Version:
		return nil, fmt.Errorf("experiment %s/%s: version %d is not the current one, %d: %w", d.Project, d.Key, d.Version, now.Version, ErrConflict)
	case d.ID == 0:
		d.ID = now.ID
	case d.ID != now.ID:
		return nil, &experiment.FieldError{Field: "id", Detail: fmt.Sprintf("is %d and cannot change: every visitor would be drawn anew", now.ID)}
	}
	body := d
	body.Version = 0 // the entry has it
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding the definition: %w", err)
	}
	o, err := r.write(ctx, experiment.Entry{
		Subject: experiment.SubjectExperiment, Project: d.Project, Key: d.Key,
		Version: d.Version + 1, Replaces: d.Version, Author: author, Body: b,
	})
	if err != nil {
		return nil, err
	}
	if o != accepted {
		return nil, fmt.Errorf("experiment %s/%s: version %d is not the current one: %w", d.Project, d.Key, d.Version, ErrConflict)
	}
	d.Version++
	return &d, nil
}

// claimID takes d.ID for the experiment, or if that is 0 the next free one.
func (r *Registry) claimID(ctx context.Context, d *experiment.Experiment, author string) error {
	given := d.ID
	for {
		r.mu.Lock()
		id := given
		if id == 0 {
			id = r.state.idOf(d.Project, d.Key)
		}
		owner, taken := r.state.ids[d.Project][id]
		r.mu.Unlock()
		switch {
		case taken && owner == d.Key: // by an attempt that ended half-way
			d.ID = id
			return nil
		case taken:
			return fmt.Errorf("experiment %s/%s: id %d belongs to %s: %w", d.Project, d.Key, id, owner, ErrConflict)
		case id > math.MaxInt32:
			return fmt.Errorf("experiment %s/%s: the highest id is in use, so give one: %w", d.Project, d.Key, ErrConflict)
		}
		b, err := json.Marshal(claim{d.Project, id, d.Key})
		if err != nil {
			return fmt.Errorf("encoding an id: %w", err)
		}
		// Whoever wins, the state knows it afterwards.
		if _, err := r.write(ctx, experiment.Entry{
			Subject: subjectID, Project: d.Project, Key: strconv.FormatInt(id, 10), Version: 1, Author: author, Body: b,
		}); err != nil {
			return err
		}
	}
}

// PutProject creates a project (p.Version 0) or replaces the version named.
func (r *Registry) PutProject(ctx context.Context, p experiment.Project, author string) (experiment.Project, error) {
	if err := p.Validate(); err != nil {
		return p, err
	}
	if err := r.WaitReady(ctx); err != nil {
		return p, err
	}
	switch now, ok := r.Snapshot().Project(p.Key); {
	case !ok && p.Version != 0:
		return p, fmt.Errorf("project %s: %w", p.Key, ErrNotFound)
	case now.Version != p.Version:
		return p, fmt.Errorf("project %s: version %d is not the current one, %d: %w", p.Key, p.Version, now.Version, ErrConflict)
	}
	version := p.Version
	p.Version = 0
	b, err := json.Marshal(p)
	if err != nil {
		return p, fmt.Errorf("encoding the project: %w", err)
	}
	o, err := r.write(ctx, experiment.Entry{
		Subject: experiment.SubjectProject, Key: p.Key, Version: version + 1, Replaces: version, Author: author, Body: b,
	})
	if err != nil {
		return p, err
	}
	if o != accepted {
		return p, fmt.Errorf("project %s: version %d is not the current one: %w", p.Key, version, ErrConflict)
	}
	p.Version = version + 1
	return p, nil
}

// CreateToken makes a token for a project. The secret is in the result and
// nowhere else.
func (r *Registry) CreateToken(ctx context.Context, project, name, author string) (secret string, t experiment.Token, err error) {
	secret = "hs_" + randomText(43) // 256 bits
	t, err = r.ImportToken(ctx, project, name, secret, author)
	return secret, t, err
}

// ImportToken gives a project a token whose secret is known already.
// The same once more changes nothing; a secret of another project, or of a
// token that was revoked, is ErrConflict.
func (r *Registry) ImportToken(ctx context.Context, project, name, secret, author string) (experiment.Token, error) {
	if err := CheckSecret(secret); err != nil {
		return experiment.Token{}, err
	}
	if len(name) > maxName || !utf8.ValidString(name) {
		return experiment.Token{}, &experiment.FieldError{Field: "name", Detail: fmt.Sprintf("want UTF-8 of at most %d bytes", maxName)}
	}
	if err := r.WaitReady(ctx); err != nil {
		return experiment.Token{}, err
	}
	if now, ok := r.Snapshot().tokens[HashToken(secret)]; ok {
		if now.Project != project || now.Revoked {
			return experiment.Token{}, fmt.Errorf("the secret is in use by another project, or was revoked: %w", ErrConflict)
		}
		return now, nil
	}
	if _, ok := r.Snapshot().Project(project); !ok {
		return experiment.Token{}, fmt.Errorf("project %s: %w", project, ErrNotFound)
	}
	t := experiment.Token{Hash: HashToken(secret), Project: project, Name: name, Created: time.Now().UTC().Truncate(time.Microsecond)}
	return r.putToken(ctx, t, author)
}

// CheckSecret says what is wrong with a secret that somebody chose, as a
// *experiment.FieldError and without repeating it.
func CheckSecret(s string) error {
	if len(s) < 8 || len(s) > 256 {
		return &experiment.FieldError{Field: "secret", Detail: fmt.Sprintf("%d characters; a token has 8 to 256", len(s))}
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return &experiment.FieldError{Field: "secret", Detail: "a token has visible ASCII characters only"}
		}
	}
	return nil
}

// RevokeToken ends a token, by its hash. SDKs that still use it get 401.
func (r *Registry) RevokeToken(ctx context.Context, hash, author string) (experiment.Token, error) {
	t, ok := r.Snapshot().tokens[hash]
	if !ok {
		return t, fmt.Errorf("token: %w", ErrNotFound)
	}
	if t.Revoked {
		return t, nil
	}
	t.Revoked = true
	return r.putToken(ctx, t, author)
}

func (r *Registry) putToken(ctx context.Context, t experiment.Token, author string) (experiment.Token, error) {
	version := t.Version
	t.Version = 0
	b, err := json.Marshal(t)
	if err != nil {
		return t, fmt.Errorf("encoding the token: %w", err)
	}
	o, err := r.write(ctx, experiment.Entry{
		Subject: experiment.SubjectToken, Project: t.Project, Key: t.Hash, Version: version + 1, Replaces: version, Author: author, Body: b,
	})
	if err != nil {
		return t, err
	}
	if o != accepted {
		return t, fmt.Errorf("token %q of %s: %w", t.Name, t.Project, ErrConflict)
	}
	t.Version = version + 1
	return t, nil
}

// Bootstrap makes sure of the projects and tokens that the configuration names.
func (r *Registry) Bootstrap(ctx context.Context) error {
	pairs, err := r.cfg.bootstrap()
	if err != nil {
		return err
	}
	if err := r.WaitReady(ctx); err != nil {
		return err
	}
	for _, p := range pairs {
		project, secret := p[0], p[1]
		if _, ok := r.Snapshot().Project(project); !ok {
			if _, err := r.PutProject(ctx, experiment.Project{Key: project}, "bootstrap"); err != nil && !errors.Is(err, ErrConflict) {
				return fmt.Errorf("bootstrapping project %s: %w", project, err)
			}
		}
		if _, ok := r.Snapshot().Authenticate(secret); ok {
			continue
		}
		// Another process may be doing the same: then the token is there.
		if _, err := r.ImportToken(ctx, project, "bootstrap", secret, "bootstrap"); err != nil && !errors.Is(err, ErrConflict) {
			return fmt.Errorf("bootstrapping a token of %s: %w", project, err)
		}
	}
	return nil
}

// randomText is n characters of base 62 from the system's randomness.
func randomText(n int) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	b := make([]byte, n)
	for i := range b {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(digits))))
		if err != nil {
			panic(err) // the system has no randomness: nothing can be secret
		}
		b[i] = digits[k.Int64()]
	}
	return string(b)
}
