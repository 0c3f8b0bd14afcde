package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

func (h *house) putBrowser(id, user string) {
	h.Helper()
	h.update(func(r *store.Records) error {
		return r.PutBrowser(&store.Browser{
			ID: id, Hash: "hash-" + id, UserID: user, Login: user, CreatedAt: h.now, ExpiresAt: h.now.Add(time.Hour),
		})
	})
}

// browsers are those of the IDs that are known.
func (h *house) browsers(of ...string) (known []string) {
	h.Helper()
	for _, id := range of {
		err := h.db.View(h.Context(), func(r *store.Records) error {
			_, err := r.Browser("hash-" + id)
			return err
		})
		if err == nil {
			known = append(known, id)
		} else {
			h.wantError(id, err, store.ErrNotFound)
		}
	}
	return known
}

func TestBrowsers(t *testing.T) {
	h := newHouse(t)
	h.update(func(r *store.Records) error { return r.PutUser(&store.User{ID: "u", Name: "ann"}) })
	all := []string{"b1", "b2", "b3", "b4"}
	for _, id := range all[:3] {
		h.putBrowser(id, "u")
	}
	h.putBrowser("b4", "v")
	h.want("browsers", h.browsers(all...), all...)
	h.update(func(r *store.Records) error { return r.ForgetBrowser("v", "b1") })
	h.want("browsers when somebody else's is forgotten", h.browsers(all...), all...)
	h.update(func(r *store.Records) error { return r.ForgetBrowser("u", "b1") })
	h.want("browsers when one is forgotten", h.browsers(all...), "b2", "b3", "b4")
	h.update(func(r *store.Records) error { return r.ForgetBrowsers("u", "b3") })
	h.want("browsers when all but one are forgotten", h.browsers(all...), "b3", "b4")
	h.update(func(r *store.Records) error {
		u, err := r.User("u")
		if err != nil {
			return err
		}
		return r.EndUser(u)
	})
	h.want("browsers when a person is ended", h.browsers(all...), "b4")
	h.pass(time.Hour)
	h.want("browsers that are over", h.browsers(all...))
}

func TestBrowsersAreBounded(t *testing.T) {
	h := newHouse(t)
	var all []string
	for i := range 25 {
		h.pass(time.Second)
		all = append(all, fmt.Sprintf("b%02d", i))
		h.putBrowser(all[i], "u")
	}
	h.want("browsers", h.browsers(all...), all[5:]...)
}

// TestFloodOfAuthorizationRequests: a page elsewhere that begins requests in somebody's session takes no more room than
// twenty of them.
func TestFloodOfAuthorizationRequests(t *testing.T) {
	h := newHouse(t)
	put := func(id, session string) {
		h.update(func(r *store.Records) error {
			return r.PutRequest(&store.AuthorizationRequest{ID: id, UserID: "u", SessionID: session, ClientID: "c"})
		})
	}
	put("other", "s2")
	for i := range 100 {
		put(fmt.Sprintf("q%02d", i), "s")
	}
	var waiting []string
	for i := range 100 {
		id := fmt.Sprintf("q%02d", i)
		err := h.db.Update(t.Context(), func(r *store.Records) error { _, err := r.TakeRequest(id); return err })
		if err == nil {
			waiting = append(waiting, id)
		}
	}
	if len(waiting) != 20 || waiting[0] != "q80" {
		t.Errorf("%d wait: %q", len(waiting), waiting)
	}
	h.update(func(r *store.Records) error { _, err := r.TakeRequest("other"); return err })
}
