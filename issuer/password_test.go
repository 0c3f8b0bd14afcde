package issuer

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestPasswordRules(t *testing.T) {
	for _, tc := range []struct {
		name, password string
		problem        string // empty: it is taken
	}{
		{"a phrase", rightPassword, ""},
		{"eight characters", "zk3,vq9w", ""},
		{"eight letters and umlauts", "größerÄÖ", ""},
		{"no composition rules", "quietlybrownkettle", ""},
		{"spaces", "        a", ""},
		{"emoji", strings.Repeat("🔑🐴", 4), ""},
		{"sixty-four characters and more", strings.Repeat("long ", 50), ""},
		{"as long as it may be", strings.Repeat("ab", maxPassword/2), ""},
		{"seven characters", "zk3,vq9", "less than 8"},
		{"seven umlauts, fourteen bytes", "äöüäöüä", "less than 8"},
		{"too long", strings.Repeat("ab", maxPassword/2) + "a", "more than 1024"},
		{"no UTF-8", "\xff\xfe3456789", "UTF-8"},
		{"common", "password1", "everybody"},
		{"common in capitals", "QWERTZUIOP", "everybody"},
		{"common with spaces", " password1 ", "everybody"},
		{"one character", "zzzzzzzzzz", "repeated"},
		{"only spaces", "          ", "repeated"},
		{"the name", "Annabella", "name or email"},
		{"the email", "ann-b@example.com", "name or email"},
		{"the email's beginning", "Annabel.B", "name or email"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := checkPassword(tc.password, "annabella", "ann-b@example.com", "annabel.b@example.org")
			if tc.problem == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.problem) {
				t.Errorf("%v, want something about %q", err, tc.problem)
			}
			if err != nil && len(tc.password) > 3 && strings.Contains(err.Error(), tc.password) {
				t.Error("the error has the password")
			}
		})
	}
}

func TestCommonPasswords(t *testing.T) {
	if n := len(commonPasswords()); n < 500 {
		t.Errorf("the list has %d", n)
	}
	for password := range commonPasswords() {
		if err := checkPassword(password); err == nil {
			t.Errorf("%s is taken", password)
		}
	}
}

func TestPasswordHashes(t *testing.T) {
	patiently(t)
	const (
		salt = "$bm9ib2R5IGhhcyB0aGlzIQ$"
		key  = "bm9ib2R5IGhhcyBhIHBhc3N3b3JkIHdpdGggdGhpcyE"
	)
	bcrypted := configHash()
	for _, tc := range []struct {
		name, hash string
		good       bool
	}{
		{"ours", SomePasswordHash, true},
		{"as caddy makes it", "$argon2id$v=19$m=47104,t=1,p=1" + salt + key, true},
		{"as PHP makes it", "$argon2id$v=19$m=65536,t=4,p=1" + salt + key, true},
		{"bcrypt", bcrypted, true},
		{"bcrypt of Laravel", strings.Replace(bcrypted, "$2a$", "$2y$", 1), true},
		{"nothing", "", false},
		{"a password", rightPassword, false},
		{"argon2i", "$argon2i$v=19$m=19456,t=2,p=1" + salt + key, false},
		{"argon2d", "$argon2d$v=19$m=19456,t=2,p=1" + salt + key, false},
		{"an old version", "$argon2id$v=16$m=19456,t=2,p=1" + salt + key, false},
		{"no version", "$argon2id$m=19456,t=2,p=1" + salt + key, false},
		{"much memory", "$argon2id$v=19$m=4194304,t=2,p=1" + salt + key, false},
		{"many iterations", "$argon2id$v=19$m=19456,t=99,p=1" + salt + key, false},
		{"no iterations", "$argon2id$v=19$m=19456,t=0,p=1" + salt + key, false},
		{"many lanes", "$argon2id$v=19$m=19456,t=2,p=99" + salt + key, false},
		{"no lanes", "$argon2id$v=19$m=19456,t=2,p=0" + salt + key, false},
		{"no memory", "$argon2id$v=19$m=0,t=2,p=1" + salt + key, false},
		{"a long key", "$argon2id$v=19$m=19456,t=2,p=1" + salt + strings.Repeat(key, 9), false},
		{"a short key", "$argon2id$v=19$m=19456,t=2,p=1" + salt + "aaaa", false},
		{"bits left over", "$argon2id$v=19$m=19456,t=2,p=1" + salt + key[:len(key)-1] + "F", false},
		{"a line break", SomePasswordHash + "\n", false},
		{"bcrypt that takes days", strings.Replace(bcrypted, "$04$", "$31$", 1), false},
		{"bcrypt without a cost", strings.Replace(bcrypted, "$04$", "$00$", 1), false},
		{"bcrypt of a broken PHP", strings.Replace(bcrypted, "$2a$", "$2x$", 1), false},
		{"MD5 of Apache", "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/", false},
		{"SHA-1 of Apache", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", false},
		{"crypt", "rqXexS6ZhobKA", false},
		{"SHA-512 crypt", "$6$saltsalt$abcdefghijklmnopqrstuvwxyz", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := CheckPasswordHash(tc.hash)
			if (err == nil) != tc.good {
				t.Fatalf("%v, want it good: %v", err, tc.good)
			}
			if err != nil && tc.hash != "" && strings.Contains(err.Error(), tc.hash) {
				t.Error("the error has the hash")
			}
			if right, err := PasswordMatches(t.Context(), tc.hash, "not the password"); right || (err == nil) != tc.good {
				t.Errorf("another password: %v %v", right, err)
			}
		})
	}
}

