package issuer

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// ownedApp is a client that a person has registered, by which ann has a token.
func (h *house) ownedApp(owner *store.User) (id, secret string) {
	h.t.Helper()
	info, secret, err := h.issuer.createOwnClient(h.t.Context(), owner, ownClient{
		name: "Mallory's", redirectURIs: []string{testRedirect},
	}, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	return info.ID, secret
}

// TestClientOfADisabledPerson: with a person goes what the person has registered, and comes back without what it had.
func TestClientOfADisabledPerson(t *testing.T) {
	h, ann := newPeopledHouse(t)
	_, mallory := h.member("mallory")
	id, secret := h.ownedApp(mallory)
	ask := func(pairs ...string) *http.Request {
		form := map[string][]string{}
		for i := 0; i < len(pairs); i += 2 {
			form[pairs[i]] = []string{pairs[i+1]}
		}
		return request("/oauth/token", form, "Authorization", basic(id, secret))
	}
	redeem := func(code string) *http.Request {
		return ask("grant_type", "authorization_code", "code", code, "redirect_uri", testRedirect,
			"code_verifier", testVerifier)
	}
	refresh := func(token string) *http.Request { return ask("grant_type", "refresh_token", "refresh_token", token) }
	had, unseen := h.gives(redeem(h.code(id, ann, "read"))), h.gives(redeem(h.code(id, ann, "read")))
	code := h.code(id, ann, "read")
	if !h.good(had.access) {
		t.Fatal("a token is not good")
	}
	turn := func(disabled bool) {
		t.Helper()
		h.pass(time.Second)
		if _, err := h.issuer.UpdateUser(t.Context(), mallory.ID, UserChange{Disabled: &disabled}); err != nil {
			t.Fatal(err)
		}
		h.pass(time.Second)
	}
	ended := func() {
		t.Helper()
		if h.good(had.access) || h.good(unseen.access) {
			t.Error("a token of the client is still good")
		}
	}

	turn(true)
	ended()
	h.fault(redeem(code), http.StatusUnauthorized, "invalid_client")
	h.fault(refresh(had.refresh), http.StatusUnauthorized, "invalid_client")
	b := h.browserOf(ann)
	b.get(asks(id)).has(t, http.StatusBadRequest, "This app is not known")

	turn(false)
	ended()
	h.fault(redeem(code), http.StatusBadRequest, "invalid_grant")
	h.fault(refresh(had.refresh), http.StatusBadRequest, "invalid_grant")
	again := h.gives(redeem(h.code(id, ann, "read")))
	if !h.good(again.access) {
		t.Error("the client does not come back")
	}
}

// TestConsentToAClientWhoseOwnerIsDisabledMeanwhile says yes on a page that was shown before.
func TestConsentToAClientWhoseOwnerIsDisabledMeanwhile(t *testing.T) {
	h := signInHouse(t)
	_, mallory := h.member("mallory")
	id, _ := h.ownedApp(mallory)
	b, _ := h.member("carol")
	page := b.get(asks(id)).has(t, http.StatusOK, "Registered by")
	off := true
	if _, err := h.issuer.UpdateUser(t.Context(), mallory.ID, UserChange{Disabled: &off}); err != nil {
		t.Fatal(err)
	}
	b.post("/oauth/authorize", page.form("decision", "approve")).has(t, http.StatusBadRequest, "This app is not known")
}

// TestClientWhoseOwnerHasLeft: the owner is not disabled, but gone from where it came from.
func TestClientWhoseOwnerHasLeft(t *testing.T) {
	v := newVillage()
	h := newHouse(t, peopled, withPeople(v))
	owner, ann := h.wantSignIn("villager", rightPassword, "192.0.2.1"), h.person("Ann")
	id, secret := h.ownedApp(owner)
	redeem := func() *http.Request {
		return request("/oauth/token", map[string][]string{
			"grant_type": {"authorization_code"}, "code": {h.code(id, ann, "read")}, "redirect_uri": {testRedirect},
			"code_verifier": {testVerifier},
		}, "Authorization", basic(id, secret))
	}
	seen, unseen := h.gives(redeem()), h.gives(redeem())
	if !h.good(seen.access) {
		t.Fatal("a token is not good")
	}
	v.leave("villager")
	if h.good(unseen.access) {
		t.Error("a token of the client is still good")
	}
	h.fault(redeem(), http.StatusUnauthorized, "invalid_client")
}

// atOnceOf runs fn many times at once, and counts those that work. The others fail with one of the errors allowed.
func atOnceOf(t *testing.T, fn func() error, refused func(error) bool) int {
	t.Helper()
	var worked atomic.Int64
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for range 64 {
		wg.Go(func() {
			<-begin
			switch err := fn(); {
			case err == nil:
				worked.Add(1)
			case !refused(err):
				t.Error(err)
			}
		})
	}
	close(begin)
	wg.Wait()
	return int(worked.Load())
}

// TestRaceForMoreClientsThanAPersonMayHave registers many at once where there is room for three.
func TestRaceForMoreClientsThanAPersonMayHave(t *testing.T) {
	h, _ := newPeopledHouse(t)
	_, mallory := h.member("mallory")
	for range maxOwnClients - 3 {
		h.ownedApp(mallory)
	}
	n := ownClient{name: "x", redirectURIs: []string{testRedirect}, public: true}
	made := atOnceOf(t, func() error {
		_, _, err := h.issuer.createOwnClient(t.Context(), mallory, n, nil)
		return err
	}, func(err error) bool { _, ok := errors.AsType[*tooManyThingsError](err); return ok })
	own, err := h.issuer.ownClients(t.Context(), mallory.ID)
	if made != 3 || len(own) != maxOwnClients || err != nil {
		t.Errorf("%d more, %d in all, %v", made, len(own), err)
	}
}

// TestRaceForMorePersonalTokensThanAPersonMayHave makes many at once where there is room for three.
func TestRaceForMorePersonalTokensThanAPersonMayHave(t *testing.T) {
	h, ann := newPeopledHouse(t)
	for range maxPersonalTokens - 3 {
		h.personal(ann.ID)
	}
	made := atOnceOf(t, func() error {
		_, _, err := h.issuer.CreatePersonalToken(t.Context(), ann.ID, "x", nil, 0)
		return err
	}, func(err error) bool { _, ok := errors.AsType[*InvalidError](err); return ok })
	list, err := h.issuer.PersonalTokens(t.Context(), ann.ID)
	if made != 3 || len(list) != maxPersonalTokens || err != nil {
		t.Errorf("%d more, %d in all, %v", made, len(list), err)
	}
}

// TestEndlessPersonalTokensThatAreRevoked makes and revokes tokens in a loop: what has been revoked is kept in mind
// until it would have expired.
func TestEndlessPersonalTokensThatAreRevoked(t *testing.T) {
	h, ann := newPeopledHouse(t)
	ctx := t.Context()
	before := h.db.Revocations().Len()
	loop := func(lifetime time.Duration) error {
		_, record, err := h.issuer.CreatePersonalToken(ctx, ann.ID, "x", nil, lifetime)
		if err != nil {
			return err
		}
		return h.issuer.RevokePersonalToken(ctx, ann.ID, record.ID)
	}
	h.update(func(r *store.Records) error { // as many rounds of it
		for n := range maxPersonalEver - 10 {
			id := store.NewID(r.Now())
			err := r.PutToken(&store.Token{
				ID: id, ClientID: PersonalAccessClient, UserID: ann.ID, Personal: true, Hash: store.HashSecret(id),
				Name: strconv.Itoa(n), IssuedAt: r.Now(), ExpiresAt: r.Now().Add(time.Hour),
			})
			if err == nil {
				err = r.RevokeToken(id)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	var last error
	for range 20 {
		if last = loop(time.Hour); last != nil {
			break
		}
	}
	if _, ok := errors.AsType[*InvalidError](last); !ok {
		t.Errorf("the end is %v", last)
	}
	if n := h.db.Revocations().Len() - before; n > maxPersonalEver {
		t.Errorf("%d revocations are kept in mind", n)
	}
	h.pass(time.Hour + time.Second)
	if err := loop(0); err != nil {
		t.Errorf("when they would have expired: %v", err)
	}
}

// TestEndlessClientsThatAreDeleted registers and deletes clients in a loop.
func TestEndlessClientsThatAreDeleted(t *testing.T) {
	h, _ := newPeopledHouse(t)
	_, mallory := h.member("mallory")
	before := h.db.Revocations().Len()
	n := ownClient{name: "x", redirectURIs: []string{testRedirect}, public: true}
	loop := func() error {
		info, _, err := h.issuer.createOwnClient(t.Context(), mallory, n, nil)
		if err != nil {
			return err
		}
		return h.issuer.deleteOwnClient(t.Context(), mallory.ID, info.ID)
	}
	var last error
	for range maxClientsDeleted + 10 {
		if last = loop(); last != nil {
			break
		}
	}
	if _, ok := errors.AsType[*tooManyThingsError](last); !ok {
		t.Errorf("the end is %v", last)
	}
	if n := h.db.Revocations().Len() - before; n > maxClientsDeleted {
		t.Errorf("%d revocations are kept in mind", n)
	}
	if own, err := h.issuer.ownClients(t.Context(), mallory.ID); err != nil || len(own) > 0 {
		t.Errorf("%v, %v", own, err)
	}
	h.pass(3 * time.Hour)
	if err := loop(); err != nil {
		t.Errorf("hours later: %v", err)
	}
}

// TestUnknownPathForABrowser: a person reads a page, in the person's language, and everybody else JSON.
func TestUnknownPathForABrowser(t *testing.T) {
	h := newHouse(t)
	const path = "/oauth/clients/1/2"
	b := h.browser()
	page := b.get(path, "Accept", "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Language", "de")
	page.has(t, http.StatusNotFound, `lang="de"`, "Hier ist nichts")
	if !slices.Contains(page.Header.Values("Vary"), "Accept") {
		t.Errorf("Vary: %q", page.Header.Values("Vary"))
	}
	h.fault(get(path), http.StatusNotFound, "not_found")
	h.fault(get(path, "Accept", "application/json"), http.StatusNotFound, "not_found")
	h.fault(request(path, nil, "Accept", "text/html"), http.StatusNotFound, "not_found")
}
