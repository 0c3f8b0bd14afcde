package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/issuer/keys"
)

// endpoint is an introspection endpoint. It knows one token, "good".
type endpoint struct {
	t      testing.TB
	server *httptest.Server
	x      *External
	clock  atomic.Int64

	mu     sync.Mutex
	answer map[string]any
	status int
	kind   string
	hold   chan struct{}
	asked  []string
}

func newEndpoint(t testing.TB, config Introspection) *endpoint {
	e := &endpoint{t: t, status: http.StatusOK, kind: "application/json", answer: map[string]any{
		"active": true, "sub": "u1", "client_id": "app", "username": "ann", "scope": "read write", "aud": "api",
	}}
	e.clock.Store(start.UnixNano())
	e.answer["exp"] = e.now().Add(time.Hour).Unix()
	e.server = httptest.NewServer(e)
	t.Cleanup(e.server.Close)
	config.URL, config.ClientID, config.ClientSecret, config.Now = e.server.URL, "gate:way", "s%cret", e.now
	var err error
	if e.x, err = NewIntrospection(config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.x.Close)
	return e
}

func (e *endpoint) now() time.Time { return time.Unix(0, e.clock.Load()) }

func (e *endpoint) pass(d time.Duration) { e.clock.Add(int64(d)) }

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	token := r.PostFormValue("token")
	e.mu.Lock()
	hold := e.hold
	e.asked = append(e.asked, token)
	status, kind := e.status, e.kind
	answer, _ := json.Marshal(e.answer)
	e.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if id != "gate%3Away" || secret != "s%25cret" || r.Method != http.MethodPost || r.URL.RawQuery != "" {
		status = http.StatusUnauthorized
	}
	if !strings.HasPrefix(token, "good") {
		answer = []byte(`{"active":false}`)
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

func (e *endpoint) questions() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.asked)
}

func (e *endpoint) set(fn func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	fn()
}

func (e *endpoint) verify(token string) (*Identity, error) {
	return (&Others{Introspection: e.x}).Verify(e.t.Context(), token, nil, "")
}

