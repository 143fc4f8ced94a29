package social_test

import (
	"compress/gzip"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The broker as every vendor here knows it.
const (
	clientID     = "4711-client.example"
	clientSecret = "0123456789abcdef0123456789ABCDEF"
)

// A double stands for a vendor: it lets in who sits at its browser, says what the vendor's documentation shows, and is as strict as
// that is. What the broker does wrong is a complaint, which fails the test.
type double struct {
	*vendor
	callback string // the redirect URI that is registered

	mu         sync.Mutex
	who        person
	denied     bool                 // the person at the browser refuses
	says       map[string]reply     // by address, in place of what the vendor would say
	edit       func(map[string]any) // what else the claims of ID tokens become
	nonce      string               // in place of the one that was sent, if not ""
	bystander  bool                 // complaints are what the test wants to see
	complaints []string
	calls      []string   // addresses in order
	sent       url.Values // of the last authorization request
	grants     map[string]*grant
	tokens     map[string]*grant
}

// A grant is what the person allowed.
type grant struct {
	who       person
	scope     []string
	challenge string
	nonce     string
	redirect  string
}

// A person is somebody who has an account at a vendor. What is empty the vendor does not know, or was not allowed to tell.
type person struct {
	id       string // as in the vendor's messages
	user     string
	first    string
	last     string
	name     string
	email    string
	verified bool
	picture  string
	domain   string // the organisation, where a vendor tells
}

// A reply is what an endpoint sends.
type reply struct {
	status      int    // 0 is 200
	contentType string // "" is JSON
	body        string
}

// object is JSON with members.
type object = map[string]any

// list is a JSON array.
type list = []any

func toJSON(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// start serves a double on loopback.
func (v *vendor) start(t testing.TB, w *wire, callback string) *double {
	t.Helper()
	d := &double{
		vendor: v, callback: callback, who: v.ann(),
		says: map[string]reply{}, grants: map[string]*grant{}, tokens: map[string]*grant{},
	}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	for _, address := range v.addresses() {
		to := strings.TrimPrefix(server.URL, "http://")
		w.hosts[hostOf(address)], w.hosts[address] = to, to
	}
	t.Cleanup(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if !d.bystander {
			for _, c := range d.complaints {
				t.Errorf("%s complains: %s", v.name, c)
			}
		}
	})
	return d
}

// A wire takes requests for the vendors' hosts to their doubles, and nothing anywhere else but to the broker.
type wire struct {
	hosts  map[string]string // what listens on loopback, by address and, for addresses that nobody named, by host
	broker string            // host and port; "" for the broker's own requests
	// base is not the default one, whose connections every httptest.Server closes when it ends.
	base *http.Transport
}

// RoundTrip is http.RoundTripper's.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == w.broker {
		return w.base.RoundTrip(r)
	}
	to, ok := w.hosts["https://"+r.URL.Host+r.URL.Path]
	if !ok {
		to, ok = w.hosts[r.URL.Host]
	}
	if !ok || r.URL.Scheme != "https" {
		return nil, fmt.Errorf("no vendor is at %s://%s", r.URL.Scheme, r.URL.Host)
	}
	out := r.Clone(r.Context())
	out.Host, out.URL.Scheme, out.URL.Host = r.URL.Host, "http", to
	resp, err := w.base.RoundTrip(out)
	if resp != nil {
		resp.Request = r
	}
	return resp, err
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	return u.Host
}

// complain notes what the broker did wrong.
func (d *double) complain(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.complaints = append(d.complaints, fmt.Sprintf(format, args...))
}

