package pgstore

import (
	"sync"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
	"github.com/oauth2-passport/caddy-passport/store/pgstore/pgtest"
	"github.com/oauth2-passport/caddy-passport/store/storetest"
)

// engine can be opened again by the suite.
type engine struct {
	*Engine
	url string
}

func (e engine) Reopen(t *testing.T) store.Engine { return open(t, e.url) }

func open(t testing.TB, url string) engine {
	t.Helper()
	e, err := Open(t.Context(), Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return engine{e, url}
}

func TestEngine(t *testing.T) {
	server := pgtest.Start(t)
	storetest.Run(t, func(t *testing.T) store.Engine { return open(t, server.Database()) })
}

func TestManyNodesMakeTheTablesAtOnce(t *testing.T) {
	url := pgtest.Start(t).Database()
	var nodes sync.WaitGroup
	for range 16 {
		nodes.Go(func() {
			e, err := Open(t.Context(), Options{URL: url})
			if err != nil {
				t.Error(err)
				return
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	nodes.Wait()
}
