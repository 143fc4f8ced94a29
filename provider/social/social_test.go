package social_test

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider"
	"github.com/go-idbroker/idbroker/provider/social"
)

const tenant = "11111111-2222-3333-4444-555555555555"

// A preset is what both kinds of vendors have.
type preset interface {
	provider.IdentityProvider
	provider.Branded
	provider.Trusted
	Check() error
	Insecure() []string
}

// presets are the constructors by their names.
func presets(t testing.TB, o social.Options) map[string]preset {
	return map[string]preset{
		"Amazon":        social.Amazon("client", "secret").With(o),
		"Apple":         social.Apple("com.example.web", appleKey(t)).With(o),
		"Auth0":         social.Auth0("example.eu.auth0.com", "client", "secret").With(o),
		"Bitbucket":     social.Bitbucket("client", "secret").With(o),
		"Discord":       social.Discord("client", "secret").With(o),
		"Facebook":      social.Facebook("client", "secret").With(o),
		"GitHub":        social.GitHub("client", "secret").With(o),
		"GitLab":        social.GitLab("client", "secret").With(o),
		"Google":        social.Google("client", "secret").With(o),
		"Kakao":         social.Kakao("client", "secret").With(o),
		"Keycloak":      social.Keycloak("https://sso.example.com", "staff", "client", "secret").With(o),
		"LINE":          social.LINE("client", "0123456789abcdef0123456789abcdef").With(o),
		"LinkedIn":      social.LinkedIn("client", "secret").With(o),
		"Microsoft":     social.Microsoft("client", "secret", tenant).With(o),
		"Okta":          social.Okta("example.okta.com", "client", "secret").With(o),
		"PayPal":        social.PayPal("client", "secret").With(o),
		"Salesforce":    social.Salesforce("client", "secret").With(o),
		"Slack":         social.Slack("client", "secret").With(o),
		"Spotify":       social.Spotify("client", "secret").With(o),
		"StackOverflow": social.StackOverflow("client", "secret", "key").With(o),
		"Twitch":        social.Twitch("client", "secret").With(o),
		"X":             social.X("client", "secret").With(o),
		"Yandex":        social.Yandex("client", "secret").With(o),
	}
}

func appleKey(t testing.TB) social.AppleKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return social.AppleKey{TeamID: "TEAM123456", ID: "KEY1234567", PEM: pkcs8(t, private)}
}

func pkcs8(t testing.TB, private any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// constructors reads the source for what makes a vendor.
func constructors(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.IsExported() {
				docs[f.Name.Name] = f.Doc.Text()
			}
		}
	}
	return docs
}

func TestEveryConstructorIsTriedAndDocumented(t *testing.T) {
	t.Parallel()
	all := presets(t, social.Options{})
	docs := constructors(t)
	if len(docs) != len(all) {
		t.Errorf("%d constructors, of which %d are tried here", len(docs), len(all))
	}
	for name, doc := range docs {
		if all[name] == nil {
			t.Errorf("%s is not tried here", name)
		}
		for _, want := range []string{"\n 1. ", "\n 2. ", "\n 3. ", "\n 4. ", "\n 5. ", "{BaseURL}/broker/{alias}/endpoint",
			"looked up in 2026-11", "The subject is ", "e-mail address", "Scopes:"} {
			if !strings.Contains(doc, want) {
				t.Errorf("the comment of %s lacks %q", name, want)
			}
		}
		if strings.Contains(doc, "\n 6. ") {
			t.Errorf("the comment of %s has more than five steps", name)
		}
	}
}

// Who looks for a vendor that Keycloak has and this package has not finds it named, and what to do instead.
func TestWhatIsLeftOutIsSaid(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "social.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	all := constructors(t)
	for _, name := range []string{"Instagram", "OpenShift", "OAuth 1.0a"} {
		if _, there := all[name]; there == strings.Contains(file.Doc.Text(), name) {
			t.Errorf("%s: is here %v, and the package comment says that it is left out: %v", name, there, !there)
		}
	}
}

func TestPresets(t *testing.T) {
	t.Parallel()
	names := map[string]string{}
	for name, p := range presets(t, social.Options{}) {
		if err := p.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		brand := p.Brand()
		if brand.Name == "" || names[brand.Name] != "" {
			t.Errorf("%s: the name %q is missing or also that of %s", name, brand.Name, names[brand.Name])
		}
		names[brand.Name] = name
		checkSVG(t, name, brand.Icon)
		if trust := p.Trust(); !strings.HasPrefix(trust.Issuer, "https://") {
			t.Errorf("%s: issuer %q", name, trust.Issuer)
		}
	}
}

