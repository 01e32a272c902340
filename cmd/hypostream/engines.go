package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/hypostream/hypostream/pkg/embedded/broker"
	"github.com/hypostream/hypostream/pkg/embedded/engine"
)

// runBroker serves the embedded broker until ctx ends.
func runBroker(ctx context.Context, args []string, out io.Writer) error {
	f := newFlags("broker", "the embedded broker alone: topics, groups and offsets of one machine, by Kafka's protocol", out)
	addr := f.String("addr", "127.0.0.1:9092", "address to listen on; port 0 picks one")
	data := f.String("data", "", "folder to keep the log in; empty: in memory")
	sync := f.Bool("sync", false, "fsync every write: survives a loss of power, not only of the process")
	if err := parse(f, args); err != nil {
		return err
	}
	b, err := broker.Start(ctx, broker.Config{Addr: *addr, DataDir: *data, SyncWrites: *sync})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "broker listening on", b.Addr())
	<-ctx.Done()
	return b.Close()
}

// runClickHouse serves the embedded engine until ctx ends.
func runClickHouse(ctx context.Context, args []string, out io.Writer) error {
	f := newFlags("clickhouse", "the embedded ClickHouse engine alone, by ClickHouse's HTTP interface", out)
	addr := f.String("addr", "127.0.0.1:8123", "address to listen on; port 0 picks one")
	data := f.String("data", "", "folder to keep tables in; empty: a throw-away one")
	user := f.String("user", "default", "user that clients must name; its password is $ENGINE_PASSWORD, none if that is empty")
	library := f.String("library", "", "the engine's shared library; empty: where make engine put it")
	if err := parse(f, args); err != nil {
		return err
	}
	e, err := engine.Start(ctx, engine.Config{Library: *library, DataDir: *data, Addr: *addr, User: *user, Password: os.Getenv("ENGINE_PASSWORD")})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "clickhouse listening on", e.Addr())
	<-ctx.Done()
	return e.Close()
}
