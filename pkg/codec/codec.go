// Package codec turns events, registry entries and dead letters into the bytes
// of the log and back: Avro, in the single-object encoding (every message
// carries its schema's fingerprint, Avro specification, "Single object
// encoding"), or in Confluent's wire format when a schema registry is given.
// The schemas are the *.avsc files of package schemas.
package codec

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/hamba/avro/v2/registry"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/schemas"
)

// Config chooses the framing.
type Config struct {
	SchemaRegistryURL      string `env:"SCHEMA_REGISTRY_URL" desc:"a Confluent-compatible schema registry; empty: single-object encoding"`
	SchemaRegistryUser     string `env:"SCHEMA_REGISTRY_USER" desc:"its user, if it wants one"`
	SchemaRegistryPassword string `env:"SCHEMA_REGISTRY_PASSWORD" desc:"that user's password" secret:"true"`
}

// record is a type of message.
type record uint8

const (
	exposure = record(event.Exposure)
	kpi      = record(event.KPI)
	match    = record(event.Match)
	entry    = record(4)
	letter   = record(5)
)

var files = map[record]string{
	exposure: "exposure.avsc", kpi: "kpi.avsc", match: "match.avsc",
	entry: "registry-entry.avsc", letter: "dead-letter.avsc",
}

// ErrRegistry marks an error of the schema registry: the message may be good,
// and decoding it later may work.
var ErrRegistry = errors.New("schema registry")

// DecodeError says why bytes are no message of ours. Trying again is no use.
type DecodeError struct {
	Reason event.Reason
	Detail string
}

// Error is the detail.
func (e *DecodeError) Error() string { return "decoding: " + e.Detail }

func malformed(format string, args ...any) error {
	return &DecodeError{Reason: event.ReasonMalformed, Detail: fmt.Sprintf(format, args...)}
}

// Codec encodes. It is safe for concurrent use; a Decoder is not.
type Codec struct {
	headers  map[record][]byte // what stands in front of each type's messages
	own      map[record]avro.Schema
	byPrint  map[[8]byte]record   // our own schemas, by fingerprint
	released map[[8]byte]resolved // their earlier versions, by fingerprint
	byID     map[uint32]record    // our own schemas, by registry id
	registry *registry.Client
	writers  sync.Pool

	mu       sync.Mutex
	resolved map[uint32]resolved // foreign schemas of the registry, by id
}

// resolved is a writer's schema made readable as ours.
type resolved struct {
	record record
	schema avro.Schema
}

// New reads the schemas and, with a registry, registers them under
// <topic>-value, which also has it check that they may follow what was there.
func New(ctx context.Context, cfg Config, topics event.Topics) (*Codec, error) {
	c := &Codec{
		headers: map[record][]byte{}, own: map[record]avro.Schema{},
		byPrint: map[[8]byte]record{}, released: map[[8]byte]resolved{}, byID: map[uint32]record{}, resolved: map[uint32]resolved{},
	}
	c.writers.New = func() any { return avro.NewWriter(nil, 512) }
	if cfg.SchemaRegistryURL != "" {
		var opts []registry.ClientFunc
		if cfg.SchemaRegistryUser != "" {
			opts = append(opts, registry.WithBasicAuth(cfg.SchemaRegistryUser, cfg.SchemaRegistryPassword))
		}
		client, err := registry.NewClient(cfg.SchemaRegistryURL, opts...)
		if err != nil {
			return nil, fmt.Errorf("SCHEMA_REGISTRY_URL: %w", err)
		}
		c.registry = client
	}
	subjects := map[record]string{
		exposure: topics.Exposures, kpi: topics.KPIs, match: topics.Matches,
		entry: topics.Registry, letter: topics.DeadLetters,
	}
	for r, file := range files {
		text, err := schemas.Avro.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading schema: %w", err)
		}
		// A cache of its own: names recur in schemas that are read apart.
		s, err := avro.ParseBytesWithCache(text, "", &avro.SchemaCache{})
		if err != nil {
			return nil, fmt.Errorf("parsing %s: %w", file, err)
		}
		print, err := fingerprint(text)
		if err != nil {
			return nil, fmt.Errorf("fingerprinting %s: %w", file, err)
		}
		c.own[r] = s
		c.byPrint[print] = r
		c.headers[r] = append([]byte{0xC3, 0x01}, print[:]...)
		if c.registry != nil {
			subject := subjects[r] + "-value"
			id, _, err := c.registry.CreateSchema(ctx, subject, string(text))
			if err != nil {
				return nil, fmt.Errorf("registering %s as %s: %w: %w", file, subject, ErrRegistry, err)
			}
			c.byID[uint32(id)] = r
			c.headers[r] = binary.BigEndian.AppendUint32([]byte{0}, uint32(id))
		}
	}
	err := fs.WalkDir(schemas.Released, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := schemas.Released.ReadFile(path)
		if err == nil {
			err = c.know(text)
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
		return nil
	})
	return c, err
}

