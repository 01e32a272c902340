package eventlog

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// Config says how to reach the Kafka cluster. Zero fields stand for the
// defaults named in their tags.
type Config struct {
	Brokers     []string `env:"KAFKA_BROKERS, default=127.0.0.1:9092" desc:"addresses of Kafka brokers to start from, comma-separated"`
	ClientID    string   `env:"KAFKA_CLIENT_ID, default=hypostream" desc:"name by which the brokers know this client"`
	Partitions  int      `env:"KAFKA_PARTITIONS, default=8" desc:"partitions of topics that are created"`
	Replication int      `env:"KAFKA_REPLICATION, default=-1" desc:"replicas of topics that are created; -1: the brokers' default"`
	Compression string   `env:"KAFKA_COMPRESSION, default=auto" desc:"of produced batches: auto (lz4, none when all brokers are on loopback), none, lz4, snappy or zstd"`

	TLS           bool   `env:"KAFKA_TLS, default=false" desc:"connect with TLS"`
	TLSCAFile     string `env:"KAFKA_TLS_CA_FILE" desc:"PEM file of the authorities to trust; empty: the system's"`
	TLSCertFile   string `env:"KAFKA_TLS_CERT_FILE" desc:"PEM file of the client's certificate"`
	TLSKeyFile    string `env:"KAFKA_TLS_KEY_FILE" desc:"PEM file of the client's key"`
	TLSServerName string `env:"KAFKA_TLS_SERVER_NAME" desc:"name to check in the brokers' certificates; empty: their host names"`

	SASLMechanism string `env:"KAFKA_SASL_MECHANISM" desc:"plain, scram-sha-256 or scram-sha-512; empty: none"`
	SASLUsername  string `env:"KAFKA_SASL_USERNAME" desc:"user name for SASL"`
	SASLPassword  string `env:"KAFKA_SASL_PASSWORD" desc:"password for SASL" secret:"true"`

	DialTimeout    time.Duration `env:"KAFKA_DIAL_TIMEOUT, default=3s" desc:"limit on opening a connection, TLS and SASL included"`
	RequestTimeout time.Duration `env:"KAFKA_REQUEST_TIMEOUT, default=5s" desc:"limit on an answer to anything but produce and fetch"`
	FetchWait      time.Duration `env:"KAFKA_FETCH_WAIT, default=500ms" desc:"longest a read waits at the end of a partition"`
	FetchBytes     int           `env:"KAFKA_FETCH_BYTES, default=1048576" desc:"bytes asked of one partition at a time"`
}

func (c Config) withDefaults() Config {
	if len(c.Brokers) == 0 {
		c.Brokers = []string{"127.0.0.1:9092"}
	}
	setDefault(&c.ClientID, "hypostream")
	setDefault(&c.Partitions, 8)
	setDefault(&c.Replication, -1)
	setDefault(&c.Compression, "auto")
	setDefault(&c.DialTimeout, 3*time.Second)
	setDefault(&c.RequestTimeout, 5*time.Second)
	setDefault(&c.FetchWait, 500*time.Millisecond)
	setDefault(&c.FetchBytes, 1<<20)
	return c
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Validate reports every fault of the configuration at once.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, b := range c.Brokers {
		if _, port, err := net.SplitHostPort(b); err != nil || port == "" {
			bad("KAFKA_BROKERS: %q is not host:port", b)
		}
	}
	if c.Partitions < 1 || c.Partitions > 10000 {
		bad("KAFKA_PARTITIONS: %d is not between 1 and 10000", c.Partitions)
	}
	if c.Replication != -1 && (c.Replication < 1 || c.Replication > 32767) {
		bad("KAFKA_REPLICATION: %d is neither -1 nor between 1 and 32767", c.Replication)
	}
	if _, err := c.codec(); err != nil {
		errs = append(errs, err)
	}
	if !c.TLS && (c.TLSCAFile != "" || c.TLSCertFile != "" || c.TLSKeyFile != "" || c.TLSServerName != "") {
		bad("KAFKA_TLS: is false, but other KAFKA_TLS_ settings are given")
	}
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		bad("KAFKA_TLS_CERT_FILE and KAFKA_TLS_KEY_FILE: only one of them is given")
	}
	if _, err := c.mechanism(); err != nil {
		errs = append(errs, err)
	}
	if c.DialTimeout < 0 || c.RequestTimeout < 0 || c.FetchWait < 0 {
		bad("KAFKA_DIAL_TIMEOUT, KAFKA_REQUEST_TIMEOUT and KAFKA_FETCH_WAIT must be positive")
	}
	if c.FetchBytes < 1<<10 || c.FetchBytes > 1<<28 {
		bad("KAFKA_FETCH_BYTES: %d is not between 1 KiB and 256 MiB", c.FetchBytes)
	}
	return errors.Join(errs...)
}

// codec is nil for no compression.
func (c Config) codec() (compress.Codec, error) {
	switch c.Compression {
	case "none":
		return nil, nil
	case "lz4":
		return &compress.Lz4Codec, nil
	case "snappy":
		return &compress.SnappyCodec, nil
	case "zstd":
		return &compress.ZstdCodec, nil
	case "auto":
		// Over loopback a byte is cheaper to send than to compress.
		for _, b := range c.Brokers {
			host, _, _ := net.SplitHostPort(b)
			ip := net.ParseIP(host)
			if host != "localhost" && (ip == nil || !ip.IsLoopback()) {
				return &compress.Lz4Codec, nil
			}
		}
		return nil, nil
	}
	return nil, fmt.Errorf("KAFKA_COMPRESSION: %q is not one of auto, none, lz4, snappy, zstd", c.Compression)
}

// mechanism is nil for no authentication.
func (c Config) mechanism() (sasl.Mechanism, error) {
	if c.SASLMechanism == "" {
		if c.SASLUsername != "" || c.SASLPassword != "" {
			return nil, errors.New("KAFKA_SASL_MECHANISM: is empty, but a user name or password is given")
		}
		return nil, nil
	}
	if c.SASLUsername == "" {
		return nil, errors.New("KAFKA_SASL_USERNAME: is empty")
	}
	switch strings.ToLower(c.SASLMechanism) {
	case "plain":
		return plain.Mechanism{Username: c.SASLUsername, Password: c.SASLPassword}, nil
	case "scram-sha-256":
		return scram.Mechanism(scram.SHA256, c.SASLUsername, c.SASLPassword)
	case "scram-sha-512":
		return scram.Mechanism(scram.SHA512, c.SASLUsername, c.SASLPassword)
	}
	return nil, fmt.Errorf("KAFKA_SASL_MECHANISM: %q is not one of plain, scram-sha-256, scram-sha-512", c.SASLMechanism)
}

// tlsConfig is nil for plain TCP.
func (c Config) tlsConfig() (*tls.Config, error) {
	if !c.TLS {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.TLSServerName}
	if c.TLSCAFile != "" {
		pem, err := os.ReadFile(c.TLSCAFile)
		if err != nil {
			return nil, fmt.Errorf("reading KAFKA_TLS_CA_FILE: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("KAFKA_TLS_CA_FILE: %s holds no certificate", c.TLSCAFile)
		}
	}
	if c.TLSCertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.TLSCertFile, c.TLSKeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading KAFKA_TLS_CERT_FILE: %w", err)
		}
		t.Certificates = []tls.Certificate{cert}
	}
	return t, nil
}
