package issuer

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// tooManyError says that somebody has to wait: after wrong guesses, or because the machine is busy. It is answered with
// 429 and Retry-After.
type tooManyError struct{ RetryAfter time.Duration }

func (e *tooManyError) Error() string {
	return fmt.Sprintf("too many attempts: come again in %s", e.RetryAfter)
}

// busyRetry is when to come again to a machine that is busy.
const busyRetry = 2 * time.Second

// Kinds of guesses: what is guessed at, or who guesses.
const (
	guessLogin     = "login"        // at the password of a login, but in a browser that is known for it
	guessBrowser   = "browser"      // at the password of a login, in a browser that is known for it, by its ID
	guessAddress   = "address"      // at anybody's password, from an address
	guessThrough   = "through"      // at anybody's password, through a confidential client
	guessPassword  = "password"     // at the password of somebody who has signed in, by the ID of the person
	guessUserCode  = "user_code"    // at user codes, by a person
	guessCodeFrom  = "user_code_at" // at user codes, from an address
	guessClient    = "client"       // at the secret of a client, from an address; see secretGuesses
	guessSecrets   = "client_at"    // at the secrets of all clients, from an address; see secretAddresses
	guessDeviceNet = "device-net"   // the same of a /48
	guessDevice    = "device"       // no guess, but a code for a device of a public client that an address has asked for
)

// limit says what wrong guesses cost: the first ones nothing, then a wait that doubles from a second on. Nobody waits
// for longer than the longest wait, so that no stranger can lock somebody out for good.
type limit struct {
	free    int
	longest time.Duration
	forgive time.Duration // a wrong guess is forgiven after so long; 0: after a day, all of them
}

var limits = map[string]limit{
	guessLogin:    {free: 5, longest: time.Minute},
	guessBrowser:  {free: 5, longest: time.Minute},
	guessPassword: {free: 5, longest: time.Minute},
	guessClient:   {free: 5, longest: time.Minute},
	// Many people may have one address, and each of them mistypes.
	guessAddress: {free: 10, longest: 15 * time.Minute, forgive: time.Minute},
	// All people of an application sign in through it. Who guesses at one of them waits for that one; this is for who
	// guesses at all of them.
	guessThrough: {free: 1000, longest: time.Minute, forgive: time.Second},
	// There are 20^8 user codes, 2.6e10, of which those are good that devices of the last ten minutes wait with. A person
	// guesses 300 a day, an address 1,500 for all its people. With as many as a thousand good ones, one out of 80,000
	// people, or of 17,000 addresses, comes upon one in a day, and has then allowed somebody else's device to act in the
	// own name.
	guessUserCode: {free: 5, longest: 5 * time.Minute},
	guessCodeFrom: {free: 100, longest: 5 * time.Minute, forgive: time.Minute},
	// Many clients may have one address, each with a wrong secret after a deployment that went wrong. In the long run an
	// address guesses once a minute, at clients that it does not know; a secret has 32 characters at least.
	guessSecrets: {free: 100, longest: time.Minute, forgive: time.Minute},
	guessDevice:  {free: 1000, longest: time.Minute, forgive: time.Second},
	// A stranger may have a /48 of IPv6, with 65,536 of what counts as one address.
	guessDeviceNet: {free: 10_000, longest: time.Minute, forgive: 100 * time.Millisecond},
}

// counted is how many wrong guesses count at now.
func (l limit) counted(g store.Guesses, now time.Time) int {
	if l.forgive == 0 {
		return g.Failures
	}
	return max(0, g.Failures-int(now.Sub(g.LastAt)/l.forgive))
}

// wait is how long from now on the next guess has to wait.
func (l limit) wait(g store.Guesses, now time.Time) time.Duration {
	over := g.Failures - l.free
	if over <= 0 {
		return 0
	}
	wait := l.longest
	if over < 30 {
		wait = min(wait, time.Second<<(over-1))
	}
	return min(wait, g.LastAt.Add(wait).Sub(now)) // a clock that was set back lengthens no wait
}

// try is what a guess counts for.
type try struct{ kind, subject string }

// waitFor is how long the next guess has to wait that counts for each of the tries.
func waitFor(r *store.Records, tries []try) (time.Duration, error) {
	longest := time.Duration(0)
	for _, t := range tries {
		g, err := r.Guesses(t.kind, t.subject)
		if err != nil {
			return 0, err
		}
		longest = max(longest, limits[t.kind].wait(g, r.Now()))
	}
	return longest, nil
}

// countWrong counts a wrong guess for each of the tries.
func countWrong(r *store.Records, tries []try) error {
	for _, t := range tries {
		g, err := r.Guesses(t.kind, t.subject)
		if err != nil {
			return err
		}
		g.Failures = limits[t.kind].counted(g, r.Now()) + 1
		g.LastAt = r.Now()
		if err := r.PutGuesses(t.kind, t.subject, g); err != nil {
			return err
		}
	}
	return nil
}

// guess tells how long somebody has to wait before guessing at something of that kind; zero: not at all. Who is told to
// wait is answered with 429 and Retry-After, and nothing is looked at. An empty subject never waits. Of the kinds that
// have an address for a subject it is what [addressSubject] makes of that.
func (i *Issuer) guess(ctx context.Context, kind, subject string) (wait time.Duration, err error) {
	if subject == "" {
		return 0, nil
	}
	err = i.db.View(ctx, func(r *store.Records) error {
		wait, err = waitFor(r, []try{{kind, subject}})
		return err
	})
	return wait, err
}

// guessed counts what came of a guess: a wrong one for the next wait, while a right one makes an end of the waiting. A
// right guess of an address forgets nothing, for it may have been at the guesser's own secret.
func (i *Issuer) guessed(ctx context.Context, kind, subject string, right bool) error {
	if subject == "" || right && limits[kind].forgive != 0 {
		return nil
	}
	if !right {
		return i.db.Update(ctx, func(r *store.Records) error { return countWrong(r, []try{{kind, subject}}) })
	}
	var g store.Guesses
	err := i.db.View(ctx, func(r *store.Records) (err error) {
		g, err = r.Guesses(kind, subject)
		return err
	})
	if err != nil || g.Failures == 0 {
		return err // most have nothing to forget, and spare the disk
	}
	return i.db.Update(ctx, func(r *store.Records) error { return r.ForgetGuesses(kind, subject) })
}

// networkSubject is the /48 that an address of IPv6 is in, which one site may have; empty for all others.
func networkSubject(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil || addr.Unmap().Is4() {
		return ""
	}
	return netip.PrefixFrom(addr.WithZone(""), 48).Masked().String()
}

// addressSubject is what guesses from an address count for: itself, or the /64 of one of IPv6, which a single guesser
// has all to himself. It is empty for what is no address.
func addressSubject(ip string) string {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return ""
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return addr.String()
	}
	return netip.PrefixFrom(addr, 64).Masked().String()
}
