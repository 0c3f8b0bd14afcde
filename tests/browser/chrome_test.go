package browser

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/oauth2-passport/caddy-passport/tests/internal/gateway"
	"github.com/oauth2-passport/caddy-passport/tests/internal/npm"
)

// patience is how long something may take on a busy machine.
const patience = 90 * time.Second

// chrome is a browser that a person sits at. It knows a page by what stands on it: labels, buttons, headings.
type chrome struct {
	*testing.T
	ctx context.Context
	axe string // the source of axe-core

	mu    sync.Mutex
	asked map[string]bool  // the addresses that it has asked for
	hosts map[string]bool  // where those are
	sizes map[string]int64 // bytes of each address, as they came
	named map[network.RequestID]string
}

// newChrome starts a Chromium with a profile of its own.
func newChrome(t *testing.T, options ...chromedp.ExecAllocatorOption) *chrome {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v: on Debian, apt-get install chromium", err)
	}
	axe, err := os.ReadFile(filepath.Join(npm.Install(t, "browser"), "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	options = append([]chromedp.ExecAllocatorOption{
		chromedp.Headless, chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("lang", "en-US"), chromedp.Flag("accept-lang", "en-US"),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("force-prefers-reduced-motion", true), // or a page still scrolls when it is clicked
	}, options...)
	// Not the test's context: the browser has to end before the test does, which the cancel function waits for.
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	c := &chrome{
		T: t, axe: string(axe), asked: map[string]bool{}, hosts: map[string]bool{}, sizes: map[string]int64{},
		named: map[network.RequestID]string{},
	}
	c.ctx, cancel = chromedp.NewContext(allocator, chromedp.WithListener(c.record))
	t.Cleanup(cancel)
	if err := chromedp.Do(c.ctx, call(network.Enable, network.EnableParams{})); err != nil {
		t.Fatal(err)
	}
	return c
}

// record notes where requests go, and how much comes back.
func (c *chrome) record(event any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch event := event.(type) {
	case *network.EventRequestWillBeSent:
		c.named[event.RequestID], c.asked[event.Request.URL] = event.Request.URL, true
		if u, err := url.Parse(event.Request.URL); err == nil && u.Host != "" {
			c.hosts[u.Host] = true
		}
	case *network.EventLoadingFinished:
		name := c.named[event.RequestID]
		c.sizes[name] = max(c.sizes[name], int64(event.EncodedDataLength)) // what is in the cache comes again as nothing
	}
}

// run does actions within patience.
func (c *chrome) run(what string, actions ...chromedp.Action[chromedp.Void]) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		c.Fatalf("%s: %v\n%s", what, err, c.text())
	}
}

func (c *chrome) open(address string) {
	c.Helper()
	c.run("opening "+address, chromedp.Navigate(address))
}

// text is what can be read on the page.
func (c *chrome) text() string {
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body ? document.body.innerText : ""`))
	if err != nil {
		return "(" + err.Error() + ")"
	}
	return text
}

func (c *chrome) address() string {
	c.Helper()
	return ask(c, "the address", chromedp.Location())
}

// ask runs an action that answers something, within patience.
func ask[A any](c *chrome, what string, action chromedp.Action[A]) A {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	answer, err := chromedp.Run(ctx, action)
	if err != nil {
		c.Fatalf("%s: %v\n%s", what, err, c.text())
	}
	return answer
}

// call sends a command of the protocol.
func call[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, command, params)
		return err
	})
}

// sees waits until the page says something.
func (c *chrome) sees(words string) {
	c.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if strings.Contains(c.text(), words) {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("%q does not come; the page at %s says:\n%s", words, c.address(), c.text())
		}
	}
}

// goesTo waits until the browser asks for an address, be there anything or not.
func (c *chrome) goesTo(address string) {
	c.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c.mu.Lock()
		asked := c.asked[address]
		c.mu.Unlock()
		if asked {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("the browser does not go to %s; the page at %s says:\n%s", address, c.address(), c.text())
		}
	}
}

// labelled is the field with that label, whether the label names it or holds it.
func labelled(label string) string {
	return fmt.Sprintf(`//*[@id=//label[normalize-space()=%q]/@for] | //label[normalize-space()=%q]//input`, label, label)
}

func button(name string) string { return fmt.Sprintf(`//button[normalize-space()=%q]`, name) }

