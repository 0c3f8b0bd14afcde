package storetest

import (
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
)

func TestEngine(t *testing.T) {
	Run(t, func(*testing.T) store.Engine { return new(Engine) })
}
