package store

import (
	"errors"
	"time"
)

// Guesses are the wrong guesses in a row at something secret.
type Guesses struct {
	Failures int       `json:"failures"`
	LastAt   time.Time `json:"last_at"`
}

// rememberGuesses is how long wrong guesses count.
const rememberGuesses = 24 * time.Hour

// Guesses returns the wrong guesses of that kind at subject, or by it: a login, an address. There are none when a day
// has passed.
func (r *Records) Guesses(kind, subject string) (Guesses, error) {
	var g Guesses
	err := r.get(r.guessesKey(kind, subject), &g)
	if errors.Is(err, ErrNotFound) || err == nil && !g.LastAt.Add(rememberGuesses).After(r.now) {
		return Guesses{}, nil
	}
	return g, err
}

// PutGuesses keeps g for a day after its LastAt.
func (r *Records) PutGuesses(kind, subject string, g Guesses) error {
	return r.put(r.guessesKey(kind, subject), g, g.LastAt.Add(rememberGuesses))
}

// ForgetGuesses begins to count anew.
func (r *Records) ForgetGuesses(kind, subject string) error {
	return r.tx.Delete(r.guessesKey(kind, subject))
}

// GuessesOf calls fn with the guesses of that kind that still count, and with the [GuessesID] of what each counts for.
// [ErrStop] ends it.
func (r *Records) GuessesOf(kind string, fn func(id string, g Guesses) error) error {
	return r.tx.Scan(r.list(kindGuesses, kind), nil, func(key, value []byte) error {
		var g Guesses
		if err := decode(key, value, &g); err != nil {
			return err
		}
		if !g.LastAt.Add(rememberGuesses).After(r.now) {
			return nil
		}
		return fn(lastPart(key), g)
	})
}

// GuessesID stands for subject in the keys: what people type, and where from, is kept out of them; it may be long, too.
func GuessesID(subject string) string { return HashSecret(subject) }

// DecoyKey returns the secret by which names that nobody has are given a hash to be compared with, or [ErrNotFound]. It
// is the same on all nodes, and stays.
func (r *Records) DecoyKey() ([]byte, error) {
	var key []byte
	err := r.get(r.key(kindDecoyKey), &key)
	return key, err
}

// PutDecoyKey writes it.
func (r *Records) PutDecoyKey(key []byte) error { return r.put(r.key(kindDecoyKey), key, time.Time{}) }

func (r *Records) guessesKey(kind, subject string) []byte {
	return r.key(kindGuesses, kind, GuessesID(subject))
}
