package issuer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/oauth2-passport/caddy-passport/store"
)

// errWrongLogin is the answer to a name that nobody has, a wrong password and a person who is disabled alike.
var errWrongLogin = errors.New("the username or the password is wrong")

// maxLogin bounds what is taken for a username or an email.
const maxLogin = 4 * maxUserName

// Why a sign-in or another guess at a secret failed, as [Event.Error] has it.
const (
	failedWrong         = "wrong_login"
	failedWrongPassword = "wrong_password"  // of who has signed in
	failedWrongCode     = "wrong_user_code" // of a device
	failedTooMany       = "too_many_attempts"
	failedNotThere      = "temporarily_unavailable"
)

// failed says in one word why a guess failed, which is wrong where it was looked at.
func failed(err error, wrong error, word string) string {
	if errors.Is(err, wrong) {
		return word
	}
	if _, ok := errors.AsType[*tooManyError](err); ok {
		return failedTooMany
	}
	return failedNotThere
}

// guesser is what is known of who signs in: what wrong passwords count for beside the login.
type guesser struct {
	address string   // empty: unknown
	browser []string // what [endpoints.browserSecrets] answers

	// client is the ID of a confidential client that has proven itself, and sends what its own people type: the address
	// is that of its backend then, and says nothing of who guesses.
	client string

	through string // the ID of the client that has sent name and password, for the log; empty: the sign-in page has
}

// signIn answers who signs in by a username or an email, and a password. Nothing but its outcome tells a caller whether
// there is such a person.
//
// The error is [errWrongLogin]; [*tooManyError], to be answered with 429 and Retry-After; or why nobody can tell, to be
// answered with 503.
func (i *Issuer) signIn(ctx context.Context, login, password string, by guesser) (*store.User, error) {
	a := &attempt{Issuer: i, guesser: by, login: login, folded: store.FoldLogin(login), password: password}
	a.address = addressSubject(by.address)
	u, err := a.run(ctx)
	event := Event{Type: SignInFailed, ClientID: by.through, UserID: a.userID}
	if _, tooMany := errors.AsType[*tooManyError](err); tooMany {
		holding.hold(ctx)
	}
	if err == nil {
		event.Type, event.UserID = SignInSucceeded, u.ID
	} else {
		event.Error = failed(err, errWrongLogin, failedWrong)
	}
	i.tell(ctx, event)
	return u, err
}

// attempt is an attempt to sign in.
type attempt struct {
	*Issuer
	guesser         // the address as [addressSubject] has it
	login    string // as it was typed
	folded   string
	password string

	known  *store.Browser // in which the person has signed in before; nil: none
	tries  []try          // what a wrong password counts for
	userID string         // of whose login it is, where the store can tell, for the log
	hashed *population    // how the passwords of people are
	asked  int            // how many of the sources were asked
}

func (a *attempt) run(ctx context.Context) (*store.User, error) {
	if a.folded == "" || len(a.login) > maxLogin || a.password == "" || len(a.password) > maxPassword {
		return nil, errWrongLogin // by its form: whoever has the name
	}
	var err error
	if a.hashed, err = a.population(ctx); err != nil {
		return nil, err
	}
	if a.known, err = a.knownBrowser(ctx, a.browser, a.folded); err != nil {
		return nil, err
	}
	switch {
	case a.known != nil:
		ctx = hashingAs(ctx, knownOnes)
	case a.client != "":
		ctx = hashingAs(ctx, clientsOf)
	}
	done, err := a.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()

	if err := a.mayTry(ctx); err != nil {
		return nil, err
	}
	found, err := a.find(ctx)
	if err != nil {
		return nil, err
	}
	u, err := a.settle(ctx, found)
	switch {
	case errors.Is(err, errImpostor):
		a.log.Error("a source of people gives somebody the name of another person", zap.String("source", found.source),
			zap.String("id", found.profile.ID))
		return nil, errWrongLogin
	case err != nil:
		return nil, err
	case u == nil:
		a.askNobody(ctx)
		return nil, errWrongLogin
	}
	return u, nil
}

// turn waits for the attempt's turn. In a known browser it stands in a line of its own: nobody else makes that long.
func (a *attempt) turn(ctx context.Context) (done func(), err error) {
	if a.known != nil {
		return a.turns.take(ctx, "browser "+a.known.ID, 1)
	}
	leaveAddress := func() {}
	if a.client == "" && a.address != "" {
		if leaveAddress, err = a.turns.take(ctx, "address "+a.address, maxLine); err != nil {
			return nil, err
		}
	}
	leaveLogin, err := a.turns.take(ctx, "login "+a.folded, 1)
	if err != nil {
		leaveAddress()
		return nil, err
	}
	return func() { leaveLogin(); leaveAddress() }, nil
}

// mayTry tells whether a password may be tried now, and what a wrong one counts for. In a browser that is known for the
// login that is the browser alone: so neither a stranger who guesses all day long, nor a colleague at the same address,
// locks somebody out.
func (a *attempt) mayTry(ctx context.Context) error {
	switch {
	case a.known != nil:
		a.tries = []try{{guessBrowser, a.known.ID}}
	case a.client != "":
		a.tries = []try{{guessLogin, a.folded}, {guessThrough, a.client}}
	case a.address != "":
		a.tries = []try{{guessLogin, a.folded}, {guessAddress, a.address}}
	default:
		a.tries = []try{{guessLogin, a.folded}}
	}
	var wait time.Duration
	err := a.db.View(ctx, func(r *store.Records) (err error) {
		wait, err = waitFor(r, a.tries)
		return err
	})
	if err == nil && wait > 0 {
		err = &tooManyError{RetryAfter: wait}
	}
	return err
}