// types fills the field with that label.
func (c *chrome) types(label, text string) {
	c.Helper()
	c.run("typing into "+label, chromedp.WaitVisible(labelled(label)),
		chromedp.Clear(labelled(label)), chromedp.SendKeys(labelled(label), text))
}

// presses clicks the button of that name, the first of them.
func (c *chrome) presses(name string) {
	c.Helper()
	c.run("pressing "+name, chromedp.WaitVisible(button(name)), chromedp.Click(button(name)))
}

// follows clicks the link of those words, the first of them.
func (c *chrome) follows(words string) {
	c.Helper()
	link := fmt.Sprintf(`//a[normalize-space()=%q]`, words)
	c.run("following "+words, chromedp.WaitVisible(link), chromedp.Click(link))
}

// ticks clicks a checkbox, and sees that it is ticked.
func (c *chrome) ticks(box string) {
	c.Helper()
	c.run("ticking "+box, chromedp.WaitVisible(box), chromedp.Click(box))
	ticked := fmt.Sprintf(`document.evaluate(%q, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE, null)`+
		`.singleNodeValue.checked`, box)
	for deadline := time.Now().Add(patience); !ask(c, "the box", chromedp.Evaluate[bool](ticked)); {
		if time.Now().After(deadline) {
			c.Fatalf("%s is not ticked", box)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// signsIn fills the sign-in form, and sends it by the Enter key.
func (c *chrome) signsIn(username, password string) {
	c.Helper()
	c.types("Username or email", username)
	c.types("Password", password+"\r")
}

// size is that of a screen.
type size struct {
	name          string
	width, height int64
}

var (
	schemes = []string{"light", "dark"}
	screens = []size{{"wide", 1280, 900}, {"narrow", 375, 740}}
)

// look takes pictures of the page, light and dark, wide and narrow, and lets axe-core look for barriers in each.
func (c *chrome) look(name string) {
	c.Helper()
	dir := filepath.Join(gateway.Root(c), ".cache", "screenshots")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		c.Fatal(err)
	}
	for _, scheme := range schemes {
		for _, screen := range screens {
			c.run("looking at "+name,
				call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
				}),
				chromedp.EmulateViewport(screen.width, screen.height))
			overflow := ask(c, "the width", chromedp.Evaluate[int](`document.documentElement.scrollWidth - window.innerWidth`))
			picture := ask(c, "a picture", chromedp.FullScreenshot(100))
			variant := fmt.Sprintf("%s-%s-%s", name, scheme, screen.name)
			if overflow > 0 {
				c.Errorf("%s: the page is %d pixels wider than the screen", variant, overflow)
			}
			if err := os.WriteFile(filepath.Join(dir, variant+".png"), picture, 0o644); err != nil {
				c.Fatal(err)
			}
			c.barriers(variant)
		}
	}
	c.run("putting the screen back", chromedp.ResetViewport(),
		call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{}))
}

// violation is what axe-core tells of a barrier.
type violation struct {
	ID    string `json:"id"`
	Help  string `json:"help"`
	Nodes []struct {
		HTML    string `json:"html"`
		Summary string `json:"failureSummary"`
	} `json:"nodes"`
}

// barriers fails the test for each violation that axe-core finds.
func (c *chrome) barriers(variant string) {
	c.Helper()
	c.run("axe-core on "+variant, chromedp.Evaluate[chromedp.Void](c.axe+"; 0"))
	violations := ask(c, "axe-core on "+variant, chromedp.Evaluate[[]violation](
		`axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations)`, chromedp.EvalAwaitPromise))
	for _, v := range violations {
		for _, node := range v.Nodes {
			c.Errorf("%s: %s: %s\n%s\n%s", variant, v.ID, v.Help, node.HTML, node.Summary)
		}
	}
}

// weighs holds each page that was asked for, with all that belongs to it, against the bound of a page, and every host
// against the origins allowed.
func (c *chrome) weighs(limit int64, origins ...string) {
	c.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for host := range c.hosts {
		if !slices.ContainsFunc(origins, func(origin string) bool { return strings.HasSuffix(origin, "://"+host) }) {
			c.Errorf("the pages have sent requests to %s", host)
		}
	}
	var all int64
	for address, n := range c.sizes {
		if strings.Contains(address, "/assets/") {
			all += n
		}
	}
	for address, n := range c.sizes {
		if !strings.Contains(address, "/assets/") && n+all > limit {
			c.Errorf("%s has %d bytes with all that belongs to it", address, n+all)
		}
	}
	if all == 0 {
		c.Error("no style sheet has come")
	}
}
