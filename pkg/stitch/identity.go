// Package stitch says to whom an event belongs, and turns events into rows
// that carry the answer's key.
//
// Every row is filed under its anchor, the hash of its visitor, else of its
// user. A match gives a visitor an owner: the first user by (time, user id).
// An event's entity is its user, else its visitor's owner, else the visitor
// itself; it is looked up when rows are read, so a match that comes last
// reaches every row of its visitor at once.
package stitch

import "github.com/zeebo/xxh3"

// Visitor is the hash of a visitor's id: XXH3-64 of "v:" and the id, 0 for no
// id. Of the prefixes, no visitor and user share a hash by having one name.
func Visitor(id string) uint64 { return hash("v:", id) }

// User is the hash of a user's id, with the prefix "u:", 0 for no id.
func User(id string) uint64 { return hash("u:", id) }

// Anchor is what a row is filed under: its visitor, else its user.
func Anchor(visitorID, userID string) uint64 {
	if visitorID != "" {
		return Visitor(visitorID)
	}
	return User(userID)
}

func hash(prefix, id string) uint64 {
	if id == "" {
		return 0
	}
	var buf [128]byte
	h := xxh3.Hash(append(append(buf[:0], prefix...), id...))
	if h == 0 { // 0 stands for none
		return 1
	}
	return h
}

// Entity is whom a row counts for, given the owner of its anchor (0: none).
func Entity(user, owner, anchor uint64) uint64 {
	switch {
	case user != 0:
		return user
	case owner != 0:
		return owner
	}
	return anchor
}

// Claim is one match of a visitor with a user, at a time in µs UTC.
type Claim struct {
	Time   int64
	UserID string
}

// Before says whether c comes before d: by time, then by user id, so that one
// of two claims always does.
func (c Claim) Before(d Claim) bool {
	if c.Time != d.Time {
		return c.Time < d.Time
	}
	return c.UserID < d.UserID
}

// Identities holds the owner of each visitor, as the warehouse's table of that
// name does. The order in which claims are added, and how often, makes no
// difference: an owner is a minimum. The zero value is empty.
type Identities struct {
	first map[string]Claim
	other map[string]bool
}

// Add takes a claim on a visitor.
func (x *Identities) Add(visitorID string, c Claim) {
	if x.first == nil {
		x.first, x.other = map[string]Claim{}, map[string]bool{}
	}
	f, ok := x.first[visitorID]
	if ok && f.UserID != c.UserID {
		x.other[visitorID] = true
	}
	if !ok || c.Before(f) {
		x.first[visitorID] = c
	}
}

// Owner is the first claim on a visitor.
func (x *Identities) Owner(visitorID string) (Claim, bool) {
	c, ok := x.first[visitorID]
	return c, ok
}

// Shared says whether more than one user claimed the visitor.
func (x *Identities) Shared(visitorID string) bool { return x.other[visitorID] }

// Entity is whom an event with these ids counts for.
func (x *Identities) Entity(visitorID, userID string) uint64 {
	c := x.first[visitorID]
	return Entity(User(userID), User(c.UserID), Anchor(visitorID, userID))
}
