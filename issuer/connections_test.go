package issuer

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// refreshes refreshes so often, and returns all access tokens, the newest last.
func (b *browser) refreshes(client, refresh string, times int) (access []string) {
	b.h.t.Helper()
	for range times {
		b.h.ahead.Add(int64(time.Second))
		g := b.h.gives(b.h.askByRefresh(client, refresh))
		access, refresh = append(access, g.access), g.refresh
	}
	return access
}

// TestAppThatRefreshesOverAndOver has one place in the person's list, and all that it has taken ends when the person
// says so: by the app, or by whichever token it knows of.
func TestAppThatRefreshesOverAndOver(t *testing.T) {
	for name, end := range map[string]func(b *browser, oldest, newest string){
		"disconnected": func(b *browser, _, _ string) {
			b.acts("disconnected", "disconnect", "client_id", "app").has(b.h.t, http.StatusOK, "No app has access")
		},
		"by the newest token": func(b *browser, _, newest string) {
			b.call("DELETE", "/tokens/"+newest, "").answers(b.h.t, 204)
		},
		"by the oldest token": func(b *browser, oldest, _ string) {
			b.call("DELETE", "/tokens/"+oldest, "").answers(b.h.t, 204)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := signInHouse(t)
			b, u := h.member("carol")
			first, refresh := b.connect("app", "read")
			access := append([]string{first}, b.refreshes("app", refresh, 20)...)
			list := b.call("GET", "/tokens", "").list(t)
			newest := fmt.Sprint(unverifiedClaims(access[len(access)-1])["jti"])
			if len(list) != 1 || list[0]["id"] != newest {
				t.Fatalf("%v, want %s", list, newest)
			}
			known, err := h.issuer.Tokens(t.Context(), TokenFilter{UserID: u.ID})
			if err != nil || len(known) != 4 || known[3].ID != newest {
				t.Errorf("%d tokens of the person, %v", len(known), err)
			}
			if all, err := h.issuer.Tokens(t.Context(), TokenFilter{ClientID: "app"}); err != nil || len(all) != 21 {
				t.Errorf("%d tokens of the app, %v", len(all), err)
			}
			end(b, fmt.Sprint(unverifiedClaims(first)["jti"]), newest)
			for i, token := range access {
				if h.good(token) {
					t.Errorf("token %d is good", i)
				}
			}
			if list := b.call("GET", "/tokens", "").list(t); len(list) != 0 {
				t.Errorf("%v", list)
			}
		})
	}
}

// TestOneOfManyTokensRevoked: the others are good, and the newest of them is listed.
func TestOneOfManyTokensRevoked(t *testing.T) {
	h := signInHouse(t)
	b, _ := h.member("carol")
	_, refresh := b.connect("app", "read")
	access := b.refreshes("app", refresh, 8)
	id := func(n int) string { return fmt.Sprint(unverifiedClaims(access[n])["jti"]) }
	for _, n := range []int{7, 0} { // one that the family lists, one that it does not
		if err := h.issuer.RevokeToken(t.Context(), id(n)); err != nil {
			t.Fatal(err)
		}
		b.call("DELETE", "/tokens/"+id(n), "").answers(t, 404)
	}
	for n, token := range access {
		if want := n != 0 && n != 7; h.good(token) != want {
			t.Errorf("token %d is good: %v", n, !want)
		}
	}
	if list := b.call("GET", "/tokens", "").list(t); len(list) != 1 || list[0]["id"] != id(6) {
		t.Errorf("%v, want %s", list, id(6))
	}
}

// TestDisconnectingAnAppWithVeryManyAuthorizations is more than one transaction ends.
func TestDisconnectingAnAppWithVeryManyAuthorizations(t *testing.T) {
	h := signInHouse(t)
	b, u := h.member("carol")
	access, _ := b.connect("app", "read")
	const many = 600
	h.update(func(r *store.Records) error {
		for i := range many {
			f := &store.Family{
				ID: fmt.Sprintf("f%03dx", i), ClientID: "app", UserID: u.ID, Scopes: []string{"read"},
				ExpiresAt: r.Now().Add(time.Hour),
			}
			if err := r.PutFamily(f, "", time.Hour); err != nil {
				return err
			}
		}
		return nil
	})
	b.acts("disconnected", "disconnect", "client_id", "app").has(t, http.StatusOK, "No app has access")
	if h.good(access) {
		t.Error("the access token is good after the app was disconnected")
	}
	h.update(func(r *store.Records) error {
		return r.FamiliesOfUser(u.ID, func(f store.Family) error {
			t.Errorf("%s is not revoked", f.ID)
			return nil
		})
	})
}

// TestPersonTakesTurns: who asks for long lists in many tabs, or lets an app do so, waits for that line, and nobody else
// does.
func TestPersonTakesTurns(t *testing.T) {
	patiently(t)
	h := signInHouse(t)
	b, u := h.member("carol")
	other, _ := h.member("dave")
	b.connect("app", "read")
	other.connect("app", "read")
	people := func(line string) int {
		h.issuer.turns.mu.Lock()
		defer h.issuer.turns.mu.Unlock()
		if l := h.issuer.turns.lines[line+u.ID]; l != nil {
			return l.people
		}
		return 0
	}
	until := func(line string, n int) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); people(line) != n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d are in the line %q", people(line), line)
			}
		}
	}
	for _, line := range []string{turnToSee, turnToList, turnToDisconnect} {
		done, err := h.issuer.turnOf(t.Context(), line, u.ID)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		for range maxLine {
			go func() {
				if leave, err := h.issuer.turnOf(ctx, line, u.ID); err == nil {
					leave()
				}
			}()
		}
		until(line, 1+maxLine)
		answer := func(of string, usually int) int {
			if of == line {
				return http.StatusTooManyRequests
			}
			return usually
		}
		b.get(account).has(t, answer(turnToSee, http.StatusOK))
		if got := b.call("GET", "/tokens", "").StatusCode; got != answer(turnToList, http.StatusOK) {
			t.Errorf("in the line %q: a list of tokens: %d", line, got)
		}
		b.call("DELETE", "/tokens/x", "").answers(t, answer(turnToDisconnect, http.StatusNotFound))
		other.get(account).has(t, http.StatusOK, "See your orders")
		cancel()
		done()
		until(line, 0)
	}
}
