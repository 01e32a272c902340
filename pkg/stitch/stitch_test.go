package stitch_test

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hypostream/hypostream/pkg/event"
	"github.com/hypostream/hypostream/pkg/stitch"
)

// The hashes are on disk for ever. The expected values are of the reference
// implementation (libxxhash's XXH3_64bits) over the prefixed bytes.
func TestHashesAreTheOnesThatAreStored(t *testing.T) {
	tests := []struct {
		name      string
		got, want uint64
	}{
		{"a visitor", stitch.Visitor("visitor-1"), 0x9de135613e7063d0},
		{"a user", stitch.User("user-1"), 0x4f08f276ad5ecc68},
		{"a long id, over the hash's own block", stitch.Visitor(strings.Repeat("x", 512)), 0x121aa9c0d4cfe7f0},
		{"no visitor", stitch.Visitor(""), 0},
		{"no user", stitch.User(""), 0},
		{"an anchor is the visitor", stitch.Anchor("visitor-1", "user-1"), 0x9de135613e7063d0},
		{"an anchor without a visitor is the user", stitch.Anchor("", "user-1"), 0x4f08f276ad5ecc68},
		{"no anchor", stitch.Anchor("", ""), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.got != tt.want {
				t.Errorf("%#x, want %#x", tt.got, tt.want)
			}
		})
	}
	if stitch.Visitor("same") == stitch.User("same") {
		t.Error("a visitor and a user of one name share a hash")
	}
}

func TestTheFirstUserOwnsAVisitorInAnyOrder(t *testing.T) {
	type claim struct {
		visitor string
		stitch.Claim
	}
	rapid.Check(t, func(t *rapid.T) {
		claims := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) claim {
			return claim{
				rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "visitor"),
				stitch.Claim{Time: rapid.Int64Range(0, 4).Draw(t, "time"), UserID: rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "user")},
			}
		}), 1, 30).Draw(t, "claims")
		var inOrder, mixed stitch.Identities
		for _, c := range claims {
			inOrder.Add(c.visitor, c.Claim)
		}
		twice := append(append([]claim(nil), claims...), claims...)
		rand.Shuffle(len(twice), func(i, j int) { twice[i], twice[j] = twice[j], twice[i] })
		for _, c := range twice {
			mixed.Add(c.visitor, c.Claim)
		}
		for _, v := range []string{"a", "b", "c"} {
			// by hand: the least (time, user) and the number of users
			var least *stitch.Claim
			users := map[string]bool{}
			for _, c := range claims {
				if c.visitor != v {
					continue
				}
				users[c.UserID] = true
				if least == nil || c.Time < least.Time || c.Time == least.Time && c.UserID < least.UserID {
					least = &c.Claim
				}
			}
			for _, x := range []*stitch.Identities{&inOrder, &mixed} {
				got, ok := x.Owner(v)
				if ok != (least != nil) || ok && got != *least {
					t.Fatalf("owner of %s: %v %v, want %v", v, got, ok, least)
				}
				if x.Shared(v) != (len(users) > 1) {
					t.Fatalf("shared(%s) = %v with %d users", v, x.Shared(v), len(users))
				}
			}
		}
	})
}

func TestAnEntityIsTheUserElseTheOwnerElseTheVisitor(t *testing.T) {
	var x stitch.Identities
	x.Add("v", stitch.Claim{Time: 2, UserID: "late"})
	x.Add("v", stitch.Claim{Time: 1, UserID: "early"})
	tests := []struct {
		name, visitor, user string
		want                uint64
	}{
		{"a named user, whoever owns the visitor", "v", "me", stitch.User("me")},
		{"a matched visitor is its first user", "v", "", stitch.User("early")},
		{"an unmatched visitor is itself", "w", "", stitch.Visitor("w")},
		{"a user without a visitor", "", "me", stitch.User("me")},
		{"nobody", "", "", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := x.Entity(tt.visitor, tt.user); got != tt.want {
				t.Errorf("%#x, want %#x", got, tt.want)
			}
		})
	}
}

func TestRowsKeepEveryFieldAndNoMemoryOfTheEvent(t *testing.T) {
	r := stitch.NewRows(event.Exposure)
	tags := []event.Tag{{Key: "a", Value: event.IntTag(7)}, {Key: "b", Value: event.StringTag("x")}}
	e := event.Event{
		Kind: event.Exposure, Project: "p", UserID: "u", VisitorID: "v", Time: 3, ReceivedAt: 4, Flags: event.Fallback,
		Experiment: "x", Variant: "b", OverrideReason: "qa", SDKError: "oops", Tags: tags, ID: event.ID{9},
	}
	r.Append(&e, 5, 6)
	tags[0] = event.Tag{Key: "overwritten", Value: event.BoolTag(true)}
	e.Tags = nil
	r.Append(&e, 5, 7)
	if r.Len() != 2 || r.TagEnd[0] != 2 || r.TagEnd[1] != 2 || r.TagKey.At(0) != "a" || string(r.TagValue.At(0)) != "7" || string(r.TagValue.At(1)) != "x" {
		t.Errorf("tags %v %v %v", r.TagEnd, r.TagKey, r.TagValue)
	}
	if r.Key.At(1) != "x" || r.Variant.At(1) != "b" || r.OverrideReason.At(1) != "qa" || r.SDKError.At(1) != "oops" || r.Flags[1] != 8 ||
		r.Time[1] != 3 || r.ReceivedAt[1] != 4 || r.Partition[1] != 5 || r.Offset[1] != 7 || r.ID[1] != (event.ID{9}) ||
		string(r.VisitorID.At(1)) != "v" || string(r.UserID.At(1)) != "u" || r.Anchor[1] != stitch.Visitor("v") || r.User[1] != stitch.User("u") {
		t.Errorf("row %+v", r)
	}
	r.Reset()
	if r.Len() != 0 || r.TagKey.Len() != 0 || r.VisitorID.Len() != 0 {
		t.Errorf("%d rows after Reset", r.Len())
	}
}

// Names come back in every order, before and after a Reset, and more distinct
// ones than are kept do not stay.
func TestNamesComeBackAsTheyWere(t *testing.T) {
	r := stitch.NewRows(event.KPI)
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOf(rapid.SampledFrom([]string{"", "a", "b", "c", "buy"})).Draw(t, "names")
		r.Reset()
		for i, n := range names {
			r.Append(&event.Event{Kind: event.KPI, Name: n, VisitorID: n}, 0, int64(i))
		}
		for i, n := range names {
			if r.Key.At(i) != n || r.Key.Values()[r.Key.Rows()[i]] != n || string(r.VisitorID.At(i)) != n {
				t.Fatalf("row %d is %q and %q, want %q", i, r.Key.At(i), r.VisitorID.At(i), n)
			}
		}
	})
	r.Reset()
	for i := range 100_000 {
		r.Append(&event.Event{Kind: event.KPI, Name: strconv.Itoa(i)}, 0, int64(i))
	}
	r.Reset()
	if n := len(r.Key.Values()); n != 0 {
		t.Errorf("%d names stay", n)
	}
}
