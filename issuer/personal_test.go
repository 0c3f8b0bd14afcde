package issuer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

func TestPersonalAccessToken(t *testing.T) {
	h, ann := newPeopledHouse(t)
	ctx := t.Context()
	secret, record, err := h.issuer.CreatePersonalToken(ctx, ann.ID, " laptop ", []string{"read", "write", "read"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if kind, ok := store.ParseSecret(secret); !ok || kind != store.PersonalAccessToken {
		t.Errorf("secret %q", secret)
	}
	if record.Name != "laptop" || record.UserID != ann.ID || record.ClientID != PersonalAccessClient ||
		fmt.Sprint(record.Scopes) != "[read write]" || record.ExpiresAt.Sub(record.IssuedAt) != 180*24*time.Hour ||
		!record.Personal || record.Grant != "personal_access" {
		t.Errorf("%+v", record)
	}
	if events := h.told(); len(events) != 1 || events[0].Type != TokenIssued || events[0].UserID != ann.ID ||
		events[0].TokenID != record.ID || events[0].Grant != "personal_access" {
		t.Errorf("%+v", events)
	}
	if !h.good(secret) {
		t.Error("it is not good")
	}
	h.pass(10 * time.Millisecond) // IDs sort by time
	short, _, err := h.issuer.CreatePersonalToken(ctx, ann.ID, "short", nil, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	list, err := h.issuer.PersonalTokens(ctx, ann.ID)
	if err != nil || len(list) != 2 || list[0].Name != "laptop" || list[1].Name != "short" || list[0].Hash != "" {
		t.Errorf("%+v, %v", list, err)
	}
	h.pass(time.Minute)
	if h.good(short) {
		t.Error("it outlives its time")
	}
	ben := h.person("Ben")
	if err := h.issuer.RevokePersonalToken(ctx, ben.ID, record.ID); !errors.Is(err, ErrUnknownToken) || !h.good(secret) {
		t.Errorf("somebody else revokes it: %v", err)
	}
	h.told()
	if err := h.issuer.RevokePersonalToken(ctx, ann.ID, record.ID); err != nil || h.good(secret) {
		t.Errorf("revoked: %v", err)
	}
	if got := h.toldOf(); got != string(TokenRevoked) {
		t.Errorf("told %s", got)
	}
	if list, err = h.issuer.PersonalTokens(ctx, ann.ID); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestPersonalAccessTokenRefused(t *testing.T) {
	h, ann := newPeopledHouse(t)
	cat := h.person("Cat", "write")
	boss := h.person("Boss", "*")
	gone := h.person("Gone")
	h.update(func(r *store.Records) error { return r.DeleteUser(gone.ID) })
	for _, test := range []struct {
		name     string
		user     *store.User
		label    string
		scopes   []string
		lifetime time.Duration
		field    string // of the [InvalidError]; "-": another error; "": none
	}{
		{"all that anybody may have", ann, "x", []string{"read", "write"}, time.Hour, ""},
		{"nothing", ann, "x", nil, 0, ""},
		{"a restricted scope", ann, "x", []string{"admin"}, 0, "scopes"},
		{"one that includes a restricted one", ann, "x", []string{"manage"}, 0, "scopes"},
		{"a scope of others", cat, "x", []string{"write", "read"}, 0, "scopes"},
		{"every scope", ann, "x", []string{"*"}, 0, "scopes"},
		{"every scope, who has it", boss, "x", []string{"*"}, 0, ""},
		{"an unknown scope", ann, "x", []string{"fly"}, 0, "scopes"},
		{"an unknown scope, who has every", boss, "x", []string{"fly"}, 0, "scopes"},
		{"without a name", ann, " ", nil, 0, "name"},
		{"with a line feed in the name", ann, "a\nb", nil, 0, "name"},
		{"with a long name", ann, strings.Repeat("n", 256), nil, 0, "name"},
		{"for too long", ann, "x", nil, 181 * 24 * time.Hour, "expires_in"},
		{"for no time", ann, "x", nil, time.Millisecond, "expires_in"},
		{"for the past", ann, "x", nil, -time.Hour, "expires_in"},
		{"for nobody", gone, "x", nil, 0, "-"},
	} {
		t.Run(test.name, func(t *testing.T) {
			secret, _, err := h.issuer.CreatePersonalToken(t.Context(), test.user.ID, test.label, test.scopes, test.lifetime)
			invalid, ok := errors.AsType[*InvalidError](err)
			switch {
			case test.field == "" && err != nil, test.field != "" && (err == nil || secret != ""),
				test.field == "-" && !errors.Is(err, ErrUnknownUser),
				test.field != "" && test.field != "-" && (!ok || invalid.Field != test.field):
				t.Errorf("got %v", err)
			}
		})
	}
	for n := range maxPersonalTokens {
		if _, _, err := h.issuer.CreatePersonalToken(t.Context(), cat.ID, fmt.Sprint(n), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := h.issuer.CreatePersonalToken(t.Context(), cat.ID, "x", nil, 0); err == nil {
		t.Error("there is no end to them")
	}
}

func TestPersonalAccessTokensAreOff(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.Grants = []string{"client_credentials"}; c.Clients = nil })
	_, _, err := h.issuer.CreatePersonalToken(t.Context(), h.person("Ann").ID, "x", nil, 0)
	if !errors.Is(err, ErrPersonalAccessOff) {
		t.Errorf("got %v", err)
	}
}

// TestNoClientIsPersonalAccess: its tokens would pass for people's own.
func TestNoClientIsPersonalAccess(t *testing.T) {
	config := testConfig()
	config.Clients = []store.Client{{ID: PersonalAccessClient, Public: true}}
	if err := Check(config); err == nil {
		t.Error("the configuration may have such a client")
	}
}
