package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// SchemaVersion is the version of the records that this package writes.
//
//	1  clients, tokens, keys, revocations
//	2  people: users, sessions, consents, codes, families, devices. A program that knows version 1 only would take
//	   tokens whose family is revoked. Within version 2 came refresh tokens with their family's name, families that
//	   list access tokens, and packed records: a program from before refuses the first, does not show the second to
//	   their person, and takes the third for damaged.
const SchemaVersion = 2

// migrations[n] makes records of version n+1 out of those of version n, a bounded number of them: those that tokens are
// checked by. It is run in one transaction, by one node.
var migrations = [SchemaVersion]func(*Records) error{
	0: func(*Records) error { return nil }, // there never was a version 0
	1: func(r *Records) error { // what is new stands beside what was there
		var owned []Client
		err := r.Clients("", func(c Client) error {
			if c.UserID != "" {
				owned = append(owned, c)
			}
			return nil
		})
		for i := range owned {
			err = errors.Join(err, r.indexClient(&owned[i]))
		}
		return err
	},
}

type schema struct {
	Version int `json:"version"`
}

// checkSchema migrates older records, and refuses newer ones.
func (db *DB) checkSchema(ctx context.Context) error {
	found := schema{SchemaVersion}
	err := db.View(ctx, func(r *Records) error { return r.get(r.key(kindSchema), &found) })
	switch {
	case errors.Is(err, ErrNotFound):
		return db.Update(ctx, (*Records).putSchema)
	case err != nil:
		return err
	case found.Version < SchemaVersion:
		return db.Update(ctx, (*Records).migrate)
	}
	return checkVersion(found.Version)
}

func checkVersion(version int) error {
	if version > SchemaVersion {
		return fmt.Errorf("the database has version %d, this program knows up to version %d: run a newer one",
			version, SchemaVersion)
	}
	return nil
}

func (r *Records) putSchema() error {
	return r.put(r.key(kindSchema), schema{SchemaVersion}, time.Time{})
}

// migrate brings the records to the version of this program. Another node may have done so meanwhile.
func (r *Records) migrate() error {
	var found schema
	if err := r.get(r.key(kindSchema), &found); err != nil {
		return err
	}
	if err := checkVersion(found.Version); err != nil {
		return err
	}
	for version := max(found.Version, 0); version < SchemaVersion; version++ {
		if err := migrations[version](r); err != nil {
			return fmt.Errorf("migrating the database from version %d: %w", version, err)
		}
	}
	return r.putSchema()
}
