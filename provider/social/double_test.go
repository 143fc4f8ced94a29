package social_test

import (
	"compress/gzip"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
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
	calls      []string // addresses in order
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
}

// RoundTrip is http.RoundTripper's.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == w.broker {
		return http.DefaultTransport.RoundTrip(r)
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
	resp, err := http.DefaultTransport.RoundTrip(out)
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
		send(w, reply{body: toJSON(object{"keys": list{d.jwk()}})})
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
	if d.denied {
		maps.Copy(answer, d.denial)
	} else {
		code := "code-" + rand.Text()
		answer.Set("code", code)
		d.grants[code] = &grant{who: d.who, scope: scope, challenge: q.Get("code_challenge"), nonce: q.Get("nonce"), redirect: d.callback}
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
	if r.Method != http.MethodPost || !strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") || r.URL.RawQuery != "" {
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

func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// checkClient holds the client to the one way of authentication that the vendor documents.
func (d *double) checkClient(r *http.Request) error {
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok || d.auth == "client_secret_basic" {
		if d.auth != "client_secret_basic" || secret != "" {
			return fmt.Errorf("authenticates in the header, this vendor takes %s", d.auth)
		}
		id, secret = user, password
	}
	if id != clientID {
		return fmt.Errorf("id %q", id)
	}
	if d.secret != nil {
		return d.secret(secret)
	}
	if subtle.ConstantTimeCompare([]byte(secret), []byte(clientSecret)) != 1 {
		return fmt.Errorf("a wrong secret")
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
		if got := r.Header.Get(name); got == "" || want != "" && got != want {
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

// sign signs with the key of the vendor, or the secret where the vendor does.
func (d *double) sign(claims object) string {
	alg := d.openID.alg
	encode := func(v any) string { return base64.RawURLEncoding.EncodeToString([]byte(toJSON(v))) }
	header := object{"alg": alg, "typ": "JWT", "kid": d.kid()}
	if alg == "HS256" {
		delete(header, "kid")
		input := encode(header) + "." + encode(claims)
		mac := hmac.New(sha256.New, []byte(clientSecret))
		mac.Write([]byte(input))
		return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	input := encode(header) + "." + encode(claims)
	sum := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(rand.Reader, d.key(), crypto.SHA256, sum[:])
	if err != nil {
		panic(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// vendorKeys are the keys of all doubles: one for each of the two that a test may need to tell apart.
var vendorKeys = [2]func() *rsa.PrivateKey{sync.OnceValue(newKey), sync.OnceValue(newKey)}

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

func (d *double) key() *rsa.PrivateKey { return vendorKeys[d.openID.keyNumber]() }

func (d *double) kid() string { return fmt.Sprintf("key-%d", d.openID.keyNumber) }

// jwk is the key as the vendor publishes it, without "use" where it leaves that out.
func (d *double) jwk() object {
	public := d.key().PublicKey
	encode := base64.RawURLEncoding.EncodeToString
	return object{"kty": "RSA", "alg": "RS256", "kid": d.kid(), "n": encode(public.N.Bytes()), "e": encode(big.NewInt(int64(public.E)).Bytes())}
}