func TestMadePasswords(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		password := newPassword()
		if len(password) != 23 || strings.Count(password, "-") != 3 || seen[password] || checkPassword(password) != nil {
			t.Fatalf("made %q", password)
		}
		seen[password] = true
	}
	if len(passwordLetters) != 32 || 256%len(passwordLetters) != 0 {
		t.Error("some letters come more often than others")
	}
}

func FuzzPasswordHash(f *testing.F) {
	f.Add(SomePasswordHash)
	f.Add("$2y$10$abcdefghijklmnopqrstuuNZ0dSSb8jwhQAN8MaSPP0Er7PqVRe6e")
	f.Fuzz(func(t *testing.T, hash string) {
		if CheckPasswordHash(hash) == nil && len(hash) > 300 {
			t.Errorf("%q is taken", hash)
		}
	})
}

// TestHashesTakeTurns: never more at a time than half of the cores, nor than maxHashers; who would wait for long is
// told to come again.
func TestHashesTakeTurns(t *testing.T) {
	for name, cores := range map[string]int{"one core": 1, "two": 2, "many": 64} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newHashQueue(cores)
				var now, most, done, refused atomic.Int64
				var all sync.WaitGroup
				for range 1000 {
					all.Go(func() {
						begin := time.Now()
						err := q.do(t.Context(), "a", maxHashWait, func() {
							most.Store(max(most.Load(), now.Add(1)))
							time.Sleep(hashCost)
							now.Add(-1)
							done.Add(1)
						})
						if tooMany, ok := errors.AsType[*tooManyError](err); ok {
							refused.Add(1)
							if tooMany.RetryAfter < busyRetry || time.Since(begin) != 0 {
								t.Errorf("come again in %s, told after %s", tooMany.RetryAfter, time.Since(begin))
							}
						} else if err != nil {
							t.Error(err)
						}
						if took := time.Since(begin); took > maxHashWait+8*time.Second {
							t.Errorf("somebody has waited for %s", took)
						}
					})
				}
				all.Wait()
				slots := map[int]int64{1: 1, 2: 1, 64: maxHashers}[cores]
				if most.Load() != slots || done.Load() > maxHashing || done.Load() < 10 || done.Load()+refused.Load() != 1000 {
					t.Errorf("%d at a time, %d done, %d refused", most.Load(), done.Load(), refused.Load())
				}
				if len(q.places)+len(q.slots) != 0 {
					t.Error("places are taken")
				}
			})
		})
	}
}

