package issuer

import (
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

func TestManagingClients(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	created, secret, err := h.issuer.CreateClient(ctx, store.Client{
		ID: "chosen", SecretHash: "chosen", Name: "Orders sync", Scopes: []string{"read"}, Disabled: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if created.ID == "chosen" || created.Disabled || created.SecretHash != "" || created.Configured ||
		!slices.Equal(created.Grants, []string{"client_credentials"}) || created.CreatedAt.IsZero() {
		t.Errorf("created %+v", created)
	}
	if text, _ := json.Marshal(created); strings.Contains(string(text), secret) || strings.Contains(string(text), "hash") {
		t.Errorf("a client shows its secret: %s", text)
	}
	authenticates := func(secret string) bool {
		c, err := h.issuer.authenticate(ctx, credentials{id: created.ID, secret: secret})
		return c != nil && err == nil
	}
	if !authenticates(secret) {
		t.Error("the secret is not taken")
	}

	name, lifetime := "New name", 5*time.Minute
	changed, err := h.issuer.UpdateClient(ctx, created.ID, ClientChange{Name: &name, AccessTokenLifetime: &lifetime})
	if err != nil || changed.Name != name || changed.AccessTokenLifetime != lifetime ||
		!slices.Equal(changed.Scopes, []string{"read"}) || !changed.CreatedAt.Equal(created.CreatedAt) {
		t.Errorf("changed %+v, %v", changed, err)
	}
	_, rotated, err := h.issuer.RotateSecret(ctx, created.ID)
	if err != nil || authenticates(secret) || !authenticates(rotated) {
		t.Errorf("rotated: %v, old %v, new %v", err, authenticates(secret), authenticates(rotated))
	}
	public, none, err := h.issuer.CreateClient(ctx, store.Client{Name: "App", Public: true})
	if err != nil || none != "" || !public.Public {
		t.Errorf("public: %+v, %q, %v", public, none, err)
	}
	if _, _, err := h.issuer.RotateSecret(ctx, public.ID); !errors.Is(err, ErrPublicClient) {
		t.Errorf("secret of a public client: %v", err)
	}

	list, err := h.issuer.Clients(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, c := range list {
		ids = append(ids, c.ID)
		if c.SecretHash != "" || c.Configured != h.issuer.ConfigClient(c.ID) {
			t.Errorf("listed %+v", c)
		}
	}
	want := []string{"orders-sync", "limited", "boss", "all", "spa", "web", "api", "a:b+%d", created.ID, public.ID}
	if !slices.Equal(ids, want) {
		t.Errorf("listed %v, want %v", ids, want)
	}
	if shown, err := h.issuer.Client(ctx, created.ID); err != nil || shown.Name != name || shown.SecretHash != "" {
		t.Errorf("shown %+v, %v", shown, err)
	}
	if shown, err := h.issuer.Client(ctx, "orders-sync"); err != nil || !shown.Configured || shown.SecretHash != "" {
		t.Errorf("shown %+v, %v", shown, err)
	}

	if err := h.issuer.DeleteClient(ctx, created.ID); err != nil || authenticates(rotated) {
		t.Errorf("deleted: %v", err)
	}
	for what, err := range map[string]error{
		"show":   second(h.issuer.Client(ctx, created.ID)),
		"update": second(h.issuer.UpdateClient(ctx, created.ID, ClientChange{})),
		"delete": h.issuer.DeleteClient(ctx, created.ID),
	} {
		if !errors.Is(err, ErrUnknownClient) {
			t.Errorf("%s: %v", what, err)
		}
	}
	var types []EventType
	for _, e := range h.told() {
		types = append(types, e.Type)
	}
	told := []EventType{ClientCreated, ClientUpdated, SecretRotated, ClientCreated, ClientDeleted}
	if !slices.Equal(types, told) {
		t.Errorf("told %v, want %v", types, told)
	}
}

func second[T any](_ T, err error) error { return err }

func TestConfiguredClientsStayAsTheyAre(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	// One with the same ID is in the store, from the time before it was configured.
	err := h.db.Update(ctx, func(r *store.Records) error {
		return r.PutClient(&store.Client{ID: "orders-sync", Name: "old", SecretHash: store.HashSecret("old")})
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _, rotate := h.issuer.RotateSecret(ctx, "orders-sync")
	for what, err := range map[string]error{
		"update": second(h.issuer.UpdateClient(ctx, "orders-sync", ClientChange{})),
		"rotate": rotate,
		"delete": h.issuer.DeleteClient(ctx, "orders-sync"),
	} {
		if !errors.Is(err, ErrConfiguredClient) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if list, err := h.issuer.Clients(ctx); err != nil || len(list) != len(testConfig().Clients) {
		t.Errorf("%d clients are listed, %v", len(list), err)
	}
	h.fault(request("/oauth/token", url.Values{"grant_type": {"client_credentials"}},
		"Authorization", basic("orders-sync", "old")), 401, "invalid_client")
	h.tokenFor("orders-sync", "")
}

func TestClientsThatAreRefused(t *testing.T) {
	h := newHouse(t)
	for field, c := range map[string]store.Client{
		"client_name":           {},
		"grant_types":           {Name: "x", Grants: []string{"magic"}},
		"scope":                 {Name: "x", Scopes: []string{"a b"}},
		"redirect_uris":         {Name: "x", RedirectURIs: []string{"javascript:alert(1)"}},
		"resource_server":       {Name: "x", Public: true, ResourceServer: true},
		"access_token_lifetime": {Name: "x", AccessTokenLifetime: -1},
	} {
		_, _, err := h.issuer.CreateClient(t.Context(), c)
		if invalid, ok := errors.AsType[*InvalidError](err); !ok || invalid.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, name := range []string{strings.Repeat("x", maxName+1), "a\x00b", "a\nb", "\xff"} {
		if _, _, err := h.issuer.CreateClient(t.Context(), store.Client{Name: name}); err == nil {
			t.Errorf("takes the name %.20q", name)
		}
	}
	created, _, err := h.issuer.CreateClient(t.Context(), store.Client{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	empty := ""
	for field, change := range map[string]ClientChange{
		"client_name": {Name: &empty},
		"grant_types": {Grants: &[]string{"password"}},
	} {
		_, err := h.issuer.UpdateClient(t.Context(), created.ID, change)
		if invalid, ok := errors.AsType[*InvalidError](err); !ok || invalid.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	kept, err := h.issuer.Client(t.Context(), created.ID)
	if err != nil {
		t.Fatal(err)
	}
	before, _ := json.Marshal(created)
	after, _ := json.Marshal(kept)
	if string(before) != string(after) {
		t.Errorf("a refused change has changed %s to %s", before, after)
	}
}

// TestDisablingAlwaysWorks disables a client whose grants the configuration knows no more.
func TestDisablingAlwaysWorks(t *testing.T) {
	h := newHouse(t)
	err := h.db.Update(t.Context(), func(r *store.Records) error {
		return r.PutClient(&store.Client{ID: "x", Grants: []string{"password"}, RedirectURIs: []string{"http://old.example"}})
	})
	if err != nil {
		t.Fatal(err)
	}
	disabled, name := true, "x"
	if c, err := h.issuer.UpdateClient(t.Context(), "x", ClientChange{Disabled: &disabled}); err != nil || !c.Disabled {
		t.Errorf("%+v, %v", c, err)
	}
	h.wantTold(Event{Type: ClientDisabled, ClientID: "x"})
	uris := []string{"https://new.example"}
	c, err := h.issuer.UpdateClient(t.Context(), "x", ClientChange{Name: &name, RedirectURIs: &uris})
	if err != nil || !slices.Equal(c.Grants, []string{"password"}) {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestDisablingIsToldOf by an event of its own, and whatever else changes with it by another.
func TestDisablingIsToldOf(t *testing.T) {
	h := newHouse(t)
	client, _, err := h.issuer.CreateClient(t.Context(), store.Client{Name: "x", Scopes: []string{"read"}})
	if err != nil {
		t.Fatal(err)
	}
	ann := h.account("ann", "")
	on, off := new(true), new(false)
	for _, test := range []struct {
		disabled *bool
		other    bool
		client   []EventType
		user     []EventType
	}{
		{off, false, []EventType{ClientUpdated}, []EventType{UserUpdated}},
		{on, false, []EventType{ClientDisabled}, []EventType{UserDisabled}},
		{on, false, []EventType{ClientUpdated}, []EventType{UserUpdated}},
		{off, true, []EventType{ClientUpdated, ClientEnabled}, []EventType{UserUpdated, UserEnabled}},
		{on, true, []EventType{ClientUpdated, ClientDisabled}, []EventType{UserUpdated, UserDisabled}},
		{nil, true, []EventType{ClientUpdated}, []EventType{UserUpdated}},
		{off, false, []EventType{ClientEnabled}, []EventType{UserEnabled}},
	} {
		c, u := ClientChange{Disabled: test.disabled}, UserChange{Disabled: test.disabled}
		if test.other {
			c.Name, u.DisplayName = new("another"), new("Another")
		}
		h.told()
		if _, err := h.issuer.UpdateClient(t.Context(), client.ID, c); err != nil {
			t.Fatal(err)
		}
		if _, err := h.issuer.UpdateUser(t.Context(), ann.ID, u); err != nil {
			t.Fatal(err)
		}
		var want []Event
		for _, what := range test.client {
			want = append(want, Event{Type: what, ClientID: client.ID})
		}
		for _, what := range test.user {
			want = append(want, Event{Type: what, UserID: ann.ID})
		}
		h.wantTold(want...)
	}
}

func TestManagingTokens(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	var tokens, ids []string
	for _, client := range []string{"orders-sync", "all", "orders-sync"} {
		tokens = append(tokens, h.tokenFor(client, ""))
		ids = append(ids, decodeID(t, tokens[len(tokens)-1]))
		h.ahead.Add(int64(10 * time.Millisecond)) // IDs sort by the millisecond
	}
	list := func(f TokenFilter) []string {
		t.Helper()
		records, err := h.issuer.Tokens(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, record := range records {
			got = append(got, record.ID)
		}
		return got
	}
	for _, test := range []struct {
		filter TokenFilter
		want   []string
	}{
		{TokenFilter{}, ids},
		{TokenFilter{Limit: 2}, ids[:2]},
		{TokenFilter{After: ids[1]}, ids[2:]},
		{TokenFilter{ClientID: "orders-sync"}, []string{ids[0], ids[2]}},
		{TokenFilter{ClientID: "orders-sync", After: ids[0], Limit: 5}, ids[2:]},
		{TokenFilter{ClientID: "orders"}, nil},
		{TokenFilter{UserID: "orders-sync"}, nil},
	} {
		if got := list(test.filter); !slices.Equal(got, test.want) {
			t.Errorf("%+v: got %v, want %v", test.filter, got, test.want)
		}
	}
	inspect := func(token string) *Inspection {
		t.Helper()
		inspection, err := h.issuer.InspectToken(ctx, token)
		if err != nil {
			t.Fatal(err)
		}
		return inspection
	}
	if got := inspect(tokens[0]); !got.Active || got.Reason != "" || got.Record.ID != ids[0] ||
		got.Claims["jti"] != ids[0] {
		t.Errorf("inspected %+v", got)
	}
	if got := inspect(tokens[0][:len(tokens[0])-4] + "AAAA"); got.Active || got.Record != nil ||
		!strings.Contains(got.Reason, "signature") {
		t.Errorf("inspected %+v", got)
	}
	if got := inspect(store.NewSecret(store.RefreshToken)); got.Active || !strings.Contains(got.Reason, "passport_rt_") {
		t.Errorf("inspected %+v", got)
	}
	if got := inspect("x"); got.Active || got.Reason == "" || got.Claims != nil {
		t.Errorf("inspected %+v", got)
	}

	h.told()
	for range 2 {
		if err := h.issuer.RevokeToken(ctx, ids[0]); err != nil {
			t.Fatal(err)
		}
	}
	if events := h.told(); len(events) != 1 || events[0].ClientID != "orders-sync" {
		t.Errorf("events %+v", events)
	}
	if got := inspect(tokens[0]); got.Active || got.Record == nil || got.Record.RevokedAt.IsZero() {
		t.Errorf("inspected %+v", got)
	}
	if err := h.issuer.RevokeToken(ctx, "x"); !errors.Is(err, ErrUnknownToken) {
		t.Errorf("revoking none: %v", err)
	}
	if _, err := h.issuer.Token(ctx, "x"); !errors.Is(err, ErrUnknownToken) {
		t.Errorf("showing none: %v", err)
	}

	purge := func(f PurgeFilter) int {
		t.Helper()
		n, err := h.issuer.Purge(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := purge(PurgeFilter{}); n != 0 {
		t.Errorf("%d have been purged, and none was asked for", n)
	}
	if n := purge(PurgeFilter{Revoked: true, Age: time.Minute}); n != 0 {
		t.Errorf("%d have been revoked for a minute", n)
	}
	h.ahead.Add(int64(time.Minute))
	if n := purge(PurgeFilter{Revoked: true, Age: time.Minute}); n != 1 {
		t.Errorf("%d have been purged, want 1", n)
	}
	if got := list(TokenFilter{}); !slices.Equal(got, ids[1:]) {
		t.Errorf("left are %v", got)
	}
	if h.good(tokens[0]) || !h.good(tokens[1]) {
		t.Error("purging has changed which tokens are good")
	}
}