// set changes the double between requests.
func (d *double) set(change func(*double)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

// asked returns how often an address was asked.
func (d *double) asked(address string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, c := range d.calls {
		if c == address {
			n++
		}
	}
	return n
}

// ServeHTTP answers for all hosts of the vendor.
func (d *double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	address := "https://" + r.Host + r.URL.Path
	_ = r.ParseForm()
	for name, values := range r.Form {
		if len(values) > 1 {
			d.complain("%s: %d times %q", address, len(values), name)
		}
	}
	d.mu.Lock()
	d.calls = append(d.calls, address)
	instead, replaced := d.says[address]
	d.mu.Unlock()
	switch {
	case address == d.authorize:
		d.serveAuthorize(w, r)
	case replaced:
		send(w, instead)
	case address == d.token:
		d.serveToken(w, r)
	case d.openID != nil && address == d.openID.discovery:
		send(w, reply{body: toJSON(d.openID.document)})
	case d.openID != nil && address == d.openID.jwks:
		send(w, reply{body: toJSON(object{"keys": list{jwk()}})})
	default:
		d.serveAPI(w, r, address)
	}
}

func send(w http.ResponseWriter, a reply) {
	if a.contentType == "" {
		a.contentType = "application/json; charset=utf-8"
	}
	w.Header().Set("Content-Type", a.contentType)
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	_, _ = io.WriteString(w, a.body)
}

var autoPost = template.Must(template.New("").Parse(
	`<!doctype html><form method="post" action="{{.To}}">{{range $n, $v := .Fields}}<input name="{{$n}}" value="{{index $v 0}}">{{end}}</form>`))

// serveAuthorize is the vendor's page, at which somebody is signed in already and agrees, or refuses.
func (d *double) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	bad := func(format string, args ...any) { d.complain("authorization request: "+format, args...) }
	for name, want := range map[string]string{"response_type": "code", "client_id": clientID, "redirect_uri": d.callback} {
		if got := q.Get(name); got != want {
			bad("%s is %q, want %q", name, got, want)
		}
	}
	if q.Get("redirect_uri") != d.callback { // nobody is sent to an address that is not registered
		http.Error(w, "redirect_uri mismatch", http.StatusBadRequest)
		return
	}
	if q.Get("state") == "" {
		bad("no state")
	}
	separator := d.separator
	if separator == "" {
		separator = " "
	}
	scope := slices.Sorted(slices.Values(strings.Split(q.Get("scope"), separator)))
	if want := slices.Sorted(slices.Values(strings.Split(d.scopes, " "))); !slices.Equal(scope, want) {
		bad("scope is %q, want %q", q.Get("scope"), d.scopes)
	}
	for name, want := range d.params {
		if got := q.Get(name); got != want {
			bad("%s is %q, want %q", name, got, want)
		}
	}
	var asked struct {
		IDToken  object `json:"id_token"`
		UserInfo object `json:"userinfo"`
	}
	if len(d.wantsClaims) > 0 {
		if err := json.Unmarshal([]byte(q.Get("claims")), &asked); err != nil {
			bad("claims: %v", err)
		}
	}
	for _, name := range d.wantsClaims {
		_, inToken := asked.IDToken[name]
		_, inInfo := asked.UserInfo[name]
		if !inToken && !inInfo {
			bad("claims do not ask for %q", name)
		}
	}
	if d.formPost != (q.Get("response_mode") == "form_post") {
		bad("response_mode is %q", q.Get("response_mode"))
	}
	if d.pkce == pkceTaken && (q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43) {
		bad("no PKCE by S256")
	}
	if d.openID != nil && d.openID.nonce && len(q.Get("nonce")) < 16 {
		bad("no nonce")
	}
	answer := url.Values{"state": {q.Get("state")}}
	if d.iss != "" {
		answer.Set("iss", d.iss)
	}
	d.mu.Lock()
	d.sent = q
	if d.denied {
		maps.Copy(answer, d.denial)
	} else {
		code := "code-" + rand.Text()
		answer.Set("code", code)
		d.grants[code] = &grant{who: d.who, scope: scope, challenge: q.Get("code_challenge"), nonce: q.Get("nonce"),
			redirect: d.callback}
		if d.extra != nil {
			maps.Copy(answer, d.extra(&d.who))
		}
	}
	d.mu.Unlock()
	if d.formPost {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = autoPost.Execute(w, map[string]any{"To": d.callback, "Fields": answer})
		return
	}
	http.Redirect(w, r, d.callback+"?"+answer.Encode(), http.StatusFound)
}

