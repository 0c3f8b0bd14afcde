package issuer

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// town is a source that is asked over the network: it takes its time, and knows nobody by heart.
type town struct {
	name   string
	takes  time.Duration
	people map[string]Profile // by folded usernames; everybody has rightPassword
}

func (s *town) Name() string { return s.name }

func (s *town) Check(ctx context.Context, login, password string) (Profile, error) {
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return Profile{}, ctx.Err()
	}
	if p, ok := s.people[store.FoldLogin(login)]; ok && password == rightPassword {
		return p, nil
	}
	return Profile{}, ErrUnknownPerson
}

// TestNamesAreNotToldApartByAskingTheirSource: a wrong password takes as long whether a source is asked over the
// network for the name, or is not because the name is known here.
func TestNamesAreNotToldApartByAskingTheirSource(t *testing.T) {
	patiently(t)
	const takes = 250 * time.Millisecond
	far := &town{name: "far", takes: takes, people: map[string]Profile{"carl": {ID: "17", Username: "carl"}}}
	v := newVillage()
	h := newHouse(t, withPeople(v), func(c *Config) { c.Sources = append(c.Sources, far) })
	h.account("ann", "")
	gone := h.account("gone", "")
	disabled := true
	if _, err := h.issuer.UpdateUser(t.Context(), gone.ID, UserChange{Disabled: &disabled}); err != nil {
		t.Fatal(err)
	}
	refusal := func(login, password string) time.Duration {
		begin := time.Now()
		h.wantWrong(login, password, "")
		return time.Since(begin)
	}
	if took := refusal("nobody", wrongPassword); took < takes {
		t.Fatalf("the source answers after %s", took)
	}
	for _, test := range []struct{ name, login, password string }{
		{"an account", "ann", wrongPassword},
		{"an account that is disabled, with its password", "gone", rightPassword},
		{"a person of the config", "demo", wrongPassword},
		{"a person of a source that comes before", "villager", wrongPassword},
		{"a person of the source", "carl", wrongPassword},
		{"nobody", "nobody", wrongPassword},
	} {
		if took := refusal(test.login, test.password); took < takes || took > 2*takes+time.Second {
			t.Errorf("%s is refused after %s", test.name, took)
		}
	}
	begin := time.Now()
	h.wantSignIn("demo", rightPassword, home)
	if took := time.Since(begin); took >= takes {
		t.Errorf("who signs in waits for %s", took)
	}
}

// TestRefusalsTakeAsLongAsTheSourceOfLate: what it took long ago is forgotten, and there is a bound.
func TestRefusalsTakeAsLongAsTheSourceOfLate(t *testing.T) {
	var a asking
	if a.again() != 0 {
		t.Error("it waits for what it does not know")
	}
	for n := range 3 * askedBefore {
		a.add(time.Duration(n) * time.Millisecond)
		if took := a.again(); took > time.Duration(n)*time.Millisecond ||
			took < time.Duration(n-askedBefore+1)*time.Millisecond {
			t.Fatalf("after %d: %s", n, took)
		}
	}
	for range askedBefore {
		a.add(time.Hour)
	}
	if took := a.again(); took != maxAskWait {
		t.Errorf("the bound is %s", took)
	}
}

// TestWaitingForNoSource holds no place where passwords are hashed, ends with the request, and who hangs up has guessed
// all the same.
func TestWaitingForNoSource(t *testing.T) {
	patiently(t)
	far := &town{name: "far"}
	h := newHouse(t, withPeople(newVillage()), func(c *Config) { c.Sources = append(c.Sources, far) })
	for range askedBefore {
		h.issuer.people.asking["far"].add(time.Hour)
	}
	begin := time.Now()
	h.wantWrong("nobody", wrongPassword, "")
	if took := time.Since(begin); took >= maxAskWait {
		t.Errorf("after the source was asked it takes %s", took)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	answer := make(chan error, 1)
	before := h.engine.updates.Load()
	begin = time.Now()
	go func() {
		_, err := h.issuer.signIn(ctx, "demo", wrongPassword, guesser{address: home})
		answer <- err
	}()
	counted := func() bool {
		var of store.Guesses
		err := h.db.View(t.Context(), func(r *store.Records) (err error) {
			of, err = r.Guesses(guessLogin, "demo")
			return err
		})
		return err == nil && of.Failures == 1
	}
	for h.engine.updates.Load() == before || !counted() {
		select {
		case err := <-answer:
			t.Fatalf("it does not wait: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	if len(hashing.slots) != 0 {
		t.Error("it waits where passwords are hashed")
	}
	hangUp()
	if err := <-answer; !errors.Is(err, errWrongLogin) {
		t.Error(err)
	}
	if took := time.Since(begin); took >= maxAskWait {
		t.Errorf("it ends after %s", took)
	}
}
