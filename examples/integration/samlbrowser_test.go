package integration

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/broker/brokertest"
	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/providertest"
	"github.com/go-idbroker/idbroker/provider/saml"
	"github.com/go-idbroker/idbroker/store/memstore"
)

// The answer of a SAML identity provider is a POST from another site: browsers send no cookie with it that is SameSite=Lax.

// startSAMLSite serves a host at https://localhost, and its identity provider at another site, http://127.0.0.1. The page
// /frames there shows a frame of the host, and framed gets to know whether that could keep a cookie.
func startSAMLSite(t *testing.T, binding saml.Binding) (origin string, idp *providertest.SAML, framed <-chan bool) {
	t.Helper()
	host, upstream := httptest.NewUnstartedServer(nil), httptest.NewUnstartedServer(nil)
	_, port, err := net.SplitHostPort(host.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	origin = "https://localhost:" + port
	home := "http://" + upstream.Listener.Addr().String()
	key, acs := newSAMLKey(t, nil), brokertest.CallbackURL(origin+"/id", "acme")
	idp, err = providertest.NewSAML(providertest.SAMLConfig{URL: home, Name: "Acme", Providers: []providertest.SAMLServiceProvider{{
		EntityID: origin, ACS: []string{acs}, Logout: acs + "/logout", LogoutByPost: true,
		Certificates: []*x509.Certificate{key.Certificate}, EncryptTo: key.Certificate,
	}}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(broker.Config{
		BaseURL: origin + "/id", Secrets: [][]byte{[]byte("0123456789abcdef0123456789abcdef")}, Store: memstore.New(),
		Providers: []broker.Provider{{Alias: "acme", Name: "Acme", Logout: provider.LogoutPerform, IdP: newSAML(t, saml.Config{
			EntityID: origin, MetadataURL: idp.EntityID(), SigningKeys: []saml.Key{key}, DecryptionKeys: []saml.Key{key},
			RequestBinding: binding, InsecureAllowHTTP: true, InsecureAllowPrivateNetworks: true,
		})}},
	})
	if err != nil {
		t.Fatal(err)
	}
	page := func(w http.ResponseWriter, text string) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><html lang="en"><title>x</title><link rel="icon" href="data:,">%s`, text)
	}
	app := http.NewServeMux()
	app.Handle("/id/", b)
	app.Handle("/", b.RequireLogin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _ := broker.UserFrom(r.Context())
		page(w, `<p>`+user.Name+` at `+r.URL.Path+`</p><a href="/id/logout">Sign out</a>`)
	})))
	kept := make(chan bool, 8)
	app.HandleFunc("/frame", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			_, err := r.Cookie("frame")
			kept <- err == nil
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "frame", Value: "1", Secure: true, SameSite: http.SameSiteNoneMode})
		http.Redirect(w, r, "/frame?again", http.StatusSeeOther)
	})
	theirs := http.NewServeMux()
	theirs.Handle("/", idp)
	theirs.HandleFunc("/frames", func(w http.ResponseWriter, _ *http.Request) { page(w, `<iframe src="`+origin+`/frame"></iframe>`) })
	host.Config.Handler, upstream.Config.Handler = app, theirs
	host.StartTLS()
	upstream.Start()
	t.Cleanup(host.Close)
	t.Cleanup(upstream.Close)
	return origin, idp, kept
}

// another opens a second tab with the same cookies.
func (b *tab) another() *tab {
	b.t.Helper()
	ctx, closeTab := chromedp.NewContext(b.ctx)
	b.t.Cleanup(closeTab)
	return &tab{t: b.t, ctx: ctx, look: b.look}
}

func TestSAMLFromAnotherSiteInChromium(t *testing.T) {
	t.Parallel()
	// Nobody has issued the certificate.
	browser := startChromium(t, chromedp.Flag("ignore-certificate-errors", true), chromedp.Flag("test-third-party-cookie-phaseout", true))
	for name, row := range map[string]struct {
		binding saml.Binding
		look    window
	}{
		"redirect": {saml.HTTPRedirect, window{width: 1280}},
		"post":     {saml.HTTPPost, window{width: 360}},
	} {
		t.Run(name, func(t *testing.T) {
			origin, idp, framed := startSAMLSite(t, row.binding)
			first := openTab(t, browser, row.look)
			first.open(strings.TrimSuffix(idp.EntityID(), "/metadata") + "/frames")
			if <-framed {
				t.Error("third-party cookies are not blocked")
			}
			second := first.another()

			// Two logins at the same time, the later one first.
			first.open(origin + "/one")
			first.click("Acme")
			first.see("Who are you?")
			second.open(origin + "/two")
			second.click("Acme")
			second.see("Who are you?")
			second.click("Alice Liddell")
			second.see("Alice Liddell at /two")
			first.click("Alice Liddell")
			first.see("Alice Liddell at /one")

			// Out here, which ends it there by a form and comes back by one.
			first.click("Sign out")
			first.click("Sign out")
			first.see("You are signed out")
			second.open(origin + "/two")
			second.click("Acme")
			second.see("Who are you?") // there, too
			second.click("Alice Liddell")
			second.see("Alice Liddell at /two")

			// Out there.
			second.open(idp.LogoutURL())
			second.see("You are signed out")
			first.open(origin + "/three")
			first.see("Continue with Acme")
		})
	}
}