// serveToken is the token endpoint.
func (d *double) serveToken(w http.ResponseWriter, r *http.Request) {
	refuse := func(a reply, format string, args ...any) {
		d.complain("token request: "+format, args...)
		send(w, a)
	}
	if r.Method != http.MethodPost || !strings.HasPrefix(r.Header.Get("Content-Type"),
		"application/x-www-form-urlencoded") || r.URL.RawQuery != "" {
		refuse(d.badCode, "%s with %q and query %q", r.Method, r.Header.Get("Content-Type"), r.URL.RawQuery)
		return
	}
	if err := d.checkClient(r); err != nil {
		refuse(d.badClient, "client: %v", err)
		return
	}
	if d.pkce == pkceRefused && r.PostForm.Has("code_verifier") {
		refuse(d.badClient, "code_verifier, which this kind of client may not send")
		return
	}
	code := r.PostForm.Get("code")
	d.mu.Lock()
	g := d.grants[code]
	delete(d.grants, code)
	d.mu.Unlock()
	switch {
	case r.PostForm.Get("grant_type") != "authorization_code":
		refuse(d.badCode, "grant_type %q", r.PostForm.Get("grant_type"))
	case g == nil:
		refuse(d.badCode, "a code that is none")
	case r.PostForm.Get("redirect_uri") != g.redirect:
		refuse(d.badCode, "redirect_uri %q", r.PostForm.Get("redirect_uri"))
	case d.pkce == pkceTaken && s256(r.PostForm.Get("code_verifier")) != g.challenge:
		refuse(d.badCode, "the code_verifier is not that of the challenge")
	default:
		access := "at-" + rand.Text()
		d.mu.Lock()
		d.tokens[access] = g
		d.mu.Unlock()
		send(w, d.answer(d, g, access, r))
	}
}

// agree sends a browser that wants no page to the vendor, and returns what it was asked and what it answers.
func (d *double) agree(t *testing.T, address string) (asked, answer url.Values) {
	t.Helper()
	r, w := httptest.NewRequestWithContext(t.Context(), http.MethodGet, address, nil), httptest.NewRecorder()
	d.ServeHTTP(w, r)
	to, err := url.Parse(w.Header().Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	return r.URL.Query(), to.Query()
}

func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// checkClient holds the client to the ways of authentication that the vendor documents.
func (d *double) checkClient(r *http.Request) error {
	method, id, secret := "client_secret_post", r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok {
		if secret != "" {
			return errors.New("authenticates twice")
		}
		method, id, secret = "client_secret_basic", user, password
	}
	switch {
	case !slices.Contains(strings.Fields(d.auth), method):
		return fmt.Errorf("authenticates by %s, this vendor takes %s", method, d.auth)
	case id != clientID:
		return fmt.Errorf("id %q", id)
	case d.secret != nil:
		return d.secret(secret)
	case secret != clientSecret:
		return errors.New("a wrong secret")
	}
	return nil
}

// serveAPI is where the vendor says who the bearer of a token is.
func (d *double) serveAPI(w http.ResponseWriter, r *http.Request, address string) {
	at := slices.IndexFunc(d.apis, func(a api) bool { return a.url == address })
	if at < 0 {
		d.complain("nothing is at %s", address)
		http.NotFound(w, r)
		return
	}
	a := d.apis[at]
	access := r.URL.Query().Get("access_token")
	if a.tokenIn != "query" {
		scheme := a.tokenIn
		if scheme == "" {
			scheme = "Bearer"
		}
		var ok bool
		if access, ok = strings.CutPrefix(r.Header.Get("Authorization"), scheme+" "); !ok || r.URL.Query().Has("access_token") {
			d.complain("%s: the access token does not come as %q", address, scheme)
		}
	}
	bad := ""
	for name, want := range a.header {
		if got := r.Header.Get(name); got == "" || !strings.HasPrefix(got, want) {
			bad = fmt.Sprintf("%s is %q, want %q", name, got, want)
		}
	}
	for name, want := range a.query {
		if got := r.URL.Query().Get(name); got != want {
			bad = fmt.Sprintf("%s is %q, want %q", name, got, want)
		}
	}
	if a.proof {
		mac := hmac.New(sha256.New, []byte(clientSecret))
		mac.Write([]byte(access))
		if r.URL.Query().Get("appsecret_proof") != hex.EncodeToString(mac.Sum(nil)) {
			bad = "the appsecret_proof is missing or wrong"
		}
	}
	d.mu.Lock()
	g := d.tokens[access]
	d.mu.Unlock()
	switch {
	case bad != "" || r.Method != http.MethodGet:
		d.complain("%s %s: %s", r.Method, address, bad)
		d.sendAPI(w, a, a.broken)
	case g == nil:
		d.complain("%s: an access token that is none", address)
		d.sendAPI(w, a, a.broken)
	default:
		d.sendAPI(w, a, reply{body: toJSON(a.says(&g.who))})
	}
}

// sendAPI compresses where the vendor always does.
func (d *double) sendAPI(w http.ResponseWriter, a api, what reply) {
	if !a.gzip {
		send(w, what)
		return
	}
	var b strings.Builder
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, what.body)
	_ = z.Close()
	w.Header().Set("Content-Encoding", "gzip")
	what.body = b.String()
	send(w, what)
}

