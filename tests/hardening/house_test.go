package hardening

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

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
	ring    *keys.Ring
	dir     string
}

// The people of the configuration are pools, for of everything a person may have so much only; what is more ends what
// is oldest.
const (
	coder  = "coder"  // gives codes to an app, and answers devices
	signer = "signer" // signs in and out
	barred = "barred" // is disabled and enabled
	ender  = "ender"  // ends all other sessions
	pool   = 20

	dee      = "dee" // takes back what the app "shop" was given
	password = "a password of the configuration"
)

// passwordHash costs little, for that is not what is tested.
var passwordHash = sync.OnceValue(func() string {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return string(hash)
})

func people() []issuer.Person {
	list := []issuer.Person{{Name: dee, PasswordHash: passwordHash()}}
	for _, name := range []string{coder, signer, barred, ender} {
		for n := range pool {
			list = append(list, issuer.Person{Name: fmt.Sprint(name, n), PasswordHash: passwordHash()})
		}
	}
	return list
}

// oneOf is one of the people of a pool.
func oneOf(name string) string { return fmt.Sprint(name, rand.IntN(pool)) }

func open(ctx context.Context, dir string) (*house, error) {
	engine, err := badgerstore.Open(badgerstore.Options{Dir: dir, MinFree: -1})
	if err != nil {
		return nil, err
	}
	h := &house{engine: engine, dir: dir}
	if h.db, err = store.Open(ctx, engine, "default", nil); err != nil {
		return nil, err
	}
	h.ring, err = keys.Open(ctx, keys.Config{DB: h.db, Retain: func() time.Duration { return time.Hour }})
	if err != nil {
		return nil, err
	}
	h.issuer, err = issuer.New(issuer.Config{
		Identifier: identifier, DB: h.db, Ring: h.ring, RefreshGrace: time.Nanosecond, Users: people(),
		Scopes: []issuer.Scope{{Name: "read"}, {Name: "write"}},
		Clients: []store.Client{
			{ID: "orders-sync", SecretHash: store.HashSecret(secret), Grants: []string{"client_credentials"}},
			{ID: "api", SecretHash: store.HashSecret(secret), ResourceServer: true},
			{
				ID: "app", Public: true, RedirectURIs: []string{redirect},
				Grants: []string{"authorization_code", "refresh_token"},
			},
			{
				ID: "shop", Public: true, RedirectURIs: []string{redirect},
				Grants: []string{"authorization_code", "refresh_token"},
			},
			{ID: "tv", SecretHash: store.HashSecret(secret), Grants: []string{"device_code"}},
		},
	})
	if err != nil {
		return nil, err
	}
	h.handler = h.issuer.Handler("")
	return h, nil
}

func (h *house) close() {
	h.db.Close()
	_ = h.engine.Close()
}

// invite has all people of the configuration sign in once, for only then they are known, and a backup has them. Who
// gives codes allows the app what it asks for.
func (h *house) invite() error {
	for _, p := range people() {
		session, err := h.signIn(p.Name, password)
		if err == nil && strings.HasPrefix(p.Name, coder) {
			_, err = h.authorize("app", session)
		}
		if err != nil {
			return err
		}
	}
	return nil
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
	r.RemoteAddr = anyAddress()
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

// connect gives a client tokens in the name of who has the session.
func (h *house) connect(client, session string) (answer, error) {
	code, err := h.authorize(client, session)
	if err != nil {
		return answer{}, err
	}
	return h.redeem(code, client)
}

func (h *house) redeem(code, client string) (answer, error) {
	body, err := h.post("/oauth/token", client, "", "grant_type", "authorization_code", "code", code,
		"redirect_uri", redirect, "code_verifier", verifier)
	if err != nil {
		return answer{}, err
	}
	return decode(body)
}

// redeemDevice asks for what a person has given to a device.
func (h *house) redeemDevice(code string) (answer, error) {
	body, err := h.post("/oauth/token", "tv", secret, "grant_type", "urn:ietf:params:oauth:grant-type:device_code",
		"device_code", code)
	if err != nil {
		return answer{}, err
	}
	return decode(body)
}

func (h *house) refresh(token, client string) (answer, error) {
	body, err := h.post("/oauth/token", client, "", "grant_type", "refresh_token", "refresh_token", token)
	if err != nil {
		return answer{}, err
	}
	return decode(body)
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
