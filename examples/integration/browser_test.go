package integration

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// A real browser, for the few journeys that are worth its time.

const browserPatience = time.Minute // for one page to come

// screenshots names a folder for pictures of the pages that the tests visit. They are for people to look at.
var screenshots = os.Getenv("IDBROKER_SCREENSHOTS")

// startChromium starts a private Chromium, with further flags if there are any, and returns the context in which [openTab] opens windows of it.
func startChromium(t *testing.T, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(requireProgram(t, "chromium", "chromium-browser", "google-chrome", "chrome")),
		chromedp.NoSandbox, // which needs what containers do not give; all it shows are our own pages
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("lang", "en"),
		chromedp.WSURLReadTimeout(peerStart),
	)
	ctx, stop := chromedp.NewExecAllocator(t.Context(), append(options, more...)...)
	t.Cleanup(stop)
	ctx, _ = chromedp.NewContext(ctx)
	t.Cleanup(func() {
		// The test's own context has ended by now, and the browser with it: this waits until its folder is gone.
		_ = chromedp.Cancel(ctx)
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return ctx
}

// A window is how somebody looks at pages.
type window struct {
	width    int64
	dark     bool
	noScript bool
}

func (w window) String() string {
	name := fmt.Sprintf("%d", w.width)
	if w.dark {
		name += "-dark"
	} else {
		name += "-light"
	}
	if w.noScript {
		name += "-noscript"
	}
	return name
}

// A tab is one window with cookies of its own. It is for one goroutine at a time.
type tab struct {
	t    *testing.T
	ctx  context.Context
	look window

	mu       sync.Mutex
	messages []string // errors and warnings of the console
}

// openTab opens a tab that closes when the test ends.
func openTab(t *testing.T, browser context.Context, look window) *tab {
	t.Helper()
	b := &tab{t: t, look: look}
	ctx, closeTab := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(closeTab)
	b.ctx = ctx
	b.do("open a tab", chromedp.EmulateViewport(look.width, 800))
	b.listen()
	scheme := "light"
	if look.dark {
		scheme = "dark"
	}
	_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		t.Fatalf("choose %s: %v", scheme, err)
	}
	_, err = chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: look.noScript})
	if err != nil {
		t.Fatalf("switch scripts: %v", err)
	}
	return b
}

// listen notes what the console says: violations of a Content-Security-Policy, failed requests, exceptions.
func (b *tab) listen() {
	console := chromedp.Console(b.ctx)
	go func() {
		for m, err := range console {
			if err != nil {
				return
			}
			if m.Type == "error" || m.Type == "warning" || m.IsException() {
				b.mu.Lock()
				b.messages = append(b.messages, fmt.Sprintf("%s: %s (%s)", m.Type, m.Text, m.URL))
				b.mu.Unlock()
			}
		}
	}()
}

// said returns what the console has said since it was asked last.
func (b *tab) said() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	said := b.messages
	b.messages = nil
	return said
}

func (b *tab) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	// The first use of a tab must have no deadline of its own: the tab would end with it.
	if err := chromedp.Do(b.ctx); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
	ctx, cancel := context.WithTimeout(b.ctx, browserPatience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.shot("failed")
		body, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("location.href + '\\n' + document.body.innerText"))
		b.t.Fatalf("%s: %v; the page is\n%s", what, err, body)
	}
}

func evaluate[T any](b *tab, expression string) T {
	b.t.Helper()
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatalf("evaluate %s: %v", expression, err)
	}
	return got
}

func (b *tab) open(url string) {
	b.t.Helper()
	b.do("open "+url, chromedp.Navigate(url))
}

// click clicks the first link or button that shows text.
func (b *tab) click(text string) {
	b.t.Helper()
	b.do("click "+text, chromedp.Click(chromedp.Search(fmt.Sprintf(
		`//a[contains(normalize-space(.), %[1]q)] | //button[contains(normalize-space(.), %[1]q)]`, text))))
}

// see waits until the page shows text in an element, whole but for blanks.
func (b *tab) see(text string) {
	b.t.Helper()
	b.do("see "+text, chromedp.WaitVisible(chromedp.Search(fmt.Sprintf(`//body//*[normalize-space(.) = %q]`, text))))
}

// press presses a key.
func (b *tab) press(key string) {
	b.t.Helper()
	b.do("press a key", chromedp.KeyEvent(key))
}

// shot saves a picture of the whole page where somebody wants one.
func (b *tab) shot(name string) {
	b.t.Helper()
	if screenshots == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Errorf("screenshot %s: %v", name, err)
		return
	}
	file := strings.ReplaceAll(fmt.Sprintf("%s-%s.png", name, b.look), " ", "-")
	if err := os.WriteFile(filepath.Join(screenshots, file), png, 0o600); err != nil {
		b.t.Error(err)
	}
}

// wantFit fails the test if the page is wider than its window.
func (b *tab) wantFit(name string) {
	b.t.Helper()
	if width := evaluate[int64](b, "document.documentElement.scrollWidth"); width > b.look.width {
		b.t.Errorf("%s is %d wide in a window of %d", name, width, b.look.width)
	}
}
