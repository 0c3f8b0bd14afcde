// Package hardening does to an issuer what happens to one in its life, again and again, and looks for what it has
// forgotten.
package hardening

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// How often the process is killed; fewer times with -short.
const (
	allRounds = 200
	fewRounds = 40
)

// The environment of the process that is killed: where its records are, and what it does beside the usual.
const (
	childEnv = "HARDENING_DIR"
	rareEnv  = "HARDENING_RARE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := work(dir, os.Getenv(rareEnv)); err != nil {
			fmt.Println("error", err)
		}
		os.Exit(1) // it works until it is killed
	}
	os.Exit(m.Run())
}

// fact is something that the child was told with success, as it prints it: a word and what belongs to it.
type fact []string

// say prints a fact.
type say func(words ...string)

// job is something that is done again and again.
type job func(*house, say) error

// rare are the jobs of some rounds only: they take long, or end much.
var rare = map[string]job{
	"password": (*house).workPassword,
	"keys":     (*house).workKeys,
	"purge":    (*house).workPurge,
	"guesses":  (*house).workGuesses,
}

// restoring is a rare job that is done alone, for what is written while a backup is put in force is refused.
const restoring = "restore"

// rareIn is the rare job of a round; empty for none.
func rareIn(round int) string {
	switch round % 10 {
	case 1:
		return "password"
	case 3:
		return "keys"
	case 5:
		return "purge"
	case 7:
		return "guesses"
	case 9:
		if round%20 == 9 {
			return restoring
		}
	}
	return ""
}

// work does every kind of write, in several goroutines, and prints each success once it has the answer. What it is
// about to end it prints before: when it is killed in between, either is right.
func work(dir, extra string) error {
	h, err := open(context.Background(), dir)
	if err != nil {
		return err
	}
	var print sync.Mutex
	say := func(words ...string) {
		print.Lock()
		defer print.Unlock()
		os.Stdout.WriteString(strings.Join(words, " ") + "\n")
	}
	say("opened")
	jobs := []job{
		(*house).workTokens, (*house).workTokens, codes(), codes(), (*house).workPersonal, (*house).workPeople,
		(*house).workClients, (*house).workSessions, devices(), (*house).workConsent, (*house).workBarred,
		(*house).workSecrets, (*house).workOtherSessions, revocations(), denials(),
	}
	if extra == restoring {
		jobs = []job{restores()}
	} else if job := rare[extra]; job != nil {
		jobs = append(jobs, job)
	}
	var workers sync.WaitGroup
	faults := make(chan error, len(jobs))
	for _, job := range jobs {
		workers.Go(func() {
			for {
				err := job(h, say)
				if extra == "keys" && errors.Is(err, errBusy) {
					continue // the key was retired between the record of a token and its signature
				}
				if err != nil {
					faults <- err
					return
				}
			}
		})
	}
	return <-faults
}

// TestKillForgetsNothing kills a process under load of every kind of write, 200 times at any moment: nothing that was
// answered with success is forgotten, no code or refresh token is good twice, no revocation is undone.
func TestKillForgetsNothing(t *testing.T) {
	dir := t.TempDir()
	h, err := open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.invite(); err != nil {
		t.Fatal(err)
	}
	h.close()
	k := newKnown()
	rounds := allRounds
	if testing.Short() {
		rounds = fewRounds
	}
	facts := 0
	var opening []time.Duration
	var checking time.Duration
	for round := range rounds {
		extra := rareIn(round)
		word, after := "", time.Duration(20+rand.IntN(120))*time.Millisecond
		switch {
		case extra == restoring && round%40 < 20: // every other of these: after the first one was done, however long that takes here
			word = "restored"
		case extra == restoring:
			after = time.Duration(rand.IntN(1500)) * time.Millisecond
		case extra == "password", extra == "purge": // so that it comes to something
			after += 100 * time.Millisecond
		}
		said := runAndKill(t, dir, extra, word, after)
		facts += len(said)
		k.learn(said)
		began := time.Now()
		h, err := open(t.Context(), dir)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		opening = append(opening, time.Since(began))
		began = time.Now()
		k.check(t, h)
		checking += time.Since(began)
		h.close()
		if t.Failed() {
			t.Fatalf("in round %d, %s", round, extra)
		}
	}
	if facts < 10*rounds {
		t.Fatalf("only %d answers in %d rounds", facts, rounds)
	}
	for _, word := range words {
		if k.said[word] == 0 && !testing.Short() {
			t.Errorf("nothing was said of %q", word)
		}
	}
	slices.Sort(opening)
	t.Logf("%d answers in %d rounds: %v", facts, rounds, k.said)
	t.Logf("opening after a kill: median %v, longest %v; checking took %v in all",
		opening[len(opening)/2], opening[len(opening)-1], checking)
}

// runAndKill lets the child work, kills it a while after it has said the word, or when that is empty, after its first
// answer since it has opened, and returns what it said.
func runAndKill(t *testing.T, dir, extra, word string, after time.Duration) (said []fact) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childEnv+"="+dir, rareEnv+"="+extra)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	var killing sync.Once
	never := time.AfterFunc(3*time.Minute, func() { _ = cmd.Process.Kill() }) // and what it has not said is missed then
	defer never.Stop()
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // dead; half a line is no answer
		}
		words := strings.Fields(line)
		if words[0] == "error" {
			t.Fatalf("the child: %s", line)
		}
		if words[0] == word || word == "" && len(said) == 1 { // the one before tells that it has opened
			killing.Do(func() { time.AfterFunc(after, func() { _ = cmd.Process.Kill() }) })
		}
		said = append(said, words)
	}
	_ = cmd.Wait()
	return said
}

// answer is that of the token endpoint.
type answer struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func decode(body []byte) (a answer, err error) {
	err = json.Unmarshal(body, &a)
	return a, err
}

// errBusy says that something is not possible now.
var errBusy = errors.New("the service is not available")

func unexpected(status int, body []byte) error {
	if status == http.StatusOK {
		return nil
	}
	err := fmt.Errorf("%d %s", status, body)
	if status == http.StatusServiceUnavailable {
		err = errors.Join(errBusy, err)
	}
	return err
}
