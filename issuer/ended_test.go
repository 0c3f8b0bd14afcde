package issuer

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// storedApp registers a public client, and has the house know it as one of its own for [house.ask].
func (h *house) storedApp() store.Client {
	h.t.Helper()
	info, _, err := h.issuer.CreateClient(h.t.Context(), store.Client{
		Name: "x", Public: true, RedirectURIs: []string{testRedirect},
		Grants: []string{"authorization_code", "refresh_token", "device_code"},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return info.Client
}

// TestWhatADisabledClientHadStaysEnded disables a client and enables it again: neither a code nor a refresh token nor an
// approved device from before is good.
func TestWhatADisabledClientHadStaysEnded(t *testing.T) {
	h, ann := newPeopledHouse(t)
	c := h.storedApp()
	public := func(pairs ...string) *http.Request { return h.askPublic(c.ID, pairs...) }
	redeem := func(code string) *http.Request {
		return public("grant_type", "authorization_code", "code", code, "redirect_uri", testRedirect,
			"code_verifier", testVerifier)
	}
	first := h.gives(redeem(h.code(c.ID, ann, "read")))
	code := h.code(c.ID, ann, "read")
	device := h.approvedDevice(c.ID, ann)
	h.pass(time.Second)
	for _, disabled := range []bool{true, false} {
		if _, err := h.issuer.UpdateClient(t.Context(), c.ID, ClientChange{Disabled: &disabled}); err != nil {
			t.Fatal(err)
		}
		h.pass(time.Second)
	}
	refresh := func(token string) *http.Request { return public("grant_type", "refresh_token", "refresh_token", token) }
	h.fault(refresh(first.refresh), http.StatusBadRequest, "invalid_grant")
	h.fault(redeem(code), http.StatusBadRequest, "invalid_grant")
	h.fault(public("grant_type", deviceCode.wire, "device_code", device), http.StatusBadRequest, "expired_token")
	h.gives(refresh(h.gives(redeem(h.code(c.ID, ann, "read"))).refresh)) // it works again
}

// TestDisconnectedAppRedeemsNothing approves a code and a device, disconnects the app, and then lets it redeem them.
func TestDisconnectedAppRedeemsNothing(t *testing.T) {
	h, ann := newPeopledHouse(t)
	code, device := h.code("app", ann, "read"), h.approvedDevice("app", ann)
	h.pass(time.Second)
	h.update(func(r *store.Records) error { _, err := r.Disconnect(ann.ID, "app"); return err })
	h.fault(h.askByCode("app", code), http.StatusBadRequest, "invalid_grant")
	h.fault(h.ask("app", deviceCode.wire, "device_code", device), http.StatusBadRequest, "invalid_grant")
	h.pass(time.Second)
	h.tokensOf("app", ann, "read") // who connects it again means it
}

// approvedDevice is the code of a device that the person has approved, and that has not asked since.
func (h *house) approvedDevice(client string, u *store.User) (code string) {
	h.t.Helper()
	code = store.NewSecret(store.DeviceCode)
	h.update(func(r *store.Records) error {
		return r.PutDevice(store.HashSecret(code), &store.DeviceAuthorization{
			ID: store.NewID(r.Now()), ClientID: client, Issuer: testIdentifier, UserCode: store.NewID(r.Now()),
			Scopes: []string{"read"}, State: store.DeviceApproved, UserID: u.ID, CreatedAt: r.Now(), AnsweredAt: r.Now(),
			AuthenticatedAt: r.Now(), ExpiresAt: r.Now().Add(10 * time.Minute),
		})
	})
	return code
}

// TestTokenThatRedirectsAnApp: who may only read must not lead elsewhere what others give to an app that may do more.
func TestTokenThatRedirectsAnApp(t *testing.T) {
	h := signInHouse(t, managed)
	_, u := h.member("carol")
	token, _, err := h.issuer.CreatePersonalToken(t.Context(), u.ID, "manager", []string{"read", ManageScope}, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, _, err := h.issuer.CreateClient(t.Context(), store.Client{
		Name: "x", Public: true, RedirectURIs: []string{testRedirect}, UserID: u.ID,
	})
	if err != nil {
		t.Fatal(err)
	}
	h.with(token, "PUT", "/clients/"+info.ID, `{"name":"x","redirect":"https://evil.example/cb"}`).answers(t, 403)
	own := h.with(token, "POST", "/clients", `{"name":"y","redirect":"`+testRedirect+`","confidential":false}`).answers(t, 201)
	h.with(token, "PUT", fmt.Sprint("/clients/", own["id"]), `{"name":"z","redirect":"`+testRedirect+`"}`).answers(t, 200)
	after, err := h.issuer.Client(t.Context(), info.ID)
	if err != nil || after.RedirectURIs[0] != testRedirect {
		t.Errorf("the app leads to %v, %v", after.RedirectURIs, err)
	}
}