func TestIntrospection(t *testing.T) {
	e := newEndpoint(t, Introspection{})
	for range 3 {
		id, err := e.verify("good")
		if err != nil {
			t.Fatal(err)
		}
		if id.Own() || id.Issuer != e.server.URL || id.Subject != "u1" || id.UserID != "u1" || id.Username != "ann" ||
			id.ClientID != "app" || id.Scope != "read write" || id.IntendedFor("api") != nil {
			t.Errorf("%+v", id)
		}
	}
	if n := e.questions(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	// Not longer than it is asked for.
	e.pass(DefaultKeep - 1)
	if _, err := e.verify("good"); err != nil || e.questions() != 1 {
		t.Error(err, e.questions())
	}
	e.pass(1)
	e.set(func() { e.answer = map[string]any{"active": false} })
	_, err := e.verify("good")
	wantErr(t, err, ErrInactive)
	if e.questions() != 2 {
		t.Error("not asked again")
	}
}

func TestIntrospectedTokenIsNotTakenPastItsExp(t *testing.T) {
	e := newEndpoint(t, Introspection{Keep: 24 * time.Hour})
	id, err := e.verify("good")
	if err != nil {
		t.Fatal(err)
	}
	e.pass(time.Hour)
	wantErr(t, e.x.source.gone(&Watch{id: id, token: new("good")}, e.now()), ErrExpired)
	_, err = e.verify("good")
	wantErr(t, err, ErrExpired) // the endpoint still says that it is active
	if e.questions() != 2 {
		t.Error("not asked again")
	}
}

func TestIntrospectedTokenWithoutExp(t *testing.T) {
	e := newEndpoint(t, Introspection{})
	delete(e.answer, "exp")
	for range 3 {
		if _, err := e.verify("good"); err != nil {
			t.Fatal(err)
		}
		e.pass(2 * withoutExp)
	}
}

// TestFloodOfBadTokensAsksOnceForEach holds what a caller can make us ask another issuer.
func TestFloodOfBadTokensAsksOnceForEach(t *testing.T) {
	e := newEndpoint(t, Introspection{})
	for range 50 {
		_, err := e.verify("bad")
		wantErr(t, err, ErrInactive)
	}
	if n := e.questions(); n != 1 {
		t.Errorf("asked %d times about one bad token", n)
	}
	e.pass(keepInactive)
	_, err := e.verify("bad")
	wantErr(t, err, ErrInactive)
	if n := e.questions(); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

func TestManyWhoWaitAskOnce(t *testing.T) {
	e := newEndpoint(t, Introspection{})
	e.hold = make(chan struct{})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := e.verify("good"); err != nil {
				t.Error(err)
			}
		})
	}
	close(e.hold)
	wg.Wait()
	if n := e.questions(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestFirstWhoAsksGoesAway has the others get their answer all the same.
func TestFirstWhoAsksGoesAway(t *testing.T) {
	e := newEndpoint(t, Introspection{})
	e.hold = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	others := &Others{Introspection: e.x}
	go func() {
		_, err := others.Verify(ctx, "good", nil, "")
		gone <- err
	}()
	for e.questions() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	wantErr(t, <-gone, context.Canceled)
	close(e.hold)
	if _, err := e.verify("good"); err != nil || e.questions() != 1 {
		t.Error(err, e.questions())
	}
}

func TestTooManyQuestionsAreNotAsked(t *testing.T) {
	e := newEndpoint(t, Introspection{})
	e.hold = make(chan struct{})
	defer close(e.hold)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // nobody waits
	others := &Others{Introspection: e.x}
	for n := range maxFlying {
		_, err := others.Verify(ctx, fmt.Sprintf("bad%d", n), nil, "")
		wantErr(t, err, context.Canceled)
	}
	_, err := others.Verify(ctx, "one more", nil, "")
	wantErr(t, err, ErrMalformed)
	_, err = others.Verify(ctx, "another", nil, "")
	wantErr(t, err, ErrUnavailable)
}

// TestFloodOfTokensShutsNobodyOutWhoWasLetIn: who sends tokens that are made up has the endpoint busy, but those that
// were good the last time are asked about all the same.
func TestFloodOfTokensShutsNobodyOutWhoWasLetIn(t *testing.T) {
	e := newEndpoint(t, Introspection{})
	if _, err := e.verify("good"); err != nil {
		t.Fatal(err)
	}
	e.pass(DefaultKeep)
	hold := make(chan struct{})
	e.set(func() { e.hold = hold })
	gone, cancel := context.WithCancel(t.Context())
	cancel() // nobody waits
	others := &Others{Introspection: e.x}
	for n := range maxFlying {
		_, err := others.Verify(gone, fmt.Sprintf("bad%d", n), nil, "")
		wantErr(t, err, context.Canceled)
	}
	_, err := others.Verify(gone, "another", nil, "")
	wantErr(t, err, ErrUnavailable)
	_, err = others.Verify(gone, "good", nil, "")
	wantErr(t, err, context.Canceled) // it waits for the answer
	close(hold)
	if _, err := e.verify("good"); err != nil {
		t.Error(err)
	}
}

func TestOutageOfIntrospectionIsNoRefusal(t *testing.T) {
	for name, fault := range map[string]func(e *endpoint){
		"502":           func(e *endpoint) { e.status = http.StatusBadGateway },
		"wrong secret":  func(e *endpoint) { e.status = http.StatusUnauthorized },
		"redirect":      func(e *endpoint) { e.status = http.StatusTemporaryRedirect },
		"HTML":          func(e *endpoint) { e.kind = "text/html" },
		"no active":     func(e *endpoint) { delete(e.answer, "active") },
		"active a text": func(e *endpoint) { e.answer["active"] = "true" },
		"too long":      func(e *endpoint) { e.answer["x"] = strings.Repeat("x", maxAnswer) },
		"gone":          func(e *endpoint) { e.server.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t, Introspection{})
			fault(e)
			_, err := e.verify("good")
			wantErr(t, err, ErrUnavailable)
			if _, ok := errors.AsType[*Error](err); ok {
				t.Errorf("it is a refusal: %v", err)
			}
			if strings.Contains(err.Error(), "s%cret") || strings.Contains(err.Error(), "good") {
				t.Errorf("the error tells a secret: %v", err)
			}
		})
	}
}

func TestAnswersThatAreNobodysAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change map[string]any
		err    error
	}{
		"nobody":       {map[string]any{"sub": nil, "client_id": nil}, ErrMalformed},
		"header":       {map[string]any{"sub": "a\r\nb"}, ErrUnavailable},
		"bound":        {map[string]any{"cnf": map[string]any{"x5t#S256": "x"}}, ErrBound},
		"not yet":      {map[string]any{"nbf": start.Add(time.Hour).Unix()}, ErrNotYetValid},
		"scope number": {map[string]any{"scope": 3}, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t, Introspection{})
			for name, value := range test.change {
				if e.answer[name] = value; value == nil {
					delete(e.answer, name)
				}
			}
			_, err := e.verify("good")
			wantErr(t, err, test.err)
		})
	}
}

