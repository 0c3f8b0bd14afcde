// Package hardening does to an issuer what happens to one in its life, again and again, and looks for what it has
// forgotten.
package hardening

import (
	"bufio"
	"context"
	"encoding/json"
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

	"github.com/oauth2-passport/caddy-passport/store"
)

// rounds is how often the process is killed.
const rounds = 200

const childEnv = "HARDENING_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := work(dir); err != nil {
			fmt.Println("error", err)
		}
		os.Exit(1) // it works until it is killed
	}
	os.Exit(m.Run())
}

// fact is something that the child was told with success, as it prints it: a word and what belongs to it.
type fact []string

// work does every kind of write, in several goroutines, and prints each success once it has the answer. What it is
// about to end it prints before: when it is killed in between, either is right.
func work(dir string) error {
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
	var workers sync.WaitGroup
	faults := make(chan error, 16)
	for _, job := range []func(*house, func(...string)) error{
		(*house).workTokens, (*house).workTokens, (*house).workCodes, (*house).workCodes, (*house).workPersonal,
		(*house).workPeople, (*house).workClients,
	} {
		workers.Go(func() {
			for {
				if err := job(h, say); err != nil {
					faults <- err
					return
				}
			}
		})
	}
	return <-faults
}

// workTokens gets two tokens and revokes one.
func (h *house) workTokens(say func(...string)) error {
	live, err := h.clientToken("orders-sync", secret)
	if err != nil {
		return err
	}
	say("live", live)
	dead, err := h.clientToken("orders-sync", secret)
	if err != nil {
		return err
	}
	say("ending", dead)
	if _, err := h.post("/oauth/revoke", "orders-sync", secret, "token", dead); err != nil {
		return err
	}
	say("dead", dead)
	return nil
}

// workCodes redeems a code, and refreshes what it gave.
func (h *house) workCodes(say func(...string)) error {
	code, err := h.code()
	if err != nil {
		return err
	}
	say("ending", code)
	answer, err := h.redeem(code)
	if err != nil {
		return err
	}
	say("spent-code", code, answer.Refresh)
	for range rand.IntN(3) {
		say("ending", answer.Refresh)
		next, err := h.refresh(answer.Refresh)
		if err != nil {
			return err
		}
		say("spent-refresh", answer.Refresh, next.Refresh)
		answer = next
	}
	say("live-once", answer.Access) // the check of the code ends it
	return nil
}

// workPersonal makes two personal access tokens and revokes one.
func (h *house) workPersonal(say func(...string)) error {
	ctx := context.Background()
	live, _, err := h.issuer.CreatePersonalToken(ctx, h.ann, "live", []string{"read"}, time.Hour)
	if err != nil {
		return err
	}
	say("live", live)
	dead, t, err := h.issuer.CreatePersonalToken(ctx, h.ann, "dead", []string{"read"}, time.Hour)
	if err != nil {
		return err
	}
	say("ending", dead)
	if err := h.issuer.RevokePersonalToken(ctx, h.ann, t.ID); err != nil {
		return err
	}
	say("dead", dead)
	say("ending", live) // there is room for so many only
	return h.forgetPersonal(live)
}

// workPeople makes two accounts, and deletes one of them.
func (h *house) workPeople(say func(...string)) error {
	for _, end := range []bool{false, true} {
		u, err := h.person(store.NewID(time.Now()))
		if err != nil {
			return err
		}
		if say("person", u); !end {
			continue
		}
		say("ending", u)
		if err := h.update(func(r *store.Records) error { return r.DeleteUser(u) }); err != nil {
			return err
		}
		say("no-person", u)
	}
	return nil
}

// workClients makes two clients, each with a token, and deletes one.
func (h *house) workClients(say func(...string)) error {
	ctx := context.Background()
	for _, end := range []bool{false, true} {
		info, secret, err := h.issuer.CreateClient(ctx, store.Client{Name: "c", Grants: []string{"client_credentials"}})
		if err != nil {
			return err
		}
		token, err := h.clientToken(info.ID, secret)
		if err != nil {
			return err
		}
		if say("live", token); !end {
			continue
		}
		say("ending", token)
		if err := h.issuer.DeleteClient(ctx, info.ID); err != nil {
			return err
		}
		say("dead", token)
	}
	return nil
}

