package eventlog_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/hypostream/hypostream/pkg/eventlog"
	"github.com/hypostream/hypostream/pkg/eventlog/logtest"
)

func TestConfigNamesEveryFault(t *testing.T) {
	err := eventlog.Config{
		Brokers: []string{"host"}, Partitions: -1, Replication: -2, Compression: "rar", SASLMechanism: "magic", SASLUsername: "u",
		TLSCAFile: "ca.pem", TLSCertFile: "c.pem", FetchBytes: 1,
	}.Validate()
	if err == nil {
		t.Fatal("no fault is found")
	}
	for _, name := range []string{"KAFKA_BROKERS", "KAFKA_PARTITIONS", "KAFKA_REPLICATION", "KAFKA_COMPRESSION", "KAFKA_SASL_MECHANISM", "KAFKA_TLS:", "KAFKA_TLS_CERT_FILE", "KAFKA_FETCH_BYTES"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named in: %v", name, err)
		}
	}
	if _, err := eventlog.Open(t.Context(), eventlog.Config{Compression: "rar"}); err == nil {
		t.Error("a faulty configuration opens")
	}
	if err := (eventlog.Config{}).Validate(); err != nil {
		t.Errorf("the defaults are faulty: %v", err)
	}
	if err := (eventlog.ProducerConfig{MaxBatchBytes: 10, MaxRequestBytes: 5, MaxWaitingBytes: 5}).Validate(); err == nil ||
		!strings.Contains(err.Error(), "PRODUCE_MAX_BATCH_BYTES") || !strings.Contains(err.Error(), "PRODUCE_MAX_WAITING_BYTES") {
		t.Errorf("the producer's faults: %v", err)
	}
}

// certificate makes a self-signed one for 127.0.0.1 and writes it to a file.
func certificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

func TestTLS(t *testing.T) {
	cert, ca := certificate(t)
	c, _ := fake(t, 1, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{cert}}))
	l := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs(), TLS: true, TLSCAFile: ca})
	topic := logtest.Topics(t, l, 1, 2)[0]
	write(t, logtest.Producer(t, l, patient), topic, "k", 0, 3)
	wantOnce(t, l, topic, 2, []string{"k"}, 3)
	g, err := l.NewGroup(eventlog.GroupConfig{ID: "g", Topics: []string{topic}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Next(t.Context()); err != nil {
		t.Error(err)
	}
	stranger := logtest.Open(t, eventlog.Config{Brokers: c.ListenAddrs(), TLS: true})
	var unknown x509.UnknownAuthorityError
	if err := stranger.Ping(t.Context()); !errors.As(err, &unknown) {
		t.Errorf("without the authority: %v", err)
	}
}
