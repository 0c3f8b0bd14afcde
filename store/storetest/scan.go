package storetest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/oauth2-passport/caddy-passport/store"
)

// testScanBounds scans from every bound under every prefix, stored and pending pairs mixed.
func testScanBounds(t *testing.T, e store.Engine) {
	bounds := []string{
		"", "\x00", "a", "a\x00", "a/", "a/1", "a/1\x00", "a/2", "a0", "b", "b\xff", "b\xff\x00", "b\xff\xff",
		"b\xff\xff\xff", "c", "\xfe\xff", "\xff", "\xff\x00", "\xff\xff", "\xff\xff\xff",
	}
	model := map[string]string{}
	for i, key := range bounds[1:] {
		model[key] = fmt.Sprintf("value %d", i)
		putAll(t, e, pair{key, model[key]})
	}
	check := func(t *testing.T, tx store.Tx) error {
		for _, prefix := range bounds {
			for _, from := range bounds {
				got, err := collect(tx, []byte(prefix), []byte(from))
				if err != nil {
					return err
				}
				want := expected(model, []byte(prefix), []byte(from))
				if !reflect.DeepEqual(got, want) {
					t.Errorf("prefix %q from %q: %q, want %q", prefix, from, got, want)
				}
			}
			got, err := collect(tx, []byte(prefix), nil)
			if err != nil {
				return err
			}
			if want := expected(model, []byte(prefix), nil); !reflect.DeepEqual(got, want) {
				t.Errorf("prefix %q: %q, want %q", prefix, got, want)
			}
		}
		return nil
	}
	t.Run("view", func(t *testing.T) {
		view(t, e, func(tx store.Tx) error { return check(t, tx) })
	})
	t.Run("update", func(t *testing.T) {
		update(t, e, func(tx store.Tx) error { return check(t, tx) })
	})
	t.Run("update with pending writes", func(t *testing.T) {
		update(t, e, func(tx store.Tx) error {
			for i, key := range bounds[1:] {
				switch i % 3 {
				case 0:
					delete(model, key)
					if err := tx.Delete([]byte(key)); err != nil {
						return err
					}
				case 1:
					model[key] = "changed"
					if err := tx.Put([]byte(key), []byte("changed"), 0); err != nil {
						return err
					}
				}
			}
			for _, key := range []string{"a/1/", "a/11", "b\xff\xff\x01", "\xff\xff\xff\xff"} {
				model[key] = "added"
				if err := tx.Put([]byte(key), []byte("added"), 0); err != nil {
					return err
				}
			}
			return check(t, tx)
		})
	})
	t.Run("view afterwards", func(t *testing.T) {
		view(t, e, func(tx store.Tx) error { return check(t, tx) })
	})
}

// testScanRandom does random things to the engine and to a map, and compares what they show.
func testScanRandom(t *testing.T, e store.Engine) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	key := func() string {
		k := make([]byte, 1+random.IntN(3))
		for i := range k {
			k[i] = []byte{0, 'a', 'b', 0xff}[random.IntN(4)]
		}
		return string(k)
	}
	model := map[string]string{}
	for round := range 60 {
		fail := random.IntN(4) == 0
		work := map[string]string{}
		maps.Copy(work, model)
		steps := random.Perm(random.IntN(20) + 1)
		type step struct {
			key, value string
			remove     bool
			prefix     string
			from       string
		}
		var plan []step // made here: the function may run more than once
		for i := range steps {
			plan = append(plan, step{key(), fmt.Sprint(round, i), random.IntN(3) == 0, key()[1:], key()})
		}
		err := e.Update(t.Context(), func(tx store.Tx) error {
			clear(work)
			maps.Copy(work, model)
			for _, s := range plan {
				var err error
				if s.remove {
					delete(work, s.key)
					err = tx.Delete([]byte(s.key))
				} else {
					work[s.key] = s.value
					err = tx.Put([]byte(s.key), []byte(s.value), 0)
				}
				if err != nil {
					return err
				}
				got, err := collect(tx, []byte(s.prefix), []byte(s.from))
				if err != nil {
					return err
				}
				if want := expected(work, []byte(s.prefix), []byte(s.from)); !reflect.DeepEqual(got, want) {
					return fmt.Errorf("prefix %q from %q: %q, want %q", s.prefix, s.from, got, want)
				}
				value, ok, err := get(tx, s.from)
				if err != nil {
					return err
				}
				if want, there := work[s.from]; value != want || ok != there {
					return fmt.Errorf("%q is %q, %v; want %q, %v", s.from, value, ok, want, there)
				}
			}
			if fail {
				return errTest
			}
			return nil
		})
		switch {
		case fail && err == errTest:
		case err != nil:
			t.Fatal(err)
		default:
			model = work
		}
		if got, want := all(t, e), expected(model, nil, nil); !reflect.DeepEqual(got, want) {
			t.Fatalf("round %d: %q, want %q", round, got, want)
		}
	}
}

func testScanStops(t *testing.T, e store.Engine) {
	putAll(t, e, pair{"a", "1"}, pair{"b", "2"}, pair{"c", "3"})
	check := func(tx store.Tx) error {
		for _, test := range []struct{ fail, want error }{
			{store.ErrStop, nil},
			{errTest, errTest},
		} {
			var seen []string
			err := tx.Scan(nil, nil, func(key, _ []byte) error {
				seen = append(seen, string(key))
				if string(key) == "b" {
					return test.fail
				}
				return nil
			})
			if err != test.want {
				t.Errorf("a scan whose function answers %v answers %v", test.fail, err)
			}
			if fmt.Sprint(seen) != "[a b]" {
				t.Errorf("after %v it went on: %v", test.fail, seen)
			}
		}
		return nil
	}
	view(t, e, check)
	update(t, e, check)
	update(t, e, func(tx store.Tx) error {
		return errors.Join(tx.Put([]byte("b"), nil, 0), tx.Delete([]byte("c")), check(tx))
	})
}

// testScanNested reads on in the middle of a scan, as an index does, values of every size among them.
func testScanNested(t *testing.T, e store.Engine) {
	large := string(make([]byte, 10_000))
	for i := range 5 {
		putAll(t, e, pair{fmt.Sprint("index/", i), large}, pair{fmt.Sprint("record/", i), fmt.Sprint(i, large)})
	}
	check := func(tx store.Tx) error {
		var seen []string
		err := tx.Scan([]byte("index/"), nil, func(key, value []byte) error {
			id := string(key[len("index/"):])
			if string(value) != large {
				return fmt.Errorf("%s: another value", key)
			}
			record, err := tx.Get([]byte("record/" + id))
			if err != nil {
				return err
			}
			if string(record) != id+large {
				return fmt.Errorf("record %s: another value", id)
			}
			inner, err := collect(tx, []byte("record/"), []byte("record/"+id))
			seen = append(seen, fmt.Sprint(id, len(inner)))
			if string(key) != "index/"+id || string(value) != large {
				return fmt.Errorf("%s: changed by another read", key)
			}
			return err
		})
		if want := "[05 14 23 32 41]"; fmt.Sprint(seen) != want {
			t.Errorf("%v, want %v", seen, want)
		}
		return err
	}
	view(t, e, check)
	update(t, e, check)
	update(t, e, func(tx store.Tx) error {
		return errors.Join(
			tx.Delete([]byte("index/2")), tx.Put([]byte("index/2"), []byte(large), 0),
			tx.Put([]byte("record/3"), []byte("3"+large), 0), check(tx))
	})
}
