package saml_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/beevik/etree"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/saml"
)

// transport answers nothing and keeps whom it was to ask.
type transport struct{ asked []string }

func (tr *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	tr.asked = append(tr.asked, r.URL.String())
	return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody, Request: r}, nil
}

// Each address of the metadata is used for what it is for, until the configuration has another one.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	resolution := func(at, attrs string) string {
		return `<md:ArtifactResolutionService index="0" Binding="urn:oasis:names:tc:SAML:2.0:bindings:SOAP" Location="` + at + `"` + attrs + `/>`
	}
	slo := `<md:SingleLogoutService Binding="` + string(saml.HTTPPost) + `" Location="https://idp.example/out" ResponseLocation="https://idp.example/out/done"/>`
	metadata := descriptor{
		more: resolution("https://idp.example/first", "") + resolution("https://idp.example/default", ` isDefault="true"`) +
			resolution("https://idp.example/last", "") + slo,
	}.String()
	for _, test := range []struct {
		name                         string
		edit                         func(*saml.Config)
		login, out, answer, artifact string
	}{
		{"of the metadata", func(*saml.Config) {},
			ssoURL, "https://idp.example/out", "https://idp.example/out/done", "https://idp.example/default"},
		{"by the binding that is configured", func(c *saml.Config) { c.LogoutBinding = saml.HTTPRedirect },
			ssoURL, sloURL, sloURL, "https://idp.example/default"},
		{"single sign-on", func(c *saml.Config) { c.Endpoints.SingleSignOn = "https://own.example/in" },
			"https://own.example/in", "https://idp.example/out", "https://idp.example/out/done", "https://idp.example/default"},
		{"single logout", func(c *saml.Config) { c.Endpoints.SingleLogout = "https://own.example/out" },
			ssoURL, "https://own.example/out", "https://own.example/out", "https://idp.example/default"},
		{"answers to logout", func(c *saml.Config) { c.Endpoints.LogoutResponse = "https://own.example/done" },
			ssoURL, "https://idp.example/out", "https://own.example/done", "https://idp.example/default"},
		{"both of logout", func(c *saml.Config) {
			c.Endpoints.SingleLogout, c.Endpoints.LogoutResponse = "https://own.example/out", "https://own.example/done"
		}, ssoURL, "https://own.example/out", "https://own.example/done", "https://idp.example/default"},
		{"artifacts", func(c *saml.Config) { c.Endpoints.ArtifactResolution = "https://own.example/artifacts" },
			ssoURL, "https://idp.example/out", "https://idp.example/out/done", "https://own.example/artifacts"},
	} {
		asked := &transport{}
		cfg := byMetadata(metadata)
		cfg.SigningKeys, cfg.LogoutBinding, cfg.ResponseBinding = []saml.Key{spKey()}, saml.HTTPPost, saml.HTTPArtifact
		cfg.HTTPClient = &http.Client{Transport: asked}
		test.edit(&cfg)
		p := newProvider(t, cfg)
		in, _ := beginRequest(t, p, provider.Request{})
		out, err := p.BeginLogout(t.Context(), provider.LogoutRequest{Subject: "alice"})
		must(err)
		answer, err := p.AnswerLogout(t.Context(), &provider.Logout{ID: "_l"}, true)
		must(err)
		_, err = p.Finish(t.Context(), provider.Callback{URL: acs, Data: in.Data, Params: url.Values{"SAMLart": {artifact(idpEntity, 4)}}})
		wantKind(t, err, provider.Misconfigured)
		for what, pair := range map[string][2]string{
			"login":    {in.URL, test.login},
			"logout":   {out.URL, test.out},
			"answer":   {answer.URL, test.answer},
			"artifact": {strings.Join(asked.asked, " "), test.artifact},
		} {
			if at, _, _ := strings.Cut(pair[0], "?"); at != pair[1] {
				t.Errorf("%s: %s goes to %q, want %q", test.name, what, at, pair[1])
			}
		}
	}
}

// Of several ends and durations the soonest counts, wherever they stand; and nothing has metadata fetched more often than every five
// minutes.
func TestMetadataSoonest(t *testing.T) {
	t.Parallel()
	end := func(d time.Duration) string { return ` validUntil="` + stamp(epoch.Add(d)) + `"` }
	for name, metadata := range map[string]string{
		"of the group":  group(end(time.Hour), descriptor{attrs: end(2 * time.Hour), role: end(3 * time.Hour)}.String()),
		"of the entity": group(end(2*time.Hour), descriptor{attrs: end(time.Hour), role: end(3 * time.Hour)}.String()),
		"of the role":   group(end(2*time.Hour), descriptor{attrs: end(3 * time.Hour), role: end(time.Hour)}.String()),
	} {
		w := newWire(t, metadata)
		p := newProvider(t, w.config())
		if err := w.login(t, p, idpKey()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w.set("")
		w.advance(59 * time.Minute)
		if err := w.login(t, p, idpKey()); err != nil {
			t.Errorf("%s, before the end: %v", name, err)
		}
		w.advance(time.Minute)
		wantKind(t, w.login(t, p, idpKey()), provider.Unavailable)
	}
	for name, row := range map[string]struct {
		metadata string
		stale    time.Duration // from when on it is fetched before a login
	}{
		"of the group":       {group(` cacheDuration="PT1H30M"`, descriptor{attrs: ` cacheDuration="PT2H"`, role: ` cacheDuration="PT3H"`}.String()), 90 * time.Minute},
		"of the role":        {group(` cacheDuration="PT3H"`, descriptor{attrs: ` cacheDuration="PT2H"`, role: ` cacheDuration="PT1H30M"`}.String()), 90 * time.Minute},
		"longer than it may": {descriptor{attrs: ` cacheDuration="P1D"`}.String(), 6 * time.Hour},
		"a second":           {descriptor{attrs: ` cacheDuration="PT1S"`}.String(), 5 * time.Minute},
		"half its validity":  {descriptor{attrs: end(2 * time.Hour)}.String(), time.Hour},
	} {
		w := newWire(t, row.metadata)
		p := newProvider(t, w.config())
		if err := w.login(t, p, idpKey()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		w.advance(row.stale*3/4 - time.Second)
		if err := w.login(t, p, idpKey()); err != nil || w.asked.Load() != 1 {
			t.Errorf("%s: in its first three quarters: %v, fetched %d times", name, err, w.asked.Load())
		}
		w.advance(row.stale/4 + 2*time.Second)
		if err := w.login(t, p, idpKey()); err != nil || w.asked.Load() != 2 {
			t.Errorf("%s: past its time: %v, fetched %d times", name, err, w.asked.Load())
		}
	}
}

// Only a signature by an unknown key has metadata fetched again: whatever else is wrong with an answer costs the provider nothing.
func TestMetadataNotForEveryError(t *testing.T) {
	t.Parallel()
	w := newWire(t, descriptor{}.String())
	p := newProvider(t, w.config())
	data, id := begin(t, p, provider.Request{})
	w.advance(5 * time.Minute)
	for name, edit := range map[string]func(*forge){
		"unsigned": func(f *forge) { f.signed = "" },
		"for another": func(f *forge) {
			f.edit = func(r *etree.Element) { find(t, r, ".//saml:Audience").SetText("https://other.example") }
		},
		"another answer": func(f *forge) { f.request = "_x" },
	} {
		f := newForge(id)
		f.at = *w.now.Load()
		edit(f)
		_, err := finish(t, p, data, f.response(t))
		wantKind(t, err, provider.Invalid)
		if n := w.asked.Load(); n != 1 {
			t.Fatalf("%s: metadata was fetched %d times, want once", name, n)
		}
	}
}
