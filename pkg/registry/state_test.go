package registry

import (
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/hypostream/hypostream/pkg/experiment"
)

// The log as a test sees it: entries in order, some of them compacted away.
type logged struct {
	offset int
	entry  experiment.Entry
}

func standing(s *state) map[string]string {
	out := map[string]string{}
	for key, x := range s.standing {
		out[key] = fmt.Sprintf("v%d %s", x.Version, x.Body)
	}
	return out
}

func replay(log []logged) *state {
	s := newState()
	for _, l := range log {
		s.apply(l.entry)
	}
	return s
}

// compact drops any records that Kafka may drop: below a boundary, those with
// a later record of their key below it. Which of them it drops is arbitrary.
func compact(t *rapid.T, log []logged) []logged {
	boundary := rapid.IntRange(0, len(log)).Draw(t, "boundary")
	newest := map[string]int{}
	for i, l := range log[:boundary] {
		newest[logKey(l.entry.Subject, l.entry.Project, l.entry.Key)] = i
	}
	var out []logged
	for i, l := range log {
		if i < boundary && newest[logKey(l.entry.Subject, l.entry.Project, l.entry.Key)] != i && rapid.Bool().Draw(t, "drop") {
			continue
		}
		out = append(out, l)
	}
	return out
}

// writer is a process: it has read the log up to somewhere, and writes by what
// it has read.
type writer struct {
	at    int // in the log
	state *state
}

// TestCompactionChangesNothing lets writers race, repair at any time, and
// Kafka compact what it may. Whenever no key is stale any more, a reader of
// what is left holds what a reader of everything holds, and before that it
// never holds a version that was not reached.
func TestCompactionChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var log []logged
		keys := []string{"a", "b"}
		writers := make([]*writer, 3)
		for i := range writers {
			writers[i] = &writer{state: newState()}
		}
		truth := newState()
		wins := map[string]int{} // changes that won, by key and version
		write := func(x experiment.Entry) {
			log = append(log, logged{len(log), x})
			if truth.apply(x) == accepted {
				wins[fmt.Sprintf("%s v%d", x.Key, x.Version)]++
				if x.Replaces == x.Version {
					t.Fatalf("a restatement of %s v%d changed something", x.Key, x.Version)
				}
			}
		}
		read := func(w *writer) {
			for ; w.at < len(log); w.at++ {
				w.state.apply(log[w.at].entry)
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			w := rapid.SampledFrom(writers).Draw(t, "writer")
			switch rapid.SampledFrom([]string{"change", "change", "read", "read", "repair"}).Draw(t, "step") {
			case "change":
				key := rapid.SampledFrom(keys).Draw(t, "key")
				version := w.state.standing["project/"+key].Version
				body := fmt.Sprintf(`{"key":%q,"name":"%d"}`, key, rapid.IntRange(0, 2).Draw(t, "body"))
				write(experiment.Entry{Subject: experiment.SubjectProject, Key: key, Version: version + 1, Replaces: version, Body: []byte(body)})
			case "read":
				upTo := rapid.IntRange(w.at, len(log)).Draw(t, "to")
				for ; w.at < upTo; w.at++ {
					w.state.apply(log[w.at].entry)
				}
			case "repair":
				for key := range maps.Clone(w.state.stale) {
					x, _ := w.state.restatement(key)
					write(x)
				}
			}
		}
		for change, n := range wins {
			if n != 1 {
				t.Fatalf("%s was won %d times", change, n)
			}
		}
		// Before the repair: a fresh reader may be behind, never ahead.
		for key, x := range replay(compact(t, log)).standing {
			if x.Version > truth.standing[key].Version {
				t.Fatalf("a reader holds %s v%d of %d", key, x.Version, truth.standing[key].Version)
			}
		}
		// A compacting broker may forget a winner only after its repair.
		read(writers[0])
		for key := range maps.Clone(writers[0].state.stale) {
			x, _ := writers[0].state.restatement(key)
			write(x)
		}
		read(writers[0])
		if len(writers[0].state.stale) > 0 {
			t.Fatalf("after the repair these are still stale: %v", writers[0].state.stale)
		}
		if d := cmp.Diff(standing(truth), standing(writers[0].state)); d != "" {
			t.Fatalf("two readers of the whole log differ: %s", d)
		}
		fresh := replay(compact(t, compact(t, log)))
		if d := cmp.Diff(standing(truth), standing(fresh)); d != "" {
			t.Fatalf("a reader of the compacted log differs (-whole +compacted): %s", d)
		}
		// And they go on alike.
		next := experiment.Entry{Subject: experiment.SubjectProject, Key: "a", Version: truth.standing["project/a"].Version + 1, Replaces: truth.standing["project/a"].Version, Body: []byte(`{"key":"a","name":"next"}`)}
		if a, b := truth.apply(next), fresh.apply(next); a != accepted || b != accepted {
			t.Fatalf("the next change is %v to one and %v to the other", a, b)
		}
	})
}

func project(key, name string, version, replaces int64) experiment.Entry {
	return experiment.Entry{Subject: experiment.SubjectProject, Key: key, Version: version, Replaces: replaces, Body: fmt.Appendf(nil, `{"key":%q,"name":%q}`, key, name)}
}

// The story: two processes replaced version 1. Compaction reached the loser
// before it reached the restatement behind it, and a new process took the loser
// for the definition and the restatement for void.
func TestReaderThatMeetsTheLoserFirstBelievesTheRestatement(t *testing.T) {
	s := newState()
	s.apply(project("p", "loser", 2, 1))
	if o := s.apply(project("p", "winner", 2, 2)); o != accepted {
		t.Errorf("the restatement is %v, want accepted", o)
	}
	if got := s.parsed["project/p"].(experiment.Project).Name; got != "winner" {
		t.Errorf("stands: %s", got)
	}
}

// The story: the same, but the next change came before anybody restated; it
// replaces a version that the new process had never seen.
func TestReaderThatMissedVersionsTakesTheNextChange(t *testing.T) {
	s := newState()
	s.apply(project("p", "an old loser", 2, 1))
	if o := s.apply(project("p", "newest", 6, 5)); o != accepted {
		t.Errorf("the change to version 6 is %v, want accepted", o)
	}
}

// The story: a release that could not read a newer one's records restated its
// own over them, the newer one restated its own over those, and so on.
func TestUnreadableRecordIsRestatedOverOnce(t *testing.T) {
	s := newState()
	s.apply(project("p", "ours", 1, 0))
	bad := project("p", "", 2, 1)
	bad.Body = []byte("{")
	for i, want := range []bool{true, false} {
		if o := s.apply(bad); o != invalid {
			t.Fatalf("outcome %v, want invalid", o)
		}
		if s.stale["project/p"] != want {
			t.Errorf("time %d: to be restated %v, want %v", i+1, s.stale["project/p"], want)
		}
		s.apply(project("p", "ours", 1, 1))
	}
	s.unreadable("project/none")
	if len(s.stale) > 0 {
		t.Errorf("stale where nothing stands: %v", s.stale)
	}
}