// idToken signs what the vendor says in an ID token.
func (d *double) idToken(g *grant, access string) string {
	now := time.Now().Unix()
	half := sha256.Sum256([]byte(access))
	claims := object{
		"iss": d.issuer, "aud": clientID, "iat": now, "exp": now + 300, "at_hash": base64.RawURLEncoding.EncodeToString(half[:16]),
	}
	if d.openID.nonce && g.nonce != "" {
		claims["nonce"] = g.nonce
	}
	maps.Copy(claims, d.openID.claims(&g.who))
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nonce != "" {
		claims["nonce"] = d.nonce
	}
	if d.edit != nil {
		d.edit(claims)
	}
	return d.sign(claims)
}

// sign signs with the key of the vendor, or with the secret where the vendor does. One that is forged names the vendor's key.
func (d *double) sign(claims object) string {
	header := object{"alg": d.openID.alg, "typ": "JWT"}
	if d.openID.alg != "HS256" {
		header["kid"] = "key-1"
	}
	encode := func(v any) string { return base64.RawURLEncoding.EncodeToString([]byte(toJSON(v))) }
	input := encode(header) + "." + encode(claims)
	var signature []byte
	if d.openID.alg == "HS256" {
		secret := clientSecret
		if d.openID.forged {
			secret = strings.Repeat("x", len(secret))
		}
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(input))
		signature = mac.Sum(nil)
	} else {
		key := vendorKey()
		if d.openID.forged {
			key = otherKey()
		}
		sum := sha256.Sum256([]byte(input))
		var err error
		if signature, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:]); err != nil {
			panic(err)
		}
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// vendorKey is that of every double, otherKey that of somebody else.
var vendorKey, otherKey = sync.OnceValue(newKey), sync.OnceValue(newKey)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// jwk is the vendor's key as it publishes it, without a "use", which some leave out.
func jwk() object {
	public := vendorKey().PublicKey
	encode := base64.RawURLEncoding.EncodeToString
	return object{"kty": "RSA", "alg": "RS256", "kid": "key-1", "n": encode(public.N.Bytes()),
		"e": encode(big.NewInt(int64(public.E)).Bytes())}
}