// TestHashesLeaveTheCoresToOthers: a flood that never ends gets its share of the cores, and what was saved before. When
// others want the cores, too, which makes hashes take longer, it is a small one.
func TestHashesLeaveTheCoresToOthers(t *testing.T) {
	for name, tc := range map[string]struct {
		slower time.Duration // than its least each hash is but for the first
		share  time.Duration
	}{
		"idle": {0, idleShare}, "busy": {10 * time.Millisecond, busyShare},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const cores, cost, span = 2, 20 * time.Millisecond, 10 * time.Minute
				q := newHashQueue(cores)
				ctx, cancel := context.WithTimeout(t.Context(), span)
				defer cancel()
				var all sync.WaitGroup
				for range 8 {
					all.Go(func() {
						for ctx.Err() == nil {
							_ = q.do(ctx, "a", maxHashWait, func() {
								if q.hashes.Load() == 0 {
									time.Sleep(cost)
								} else {
									time.Sleep(cost + tc.slower)
								}
							})
						}
					})
				}
				all.Wait()
				used := time.Duration(q.hashes.Load()) * cost
				if want := cores * (span + hashSavings) / tc.share; used > want*11/10 || used < want*9/10 {
					t.Errorf("hashing has used %s of %s, want %s", used, cores*span, want)
				}
			})
		})
	}
}

// TestAFloodOfStrangersKeepsNobodyElseWaiting: who is known, and clients, stand in lines of their own.
func TestAFloodOfStrangersKeepsNobodyElseWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cost = 20 * time.Millisecond
		q := newHashQueue(2)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				for ctx.Err() == nil {
					if err := q.do(ctx, "a", maxHashWait, func() { time.Sleep(cost) }); isTooMany(err) {
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		time.Sleep(time.Minute)
		if err := q.do(ctx, "a", 0, func() {}); !isTooMany(err) {
			t.Errorf("another stranger: %v", err)
		}
		for _, line := range []hashLine{knownOnes, clientsOf} {
			for range 10 {
				begin := time.Now()
				err := q.do(hashingAs(ctx, line), "a", maxHashWait, func() { time.Sleep(cost) })
				if took := time.Since(begin); err != nil || took > 2*cost {
					t.Errorf("line %d: %v after %s", line, err, took)
				}
				time.Sleep(time.Second)
			}
		}
		cancel()
		all.Wait()
	})
}

// TestHashesThatNobodyHasSeenCostWhatTheyAreLikelyTo: an office that comes from another system at once, each of them
// with a hash that costs a quarter of a second, is let in one after the other, and leaves no debt.
func TestHashesThatNobodyHasSeenCostWhatTheyAreLikelyTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const kind, cost, people = "2y$12", 250 * time.Millisecond, 30
		q := newHashQueue(2)
		var in atomic.Int64
		var all sync.WaitGroup
		for range people {
			all.Go(func() {
				for {
					err := q.do(t.Context(), kind, maxHashWait, func() { time.Sleep(cost) })
					tooMany, ok := errors.AsType[*tooManyError](err)
					if !ok {
						in.Add(1)
						return
					}
					if tooMany.RetryAfter > maxHashWait {
						t.Errorf("come again in %s", tooMany.RetryAfter)
					}
					time.Sleep(tooMany.RetryAfter)
				}
			})
		}
		time.Sleep(2 * maxHashWait)
		if n := in.Load(); n < people*3/4 {
			t.Errorf("%d are in", n)
		}
		all.Wait()
		if left := time.Until(q.paid[strangers]); left > maxHashWait {
			t.Errorf("the next one waits for %s", left)
		}
	})
	for kind, want := range map[string]time.Duration{
		"2y$12": 245760 * time.Microsecond, "2b$04": 960 * time.Microsecond, "2y$99": hashCost, "": hashCost,
		ownHashKind: 19456 * time.Microsecond, "argon2id$v=19$m=65536,t=3,p=4": 98304 * time.Microsecond,
	} {
		if got := likelyCost(kind); got != want {
			t.Errorf("%q costs %s, want %s", kind, got, want)
		}
	}
}