// checkSVG wants an image that does nothing.
func checkSVG(t *testing.T, name string, icon []byte) {
	t.Helper()
	if len(icon) > 1<<10 {
		t.Errorf("%s: the icon has %d bytes", name, len(icon))
	}
	allowed := regexp.MustCompile(`^(svg|rect|path|circle|text)$`)
	elements := 0
	for d := xml.NewDecoder(strings.NewReader(string(icon))); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%s: icon: %v", name, err)
		}
		if e, ok := tok.(xml.StartElement); ok {
			elements++
			if !allowed.MatchString(e.Name.Local) {
				t.Errorf("%s: the icon has a %q", name, e.Name.Local)
			}
			for _, a := range e.Attr {
				if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "href" || strings.Contains(a.Value, "url(") {
					t.Errorf("%s: the icon has %s=%q", name, a.Name.Local, a.Value)
				}
			}
		}
	}
	if elements < 2 {
		t.Errorf("%s: the icon shows nothing", name)
	}
}

// No constructor and no option does I/O.
func TestNoIO(t *testing.T) {
	t.Parallel()
	client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		t.Errorf("request to %s", r.URL.Host)
		return nil, errors.New("no")
	})}
	for name, p := range presets(t, social.Options{HTTPClient: client}) {
		if err := p.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		p.Brand()
		p.Trust()
		p.Insecure()
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip calls f.
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What is wrong is said by Check, and whoever does not ask gets no panic.
func TestMistakes(t *testing.T) {
	t.Parallel()
	key := appleKey(t)
	_, edwards, err1 := ed25519.GenerateKey(rand.Reader)
	rsaKey, err2 := rsa.GenerateKey(rand.Reader, 2048)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name string
		p    preset
		want string
	}{
		{"no id", social.Google("", "secret"), "ClientID is missing"},
		{"no secret", social.GitHub("client", ""), "ClientSecret"},
		{"foreign option", social.GitHub("client", "secret").With(social.Options{HostedDomains: []string{"*"}}), "HostedDomains: this vendor"},
		{"max_age where there are no ID tokens", social.GitHub("client", "secret").With(social.Options{ForwardMaxAge: true}),
			"ForwardMaxAge: this vendor"},
		{"a clock where there are no ID tokens", social.GitHub("client", "secret").With(social.Options{ClockSkew: 1}), "ClockSkew: this vendor"},
		{"a long skew", social.Google("client", "secret").With(social.Options{ClockSkew: time.Hour}), "ClockSkew"},
		{"exchange where there are no ID tokens", social.GitHub("client", "secret").With(social.Options{ExchangeAudiences: []string{"app"}}),
			"ExchangeAudiences: this vendor"},
		{"no hosted domain", social.Google("client", "secret").With(social.Options{HostedDomains: []string{}}), "HostedDomains"},
		{"empty hosted domain", social.Google("client", "secret").With(social.Options{HostedDomains: []string{"a.example", ""}}), "HostedDomains"},
		{"base without TLS", social.GitHub("client", "secret").With(social.Options{BaseURL: "http://git.example.com"}), "is not an https address"},
		{"base without a host", social.GitHub("client", "secret").With(social.Options{BaseURL: "git.example.com"}), "is not an https address"},
		{"base with a user", social.GitHub("client", "secret").With(social.Options{BaseURL: "https://a:b@git.example.com"}), "is not an https address"},
		{"no tenant", social.Microsoft("client", "secret"), "Tenants"},
		{"a tenant by name", social.Microsoft("client", "secret", "contoso.example"), "is not the id of a tenant"},
		{"a placeholder as a tenant", social.Microsoft("client", "secret", "{tenantid}"), "is not the id of a tenant"},
		{"common as a tenant", social.Microsoft("client", "secret", "common"), "is not the id of a tenant"},
		{"one of two tenants by name", social.Microsoft("client", "secret", tenant, "contoso.example"), "is not the id of a tenant"},
		{"any tenant and one", social.Microsoft("client", "secret", tenant).With(social.Options{InsecureAllowAnyTenant: true}), "InsecureAllowAnyTenant"},
		{"no realm", social.Keycloak("https://sso.example.com", "", "client", "secret"), "realm"},
		{"a realm with a path", social.Keycloak("https://sso.example.com", "../admin", "client", "secret"), "realm"},
		{"no base", social.Keycloak("", "staff", "client", "secret"), "base"},
		{"a base with a query", social.GitLab("client", "secret").With(social.Options{BaseURL: "https://git.example.com?x"}), "is not an https address"},
		{"no domain", social.Okta("", "client", "secret"), "domain: is missing"},
		{"no domain of Auth0", social.Auth0("", "client", "secret"), "domain: is missing"},
		{"a domain without TLS", social.Auth0("http://a.example", "client", "secret"), "Issuer"},
		{"sandbox of a domain", social.Salesforce("client", "secret").With(social.Options{Sandbox: true, BaseURL: "https://a.example"}), "Sandbox"},
		{"short LINE secret", social.LINE("client", "short"), "32 bytes"},
		{"no Stack Apps key", social.StackOverflow("client", "secret", ""), "key"},
		{"no key", social.Apple("client", social.AppleKey{TeamID: "T", ID: "K"}), "PEM"},
		{"no team", social.Apple("client", social.AppleKey{ID: "K", PEM: key.PEM}), "TeamID"},
		{"no id", social.Apple("client", social.AppleKey{TeamID: "T", PEM: key.PEM}), "ID is missing"},
		{"another kind of key", social.Apple("client", social.AppleKey{TeamID: "T", ID: "K", PEM: pkcs8(t, edwards)}), "does not fit"},
		{"an RSA key", social.Apple("client", social.AppleKey{TeamID: "T", ID: "K", PEM: pkcs8(t, rsaKey)}), "does not fit"},
		{"another format", social.Apple("client", social.AppleKey{TeamID: "T", ID: "K",
			PEM: bytes.ReplaceAll(key.PEM, []byte("PRIVATE"), []byte("EC PRIVATE"))}), "PEM"},
		{"two keys", social.Apple("client", social.AppleKey{TeamID: "T", ID: "K", PEM: slices.Concat(key.PEM, key.PEM)}), "PEM"},
		{"bad essential value", social.Google("client", "secret").With(social.Options{EssentialClaim: "hd", EssentialValue: "("}), "EssentialValue"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if err := row.p.Check(); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("Check() = %v, want it to say %q", err, row.want)
			}
			if strings.Contains(row.p.Check().Error(), "PRIVATE") {
				t.Error("Check() shows the key")
			}
			_, beginErr := row.p.Begin(t.Context(), provider.Request{RedirectURI: "https://broker.example/cb", State: "s"})
			_, finishErr := row.p.Finish(t.Context(), provider.Callback{})
			for _, err := range []error{beginErr, finishErr} {
				if e, ok := errors.AsType[*provider.Error](err); !ok || e.Kind != provider.Misconfigured {
					t.Errorf("error %v, want one of the kind %v", err, provider.Misconfigured)
				}
			}
		})
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	t.Parallel()
	key := appleKey(t)
	for _, v := range []any{key, social.Apple("client", key), social.Google("client", "topsecret"), social.GitHub("client", "topsecret"),
		social.Google("", "topsecret")} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if s := fmt.Sprintf(verb, v); strings.Contains(s, "topsecret") || strings.Contains(s, "PRIVATE") || strings.Contains(s, "45 45 45") {
				t.Errorf("%s of %T shows a secret: %s", verb, v, s)
			}
		}
	}
}

