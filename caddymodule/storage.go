package caddymodule

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/oauth2-passport/caddy-passport/store"
)

// Storage is a module of the namespace passport.storage: where an issuer keeps its records. Provisioning one opens
// nothing.
type Storage interface {
	caddy.Module

	// Resource names what Open opens for the issuer of that name: a cleaned absolute path, an address. It is open once
	// in the process, whichever issuers and configs share it. It appears in errors and has no secrets.
	Resource(issuer string) string

	// Settings is a digest of the settings without which the resource can't be shared, such as its encryption key.
	Settings() [sha256.Size]byte

	// Open opens it. The engine may live longer than the config that opened it.
	Open(ctx context.Context, issuer string) (store.Engine, error)
}

// What is open outlives a config: the next one has acquired it before the last one lets it go. So a reload neither
// closes nor reopens a database, and a config that is refused leaves the open one alone.
var (
	engines   = caddy.NewUsagePool() // of *pooledEngine, by engineKey
	databases = caddy.NewUsagePool() // of *pooledDB, by databaseKey

	// pools makes acquiring and releasing one step each: what is being closed must not be opened meanwhile.
	pools sync.Mutex
)

type engineKey struct {
	module   caddy.ModuleID
	resource string
}

type databaseKey struct {
	engine engineKey
	issuer string
}

type pooledEngine struct {
	store.Engine
	settings [sha256.Size]byte
}

// Destruct closes the engine.
func (e *pooledEngine) Destruct() error { return e.Close() }

type pooledDB struct{ *store.DB }

// Destruct closes the database.
func (db pooledDB) Destruct() error {
	db.Close()
	return nil
}

// errSettings is the answer to a config that wants what is open with other settings. A module may say which, and what
// to do.
func errSettings(storage Storage) error {
	which := "other settings: restart Caddy with these, for they"
	if s, ok := storage.(interface{ otherSettings() string }); ok {
		which = s.otherSettings()
	}
	return fmt.Errorf("it is open already with %s can't change while Caddy runs; all issuers that share it need the same",
		which)
}

// acquire opens the records of the issuer of that name, or shares them if they are open. Whoever gets them calls
// release, once.
func acquire(ctx context.Context, storage Storage, issuer string) (db *store.DB, release func() error, err error) {
	pools.Lock()
	defer pools.Unlock()

	engineKey := engineKey{storage.CaddyModule().ID, storage.Resource(issuer)}
	defer func() {
		if err != nil {
			err = fmt.Errorf("opening the storage %s at %s: %w", engineKey.module.Name(), engineKey.resource, err)
		}
	}()
	value, _, err := engines.LoadOrNew(engineKey, func() (caddy.Destructor, error) {
		engine, err := storage.Open(ctx, issuer)
		if err != nil {
			return nil, err
		}
		return &pooledEngine{engine, storage.Settings()}, nil
	})
	if err != nil {
		return nil, nil, err
	}
	engine := value.(*pooledEngine)
	if engine.settings != storage.Settings() {
		_, err := engines.Delete(engineKey)
		return nil, nil, errors.Join(errSettings(storage), err)
	}
	databaseKey := databaseKey{engineKey, issuer}
	value, _, err = databases.LoadOrNew(databaseKey, func() (caddy.Destructor, error) {
		db, err := store.Open(ctx, engine.Engine, issuer, nil)
		if err != nil {
			return nil, err
		}
		db.Tell(measureStore(issuer))
		return pooledDB{db}, nil
	})
	if err != nil {
		_, closing := engines.Delete(engineKey)
		return nil, nil, errors.Join(err, closing)
	}
	release = func() error {
		pools.Lock()
		defer pools.Unlock()
		_, err := databases.Delete(databaseKey)
		_, closing := engines.Delete(engineKey)
		return errors.Join(err, closing)
	}
	return value.(pooledDB).DB, release, nil
}