// TestOneSignInDoesNotWait: who comes now and then is served at once.
func TestOneSignInDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newHashQueue(2)
		for range 100 {
			begin := time.Now()
			if err := q.do(t.Context(), "a", maxHashWait, func() { time.Sleep(20 * time.Millisecond) }); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begin); took != 20*time.Millisecond {
				t.Fatalf("it took %s", took)
			}
			time.Sleep(time.Second)
		}
	})
}

// TestAnOfficeSignsInAtOnce: 100 people for each core wait for the cores alone.
func TestAnOfficeSignsInAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cores, people, cost = 2, 2 * 100, 20 * time.Millisecond
		q := newHashQueue(cores)
		begin := time.Now()
		var all sync.WaitGroup
		for range people {
			all.Go(func() {
				if err := q.do(t.Context(), "a", maxHashWait, func() { time.Sleep(cost) }); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if took := time.Since(begin); took != people*cost {
			t.Errorf("it took %s", took)
		}
	})
}

// TestHashingEndsWithTheRequest: who is gone keeps no place.
func TestHashingEndsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newHashQueue(2)
		q.paid[strangers] = time.Now().Add(2 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if err := q.do(ctx, "a", maxHashWait, func() { t.Error("it hashes") }); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if len(q.places)+len(q.slots) != 0 {
			t.Error("places are taken")
		}
		if wait := time.Until(q.paid[strangers]); wait > time.Second {
			t.Errorf("those who are gone have used up the share for %s", wait)
		}
	})
}

// TestHashesPayWhatTheyCost: not for the time in which others had the core.
func TestHashesPayWhatTheyCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newHashQueue(2)
		for _, took := range []time.Duration{20 * time.Millisecond, time.Second, time.Second, 30 * time.Millisecond} {
			if err := q.do(t.Context(), "a", maxHashWait, func() { time.Sleep(took) }); err != nil {
				t.Fatal(err)
			}
		}
		if left := time.Until(q.paid[strangers]); left > 0 {
			t.Errorf("the next hash waits %s", left)
		}
	})
	for hash, want := range map[string]string{
		SomePasswordHash: ownHashKind,
		"$2y$10$abcdefghijklmnopqrstuuNZ0dSSb8jwhQAN8MaSPP0Er7PqVRe6e": "2y$10",
	} {
		if got := hashKind(hash); got != want {
			t.Errorf("the kind of %s is %q, want %q", hash, got, want)
		}
	}
}

// TestFloodsAreHeldBack: a loop that is told to come again and does so at once is slowed down, a few are not.
func TestFloodsAreHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBrake(holdBack)
		begin := time.Now()
		for range freeAnswers {
			b.hold(t.Context())
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("a few are held back for %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var answers atomic.Int64
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				for ctx.Err() == nil {
					b.hold(ctx)
					answers.Add(1)
				}
			})
		}
		all.Wait()
		if n := answers.Load(); n > 60*(100+freeAnswers)+200 {
			t.Errorf("%d answers in a minute", n)
		}
		if len(b.places) != 0 {
			t.Error("places are taken")
		}
	})
}

func TestLimits(t *testing.T) {
	for kind, l := range limits {
		if l.free < 5 || l.longest > 15*time.Minute {
			t.Errorf("%s: %+v", kind, l)
		}
	}
	for ip, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"fe80::1%eth0": "fe80::/64", "": "", "nonsense": "",
	} {
		if got := addressSubject(ip); got != want {
			t.Errorf("%q counts for %q, want %q", ip, got, want)
		}
	}
}

func BenchmarkHashPassword(b *testing.B) {
	q := newHashQueue(runtime.GOMAXPROCS(0))
	q.savings = 24 * time.Hour
	before := hashing
	hashing = q
	defer func() { hashing = before }()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := hashPassword(b.Context(), rightPassword); err != nil {
			b.Fatal(err)
		}
	}
}