// TestRefusesIntrospectedRefreshTokenAsAccessToken: a refresh token, which lives longer and was never meant for an API,
// is active at its issuer, too. So is what is bound to a key, and nobody knows what else.
func TestRefusesIntrospectedRefreshTokenAsAccessToken(t *testing.T) {
	for name, test := range map[string]struct {
		change change
		err    error
	}{
		"RFC 7009's name":    {change{"token_type": "refresh_token"}, ErrType},
		"in capitals":        {change{"token_type": "REFRESH_TOKEN"}, ErrType},
		"Keycloak, WSO2":     {change{"token_type": "Refresh"}, ErrType},
		"Keycloak, offline":  {change{"token_type": "Offline", "typ": "Offline"}, ErrType},
		"Keycloak, by typ":   {change{"token_type": "Bearer", "typ": "Refresh"}, ErrType},
		"Hydra, ours":        {change{"token_use": "refresh_token"}, ErrType},
		"ID token":           {change{"token_type": "id_token"}, ErrType},
		"no access token":    {change{"token_type": "N_A"}, ErrType}, // RFC 8693 §2.2.1
		"MAC":                {change{"token_type": "mac"}, ErrType},
		"empty":              {change{"token_type": ""}, ErrType},
		"number":             {change{"token_type": 1}, ErrType},
		"list":               {change{"token_type": []string{"Bearer"}}, ErrType},
		"DPoP":               {change{"token_type": "DPoP"}, ErrBound},
		"PoP":                {change{"token_type": "pop"}, ErrBound},
		"absent":             {nil, nil},
		"null":               {change{"token_type": nil}, nil},
		"Spring, Okta":       {change{"token_type": "Bearer"}, nil},
		"in lower case":      {change{"token_type": "bearer"}, nil},
		"Keycloak":           {change{"token_type": "Bearer", "typ": "Bearer"}, nil},
		"Hydra":              {change{"token_type": "Bearer", "token_use": "access_token"}, nil},
		"Salesforce":         {change{"token_type": "access_token"}, nil},
		"a sign-in besides":  {change{"token_type": "Bearer", "sid": "s", "auth_time": 1700000000}, nil},
		"refresh, escaped":   {change{"token_type": "refresh\u005ftoken"}, ErrType},
		"refresh with space": {change{"token_type": "bearer "}, ErrType},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t, Introspection{})
			maps.Copy(e.answer, test.change)
			_, err := e.verify("good")
			wantErr(t, err, test.err)
		})
	}
	// It is a member of answers (RFC 7662 §2.2): in a JWT, the name is free for claims of the issuer's own.
	i := newIDP(t, newKey(t, keys.ES256))
	if _, err := i.verify(i.token(change{"token_type": "user"}), i.source(Trust{})); err != nil {
		t.Error(err)
	}
}

// TestTellsNobodyElseOurTokens has tokens of our own come to a route that introspects.
func TestTellsNobodyElseOurTokens(t *testing.T) {
	h := newHouse(t, newKey(t, keys.ES256))
	e := newEndpoint(t, Introspection{})
	e.clock.Store(h.clock.Load())
	others := &Others{Introspection: e.x, Ours: func(_ context.Context, _, kid string) (bool, error) {
		return kid == h.key.ID(), nil
	}}
	tampered := h.token()
	tampered = tampered[:len(tampered)-8] + "AAAAAAAA"
	for name, token := range map[string]string{
		"good":           h.token(),
		"other host":     h.token(change{"iss": "https://other.example"}),
		"expired":        h.token(change{"exp": start.Add(-time.Hour).Unix()}),
		"tampered":       tampered,
		"personal":       "passport_pat_0123456789",
		"refresh":        "passport_rt_0123456789",
		"client secret":  "passport_secret_0123456789",
		"too long":       strings.Repeat("a", maxToken+1),
		"no bearer form": "a b",
		"a header":       "a\r\nb",
	} {
		t.Run(name, func(t *testing.T) {
			_, _ = others.Verify(t.Context(), token, h.v, testIssuer)
			if _, err := others.Verify(t.Context(), token, nil, ""); err == nil {
				t.Error("it passes")
			}
			if n := e.questions(); n != 0 {
				t.Errorf("asked: %q", e.asked)
			}
		})
	}
	if _, err := others.Verify(t.Context(), "good-opaque", h.v, testIssuer); err != nil {
		t.Error(err)
	}
	// A token of a trusted issuer is not told either.
	i := newIDP(t, newKey(t, keys.ES256))
	others.Trusted = []*External{i.source(Trust{})}
	_, err := others.Verify(t.Context(), i.token()+"x", h.v, testIssuer)
	wantErr(t, err, ErrMalformed)
	if n := e.questions(); n != 1 {
		t.Errorf("asked: %q", e.asked)
	}
}

// TestClosedSourceStartsNothing races closing with asking.
func TestClosedSourceStartsNothing(t *testing.T) {
	e := newEndpoint(t, Introspection{})
	e.x.Start()
	e.x.Start()
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() { _, _ = e.verify(fmt.Sprintf("good%d", n)) })
	}
	e.x.Close()
	wg.Wait()
	e.x.Start()
	_, err := e.verify("good")
	wantErr(t, err, ErrUnavailable)

	i := newIDP(t, newKey(t, keys.ES256))
	x := i.source(Trust{})
	x.Start()
	x.Close()
	_, err = i.verify(i.token(change{"jti": "2"}), x)
	if err == nil && i.fetches.Load() == 0 {
		t.Error("verified without keys")
	}
}

func BenchmarkForeignHit(b *testing.B) {
	i := newIDP(b, newKey(b, keys.ES256))
	e := newEndpoint(b, Introspection{Keep: 24 * time.Hour})
	token := i.token()
	others := &Others{Trusted: []*External{i.source(Trust{})}, Introspection: e.x}
	h := newHouse(b, newKey(b, keys.ES256))
	for name, token := range map[string]string{"trust": token, "introspect": "good", "own": h.token()} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := others.Verify(b.Context(), token, h.v, testIssuer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
