package engine

import (
	"sync"
	"time"
)

// sessions are the connections that clients hold by session_id: their settings
// and temporary tables live on between requests.
type sessions struct {
	mu   sync.Mutex
	byID map[string]*session
}

type session struct {
	conn   *connection
	busy   bool
	expiry *time.Timer
}

const (
	maxSessions        = 1024
	defaultSessionTime = 60 * time.Second
	maxSessionTime     = time.Hour
)

// take returns the connection of a session, opened if it is new. A session
// runs one query at a time, as ClickHouse's do.
func (s *sessions) take(id string, open func() (*connection, error)) (*connection, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byID[id]
	if x == nil {
		if len(s.byID) >= maxSessions {
			return nil, newError(codeTooManyQueries, "TOO_MANY_SIMULTANEOUS_QUERIES", "Too many sessions")
		}
		conn, err := open()
		if err != nil {
			return nil, err
		}
		x = &session{conn: conn}
		s.byID[id] = x
	}
	if x.busy {
		return nil, newError(373, "SESSION_IS_LOCKED", "Session "+id+" is locked by a concurrent client")
	}
	x.busy = true
	if x.expiry != nil {
		x.expiry.Stop()
	}
	return x.conn, nil
}

// give returns a session to rest until timeout.
func (s *sessions) give(id string, timeout time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.byID[id]
	if x == nil {
		return
	}
	x.busy = false
	x.expiry = time.AfterFunc(timeout, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.byID[id] == x && !x.busy {
			delete(s.byID, id)
			x.conn.close()
		}
	})
}

// close ends all sessions; none may be busy.
func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, x := range s.byID {
		if x.expiry != nil {
			x.expiry.Stop()
		}
		x.conn.close()
		delete(s.byID, id)
	}
}
