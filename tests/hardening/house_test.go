package hardening

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer"
	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/badgerstore"
)

const (
	identifier = "https://api.example.com"
	redirect   = "https://app.example/cb"
	verifier   = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	secret     = "a-secret-of-the-configuration-0123456789"
)

// house is an issuer on Badger.
type house struct {
	engine  *badgerstore.Engine
	db      *store.DB
	issuer  *issuer.Issuer
	handler http.Handler
	ann     string // the ID of a person
}

func open(ctx context.Context, dir string) (*house, error) {
	engine, err := badgerstore.Open(badgerstore.Options{Dir: dir, MinFree: -1})
	if err != nil {
		return nil, err
	}
	h := &house{engine: engine}
	if h.db, err = store.Open(ctx, engine, "default", nil); err != nil {
		return nil, err
	}
	ring, err := keys.Open(ctx, keys.Config{DB: h.db, Retain: func() time.Duration { return time.Hour }})
	if err != nil {
		return nil, err
	}
	h.issuer, err = issuer.New(issuer.Config{
		Identifier: identifier, DB: h.db, Ring: ring, RefreshGrace: time.Nanosecond,
		Scopes: []issuer.Scope{{Name: "read"}, {Name: "write"}},
		Clients: []store.Client{
			{ID: "orders-sync", SecretHash: store.HashSecret(secret), Grants: []string{"client_credentials"}},
			{ID: "api", SecretHash: store.HashSecret(secret), ResourceServer: true},
			{
				ID: "app", Public: true, RedirectURIs: []string{redirect},
				Grants: []string{"authorization_code", "refresh_token"},
			},
		},
	})
	if err != nil {
		return nil, err
	}
	h.handler = h.issuer.Handler("")
	return h, h.findAnn()
}

func (h *house) close() {
	h.db.Close()
	_ = h.engine.Close()
}

// findAnn makes the person that tokens are made for, unless there is one.
func (h *house) findAnn() error {
	err := h.view(func(r *store.Records) error {
		u, err := r.UserByLogin("ann")
		if err == nil {
			h.ann = u.ID
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		h.ann, err = h.person("ann")
	}
	return err
}

func (h *house) view(fn func(*store.Records) error) error { return h.db.View(context.Background(), fn) }

func (h *house) update(fn func(*store.Records) error) error {
	return h.db.Update(context.Background(), fn)
}

func (h *house) person(name string) (id string, err error) {
	u := &store.User{ID: store.NewID(time.Now()), Name: name}
	return u.ID, h.update(func(r *store.Records) error { return r.PutUser(u) })
}

// post sends a form, and answers the body of an answer with status 200.
func (h *house) post(path, client, secret string, pairs ...string) ([]byte, error) {
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	if secret == "" {
		form.Set("client_id", client)
	}
	r := httptest.NewRequest(http.MethodPost, identifier+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if secret != "" {
		r.SetBasicAuth(client, secret)
	}
	w := httptest.NewRecorder()
	w.Body = new(bytes.Buffer)
	h.handler.ServeHTTP(w, r)
	return w.Body.Bytes(), unexpected(w.Code, w.Body.Bytes())
}

func (h *house) clientToken(client, secret string) (string, error) {
	body, err := h.post("/oauth/token", client, secret, "grant_type", "client_credentials", "scope", "read")
	if err != nil {
		return "", err
	}
	a, err := decode(body)
	return a.Access, err
}

// code writes a code as the authorization endpoint does.
func (h *house) code() (string, error) {
	code := store.NewSecret(store.AuthorizationCode)
	sum := sha256.Sum256([]byte(verifier))
	return code, h.update(func(r *store.Records) error {
		return r.PutCode(store.HashSecret(code), &store.Code{
			ID: store.NewID(r.Now()), ClientID: "app", UserID: h.ann, Issuer: identifier, RedirectURI: redirect,
			RedirectSent: true, Scopes: []string{"read"}, Challenge: base64.RawURLEncoding.EncodeToString(sum[:]),
			AuthenticatedAt: r.Now(), IssuedAt: r.Now(), ExpiresAt: r.Now().Add(time.Minute),
		})
	})
}

func (h *house) redeem(code string) (answer, error) {
	body, err := h.post("/oauth/token", "app", "", "grant_type", "authorization_code", "code", code,
		"redirect_uri", redirect, "code_verifier", verifier)
	if err != nil {
		return answer{}, err
	}
	return decode(body)
}

func (h *house) refresh(token string) (answer, error) {
	body, err := h.post("/oauth/token", "app", "", "grant_type", "refresh_token", "refresh_token", token)
	if err != nil {
		return answer{}, err
	}
	return decode(body)
}

func (h *house) forgetPersonal(token string) error {
	var t *store.Token
	err := h.view(func(r *store.Records) (err error) {
		t, err = r.PersonalToken(store.HashSecret(token))
		return err
	})
	if err != nil {
		return err
	}
	return h.issuer.RevokePersonalToken(context.Background(), h.ann, t.ID)
}

// active asks whether a token is good, as a resource server does.
func (h *house) active(token string) (bool, error) {
	body, err := h.post("/oauth/introspect", "api", secret, "token", token)
	if err != nil {
		return false, err
	}
	var answer struct {
		Active bool `json:"active"`
	}
	err = json.Unmarshal(body, &answer)
	return answer.Active, err
}