// admission is who has proven to be somebody: an own account, or a person from elsewhere.
type admission struct {
	own     *store.User // as it was when its password was compared
	rehash  string      // instead of a hash that is weaker than those that are made now
	source  string
	profile Profile
}

// find finds out whom the login and the password prove; nil for nobody. It hashes once, whatever comes out, and
// a password that has proven right once more where its hash is to be replaced.
func (a *attempt) find(ctx context.Context) (*admission, error) {
	p := a.people.logins[a.folded]
	var own *store.User
	err := a.db.View(ctx, func(r *store.Records) (err error) {
		if p != nil {
			own, err = r.UserBySource(configSource, p.profile().ID)
		} else {
			own, err = r.UserByLogin(a.folded)
		}
		return err
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("reading an account: %w", err)
	}
	if own != nil {
		a.userID = own.ID
	}
	if p != nil {
		right, err := PasswordMatches(ctx, p.PasswordHash, a.password)
		if err != nil || !right {
			return nil, err
		}
		return &admission{source: configSource, profile: p.profile()}, nil
	}
	if own != nil {
		return a.findOwn(ctx, own)
	}
	for _, s := range a.people.sources {
		profile, err := a.ask(ctx, s)
		switch {
		case errors.Is(err, ErrUnknownPerson):
			continue
		case errors.Is(err, ErrWrongPassword):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("asking %s for a person: %w", s.Name(), err)
		}
		if err := profile.check(); err != nil {
			return nil, fmt.Errorf("what %s says of a person: %w", s.Name(), err)
		}
		return &admission{source: s.Name(), profile: profile}, nil
	}
	_, err = PasswordMatches(ctx, a.hashed.decoy(a.folded), a.password)
	return nil, err
}

func (a *attempt) findOwn(ctx context.Context, own *store.User) (*admission, error) {
	right, err := PasswordMatches(ctx, own.PasswordHash, a.password)
	if err != nil || !right {
		return nil, err
	}
	found := &admission{own: own}
	if !isOwnHash(own.PasswordHash) {
		// Where others wait for the cores it is replaced another time.
		if found.rehash, err = hashWithin(ctx, 0, a.password); isTooMany(err) {
			found.rehash, err = "", nil
		}
	}
	return found, err
}

// settle writes what has come out: who signs in, or one wrong guess more. The answer is nil for nobody.
func (a *attempt) settle(ctx context.Context, found *admission) (u *store.User, err error) {
	err = a.db.Update(ctx, func(r *store.Records) error {
		u = nil
		if found != nil {
			if u, err = a.admit(r, found); err != nil {
				return err
			}
		}
		if u == nil {
			return countWrong(r, a.tries)
		}
		u.SignedInAt = r.Now()
		if err := r.PutUser(u); err != nil {
			return err
		}
		return a.forget(r, u)
	})
	if err != nil {
		return nil, err
	}
	return u, nil
}

var errImpostor = errors.New("the name is that of another person")

// admit returns the record of who signs in, nil when it may not.
func (a *attempt) admit(r *store.Records, found *admission) (*store.User, error) {
	if found.own == nil {
		switch impostor, err := a.impostor(r, found.source, found.profile); {
		case err != nil:
			return nil, err
		case impostor:
			return nil, errImpostor
		}
		u, _, err := materialise(r, found.source, found.profile)
		if err != nil || u.Disabled {
			return nil, err
		}
		return u, nil
	}
	u, err := r.User(found.own.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case u.Disabled || u.PasswordHash != found.own.PasswordHash: // since it was compared
		return nil, nil
	}
	if found.rehash != "" {
		u.PasswordHash = found.rehash
	}
	return u, nil
}

// forget makes an end of the waiting for who has signed in, by name or email. In a known browser nobody has waited but
// for guesses in it: what strangers have guessed goes on counting.
func (a *attempt) forget(r *store.Records, u *store.User) error {
	if a.known != nil {
		return r.ForgetGuesses(guessBrowser, a.known.ID)
	}
	logins := []string{a.folded, store.FoldLogin(u.Name)}
	if u.Source == "" || u.Source == configSource {
		// What another source says of an email nobody has proven, and it is no login: it may be somebody else's.
		logins = append(logins, store.FoldLogin(u.Email))
	}
	for _, login := range logins {
		if u.Source != configSource && a.people.logins[login] != nil {
			continue // of the config, which comes before all others
		}
		if err := r.ForgetGuesses(guessLogin, login); err != nil {
			return err
		}
	}
	return nil
}

// setPeople takes the people of the configuration.
func (i *Issuer) setPeople(persons []Person, sources []Source) (err error) {
	if i.people, err = NewDirectory(persons, sources); err != nil {
		return err
	}
	for _, p := range persons {
		i.scopes.add(p.Scopes)
	}
	return nil
}
