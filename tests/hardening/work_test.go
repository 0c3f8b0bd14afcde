package hardening

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// workTokens gets two tokens and revokes one.
func (h *house) workTokens(say say) error {
	live, err := h.clientToken("orders-sync", secret)
	if err != nil {
		return err
	}
	say("live", live)
	dead, err := h.clientToken("orders-sync", secret)
	if err != nil {
		return err
	}
	say("ending", dead)
	if _, err := h.post("/oauth/revoke", "orders-sync", secret, "token", dead); err != nil {
		return err
	}
	say("dead", dead)
	return nil
}

// asOne has a job done by one of the people of a pool, who stays signed in.
func asOne(name string, do func(h *house, session string, say say) error) job {
	sessions := map[string]string{}
	return func(h *house, say say) (err error) {
		who := oneOf(name)
		if sessions[who] == "" {
			if sessions[who], err = h.signIn(who, password); err != nil {
				return err
			}
		}
		return do(h, sessions[who], say)
	}
}

// codes has codes given and redeemed, and refreshes what they gave.
func codes() job { return asOne(coder, (*house).workCodes) }

func (h *house) workCodes(session string, say say) error {
	code, err := h.authorize("app", session)
	if err != nil {
		return err
	}
	if rand.IntN(4) == 0 {
		say("code", code)
		return nil
	}
	say("ending", code)
	answer, err := h.redeem(code, "app")
	if err != nil {
		return err
	}
	say("spent-code", code, answer.Refresh)
	for range rand.IntN(3) {
		say("ending", answer.Refresh)
		next, err := h.refresh(answer.Refresh, "app")
		if err != nil {
			return err
		}
		say("spent-refresh", answer.Refresh, next.Refresh)
		answer = next
	}
	say("live-once", answer.Access) // the check of the code ends it
	return nil
}

// workPersonal makes two personal access tokens and revokes one.
func (h *house) workPersonal(say say) error {
	ctx := context.Background()
	ann, err := h.person(store.NewID(time.Now()))
	if err != nil {
		return err
	}
	live, _, err := h.issuer.CreatePersonalToken(ctx, ann, "live", []string{"read"}, time.Hour)
	if err != nil {
		return err
	}
	say("live", live)
	dead, t, err := h.issuer.CreatePersonalToken(ctx, ann, "dead", []string{"read"}, time.Hour)
	if err != nil {
		return err
	}
	say("ending", dead)
	if err := h.issuer.RevokePersonalToken(ctx, ann, t.ID); err != nil {
		return err
	}
	say("dead", dead)
	return nil
}

// workPeople makes two accounts, and deletes one of them.
func (h *house) workPeople(say say) error {
	for _, end := range []bool{false, true} {
		u, err := h.person(store.NewID(time.Now()))
		if err != nil {
			return err
		}
		if say("person", u); !end {
			continue
		}
		say("ending", u)
		if err := h.update(func(r *store.Records) error { return r.DeleteUser(u) }); err != nil {
			return err
		}
		say("no-person", u)
	}
	return nil
}

// workClients makes two clients, each with a token, and deletes one.
func (h *house) workClients(say say) error {
	ctx := context.Background()
	for _, end := range []bool{false, true} {
		info, secret, err := h.issuer.CreateClient(ctx, store.Client{Name: "c", Grants: []string{"client_credentials"}})
		if err != nil {
			return err
		}
		token, err := h.clientToken(info.ID, secret)
		if err != nil {
			return err
		}
		if say("live", token); !end {
			continue
		}
		say("ending", token)
		if err := h.issuer.DeleteClient(ctx, info.ID); err != nil {
			return err
		}
		say("dead", token)
	}
	return nil
}
