package issuer

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/storetest"
)

// racers are how many send the same request at once.
const racers = 64

// arenas are the engines of a race, and how many rounds are run on each: a thousand in memory, some on disk.
var arenas = []struct {
	name   string
	rounds int
	house  func(*testing.T, ...func(*Config)) *house
}{
	{"memory", 1000, func(t *testing.T, change ...func(*Config)) *house {
		return newHouseOn(t, new(storetest.Engine), change...)
	}},
	{"disk", 200, func(t *testing.T, change ...func(*Config)) *house { return newHouse(t, change...) }},
}

// race runs the rounds of each arena; only a part of them under the race detector, with which they take five times as
// long. A round prepares what all send, and looks at what they got.
func race(t *testing.T, part int, round func(h *house, ann *store.User), change ...func(*Config)) {
	if !raceDetector {
		part = 1
	}
	for _, arena := range arenas {
		t.Run(arena.name, func(t *testing.T) {
			const each = 100 // rounds on one house
			for left := arena.rounds / part; left > 0; left -= each {
				h := arena.house(t, append([]func(*Config){peopled}, change...)...)
				h.t = t
				ann := h.person("Ann")
				for range min(left, each) {
					round(h, ann)
					if t.Failed() {
						return
					}
					h.forgetTokens() // in memory an update costs as much as there is
				}
			}
		})
	}
}

// atOnce sends the same request many times at once, and returns what was given; all others have to be refused with
// invalid_grant.
func (h *house) atOnce(ask func() *http.Request) []given {
	h.t.Helper()
	requests := make([]*http.Request, racers)
	for n := range requests {
		requests[n] = ask()
	}
	var (
		mu    sync.Mutex
		won   []given
		ready sync.WaitGroup
		done  sync.WaitGroup
		start = make(chan struct{})
	)
	ready.Add(racers)
	for _, r := range requests {
		done.Go(func() {
			ready.Done()
			<-start
			res := h.do(r)
			o := object(h.t, res)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case res.StatusCode == http.StatusOK:
				access, _ := o["access_token"].(string)
				refresh, _ := o["refresh_token"].(string)
				won = append(won, given{access: access, refresh: refresh})
			case res.StatusCode != http.StatusBadRequest || o["error"] != "invalid_grant":
				h.t.Errorf("%d %v", res.StatusCode, o)
			}
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	return won
}

// families are the IDs of a person's families that are alive.
func (h *house) families(u *store.User) (ids []string) {
	h.t.Helper()
	err := h.db.View(h.t.Context(), func(r *store.Records) error {
		ids = nil
		return r.FamiliesOfUser(u.ID, func(f store.Family) error {
			ids = append(ids, f.ID)
			return nil
		})
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return ids
}

func (h *house) forgetTokens() {
	h.t.Helper()
	h.update(func(r *store.Records) error {
		var all []store.Token
		err := r.Tokens("", func(t store.Token) error {
			all = append(all, t)
			return nil
		})
		for i := range all {
			if err == nil {
				err = r.DeleteToken(&all[i])
			}
		}
		return err
	})
}

// TestRaceForOneCode: one of many that redeem a code at once gets tokens, and those end, for the code was redeemed twice.
func TestRaceForOneCode(t *testing.T) {
	race(t, 1, func(h *house, ann *store.User) {
		before := h.tokens()
		code := h.code("app", ann, "read")
		won := h.atOnce(func() *http.Request { return h.askByCode("app", code) })
		if len(won) != 1 || h.tokens() != before+1 {
			h.t.Fatalf("%d have won, %d tokens have been made", len(won), h.tokens()-before)
		}
		if left := h.families(ann); len(left) != 0 || h.good(won[0].access) {
			h.t.Errorf("what the first got is alive: %v", left)
		}
	})
}

// TestRaceForOneRefreshToken: within the grace all get the same successor, of one family, and it can be used.
func TestRaceForOneRefreshToken(t *testing.T) {
	race(t, 4, func(h *house, ann *store.User) { // each with 64 signatures
		first := h.tokensOf("app", ann, "read")
		family := h.families(ann)
		if len(family) != 1 {
			h.t.Fatalf("families %v", family)
		}
		won := h.atOnce(func() *http.Request { return h.askByRefresh("app", first.refresh) })
		if len(won) != racers {
			h.t.Fatalf("%d of %d got tokens", len(won), racers)
		}
		for _, g := range won {
			if g.refresh != won[0].refresh || g.refresh == first.refresh {
				h.t.Fatal("there are two successors")
			}
		}
		if left := h.families(ann); len(left) != 1 || left[0] != family[0] {
			h.t.Errorf("families %v, before %v", left, family)
		}
		next := h.gives(h.askByRefresh("app", won[0].refresh))
		h.revokes("app", next.refresh, "")
		if h.good(won[racers-1].access) || h.good(next.access) {
			h.t.Error("an access token is not of the family")
		}
	})
}

// TestRaceForOneRefreshTokenWithoutGrace: at most one gets a successor, and the family ends.
func TestRaceForOneRefreshTokenWithoutGrace(t *testing.T) {
	race(t, 1, func(h *house, ann *store.User) {
		first := h.tokensOf("app", ann, "read")
		won := h.atOnce(func() *http.Request { return h.askByRefresh("app", first.refresh) })
		if len(won) > 1 {
			h.t.Fatalf("%d have won", len(won))
		}
		if left := h.families(ann); len(left) != 0 || h.good(first.access) {
			h.t.Errorf("the family is alive: %v", left)
		}
		for _, g := range won {
			h.fault(h.askByRefresh("app", g.refresh), 400, "invalid_grant")
		}
	}, func(c *Config) { c.RefreshGrace = time.Nanosecond })
}

// TestRaceForOneDevice: one of many polls gets the tokens that a person has approved.
func TestRaceForOneDevice(t *testing.T) {
	h, ann := newPeopledHouse(t)
	for range 10 {
		code, _ := h.device("app", "read")
		h.answer(code, ann, store.DeviceApproved)
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for range racers {
			wg.Go(func() {
				res := h.do(h.askByDevice("app", code))
				mu.Lock()
				defer mu.Unlock()
				if o := object(t, res); res.StatusCode == http.StatusOK {
					won++
				} else if o["error"] != "expired_token" {
					t.Errorf("%d %v", res.StatusCode, o)
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Fatalf("%d have won", won)
		}
	}
	if left := h.families(ann); len(left) != 10 {
		t.Errorf("%d families", len(left))
	}
}
