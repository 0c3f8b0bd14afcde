package store_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/oauth2-passport/caddy-passport/store"
)

// filled is a record in which every field holds something.
func filled[T any](t *testing.T) string {
	t.Helper()
	var record T
	fields := reflect.ValueOf(&record).Elem()
	for i := range fields.NumField() {
		switch field := fields.Field(i).Addr().Interface().(type) {
		case *string:
			*field = "x/y?z=1 2"
		case *bool:
			*field = true
		case *[]string:
			*field = []string{"read", "write"}
		case *time.Time:
			*field = start.Add(time.Duration(i))
		default:
			t.Fatalf("what is in %s?", fields.Type().Field(i).Name)
		}
	}
	data, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestRecordsReadByHand reads and writes what encoding/json does, and what it does not understand as that does.
func TestRecordsReadByHand(t *testing.T) {
	code, user := filled[store.Code](t), filled[store.User](t)
	family := `{"id":"x","client_id":"c","user_id":"u","issuer":"i","grant":"g","scopes":["a","b"],"audience":["d"],` +
		`"authenticated_at":1,"created_at":2,"used_at":3,"access_until":4,"expires_at":5,"revoked_at":6,` +
		`"access":["t 1"],"name":"n","current":"c","until":7,"previous":"p","successor":"AAEC","rotated_at":8}`
	for name, c := range map[string]struct {
		record string
		plain  bool
	}{
		"a code":              {code, true},
		"a person":            {user, true},
		"a family":            {family, true},
		"a refresh token":     {`{"family_id":"x","expires_at":1}`, true},
		"nothing":             {`{}`, true},
		"an empty list":       {`{"scopes":[]}`, true},
		"another order":       {`{"user_id":"u","id":"x"}`, true},
		"twice":               {`{"id":"x","id":"y","scopes":["a","b"],"scopes":["c"]}`, true},
		"other letters":       {`{"id":"é"}`, false},
		"an escape":           {`{"id":"\u0041"}`, false},
		"a name in capitals":  {`{"ID":"x"}`, false},
		"an unknown name":     {`{"id":"x","later":1}`, false},
		"null":                {`{"id":null,"scopes":null}`, false},
		"white space":         {`{ "id": "x" }`, false},
		"a comma too many":    {`{"id":"x",}`, false},
		"a comma too few":     {`{"id":"x""user_id":"u"}`, false},
		"something behind":    {`{"id":"x"}{}`, false},
		"cut short":           {family[:len(family)-1], false},
		"a broken number":     {`{"expires_at":1.5}`, false},
		"a number below zero": {`{"expires_at":-1}`, false},
		"a number too large":  {`{"expires_at":99999999999999999999}`, false},
		"a leading zero":      {`{"expires_at":01}`, false},
		"no base64":           {`{"successor":"*"}`, false},
		"no time":             {`{"issued_at":"yesterday"}`, false},
		"no boolean":          {`{"limited":yes}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := store.ReadPlain([]byte(c.record)); got != c.plain {
				t.Errorf("read by hand: %v", got)
			}
			if err := store.PlainAgrees([]byte(c.record)); err != nil {
				t.Error(err)
			}
		})
	}
}
