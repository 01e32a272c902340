package event

// Topics names the log's topics. The three event topics share one partition
// count and one partitioner, so that partition p of each holds the same
// visitors.
type Topics struct {
	Exposures   string
	KPIs        string
	Matches     string
	DeadLetters string
	Registry    string // experiments, projects and tokens; compacted
}

// NewTopics gives the names under a prefix, "hypostream" by default.
func NewTopics(prefix string) Topics {
	if prefix == "" {
		prefix = "hypostream"
	}
	return Topics{
		Exposures:   prefix + ".exposures",
		KPIs:        prefix + ".kpis",
		Matches:     prefix + ".matches",
		DeadLetters: prefix + ".dead-letters",
		Registry:    prefix + ".experiments",
	}
}

// Of is the topic of a kind of event, "" for an unknown one.
func (t Topics) Of(k Kind) string {
	switch k {
	case Exposure:
		return t.Exposures
	case KPI:
		return t.KPIs
	case Match:
		return t.Matches
	}
	return ""
}

// Events lists the three event topics.
func (t Topics) Events() []string { return []string{t.Exposures, t.KPIs, t.Matches} }

// DeadLetter is input that was taken but could not become a row: what it was,
// why, and where it came from.
type DeadLetter struct {
	At        int64  // µs UTC
	Stage     string // "ingest" or "aggregator"
	Project   string // "" if it is not known
	Reason    Reason
	Field     string
	Detail    string
	Topic     string // where it was read from; "" at ingest
	Partition int32  // -1 at ingest
	Offset    int64  // -1 at ingest
	Original  []byte
}