// TestKillForgetsNothing kills a process under load of every kind of write, 200 times at any moment: nothing that was
// answered with success is forgotten, no code or refresh token is good twice, no revocation is undone.
func TestKillForgetsNothing(t *testing.T) {
	dir := t.TempDir()
	h, err := open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	h.close()
	var k known
	facts := 0
	for round := range rounds {
		said := runAndKill(t, dir, time.Duration(20+rand.IntN(120))*time.Millisecond)
		facts += len(said)
		k.learn(said)
		h, err := open(t.Context(), dir)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		k.check(t, h)
		h.close()
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	if facts < 10*rounds {
		t.Fatalf("only %d answers in %d rounds", facts, rounds)
	}
	t.Logf("%d answers in %d rounds", facts, rounds)
}

// runAndKill lets the child work, kills it a while after its first answer, and returns what it said.
func runAndKill(t *testing.T, dir string, after time.Duration) (said []fact) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // dead; half a line is no answer
		}
		words := strings.Fields(line)
		if words[0] == "error" {
			t.Fatalf("the child: %s", line)
		}
		if len(said) == 0 {
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
		said = append(said, words)
	}
	_ = cmd.Wait()
	return said
}

// known is what the children were told.
type known struct {
	live, dead, people, nobody map[string]bool
	liveOnce                   map[string]bool
	codes, refresh             map[string]string // what is spent, and what it gave
	spent                      map[string]bool   // refresh tokens that have been used
}

func (k *known) learn(said []fact) {
	if k.live == nil {
		k.live, k.dead, k.people, k.nobody = map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
		k.liveOnce = map[string]bool{}
		k.codes, k.refresh, k.spent = map[string]string{}, map[string]string{}, map[string]bool{}
	}
	for _, words := range said {
		switch what := words[1]; words[0] {
		case "live":
			k.live[what] = true
		case "live-once":
			k.liveOnce[what] = true
		case "ending": // nothing is known of it until it is said to have ended
			delete(k.live, what)
			delete(k.people, what)
			k.spent[what] = true
		case "dead":
			k.dead[what] = true
		case "person":
			k.people[what] = true
		case "no-person":
			k.nobody[what] = true
		case "spent-code":
			k.codes[what] = words[2]
		case "spent-refresh":
			k.refresh[what] = words[2]
		}
	}
}

// check looks whether all that is known holds. What it uses up it forgets.
func (k *known) check(t *testing.T, h *house) {
	t.Helper()
	k.checkTokens(t, h)
	for id := range k.people {
		if err := h.view(func(r *store.Records) error { _, err := r.User(id); return err }); err != nil {
			t.Errorf("the person %s: %v", id, err)
		}
	}
	for id := range k.nobody {
		if err := h.view(func(r *store.Records) error { _, err := r.User(id); return err }); err == nil {
			t.Errorf("the deleted person %s is there", id)
		}
	}
	ended := map[string]bool{} // refresh tokens whose families the checks below have ended
	for old, next := range k.refresh {
		if ended[old] || ended[next] {
			ended[next] = true
			continue
		}
		if _, err := h.refresh(old); err == nil {
			t.Errorf("a refresh token is good twice: %s", old)
		}
		ended[next] = true // its use was that of a thief
	}
	for code, refresh := range k.codes {
		if _, ok := k.refresh[refresh]; !ok && !k.spent[refresh] && !ended[refresh] {
			if _, err := h.refresh(refresh); err != nil {
				t.Errorf("a refresh token is forgotten: %s: %v", refresh, err)
			}
		}
		if _, err := h.redeem(code); err == nil {
			t.Errorf("a code is good twice: %s", code)
		}
	}
	clear(k.refresh)
	clear(k.codes)
	clear(k.spent)
}

// sample is how many tokens of each kind a round asks about.
const sample = 300

func (k *known) checkTokens(t *testing.T, h *house) {
	t.Helper()
	for _, c := range []struct {
		tokens map[string]bool
		want   bool
	}{{k.live, true}, {k.liveOnce, true}, {k.dead, false}} {
		asked := 0
		for token := range c.tokens { // in random order
			active, err := h.active(token)
			if err != nil || active != c.want {
				t.Errorf("the token %s is active: %v, %v; want %v", token, active, err, c.want)
			}
			if asked++; asked > sample {
				break
			}
		}
	}
	clear(k.liveOnce)
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

func unexpected(status int, body []byte) error {
	if status == http.StatusOK {
		return nil
	}
	return fmt.Errorf("%d %s", status, slices.Clip(body))
}
