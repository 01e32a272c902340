package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// outcome is what one run measured.
type outcome struct {
	rate     float64 // events a second
	cpu      float64 // µs of server CPU an event
	broker   float64 // µs of broker CPU an event
	load     float64 // µs of this generator's CPU an event
	p50, p99 float64 // ms
	rss      float64 // MB
}

// median takes each figure's median by itself.
func median(all []outcome) outcome {
	of := func(get func(outcome) float64) float64 {
		var v []float64
		for _, o := range all {
			v = append(v, get(o))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	return outcome{
		rate: of(func(o outcome) float64 { return o.rate }), cpu: of(func(o outcome) float64 { return o.cpu }),
		broker: of(func(o outcome) float64 { return o.broker }), load: of(func(o outcome) float64 { return o.load }),
		p50: of(func(o outcome) float64 { return o.p50 }), p99: of(func(o outcome) float64 { return o.p99 }), rss: of(func(o outcome) float64 { return o.rss }),
	}
}

// request is an HTTP request whose visitor ids are written over before each
// sending, so that a generator costs little and keys spread.
type request struct {
	bytes []byte
	ids   []int // where each id's ten digits are
}

func newRequest(addr string, events int) *request {
	const id = "v0000000000"
	var body bytes.Buffer
	body.WriteString(`{"events": [`)
	for i := range events {
		if i > 0 {
			body.WriteString(", ")
		}
		body.WriteString(`{"time": "` + time.Now().UTC().Format("2006-01-02 15:04:05.000000") + `", "event_type": "visit", "user_id": null, "visitor_id": "` + id +
			`", "variant": "control", "test_name": "landing/headline", "tags_name_value": {"sdk_version": "1.0.9", "sdk_type": "python3"}}`)
	}
	body.WriteString("]}")
	head := fmt.Sprintf("POST /v1/events HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", addr, benchToken, body.Len())
	r := &request{bytes: append([]byte(head), body.Bytes()...)}
	for at := 0; ; {
		i := bytes.Index(r.bytes[at:], []byte(id))
		if i < 0 {
			return r
		}
		r.ids = append(r.ids, at+i+1)
		at += i + len(id)
	}
}

func (r *request) next(n uint64) {
	for _, at := range r.ids {
		for d, k := at+9, n; d >= at; d-- {
			r.bytes[d] = byte('0' + k%10)
			k /= 10
		}
		n++
	}
}

// drive loads a server for a span, after a short warm-up.
func drive(ctx context.Context, s, broker *process, l *line, span time.Duration) (outcome, error) {
	const warmUp = time.Second
	began := time.Now()
	from, until := began.Add(warmUp), began.Add(warmUp+span)
	var mu sync.Mutex
	var latencies []time.Duration
	var failed error
	var wg sync.WaitGroup
	for w := range l.conns {
		wg.Go(func() {
			own, err := connection(ctx, s.addr, l, uint64(w)*1_000_000_000/uint64(l.conns), w, from, until)
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, own...)
			failed = cmp.Or(failed, err)
		})
	}
	time.Sleep(time.Until(from))
	used := func() (cpu [3]float64) {
		cpu[0], cpu[2] = cpuSeconds(s.cmd.Process.Pid), cpuSeconds(os.Getpid())
		if broker != nil {
			cpu[1] = cpuSeconds(broker.cmd.Process.Pid)
		}
		return cpu
	}
	cpu0 := used()
	time.Sleep(time.Until(until))
	cpu1, rss := used(), rssMB(s.cmd.Process.Pid)
	wg.Wait()
	if failed != nil {
		return outcome{}, failed
	}
	if len(latencies) == 0 {
		return outcome{}, fmt.Errorf("no request was answered")
	}
	slices.Sort(latencies)
	events := float64(len(latencies) * l.perPost)
	each := func(i int) float64 { return (cpu1[i] - cpu0[i]) / events * 1e6 }
	at := func(q float64) float64 { return latencies[int(q*float64(len(latencies)-1))].Seconds() * 1e3 }
	return outcome{rate: events / span.Seconds(), cpu: each(0), broker: each(1), load: each(2), p50: at(.5), p99: at(.99), rss: rss}, nil
}

// connection sends one request after another, and gives the latencies of those
// that ended inside the span.
func connection(ctx context.Context, addr string, l *line, n uint64, w int, from, until time.Time) ([]time.Duration, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	r, in := newRequest(addr, l.perPost), bufio.NewReader(c)
	out := make([]time.Duration, 0, 1<<14)
	var gap time.Duration
	if l.paced > 0 {
		gap = time.Second * time.Duration(l.conns) / time.Duration(l.paced)
	}
	due := time.Now().Add(gap * time.Duration(w) / time.Duration(l.conns))
	for ctx.Err() == nil {
		start := time.Now()
		if gap > 0 {
			time.Sleep(time.Until(due))
			start = due // waiting for one's turn counts
			due = due.Add(gap)
		}
		r.next(n)
		n += uint64(l.perPost)
		if _, err := c.Write(r.bytes); err != nil {
			return out, err
		}
		if err := readAnswer(in); err != nil {
			return out, err
		}
		now := time.Now()
		if now.After(until) {
			return out, nil
		}
		if now.After(from) {
			out = append(out, now.Sub(start))
		}
	}
	return out, ctx.Err()
}

// readAnswer reads one answer, which must be a 200.
func readAnswer(in *bufio.Reader) error {
	status, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200")) {
		return fmt.Errorf("answer %q", status)
	}
	length := 0
	for {
		h, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(h) <= 2 {
			break
		}
		if bytes.HasPrefix(h, []byte("Content-Length: ")) {
			length, _ = strconv.Atoi(strings.TrimSpace(string(h[16:])))
		}
	}
	_, err = io.CopyN(io.Discard, in, int64(length))
	return err
}

// cpuSeconds is the CPU time that a process has used, by its stat file.
func cpuSeconds(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100 // ticks of a hundredth of a second
}

func rssMB(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for l := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024
		}
	}
	return 0
}