// GitHub's parameters, which need no discovery.
func TestBegin(t *testing.T) {
	t.Parallel()
	p := social.GitHub("client", "secret").With(social.Options{BaseURL: "https://git.example.com/", Prompt: []string{"select_account"},
		AuthParams: map[string]string{"allow_signup": "false"}})
	redirect, err := p.Begin(t.Context(), provider.Request{RedirectURI: "https://broker.example/cb", State: "s"})
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(redirect.URL)
	if err != nil {
		t.Fatal(err)
	}
	if got := at.Scheme + "://" + at.Host + at.Path; got != "https://git.example.com/login/oauth/authorize" {
		t.Errorf("address %q", got)
	}
	for name, want := range map[string]string{"prompt": "select_account", "allow_signup": "false", "scope": "read:user user:email",
		"code_challenge_method": "S256", "client_id": "client"} {
		if got := at.Query().Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if again, err := social.GitHub("client", "secret").With(social.Options{}).Begin(t.Context(),
		provider.Request{RedirectURI: "https://broker.example/cb", State: "s"}); err != nil || strings.Contains(again.URL, "allow_signup") {
		t.Errorf("options of one vendor are another's: %v %v", again, err)
	}
}

// What is sent along is what the options say, for both kinds of vendors.
func TestOptionsAreSent(t *testing.T) {
	t.Parallel()
	o := social.Options{HTTPClient: &http.Client{Transport: roundTrip(metadata)}, Prompt: []string{"select_account"}, ForwardLoginHint: true,
		ForwardUILocales: true, AuthParams: map[string]string{"display": "page"}}
	for name, p := range presets(t, o) {
		redirect, err := p.Begin(t.Context(), provider.Request{RedirectURI: "https://b.example/cb", State: "s", LoginHint: "ann@example.com",
			UILocales: []string{"de"}})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		at, err := url.Parse(redirect.URL)
		if err != nil {
			t.Fatal(err)
		}
		q := at.Query()
		if q.Get("prompt") != "select_account" || q.Get("login_hint") != "ann@example.com" || q.Get("ui_locales") != "de" || q.Get("display") != "page" {
			t.Errorf("%s: sent are %v", name, q)
		}
	}
}

// What cannot be asked to prove anew who somebody is does not seem to have done so.
func TestNewProof(t *testing.T) {
	t.Parallel()
	asked := map[string]string{"Facebook": "auth_type=reauthenticate"}
	for _, name := range []string{"Auth0", "GitLab", "Kakao", "Keycloak", "LINE", "Microsoft", "Okta", "Salesforce"} {
		asked[name] = "prompt=login"
	}
	for name, p := range presets(t, social.Options{HTTPClient: &http.Client{Transport: roundTrip(metadata)}}) {
		wantNewProof(t, name, p, asked[name])
	}
	o := social.Options{HTTPClient: &http.Client{Transport: roundTrip(metadata)}, Prompt: []string{"select_account"}}
	for name, p := range presets(t, o) { // what is always sent does not take its place
		wantNewProof(t, name, p, asked[name])
	}
}

// wantNewProof fails unless the vendor is asked for a new proof by the parameter, or the login is refused where that is "".
func wantNewProof(t *testing.T, name string, p preset, want string) {
	t.Helper()
	redirect, err := p.Begin(t.Context(), provider.Request{RedirectURI: "https://b.example/cb", State: "s", Prompt: []string{"login"}})
	if e, refused := errors.AsType[*provider.Error](err); want == "" {
		if !refused || e.Kind != provider.LoginRequired {
			t.Errorf("%s: %v, %v", name, redirect, err)
		}
	} else if err != nil || !strings.Contains(redirect.URL, want) {
		t.Errorf("%s: %v, and it is not asked for %s", name, err, want)
	}
}

// A refresh token is asked for by a scope, beside those that are asked for anyway; vendors who give one or none without being asked
// have no use for the option.
func TestOffline(t *testing.T) {
	t.Parallel()
	const openID = "openid profile email"
	own, asked := map[string]string{
		"Auth0": openID, "Google": openID, "Keycloak": openID, "Microsoft": openID, "Okta": openID, "Salesforce": openID,
		"X": "users.read tweet.read users.email",
	}, map[string]string{
		"Auth0": " offline_access", "Google": "", "Keycloak": " offline_access", "Microsoft": " offline_access", "Okta": " offline_access",
		"Salesforce": " refresh_token", "X": " offline.access",
	}
	scopes := func(p preset) string {
		t.Helper()
		redirect, err := p.Begin(t.Context(), provider.Request{RedirectURI: "https://b.example/cb", State: "s"})
		if err != nil {
			t.Fatal(err)
		}
		at, err := url.Parse(redirect.URL)
		if err != nil {
			t.Fatal(err)
		}
		return at.Query().Get("scope")
	}
	client := &http.Client{Transport: roundTrip(metadata)}
	online := presets(t, social.Options{HTTPClient: client})
	few := presets(t, social.Options{HTTPClient: client, Offline: true, Scopes: []string{"openid"}})
	few["X"] = social.X("client", "secret").With(social.Options{Offline: true, Scopes: []string{"users.read"}})
	for name, p := range presets(t, social.Options{HTTPClient: client, Offline: true}) {
		want, takes := asked[name]
		if err := p.Check(); !takes {
			if err == nil || !strings.Contains(err.Error(), "Offline") {
				t.Errorf("%s: error %v", name, err)
			}
			continue
		}
		first, _, _ := strings.Cut(own[name], " ")
		for _, row := range []struct {
			p    preset
			want string
		}{{online[name], own[name]}, {p, own[name] + want}, {few[name], first + want}} {
			if got := scopes(row.p); got != row.want {
				t.Errorf("%s: scope %q, want %q", name, got, row.want)
			}
		}
	}
}

// metadata answers for every OpenID Provider that is asked for its metadata.
func metadata(r *http.Request) (*http.Response, error) {
	issuer, ok := strings.CutSuffix(r.URL.String(), ".well-known/openid-configuration")
	if !ok {
		return nil, fmt.Errorf("%s is no metadata", r.URL)
	}
	if !strings.HasSuffix(r.URL.Host, ".auth0.com") { // whose issuer has a slash at its end
		issuer = strings.TrimSuffix(issuer, "/")
	}
	body := fmt.Sprintf(`{"issuer":%q,"authorization_endpoint":"https://a.example","token_endpoint":"https://t.example","jwks_uri":"https://k.example"}`,
		issuer)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// What a vendor's links rest on is for ever: with another subject they would be other people's, and with another text here all
// providers of that vendor would be held.
func TestTrustIsForEver(t *testing.T) {
	t.Parallel()
	openID := map[string]string{"Microsoft": "tid.oid", "Slack": "https://slack.com/team_id.https://slack.com/user_id"}
	oAuth2 := map[string]string{"Amazon": "user_id", "Bitbucket": "uuid", "Discord": "id", "Facebook": "id", "GitHub": "id", "Kakao": "id",
		"PayPal": "user_id", "Spotify": "account_id", "StackOverflow": "items[0].user_id", "X": "data.id", "Yandex": "id"}
	for name, p := range presets(t, social.Options{}) {
		want := []string{"protocol=openid-connect", "subject=" + cmp.Or(openID[name], "sub")}
		if subject, ok := oAuth2[name]; ok {
			want = []string{"protocol=oauth2", "subject=" + subject}
		}
		if got := p.Trust().Basis; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// Links are held when an alias is pointed to somebody else, and not when an option is set that says nothing of who it is.
func TestTrust(t *testing.T) {
	t.Parallel()
	const other = "99999999-2222-3333-4444-555555555555"
	for _, row := range []struct {
		name string
		a, b preset
		same bool
	}{
		{"one tenant more", social.Microsoft("client", "secret", tenant), social.Microsoft("client", "secret", tenant, other), true},
		{"any tenant", social.Microsoft("client", "secret", tenant), social.Microsoft("client", "secret").With(social.Options{InsecureAllowAnyTenant: true}), true},
		{"another cloud", social.Microsoft("client", "secret", tenant),
			social.Microsoft("client", "secret", tenant).With(social.Options{BaseURL: "https://login.microsoftonline.us"}), false},
		{"another client", social.Google("a", "secret"), social.Google("b", "secret"), true},
		{"hosted domains", social.Google("a", "secret"), social.Google("a", "secret").With(social.Options{HostedDomains: []string{"*"}}), true},
		{"a server of one's own", social.GitHub("a", "secret"), social.GitHub("a", "secret").With(social.Options{BaseURL: "https://git.example.com"}), false},
		{"another realm", social.Keycloak("https://sso.example.com", "a", "c", "s"), social.Keycloak("https://sso.example.com", "b", "c", "s"), false},
		{"sandbox", social.PayPal("a", "secret"), social.PayPal("a", "secret").With(social.Options{Sandbox: true}), false},
		{"another vendor", social.Twitch("a", "secret"), social.LinkedIn("a", "secret"), false},
	} {
		if got := row.a.Trust().Mark() == row.b.Trust().Mark(); got != row.same {
			t.Errorf("%s: the same is %v, want %v", row.name, got, row.same)
		}
	}
	marks := map[string]string{}
	for name, p := range presets(t, social.Options{}) {
		mark := p.Trust().Mark()
		if other, twice := marks[mark]; twice {
			t.Errorf("%s and %s are the same: %q", name, other, mark)
		}
		marks[mark] = name
		if strings.Contains(mark, "oauth/access_token") || strings.Contains(mark, "/v26.0") {
			t.Errorf("%s: a new version of the vendor's interface would hold all links: %q", name, mark)
		}
	}
}
