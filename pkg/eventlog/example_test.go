package eventlog_test

import (
	"context"
	"fmt"

	"github.com/hypostream/hypostream/pkg/embedded/broker"
	"github.com/hypostream/hypostream/pkg/eventlog"
)

func Example() {
	ctx := context.Background()
	b, err := broker.Start(ctx, broker.Config{Addr: "127.0.0.1:0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()

	log, err := eventlog.Open(ctx, eventlog.Config{Brokers: []string{b.Addr()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer log.Close()
	if err := log.EnsureTopics(ctx, eventlog.Topic{Name: "events", Partitions: 1}); err != nil {
		fmt.Println(err)
		return
	}

	producer, err := log.NewProducer(eventlog.ProducerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer producer.Close()
	if err := producer.Append(ctx, []eventlog.Record{{Topic: "events", Key: []byte("visitor-1"), Value: []byte("saw the page")}}); err != nil {
		fmt.Println(err)
		return
	}

	reader, err := log.OpenPartition(ctx, "events", 0, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer reader.Close()
	records, err := reader.Read(ctx, 100, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range records {
		fmt.Printf("%s: %s\n", r.Key, r.Value)
	}
	// Output: visitor-1: saw the page
}
