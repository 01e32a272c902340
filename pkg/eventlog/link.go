package eventlog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"
)

// A link is one connection to one broker, for one request at a time.
//
// After any fault, a time-out above all, the connection is closed for good: a
// late answer to one request must not be taken for the answer to the next.
type link struct {
	addr     string
	pc       *protocol.Conn
	clientID string
	versions map[protocol.ApiKey]versionRange
	broken   atomic.Bool
}

// versionRange is what the broker speaks of one API, both ends included.
type versionRange struct{ min, max int16 }

// dialer opens links and plain connections to brokers.
type dialer struct {
	clientID string
	timeout  time.Duration
	tls      *tls.Config
	sasl     sasl.Mechanism
}

func (d *dialer) dialNet(ctx context.Context, addr string) (net.Conn, error) {
	nd := net.Dialer{Timeout: d.timeout, KeepAlive: 30 * time.Second}
	return nd.DialContext(ctx, "tcp", addr)
}

// dial connects, negotiates versions and authenticates, all within timeout.
func (d *dialer) dial(ctx context.Context, addr string, timeout time.Duration) (_ *link, err error) {
	deadline := time.Now().Add(min(timeout, d.timeout))
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	defer func() {
		if err != nil {
			err = fmt.Errorf("connecting to %s: %w", addr, err)
		}
	}()
	nc, err := d.dialNet(ctx, addr)
	if err != nil {
		return nil, err
	}
	if d.tls != nil {
		cfg := d.tls
		if cfg.ServerName == "" {
			cfg = cfg.Clone()
			cfg.ServerName, _, _ = net.SplitHostPort(addr)
		}
		nc = tls.Client(nc, cfg)
	}
	l := &link{addr: addr, pc: protocol.NewConn(nc, d.clientID), clientID: d.clientID}
	if err := l.handshake(ctx, deadline, d.sasl); err != nil {
		l.close()
		if ctx.Err() != nil {
			err = ctx.Err() // what closed the connection under the handshake
		}
		return nil, err
	}
	return l, nil
}

func (l *link) handshake(ctx context.Context, deadline time.Time, mechanism sasl.Mechanism) error {
	stop := l.watch(ctx)
	defer stop()
	if err := l.pc.SetDeadline(deadline); err != nil {
		return err
	}
	// Unknown versions are asked at version 0, which every broker answers.
	msg, err := l.pc.RoundTrip(&apiversions.Request{})
	if err != nil {
		return err
	}
	res := msg.(*apiversions.Response)
	if res.ErrorCode != 0 {
		return kafka.Error(res.ErrorCode)
	}
	l.versions = make(map[protocol.ApiKey]versionRange, len(res.ApiKeys))
	chosen := make(map[protocol.ApiKey]int16, len(res.ApiKeys))
	for _, k := range res.ApiKeys {
		key := protocol.ApiKey(k.ApiKey)
		l.versions[key] = versionRange{k.MinVersion, k.MaxVersion}
		chosen[key] = key.SelectVersion(k.MinVersion, k.MaxVersion)
	}
	l.pc.SetVersions(chosen)
	if mechanism == nil {
		return nil
	}
	return l.authenticate(ctx, mechanism)
}

// authenticate runs the SASL exchange.
func (l *link) authenticate(ctx context.Context, mechanism sasl.Mechanism) error {
	msg, err := l.pc.RoundTrip(&saslhandshake.Request{Mechanism: mechanism.Name()})
	if err != nil {
		return fmt.Errorf("starting sasl: %w", err)
	}
	if code := msg.(*saslhandshake.Response).ErrorCode; code != 0 {
		return fmt.Errorf("starting sasl: %w", kafka.Error(code))
	}
	host, port, err := net.SplitHostPort(l.addr)
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(port)
	session, state, err := mechanism.Start(sasl.WithMetadata(ctx, &sasl.Metadata{Host: host, Port: n}))
	if err != nil {
		return fmt.Errorf("starting sasl: %w", err)
	}
	for done := false; !done; {
		msg, err := l.pc.RoundTrip(&saslauthenticate.Request{AuthBytes: state})
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			// Some brokers answer wrong credentials by hanging up.
			return fmt.Errorf("authenticating: %w", kafka.SASLAuthenticationFailed)
		}
		if err != nil {
			return fmt.Errorf("authenticating: %w", err)
		}
		res := msg.(*saslauthenticate.Response)
		if res.ErrorCode != 0 {
			return fmt.Errorf("authenticating: %w", kafka.Error(res.ErrorCode))
		}
		if done, state, err = session.Next(ctx, res.AuthBytes); err != nil {
			return fmt.Errorf("authenticating: %w", err)
		}
	}
	return nil
}

// watch makes the end of ctx interrupt what the link is doing. The returned
// function ends the watch.
func (l *link) watch(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { l.close() })
}

func (l *link) close() {
	if !l.broken.Swap(true) {
		l.pc.Close()
	}
}

// roundTrip sends a request and waits for its answer. An error means that the
// link is closed; the request may have been carried out.
func (l *link) roundTrip(ctx context.Context, timeout time.Duration, req protocol.Message) (protocol.Message, error) {
	if v, ok := l.versions[req.ApiKey()]; ok && v.min > req.ApiKey().MaxVersion() {
		return nil, fmt.Errorf("asking %s: the broker's oldest %s version %d is newer than ours", l.addr, req.ApiKey(), v.min)
	}
	stop := l.watch(ctx)
	l.pc.SetDeadline(time.Now().Add(timeout)) //nolint:errcheck // shows in the round trip
	res, err := l.pc.RoundTrip(req)
	if !stop() || err != nil {
		l.close()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("asking %s for %s: %w", l.addr, req.ApiKey(), err)
	}
	return res, nil
}

// ask is roundTrip for a known type of answer.
func ask[R protocol.Message](ctx context.Context, l *link, timeout time.Duration, req protocol.Message) (R, error) {
	var none R
	msg, err := l.roundTrip(ctx, timeout, req)
	if err != nil {
		return none, err
	}
	res, ok := msg.(R)
	if !ok {
		l.close()
		return none, fmt.Errorf("asking %s for %s: answer is a %T", l.addr, req.ApiKey(), msg)
	}
	return res, nil
}
