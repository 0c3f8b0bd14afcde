//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// soakJob is a part of the load: something that is done again and again, and comes out right each time.
type soakJob struct {
	name  string
	every time.Duration // from one begin to the next; no second one begins before the first has ended
	do    func(context.Context) error
}

// work is the load: some two hundred requests a second. What it leaves out on purpose is what is kept for longer than
// the soak lasts: revocations of clients, of people and of keys are, for two hours, and would be growth that is none.
func (k *soak) work() []soakJob {
	jobs := []soakJob{
		{"tokens", 50 * time.Millisecond, k.tokens},
		{"tokens again", 50 * time.Millisecond, k.tokens},
		{"tokens once more", 50 * time.Millisecond, k.tokens},
		{"calls", 25 * time.Millisecond, k.call},
		{"calls again", 25 * time.Millisecond, k.call},
		{"forged", 100 * time.Millisecond, k.forged},
		{"introspection", 100 * time.Millisecond, k.introspection},
		{"revocations", 250 * time.Millisecond, k.revocation},
		{"visits", 2 * time.Second, k.visit},
		{"personal tokens", time.Second, k.personal},
		{"device codes", time.Second, k.device},
		{"purge", max(k.lifetime/4, time.Second), k.purge},
	}
	for n := range 4 {
		jobs = append(jobs, soakJob{"streams", 500 * time.Millisecond, k.stream(n)})
	}
	return jobs
}

// start does the jobs until the context ends.
func (k *soak) start(ctx context.Context, workers *sync.WaitGroup) {
	for _, job := range k.work() {
		workers.Go(func() {
			ticker := time.NewTicker(job.every)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
				began := time.Now()
				err := job.do(ctx)
				if ctx.Err() != nil {
					return
				}
				k.judge(job.name, time.Since(began), err)
			}
		})
	}
}

// judge notes what came of a job. A token may have ended while a job took long, on a machine that has other things to
// do: such an answer tells nothing. That there was no answer always does.
func (k *soak) judge(job string, took time.Duration, err error) {
	k.mu.Lock()
	k.jobs[job]++
	k.mu.Unlock()
	if err == nil {
		return
	}
	if _, unanswered := errors.AsType[*url.Error](err); !unanswered && took > k.lifetime/2 && job != "streams" {
		k.mu.Lock()
		k.late++
		k.mu.Unlock()
		return
	}
	k.failure(job, err)
}

func (k *soak) done() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, jobs := range k.jobs {
		n += jobs
	}
	return n
}

func (k *soak) counted() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(k.jobs)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, k.jobs[name]))
	}
	return strings.Join(parts, ", ")
}

// tokenPool is a few tokens that are good.
type tokenPool struct {
	mu     sync.Mutex
	next   int
	tokens [32]struct {
		text  string
		until time.Time // good for half of its lifetime at least
	}
}

func (p *tokenPool) put(token string, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tokens[p.next%len(p.tokens)].text = token
	p.tokens[p.next%len(p.tokens)].until = until
	p.next++
}

// take returns one of the tokens, another one each time; "" when all have become too old.
func (p *tokenPool) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	some, newest := int(time.Now().UnixMicro())%len(p.tokens), (p.next+len(p.tokens)-1)%len(p.tokens)
	for _, at := range []int{some, newest} {
		if one := p.tokens[at]; time.Now().Before(one.until) {
			return one.text
		}
	}
	return ""
}

// wideScopes are scopes of nearly a kilobyte, so that an hour is enough for Badger to merge its tables again and again:
// at the pace of a soak, small records would take longer. Larger ones go to the value log.
var wideScopes = func() string {
	scopes := "read"
	for n := range 8 {
		scopes += fmt.Sprintf(" https://api.example.com/scopes/%d/%s", n, strings.Repeat("orders-", 6))
	}
	return scopes
}()

// tokens gets a token and uses it for the first time.
func (k *soak) tokens(ctx context.Context) error {
	until := time.Now().Add(k.lifetime / 2)
	var answer granted
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {wideScopes}}
	err := k.g.call(ctx, "/oauth/token", form, clientID, clientSecret, &answer)
	if err == nil {
		err = expect(ctx, k.g, answer.Access, http.StatusOK)
	}
	if err == nil {
		k.pool.put(answer.Access, until)
	}
	return err
}

// call calls with a token that the gateway remembers.
func (k *soak) call(ctx context.Context) error {
	token := k.pool.take()
	if token == "" {
		return nil
	}
	return expect(ctx, k.g, token, http.StatusOK)
}

// forged calls with a token that nobody has signed, a new one each time.
func (k *soak) forged(ctx context.Context) error {
	token := k.pool.take()
	if token == "" {
		return nil
	}
	at := strings.LastIndexByte(token, '.') + 1
	other := fmt.Sprintf("%016x", time.Now().UnixNano())
	return expect(ctx, k.g, token[:at]+other+token[at+len(other):], http.StatusUnauthorized)
}

// active asks whether a token is good, as a resource server does.
func (k *soak) active(ctx context.Context, token string, want bool) error {
	var answer struct {
		Active bool `json:"active"`
	}
	err := k.g.call(ctx, "/oauth/introspect", url.Values{"token": {token}}, serverID, serverSecret, &answer)
	if err == nil && answer.Active != want {
		err = fmt.Errorf("introspection says that a token is active: %v", answer.Active)
	}
	return err
}

func (k *soak) introspection(ctx context.Context) error {
	token := k.pool.take()
	if token == "" {
		return nil
	}
	return k.active(ctx, token, true)
}

func (k *soak) revocation(ctx context.Context) error {
	revoked, err := k.g.revoked(ctx, 1)
	if err != nil {
		return err
	}
	return k.active(ctx, revoked[0], false)
}

// personal makes a personal access token, uses it and revokes it.
func (k *soak) personal(ctx context.Context) error {
	var made struct {
		ID    string `json:"jti"`
		Token string `json:"access_token"`
	}
	err := k.administer(ctx, http.MethodPost, "/tokens",
		map[string]any{"user": soakPerson, "name": "soak", "scope": "read"}, &made)
	if err == nil {
		err = expect(ctx, k.g, made.Token, http.StatusOK)
	}
	if err == nil {
		err = k.administer(ctx, http.MethodDelete, "/tokens/"+made.ID, nil, nil)
	}
	if err == nil {
		err = expect(ctx, k.g, made.Token, http.StatusUnauthorized)
	}
	return err
}

// device asks for codes that nobody then types.
func (k *soak) device(ctx context.Context) error {
	return k.g.call(ctx, "/oauth/device/code", url.Values{"scope": {"read"}}, appID, clientSecret, nil)
}

// purge removes the records of revoked tokens.
func (k *soak) purge(ctx context.Context) error {
	return k.administer(ctx, http.MethodPost, "/purge", map[string]any{"revoked": true}, nil)
}
