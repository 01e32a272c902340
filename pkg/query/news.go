package query

import (
	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/experiment"
)

// Watermark is up to where one partition of one topic is stored.
type Watermark struct {
	Topic     string `ch:"topic"`
	Partition uint16 `ch:"topic_partition"`
	Upto      int64  `ch:"upto"` // exclusive
}

// Watermarks asks up to where the log is stored.
func Watermarks() Query { return Query{SQL: marksSQL} }

// News asks whether anything that touches the experiment was stored past the
// watermarks: one row, n, 0 or 1. Watermarks older than the journal's days
// cannot be asked about.
func News(x *experiment.Experiment, marks []Watermark, topics event.Topics) Query {
	most := 0
	for _, m := range marks {
		most = max(most, int(m.Partition)+1)
	}
	// One more than there are: a partition that is not known yet has index 0
	// beyond the array, which ClickHouse reads as 0, the start.
	of := func(topic string) []int64 {
		list := make([]int64, max(most, 1))
		for _, m := range marks {
			if m.Topic == topic {
				list[m.Partition] = m.Upto
			}
		}
		return list
	}
	names := x.Events()
	if len(names) == 0 {
		names = []string{""}
	}
	return Query{SQL: newsSQL, Params: map[string]any{
		"project": x.Project, "experiment": x.Key, "names": names,
		"exposures": of(topics.Exposures), "kpis": of(topics.KPIs), "matches": of(topics.Matches),
	}}
}
