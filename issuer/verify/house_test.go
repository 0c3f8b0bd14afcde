package verify

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
	"github.com/oauth2-passport/caddy-passport/store"
)

const (
	testIssuer   = "https://api.example.com"
	configClient = "orders-sync"                          // stands in the config
	storedClient = "0197a1b0-0000-7000-8000-00000000c11e" // was registered
	somebody     = "user-1"                               // a person with an own account
)

// house is a verifier with all that it stands on.
type house struct {
	t      testing.TB
	engine *memEngine
	db     *store.DB
	key    *keys.Key
	ring   *ringOf
	v      *Verifier
	clock  atomic.Int64 // nanoseconds since 1970

	mu         sync.Mutex
	configured map[string]bool
}

// ringOf is a key ring of fixed keys.
type ringOf struct {
	keys atomic.Pointer[map[string]*keys.Key]
}

func (r *ringOf) Key(kid string) *keys.Key { return (*r.keys.Load())[kid] }

func (r *ringOf) set(list ...*keys.Key) {
	byID := make(map[string]*keys.Key)
	for _, k := range list {
		byID[k.ID()] = k
	}
	r.keys.Store(&byID)
}

// start is where the clock of every house begins.
var start = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func newHouse(t testing.TB, key *keys.Key) *house {
	t.Helper()
	return newHouseAt(t, key, start.UnixNano())
}

// newHouseAt is [newHouse] with its clock at clock; zero: the clock of the bubble.
func newHouseAt(t testing.TB, key *keys.Key, clock int64) *house {
	t.Helper()
	h := &house{t: t, engine: new(memEngine), key: key, ring: new(ringOf)}
	h.clock.Store(clock)
	h.configured = map[string]bool{configClient: true}
	if key != nil {
		h.ring.set(key)
	}

	db, err := store.Open(t.Context(), h.engine, "default", h.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	h.db = db
	h.update(func(r *store.Records) error { return r.PutClient(&store.Client{ID: storedClient, Name: "stored"}) })
	h.update(func(r *store.Records) error { return r.PutUser(&store.User{ID: somebody, Name: "demo"}) })
	h.v = New(Config{Keys: h.ring, DB: db, Client: h.hasClient, CacheSize: 1 << 10})
	return h
}

// on makes the house report to a subtest.
func (h *house) on(t testing.TB) *house {
	h.t = t
	return h
}

// now is the time of the house: that of its clock, or in a bubble of testing/synctest the bubble's.
func (h *house) now() time.Time {
	if at := h.clock.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Now()
}

func (h *house) pass(d time.Duration) { h.clock.Add(int64(d)) }

func (h *house) hasClient(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.configured[id]
}

func (h *house) setClient(id string, there bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.configured[id] = there
}

func (h *house) update(fn func(*store.Records) error) {
	h.t.Helper()
	if err := h.db.Update(h.t.Context(), fn); err != nil {
		h.t.Fatal(err)
	}
}

// revoke records the token of that ID and revokes it.
func (h *house) revoke(id string) {
	h.t.Helper()
	h.update(func(r *store.Records) error {
		token := &store.Token{ID: id, ClientID: storedClient, IssuedAt: r.Now(), ExpiresAt: r.Now().Add(time.Hour)}
		if err := r.PutToken(token); err != nil {
			return err
		}
		return r.RevokeToken(id)
	})
}

// change replaces claims. A nil value takes one away.
type change = map[string]any

// claims are those of a good token of the stored client, changed as told.
func (h *house) claims(changes ...change) map[string]any {
	now := h.now()
	c := map[string]any{
		"iss": testIssuer, "sub": storedClient, "client_id": storedClient, "aud": testIssuer,
		"jti": store.NewID(now), "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "scope": "read write",
	}
	for _, change := range changes {
		maps.Copy(c, change)
	}
	for name, value := range c {
		if value == nil {
			delete(c, name)
		}
	}
	return c
}

// token is a good token, changed as told.
func (h *house) token(changes ...change) string {
	h.t.Helper()
	return signed(h.t, h.key, "at+jwt", h.claims(changes...))
}

func (h *house) verify(token string) (*Identity, error) {
	return h.v.Verify(h.t.Context(), token, testIssuer)
}

// sign signs what is not a token that the issuer would give out.
func (h *house) sign(input string) []byte {
	signature, err := h.key.Sign([]byte(input))
	if err != nil {
		h.t.Fatal(err)
	}
	return signature
}

// want verifies a token and compares the error.
func (h *house) want(token string, want error) {
	h.t.Helper()
	id, err := h.verify(token)
	if !errors.Is(err, want) || (id == nil) != (err != nil) {
		h.t.Errorf("Verify = %v, %v, want the error %v", id != nil, err, want)
	}
}

// remembered is how many tokens are in the cache.
func (h *house) remembered() (n int) {
	for i := range h.v.cache.slots {
		if h.v.cache.slots[i].Load() != nil {
			n++
		}
	}
	return n
}

func signed(t testing.TB, key *keys.Key, typ string, claims any) string {
	t.Helper()
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	token, err := key.SignJWT(typ, text)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// forged is a token of that header and those claims under any signature.
func forged(header, claims string, sign func(input string) []byte) string {
	input := b64(header) + "." + b64(claims)
	return input + "." + b64(string(sign(input)))
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func newKey(t testing.TB, alg keys.Algorithm) *keys.Key {
	t.Helper()
	key, err := keys.Generate(alg)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// fixedKey is the same key in each process, whose signatures are the same too.
func fixedKey(t testing.TB) *keys.Key {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed([]byte("a key that guards nothing at all")))
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.Parse(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), keys.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
