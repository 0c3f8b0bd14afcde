package verify

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of introspection.
const (
	maxAnswer = 64 << 10 // bytes
	maxAsking = 64       // connections to one endpoint
	maxFlying = 512      // tokens that are asked about at a time: those that come then are answered with 503
	// maxProven is how many more there may be of those that were good the last time: who sends tokens that he has made
	// up shuts nobody out who has been let in before.
	maxProven = 512
	// keepInactive is how long it is remembered that a token is not good: long enough to stop one who tries again and
	// again, short enough for who was a moment too early.
	keepInactive = 5 * time.Second
	// withoutExp is how long the last answer about a token whose `exp` nobody knows is relied upon, by running requests
	// while the endpoint cannot be asked.
	withoutExp = time.Hour
)

// DefaultKeep is how long the answer of an introspection endpoint is taken for true, where nothing else is asked for.
const DefaultKeep = 30 * time.Second

// Introspection is what an introspection endpoint (RFC 7662) is asked with.
type Introspection struct {
	Common

	// URL is the endpoint. It is what [Identity.Issuer] says, too: what the endpoint says of `iss` is its own affair.
	URL string

	// ClientID and ClientSecret are sent by HTTP Basic.
	ClientID, ClientSecret string

	// Keep is how long the answer for a good token is taken for true, and never past its `exp`. Default: [DefaultKeep].
	Keep time.Duration
}

// introspection asks another issuer about tokens.
type introspection struct {
	x      *External
	config Introspection
	client *http.Client

	inactive [1 << 10]atomic.Pointer[inactive] // by the token's hash; the last one keeps the slot

	mu      sync.Mutex
	flying  map[cacheKey]*flight
	running map[cacheKey]*runningToken
}

// inactive is a token that was not good.
type inactive struct {
	key   cacheKey
	until time.Time
}

// flight is a question that has been asked.
type flight struct {
	done  chan struct{} // closed when it is answered
	entry *entry
	err   error
}

// NewIntrospection makes a source of tokens of which an introspection endpoint is asked.
func NewIntrospection(config Introspection) (*External, error) {
	if err := CheckURL(config.URL); err != nil {
		return nil, fmt.Errorf("the introspection endpoint %q: %w", config.URL, err)
	}
	config.Keep = cmp.Or(config.Keep, DefaultKeep)
	x := newExternal(config.URL, &config.Common)
	x.source = &introspection{
		x: x, config: config, client: newClient(config.Transport),
		flying: make(map[cacheKey]*flight), running: make(map[cacheKey]*runningToken),
	}
	return x, nil
}

// again tells whether the answer may still be taken for true.
func (*introspection) again(e *entry, now time.Time) error {
	if now.UnixNano() >= e.read.Load() {
		return errAgain
	}
	return nil
}

// first asks about a token. Those who come with the same one meanwhile wait for the same answer.
func (i *introspection) first(ctx context.Context, token string, key *cacheKey, now time.Time) (*entry, error) {
	return i.find(ctx, token, key, now, maxFlying)
}

// find is first while less than most questions are being answered.
func (i *introspection) find(
	ctx context.Context, token string, key *cacheKey, now time.Time, most int,
) (*entry, error) {
	slot := &i.inactive[binary.LittleEndian.Uint64(key[16:])%uint64(len(i.inactive))]
	if n := slot.Load(); n != nil && n.key == *key && now.Before(n.until) {
		return nil, ErrInactive
	}
	f, err := i.board(token, key, slot, most)
	if err != nil {
		return nil, err
	}
	select {
	case <-f.done:
		return f.entry, f.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// board returns the question about a token, which it asks unless somebody has.
func (i *introspection) board(
	token string, key *cacheKey, slot *atomic.Pointer[inactive], most int,
) (*flight, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if f := i.flying[*key]; f != nil {
		return f, nil
	}
	f := &flight{done: make(chan struct{})}
	// The answer may have come since the cache was looked at.
	if e := i.x.cache.get(key); e != nil && i.x.now().Before(e.ExpiresAt) {
		if i.again(e, i.x.now()) == nil {
			f.entry = e
			close(f.done)
			return f, nil
		}
		most += maxProven
	}
	if len(i.flying) >= most {
		return nil, fmt.Errorf("%w: %s has too many questions to answer", ErrUnavailable, i.config.URL)
	}
	token = strings.Clone(token)
	id := *key
	if !i.x.spawn(func(ctx context.Context) { i.fly(ctx, f, token, id, slot) }) {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, errClosed)
	}
	i.flying[id] = f
	return f, nil
}

func (i *introspection) fly(
	ctx context.Context, f *flight, token string, key cacheKey, slot *atomic.Pointer[inactive],
) {
	f.entry, f.err = i.ask(ctx, token)
	now := i.x.now()
	if f.err == nil {
		f.entry.key = key
		i.x.cache.put(f.entry, now)
	} else if refused, ok := errors.AsType[*Error](f.err); ok && refused != nil {
		slot.Store(&inactive{key, now.Add(keepInactive)})
	}
	i.mu.Lock()
	delete(i.flying, key)
	i.hear(&key, f.entry, f.err)
	i.mu.Unlock()
	close(f.done)
}

// ask asks about one token (RFC 7662 §2).
func (i *introspection) ask(ctx context.Context, token string) (*entry, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.config.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.SetBasicAuth(url.QueryEscape(i.config.ClientID), url.QueryEscape(i.config.ClientSecret)) // RFC 6749 §2.3.1
	resp, err := i.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer resp.Body.Close()
	body, err := readAll(resp.Body, maxAnswer)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, i.config.URL, err)
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return nil, fmt.Errorf("%w: %s answers %d: is its client_secret right?",
			ErrUnavailable, i.config.URL, resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%w: %s answers %d", ErrUnavailable, i.config.URL, resp.StatusCode)
	case kind != "application/json":
		return nil, fmt.Errorf("%w: %s answers no JSON", ErrUnavailable, i.config.URL)
	}
	return i.read(string(body), i.x.now())
}

// read makes an entry of an answer (RFC 7662 §2.2).
func (i *introspection) read(text string, now time.Time) (*entry, error) {
	names := foreignNames{username: "username"}
	// What is introspected is an access token, unless the answer says otherwise.
	c := foreignClaims{access: true, introspected: true}
	if !c.parse(text, &names) || c.active == c.inactive {
		return nil, fmt.Errorf("%w: %s answers something else", ErrUnavailable, i.config.URL)
	}
	if !c.active {
		return nil, ErrInactive
	}
	if c.subject == "" && c.client == "" {
		return nil, ErrMalformed // nobody's
	}
	endless := c.expires.IsZero()
	if endless {
		c.expires = now.Add(withoutExp)
	}
	e, err := c.identity(i.x, now, &names)
	if err != nil {
		return nil, err
	}
	e.endless, e.answer = endless, e
	until := now.Add(i.config.Keep)
	if until.After(e.ExpiresAt) {
		until = e.ExpiresAt
	}
	e.read.Store(until.UnixNano())
	return e, nil
}