// know makes messages of an earlier version of a schema readable.
func (c *Codec) know(text []byte) error {
	print, err := fingerprint(text)
	if err != nil {
		return err
	}
	if _, ok := c.byPrint[print]; ok {
		return nil
	}
	writer, err := avro.ParseBytesWithCache(text, "", &avro.SchemaCache{})
	if err != nil {
		return err
	}
	c.released[print], err = c.resolve(writer)
	return err
}

// fingerprint is the CRC-64-AVRO fingerprint, little-endian, of a schema's
// parsing canonical form. That form has no logical types (Avro specification,
// "Transforming into Parsing Canonical Form", STRIP), which the library's
// canonical form keeps: they are taken out before it sees them.
func fingerprint(text []byte) ([8]byte, error) {
	var schema any
	if err := json.Unmarshal(text, &schema); err != nil {
		return [8]byte{}, err
	}
	stripLogical(schema)
	bare, err := json.Marshal(schema)
	if err != nil {
		return [8]byte{}, err
	}
	s, err := avro.ParseBytesWithCache(bare, "", &avro.SchemaCache{})
	if err != nil {
		return [8]byte{}, err
	}
	print, err := s.FingerprintUsing(avro.CRC64AvroLE)
	if err != nil {
		return [8]byte{}, err
	}
	return [8]byte(print), nil
}

func stripLogical(x any) {
	switch x := x.(type) {
	case map[string]any:
		for _, k := range []string{"logicalType", "precision", "scale"} {
			delete(x, k)
		}
		for _, v := range x {
			stripLogical(v)
		}
	case []any:
		for _, v := range x {
			stripLogical(v)
		}
	}
}

// registryTimeout bounds one question to the schema registry.
const registryTimeout = 5 * time.Second

// frame takes the framing off: what type of message it is, and its body. A
// message of a foreign schema comes with that schema, resolved to ours.
func (c *Codec) frame(value []byte) (record, []byte, avro.Schema, error) {
	switch {
	case len(value) >= 10 && value[0] == 0xC3 && value[1] == 0x01:
		print := [8]byte(value[2:10])
		r, ok := c.byPrint[print]
		if !ok {
			if old, ok := c.released[print]; ok {
				return old.record, value[10:], old.schema, nil
			}
			return 0, nil, nil, &DecodeError{Reason: event.ReasonUnknown, Detail: fmt.Sprintf("no schema has the fingerprint %x", value[2:10])}
		}
		return r, value[10:], nil, nil
	case len(value) >= 5 && value[0] == 0 && c.registry != nil:
		id := binary.BigEndian.Uint32(value[1:5])
		if r, ok := c.byID[id]; ok {
			return r, value[5:], nil, nil
		}
		res, err := c.foreign(id)
		return res.record, value[5:], res.schema, err
	case len(value) == 0:
		return 0, nil, nil, malformed("the message is empty")
	}
	return 0, nil, nil, malformed("the message starts with neither Avro's single-object marker nor a registered schema's id")
}

// foreign fetches a schema that is not ours, as a client of another version
// writes, and resolves it to the one of ours with the same name.
func (c *Codec) foreign(id uint32) (resolved, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.resolved[id]; ok {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), registryTimeout)
	defer cancel()
	writer, err := c.registry.GetSchema(ctx, int(id))
	if e := (registry.Error{}); errors.As(err, &e) && e.Code == schemaNotFound {
		// The registry answers, and has no such schema: asking again would
		// hold the partition up for ever.
		return resolved{}, &DecodeError{Reason: event.ReasonUnknown, Detail: fmt.Sprintf("the registry has no schema %d", id)}
	}
	if err != nil {
		return resolved{}, fmt.Errorf("asking for schema %d: %w: %w", id, ErrRegistry, err)
	}
	r, err := c.resolve(writer)
	if err != nil {
		return resolved{}, fmt.Errorf("schema %d: %w", id, err)
	}
	c.resolved[id] = r
	return r, nil
}

// schemaNotFound is the registry's error code for an id that it does not have.
const schemaNotFound = 40403

// resolve makes a writer's schema readable as the one of ours with its name.
// The error is a *DecodeError.
func (c *Codec) resolve(writer avro.Schema) (resolved, error) {
	named, ok := writer.(avro.NamedSchema)
	if !ok {
		return resolved{}, malformed("the schema is not a record")
	}
	for r, own := range c.own {
		if own.(avro.NamedSchema).FullName() != named.FullName() {
			continue
		}
		s, err := avro.NewSchemaCompatibility().Resolve(own, writer)
		if err != nil {
			return resolved{}, malformed("the schema cannot be read as %s: %v", files[r], err)
		}
		return resolved{r, s}, nil
	}
	return resolved{}, &DecodeError{Reason: event.ReasonUnknown, Detail: fmt.Sprintf("the schema is %s, which is none of ours", named.FullName())}
}
