package store

import (
	"errors"
	"time"
)

// Take takes a duty that one node does for all, such as purging, until then. It tells whether it could: a duty that
// somebody has taken, this node or another, nobody takes before its time is over.
func (r *Records) Take(duty string, until time.Time) (taken bool, err error) {
	key := r.key(kindDuty, duty)
	var last struct {
		Until time.Time `json:"until"`
	}
	switch err := r.get(key, &last); {
	case err == nil && last.Until.After(r.now):
		return false, nil
	case err != nil && !errors.Is(err, ErrNotFound):
		return false, err
	}
	last.Until = until
	return true, r.put(key, last, until)
}
