package issuer

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// decoys choose the hash that the password for a name that nobody has is compared with. Hashes that were brought from
// elsewhere take another time than our own until their people have signed in. So names that nobody has are given a kind
// of hash each, always the same, in the shares that the kinds have among people.
//
// What is left to tell: a kind that came in by an import of the last minutes; and, for who looks at a name for weeks,
// which way it goes when shares change: where two kinds are brought from elsewhere, a name that nobody has may change
// from one to the other, which no person does.
type decoys struct {
	known    atomic.Pointer[population]
	counting sync.Mutex
}

// population is how people's passwords are hashed.
type population struct {
	at    time.Time
	key   []byte // by which names are given a kind
	kinds []kindShare
}

// kindShare is a kind of hashes.
type kindShare struct {
	kind  string // see [hashKind]
	hash  string // one of them
	count int
}

// countEvery is how often people are counted.
const countEvery = 10 * time.Minute

// population is how people's passwords are hashed, as it was not long ago. It is asked at each attempt to sign in,
// whoever has the name: to count takes time.
func (i *Issuer) population(ctx context.Context) (*population, error) {
	d := &i.decoys
	last := d.known.Load()
	if last == nil {
		d.counting.Lock()
	} else if i.db.Now().Sub(last.at) < countEvery || !d.counting.TryLock() {
		return last, nil
	}
	defer d.counting.Unlock()
	if again := d.known.Load(); again != last {
		return again, nil
	}
	p, err := i.countPeople(ctx)
	if err != nil {
		return nil, err
	}
	d.known.Store(p)
	return p, nil
}

func (i *Issuer) countPeople(ctx context.Context) (*population, error) {
	p := &population{at: i.db.Now()}
	shares := make(map[string]*kindShare)
	add := func(hash string) {
		kind := hashKind(hash)
		if shares[kind] == nil {
			shares[kind] = &kindShare{kind: kind, hash: hash}
		}
		shares[kind].count++
	}
	err := i.db.View(ctx, func(r *store.Records) (err error) {
		clear(shares)
		if p.key, err = r.DecoyKey(); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return r.Users("", func(u store.User) error {
			if u.Source == "" && CheckPasswordHash(u.PasswordHash) == nil {
				add(u.PasswordHash)
			}
			return nil
		})
	})
	if err == nil && p.key == nil {
		p.key, err = i.newDecoyKey(ctx)
	}
	if err != nil {
		return nil, err
	}
	add(SomePasswordHash) // the next who signs up or is hashed anew must not be the only one
	for n := range i.people.persons {
		add(i.people.persons[n].PasswordHash)
	}
	for _, s := range i.people.sources {
		if f, ok := s.(Finder); ok {
			for _, hash := range f.Hashes() {
				add(hash)
			}
		}
	}
	for _, share := range slices.SortedFunc(maps.Values(shares), byShare) {
		p.kinds = append(p.kinds, *share)
	}
	return p, nil
}

// byShare sorts our own kind to the end: when one that was brought from elsewhere becomes rarer, because people sign in
// and are hashed anew, the names that nobody has go the same way.
func byShare(a, b *kindShare) int {
	switch {
	case a.kind == ownHashKind:
		return 1
	case b.kind == ownHashKind:
		return -1
	}
	return cmp.Compare(a.kind, b.kind)
}

// newDecoyKey makes the key, unless another node has done so.
func (i *Issuer) newDecoyKey(ctx context.Context) (key []byte, err error) {
	err = i.db.Update(ctx, func(r *store.Records) error {
		key, err = r.DecoyKey()
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		key = make([]byte, sha256.Size)
		_, _ = rand.Read(key) // which never fails
		return r.PutDecoyKey(key)
	})
	return key, err
}

// decoy is the hash that the password for a login that nobody has is compared with.
func (p *population) decoy(login string) string {
	mac := hmac.New(sha256.New, p.key)
	mac.Write([]byte(login))
	all := 0
	for _, k := range p.kinds {
		all += k.count
	}
	at := int(float64(binary.BigEndian.Uint64(mac.Sum(nil))>>11) / (1 << 53) * float64(all)) // below all
	for _, k := range p.kinds {
		if at -= k.count; at < 0 {
			return k.hash
		}
	}
	return SomePasswordHash
}
