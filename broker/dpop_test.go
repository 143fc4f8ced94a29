package broker_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/broker"
	"github.com/go-idbroker/idbroker/store"
	"github.com/go-idbroker/idbroker/store/memstore"
	"github.com/go-idbroker/idbroker/token"
)

// proofFor is a good DPoP proof by the named key, changed by changes.
func (w *world) proofFor(key, method, path string, changes fields) string {
	alg := key
	if key == "other" {
		alg = "ES256"
	}
	claims := fields{"jti": fmt.Sprint("proof", assertions.Add(1)), "htm": method, "htu": w.URL + path, "iat": w.clock().Unix()}
	return signJWT(fields{"typ": "dpop+jwt", "alg": alg, "jwk": jwkOf(clientKey(key))}, claims.with(changes), clientKey(key))
}

// tokenProof is one for the token endpoint.
func (w *world) tokenProof(key string) string { return w.proofFor(key, "POST", "/token", nil) }

func jktOf(t testing.TB, key string) string {
	t.Helper()
	jkt, err := token.KeyID(clientKey(key).Public())
	if err != nil {
		t.Fatal(err)
	}
	return jkt
}

func athOf(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// withProofs sends proofs along.
func withProofs(edit func(*http.Request), proofs ...string) func(*http.Request) {
	return func(r *http.Request) {
		if edit != nil {
			edit(r)
		}
		r.Header["Dpop"] = proofs
	}
}

func decode(t testing.TB, r *reply, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.text), v); err != nil {
		t.Fatalf("status %d: %v\n%s", r.StatusCode, err, r.text)
	}
}

// newDPoPWorld has a public client "spa", a confidential one "web" and one that must bring proofs, "bound".
func newDPoPWorld(t *testing.T, edit func(*broker.Config)) *world {
	return newWorld(t, func(c *broker.Config) {
		uris := c.Clients[0].RedirectURIs
		c.Clients = append(c.Clients,
			store.Client{ID: "spa", AuthMethod: store.AuthNone, RedirectURIs: uris},
			store.Client{ID: "web", Secrets: [][]byte{[]byte(jwtSecret)}, RedirectURIs: uris},
			store.Client{ID: "bound", AuthMethod: store.AuthNone, RedirectURIs: uris, RequireDPoP: true},
		)
		if edit != nil {
			edit(c)
		}
	})
}

// redeemBound redeems a code of a client of newDPoPWorld with proofs.
func (w *world) redeemBound(client, code string, proofs ...string) *reply {
	w.t.Helper()
	form, edit := w.redeemForm(code), func(*http.Request) {}
	if client == "web" {
		edit = basic("web", jwtSecret)
	} else {
		form.Set("client_id", client)
	}
	return send(w.t, http.MethodPost, w.URL+"/token", form, withProofs(edit, proofs...))
}

func (w *world) grantOf(t testing.TB, accessToken string) *store.Grant {
	t.Helper()
	id, _, _ := strings.Cut(part(t, accessToken, 1)["jti"].(string), ".")
	g, err := w.store.Grant(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestDPoPToken(t *testing.T) { // RFC 9449 §5 and §6
	t.Parallel()
	w := newDPoPWorld(t, nil)
	b := w.login("Demo")
	for _, key := range []string{"ES256", "EdDSA", "PS256", "RS256"} {
		for client, bound := range map[string]string{"spa": jktOf(t, key), "bound": jktOf(t, key), "web": ""} {
			a := w.redeemBound(client, w.code(b, set("client_id", client)), w.tokenProof(key)).tokens(t)
			cnf, _ := part(t, a.AccessToken, 1)["cnf"].(map[string]any)
			if a.TokenType != "DPoP" || len(cnf) != 1 || cnf["jkt"] != jktOf(t, key) {
				t.Errorf("%s by %s: %s token with cnf %v", client, key, a.TokenType, cnf)
			}
			if _, ok := part(t, a.IDToken, 1)["cnf"]; ok {
				t.Errorf("%s by %s: the ID token has a cnf", client, key)
			}
			// §5: what a public client may refresh with is bound; a client that authenticates is bound by that.
			if g := w.grantOf(t, a.AccessToken); g.JKT != bound {
				t.Errorf("%s by %s: the grant is bound to %q, want %q", client, key, g.JKT, bound)
			}
		}
	}
	a := w.redeemBound("spa", w.code(b, set("client_id", "spa"))).tokens(t)
	if _, ok := part(t, a.AccessToken, 1)["cnf"]; ok || a.TokenType != "Bearer" || w.grantOf(t, a.AccessToken).JKT != "" {
		t.Errorf("without a proof: %s token with %v", a.TokenType, part(t, a.AccessToken, 1))
	}
	// §5.2: dpop_bound_access_tokens.
	wantError(t, w.redeemBound("bound", w.code(b, set("client_id", "bound"))), http.StatusBadRequest, "invalid_dpop_proof")
}

func TestDPoPProof(t *testing.T) { // RFC 9449 §4.3
	t.Parallel()
	w := newDPoPWorld(t, nil)
	b := w.login("Demo")
	now := w.clock().Unix()
	ec := clientKey("ES256")
	with := func(changes fields) string { return w.proofFor("ES256", "POST", "/token", changes) }
	headed := func(changes fields, key any) string {
		claims := fields{"jti": fmt.Sprint("proof", assertions.Add(1)), "htm": "POST", "htu": w.URL + "/token", "iat": now}
		return signJWT(fields{"typ": "dpop+jwt", "alg": "ES256", "jwk": jwkOf(ec)}.with(changes), claims, key)
	}
	spent := w.tokenProof("ES256")
	w.redeemBound("spa", w.code(b, set("client_id", "spa")), spent).tokens(t)
	good := with(nil)
	// What was just made is sent at once: subtests that wait for their turn would find it too old.
	for name, proofs := range map[string][]string{
		"§4.3 1: two headers":                     {with(nil), with(nil)},
		"§4.3 1: the same twice":                  {good, good},
		"§4.3 2: empty":                           {""},
		"§4.3 2: junk":                            {"junk"},
		"§4.3 2: two in one header":               {with(nil) + ", " + with(nil)},
		"§4.3 2: an access token":                 {w.redeem(w.code(b, nil), nil).tokens(t).AccessToken},
		"CVE-2025-30204: many dots":               {strings.Repeat(".", 8000)},
		"a large one":                             {strings.Repeat("A", 20000)},
		"§4.3 3: no jti":                          {with(fields{"jti": nil})},
		"§4.3 3: no iat":                          {with(fields{"iat": nil})},
		"§4.3 4: typ JWT":                         {headed(fields{"typ": "JWT"}, ec)},
		"§4.3 4: no typ":                          {headed(fields{"typ": nil}, ec)},
		"§4.3 5: none":                            {headed(fields{"alg": "none"}, nil)},
		"§4.3 5: HS256":                           {headed(fields{"alg": "HS256", "jwk": fields{"kty": "oct", "k": "AAAA"}}, "\x00\x00\x00")},
		"§4.3 6: another key's signature":         {headed(nil, clientKey("other"))},
		"§4.3 6: no signature":                    {headed(nil, nil)},
		"§4.3 6: no key":                          {headed(fields{"jwk": nil}, ec)},
		"§4.3 7: a private key":                   {headed(fields{"jwk": fields(jwkOf(ec)).with(fields{"d": "AQAB"})}, ec)},
		"§4.3 8: GET":                             {with(fields{"htm": "GET"})},
		"§4.3 8: no htm":                          {with(fields{"htm": nil})},
		"§4.3 9: userinfo":                        {with(fields{"htu": w.URL + "/userinfo"})},
		"§4.3 9: the issuer":                      {with(fields{"htu": w.URL})},
		"§4.3 9: without the path of the BaseURL": {with(fields{"htu": w.Origin + "/token"})},
		"§4.3 9: another host":                    {with(fields{"htu": "https://evil.example/id/token"})},
		"§4.3 9: no htu":                          {with(fields{"htu": nil})},
		"§4.3 11: of two minutes ago":             {with(fields{"iat": now - 120})},
		"§4.3 11: of the future":                  {with(fields{"iat": now + 120})},
		"§11.1: used before":                      {spent},
	} {
		t.Run(name, func(t *testing.T) {
			code := w.code(b, set("client_id", "spa"))
			wantError(t, w.redeemBound("spa", code, proofs...), http.StatusBadRequest, "invalid_dpop_proof")
			// Who proves nothing does not use up the code either.
			w.redeemBound("spa", code, w.tokenProof("EdDSA")).tokens(t)
		})
	}
	for name, proof := range map[string]string{
		"§4.3 9: normalised":              with(fields{"htu": strings.Replace(w.URL, "http", "HTTP", 1) + "/%74oken?x=1#y"}),
		"§4.3 11: clocks that are uneven": with(fields{"iat": now - 30}),
		"§8: a nonce of somebody":         with(fields{"nonce": "x"}),
		"§4.2: an ath":                    with(fields{"ath": "x"}),
		"kid beside the key":              headed(fields{"kid": "x"}, ec),
	} {
		t.Run(name, func(t *testing.T) {
			w.redeemBound("spa", w.code(b, set("client_id", "spa")), proof).tokens(t)
		})
	}
}

// RFC 9449 §4.3 9: no header of the request says where it was sent to.
func TestDPoPHostHeader(t *testing.T) {
	t.Parallel()
	w := newDPoPWorld(t, nil)
	b := w.login("Demo")
	form := w.redeemForm(w.code(b, set("client_id", "spa")))
	form.Set("client_id", "spa")
	from := func(proof string) *reply {
		return send(t, http.MethodPost, w.URL+"/token", form, func(r *http.Request) {
			r.Host = "evil.example"
			r.Header.Set("X-Forwarded-Host", "evil.example")
			r.Header.Set("X-Forwarded-Proto", "https")
			r.Header.Set("DPoP", proof)
		})
	}
	for _, htu := range []string{"http://evil.example/id/token", "https://evil.example/id/token", "https://evil.example/token"} {
		wantError(t, from(w.proofFor("ES256", "POST", "/token", fields{"htu": htu})), http.StatusBadRequest, "invalid_dpop_proof")
	}
	from(w.tokenProof("ES256")).tokens(t)
}

func TestDPoPReplay(t *testing.T) { // RFC 9449 §11.1
	t.Parallel()
	w := newDPoPWorld(t, nil)
	b := w.login("Demo")
	// Who has no code writes nothing: the proof is as good as before.
	proof := w.tokenProof("ES256")
	wantError(t, w.redeemBound("spa", "x", proof), http.StatusBadRequest, "invalid_grant")
	wantError(t, w.redeemBound("spa", w.code(b, nil), proof), http.StatusBadRequest, "invalid_grant") // another client's
	wantError(t, w.redeemBound("nobody", "x", proof), http.StatusUnauthorized, "invalid_client")
	w.redeemBound("spa", w.code(b, set("client_id", "spa")), proof).tokens(t)
	// Once it counted, it counts for no other code, client or endpoint any more.
	for range 2 {
		wantError(t, w.redeemBound("spa", w.code(b, set("client_id", "spa")), proof), http.StatusBadRequest, "invalid_dpop_proof")
		wantError(t, w.redeemBound("web", w.code(b, set("client_id", "web")), proof), http.StatusBadRequest, "invalid_dpop_proof")
	}
	// Another key's jtis are its own.
	jti := fields{"jti": "same"}
	w.redeemBound("spa", w.code(b, set("client_id", "spa")), w.proofFor("ES256", "POST", "/token", jti)).tokens(t)
	w.redeemBound("spa", w.code(b, set("client_id", "spa")), w.proofFor("EdDSA", "POST", "/token", jti)).tokens(t)
	wantError(t, w.redeemBound("spa", w.code(b, set("client_id", "spa")), w.proofFor("ES256", "POST", "/token", jti)), http.StatusBadRequest, "invalid_dpop_proof")
	w.advance(61 * time.Second)
	b = w.login("Demo")
	wantError(t, w.redeemBound("spa", w.code(b, set("client_id", "spa")), proof), http.StatusBadRequest, "invalid_dpop_proof")

	// Of many at once with one proof, one gets tokens.
	proof = w.tokenProof("ES256")
	status := make(chan int, 16)
	for range cap(status) {
		code := w.code(b, set("client_id", "spa"))
		go func() { status <- w.redeemBound("spa", code, proof).StatusCode }()
	}
	through := 0
	for range cap(status) {
		if <-status == http.StatusOK {
			through++
		}
	}
	if through != 1 {
		t.Errorf("%d got tokens, want 1", through)
	}
}

func TestDPoPBoundCode(t *testing.T) { // RFC 9449 §10
	t.Parallel()
	w := newDPoPWorld(t, nil)
	b := w.login("Demo")
	bound := func(client string) string {
		return w.code(b, func(v url.Values) { v.Set("client_id", client); v.Set("dpop_jkt", jktOf(t, "ES256")) })
	}
	for _, client := range []string{"spa", "web"} {
		a := w.redeemBound(client, bound(client), w.tokenProof("ES256")).tokens(t)
		if g := w.grantOf(t, a.AccessToken); (g.JKT != "") != (client == "spa") {
			t.Errorf("%s: the grant is bound to %q afterwards", client, g.JKT)
		}
		// A thief, with a key of their own or with none, uses it up: it is in the wrong hands.
		for _, proofs := range [][]string{{w.tokenProof("EdDSA")}, {w.tokenProof("other")}, nil} {
			code := bound(client)
			wantError(t, w.redeemBound(client, code, proofs...), http.StatusBadRequest, "invalid_grant")
			wantError(t, w.redeemBound(client, code, w.tokenProof("ES256")), http.StatusBadRequest, "invalid_grant")
		}
	}
	for name, jkt := range map[string]string{
		"short": "x", "padded": jktOf(t, "ES256") + "=", "SHA-512": strings.Repeat("A", 86), "another alphabet": strings.Repeat("+", 43), "a jwk": `{"kty":"EC"}`,
	} {
		params := w.authParams()
		params.Set("dpop_jkt", jkt)
		params.Set("client_id", "spa")
		_, query := w.authorize(params, b).location(t)
		if query.Get("error") != "invalid_request" || query.Get("code") != "" {
			t.Errorf("%s: %v, want invalid_request", name, query)
		}
	}
}

func TestDPoPPushed(t *testing.T) { // RFC 9449 §10.1
	t.Parallel()
	w := newDPoPWorld(t, nil)
	b := w.login("Demo")
	push := func(jkt string, proofs ...string) *reply {
		form := w.authParams()
		form.Set("client_id", "spa")
		if jkt != "" {
			form.Set("dpop_jkt", jkt)
		}
		return send(t, http.MethodPost, w.URL+"/par", form, withProofs(nil, proofs...))
	}
	code := func(r *reply) string {
		var pushed struct {
			RequestURI string `json:"request_uri"`
		}
		if r.StatusCode != http.StatusCreated {
			t.Fatalf("status %d: %s", r.StatusCode, r.text)
		}
		decode(t, r, &pushed)
		_, query := w.authorize(url.Values{"client_id": {"spa"}, "request_uri": {pushed.RequestURI}}, b).location(t)
		return query.Get("code")
	}
	proof := func(key string) string { return w.proofFor(key, "POST", "/par", nil) }
	for name, r := range map[string]*reply{
		"by the proof": push("", proof("ES256")), "by dpop_jkt": push(jktOf(t, "ES256")), "by both": push(jktOf(t, "ES256"), proof("ES256")),
	} {
		c := code(r)
		wantError(t, w.redeemBound("spa", c, w.tokenProof("EdDSA")), http.StatusBadRequest, "invalid_grant")
		if c = code(push("", proof("ES256"))); w.redeemBound("spa", c, w.tokenProof("ES256")).tokens(t).TokenType != "DPoP" {
			t.Errorf("%s: no bound token", name)
		}
	}
	once := proof("ES256")
	code(push("", once))
	for name, r := range map[string]*reply{
		"two keys":               push(jktOf(t, "EdDSA"), proof("ES256")),
		"two proofs":             push("", proof("ES256"), proof("ES256")),
		"of the token endpoint":  push("", w.tokenProof("ES256")),
		"used before":            push("", once),
		"junk":                   push("", "junk"),
		"right jkt, wrong proof": push(jktOf(t, "ES256"), w.tokenProof("ES256")),
	} {
		t.Run(name, func(t *testing.T) { wantError(t, r, http.StatusBadRequest, "invalid_dpop_proof") })
	}
}

func TestDPoPUserInfo(t *testing.T) { // RFC 9449 §7
	t.Parallel()
	w := newDPoPWorld(t, nil)
	b := w.login("Demo")
	redeem := func(proofs ...string) string {
		return w.redeemBound("spa", w.code(b, set("client_id", "spa")), proofs...).tokens(t).AccessToken
	}
	raw, other, unbound := redeem(w.tokenProof("ES256")), redeem(w.tokenProof("other")), redeem()
	proof := func(of string, changes fields) string {
		return w.proofFor("ES256", "GET", "/userinfo", fields{"ath": athOf(of)}.with(changes))
	}
	ask := func(method, scheme, raw string, form url.Values, proofs ...string) *reply {
		return send(t, method, w.URL+"/userinfo", form, withProofs(func(r *http.Request) {
			if scheme != "" {
				r.Header.Set("Authorization", scheme+" "+raw)
			}
		}, proofs...))
	}
	good := proof(raw, nil)
	for name, r := range map[string]*reply{
		"§7.1: as it should be":            ask("GET", "DPoP", raw, nil, good),
		"§7.1: in another case":            ask("GET", "dpop", raw, nil, proof(raw, nil)),
		"§7.1: by POST":                    ask("POST", "DPoP", raw, url.Values{}, proof(raw, fields{"htm": "POST"})),
		"RFC 6750: an unbound one":         ask("GET", "Bearer", unbound, nil),
		"RFC 6750: an unbound one by POST": ask("POST", "", "", url.Values{"access_token": {unbound}}),
		"an unbound one, a proof for none": ask("GET", "Bearer", unbound, nil, "junk"),
	} {
		if r.StatusCode != http.StatusOK || !strings.Contains(r.text, "alice@example.com") {
			t.Errorf("%s: status %d %s", name, r.StatusCode, r.text)
		}
	}
	const (
		bearerRealm = `Bearer realm="userinfo"`
		dpopRealm   = `DPoP realm="userinfo", algs="ES256 EdDSA PS256 RS256"`
		badToken    = `, error="invalid_token"`
		badProof    = `, error="invalid_dpop_proof"`
	)
	for _, row := range []struct {
		name       string
		r          *reply
		status     int
		challenges []string
	}{
		{"§11.1: the proof again", ask("GET", "DPoP", raw, nil, good), 401, []string{dpopRealm + badProof, bearerRealm}},
		{"§7.1: no proof", ask("GET", "DPoP", raw, nil), 401, []string{dpopRealm + badProof, bearerRealm}},
		{"§4.3 1: two proofs", ask("GET", "DPoP", raw, nil, proof(raw, nil), proof(raw, nil)), 401, []string{dpopRealm + badProof, bearerRealm}},
		{"§4.3 8: for POST", ask("GET", "DPoP", raw, nil, proof(raw, fields{"htm": "POST"})), 401, []string{dpopRealm + badProof, bearerRealm}},
		{"§4.3 9: for the token endpoint", ask("GET", "DPoP", raw, nil, proof(raw, fields{"htu": w.URL + "/token"})), 401, []string{dpopRealm + badProof, bearerRealm}},
		{"§4.3 11: old", ask("GET", "DPoP", raw, nil, proof(raw, fields{"iat": w.clock().Unix() - 61})), 401, []string{dpopRealm + badProof, bearerRealm}},
		{"§4.3 12: no ath", ask("GET", "DPoP", raw, nil, proof(raw, fields{"ath": nil})), 401, []string{dpopRealm + badToken, bearerRealm}},
		{"§4.3 12: another token's ath", ask("GET", "DPoP", raw, nil, proof(other, nil)), 401, []string{dpopRealm + badToken, bearerRealm}},
		{"§4.3 12: a stolen token, with the thief's key", ask("GET", "DPoP", other, nil, proof(other, nil)), 401, []string{dpopRealm + badToken, bearerRealm}},
		{"§7.2: bound, as Bearer", ask("GET", "Bearer", raw, nil), 401, []string{bearerRealm + badToken, dpopRealm}},
		{"§7.2: bound, as Bearer with its proof", ask("GET", "Bearer", raw, nil, proof(raw, nil)), 401, []string{bearerRealm + badToken, dpopRealm}},
		{"§7.2: bound, in the form", ask("POST", "", "", url.Values{"access_token": {raw}}, proof(raw, fields{"htm": "POST"})), 401, []string{bearerRealm + badToken, dpopRealm}},
		{"§7.1: unbound, as DPoP", ask("GET", "DPoP", unbound, nil, proof(unbound, nil)), 401, []string{dpopRealm + badToken, bearerRealm}},
		{"§7.1: junk, as DPoP", ask("GET", "DPoP", "junk", nil, proof("junk", nil)), 401, []string{dpopRealm + badToken, bearerRealm}},
		{"RFC 6750 §2: in two ways", ask("POST", "DPoP", raw, url.Values{"access_token": {raw}}, proof(raw, fields{"htm": "POST"})), 400,
			[]string{dpopRealm + `, error="invalid_request"`, bearerRealm}},
		{"RFC 6750 §3.1: nothing", ask("GET", "", "", nil), 401, []string{bearerRealm, dpopRealm}},
		{"RFC 6750 §3.1: nothing but a proof", ask("GET", "", "", nil, proof(raw, nil)), 401, []string{bearerRealm, dpopRealm}},
		{"no token", ask("GET", "DPoP", "", nil, proof(raw, nil)), 401, []string{dpopRealm, bearerRealm}},
	} {
		if got := row.r.Header.Values("WWW-Authenticate"); row.r.StatusCode != row.status || !slices.Equal(got, row.challenges) {
			t.Errorf("%s: status %d %q, want %d %q", row.name, row.r.StatusCode, got, row.status, row.challenges)
		}
		if strings.Contains(row.r.text, "alice") {
			t.Errorf("%s: %s", row.name, row.r.text)
		}
	}
}

// refreshBound refreshes as redeemBound redeems.
func (w *world) refreshBound(client, refreshToken string, proofs ...string) *reply {
	w.t.Helper()
	form, edit := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refreshToken}}, func(*http.Request) {}
	if client == "web" {
		edit = basic("web", jwtSecret)
	} else {
		form.Set("client_id", client)
	}
	return send(w.t, http.MethodPost, w.URL+"/token", form, withProofs(edit, proofs...))
}

func boundTo(t testing.TB, a tokenAnswer) any {
	t.Helper()
	cnf, _ := part(t, a.AccessToken, 1)["cnf"].(map[string]any)
	if (a.TokenType == "DPoP") != (cnf != nil) {
		t.Errorf("a %s token with cnf %v", a.TokenType, cnf)
	}
	return cnf["jkt"]
}

func TestDPoPRefresh(t *testing.T) { // RFC 9449 §5
	t.Parallel()
	w := newDPoPWorld(t, nil)
	b := w.login("Demo")
	first := func(client string, proofs ...string) tokenAnswer {
		return w.redeemBound(client, w.code(b, set("client_id", client)), proofs...).tokens(t)
	}
	t.Run("a public client's is bound to the key", func(t *testing.T) {
		t.Parallel()
		a := first("spa", w.tokenProof("ES256"))
		for range 3 {
			// A thief gets nothing, and does not keep its owner from going on.
			for _, proofs := range [][]string{nil, {w.tokenProof("EdDSA")}, {w.tokenProof("other")}} {
				wantError(t, w.refreshBound("spa", a.RefreshToken, proofs...), http.StatusBadRequest, "invalid_grant")
			}
			wantError(t, w.refreshBound("spa", a.RefreshToken, "junk"), http.StatusBadRequest, "invalid_dpop_proof")
			a = w.refreshBound("spa", a.RefreshToken, w.tokenProof("ES256")).tokens(t)
			if got := boundTo(t, a); got != jktOf(t, "ES256") {
				t.Errorf("bound to %v", got)
			}
		}
	})
	t.Run("a public client's is bound from its first proof on", func(t *testing.T) {
		t.Parallel()
		a := w.refreshBound("spa", first("spa").RefreshToken, w.tokenProof("EdDSA")).tokens(t)
		if got := boundTo(t, a); got != jktOf(t, "EdDSA") {
			t.Errorf("bound to %v", got)
		}
		wantError(t, w.refreshBound("spa", a.RefreshToken), http.StatusBadRequest, "invalid_grant")
		w.refreshBound("spa", a.RefreshToken, w.tokenProof("EdDSA")).tokens(t)
	})
	t.Run("a confidential client's is bound to the client", func(t *testing.T) {
		t.Parallel()
		a := first("web", w.tokenProof("ES256"))
		for _, key := range []string{"EdDSA", "ES256", "other"} {
			a = w.refreshBound("web", a.RefreshToken, w.tokenProof(key)).tokens(t)
			if got := boundTo(t, a); got != jktOf(t, key) {
				t.Errorf("bound to %v, want the key of the request", got)
			}
		}
		if got := boundTo(t, w.refreshBound("web", a.RefreshToken).tokens(t)); got != nil {
			t.Errorf("bound to %v without a proof", got)
		}
	})
	t.Run("§5.2: a client that must bring proofs", func(t *testing.T) {
		t.Parallel()
		a := first("bound", w.tokenProof("ES256"))
		wantError(t, w.refreshBound("bound", a.RefreshToken), http.StatusBadRequest, "invalid_dpop_proof")
		w.refreshBound("bound", a.RefreshToken, w.tokenProof("ES256")).tokens(t)
	})
	t.Run("§11.1: a proof counts once, also for what is repeated", func(t *testing.T) {
		t.Parallel()
		a, proof := first("spa", w.tokenProof("ES256")), w.tokenProof("ES256")
		again := w.refreshBound("spa", a.RefreshToken, proof).tokens(t)
		wantError(t, w.refreshBound("spa", a.RefreshToken, proof), http.StatusBadRequest, "invalid_dpop_proof")
		if repeated := w.refreshBound("spa", a.RefreshToken, w.tokenProof("ES256")).tokens(t); repeated.AccessToken != again.AccessToken {
			t.Error("the answer is another one, within the grace")
		}
		wantError(t, w.refreshBound("spa", a.RefreshToken, w.tokenProof("other")), http.StatusBadRequest, "invalid_grant")
		w.refreshBound("spa", again.RefreshToken, w.tokenProof("ES256")).tokens(t)
	})
}

func TestDPoPIntrospection(t *testing.T) { // RFC 9449 §6.2
	t.Parallel()
	w := newDPoPWorld(t, nil)
	b := w.login("Demo")
	for _, proofs := range [][]string{{w.tokenProof("ES256")}, nil} {
		a := w.redeemBound("web", w.code(b, set("client_id", "web")), proofs...).tokens(t)
		var got struct {
			Active bool              `json:"active"`
			Type   string            `json:"token_type"`
			Cnf    map[string]string `json:"cnf"`
		}
		decode(t, send(t, http.MethodPost, w.URL+"/introspect", url.Values{"token": {a.AccessToken}}, basic("web", jwtSecret)), &got)
		want := ""
		if proofs != nil {
			want = jktOf(t, "ES256")
		}
		if !got.Active || got.Type != a.TokenType || got.Cnf["jkt"] != want {
			t.Errorf("%+v, want %s bound to %q", got, a.TokenType, want)
		}
	}
}

func TestDPoPClientCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *broker.Config) {
		c.Clients = append(c.Clients, store.Client{ID: "worker", Secrets: [][]byte{[]byte(jwtSecret)}, Audience: []string{"https://api.example"},
			Grants: []string{store.GrantTypeCredentials}, RequireDPoP: true})
	})
	ask := func(proofs ...string) *reply {
		return send(t, http.MethodPost, w.URL+"/token", url.Values{"grant_type": {"client_credentials"}}, withProofs(basic("worker", jwtSecret), proofs...))
	}
	proof := w.tokenProof("ES256")
	if got := boundTo(t, ask(proof).answer(t)); got != jktOf(t, "ES256") {
		t.Errorf("bound to %v", got)
	}
	wantError(t, ask(proof), http.StatusBadRequest, "invalid_dpop_proof")
	wantError(t, ask(), http.StatusBadRequest, "invalid_dpop_proof")
}

// What cannot be remembered is not accepted, and the code can be redeemed once it can.
func TestDPoPStoreDown(t *testing.T) {
	t.Parallel()
	w := newDPoPWorld(t, nil)
	b := w.login("Demo")
	code := w.code(b, set("client_id", "spa"))
	raw := w.redeemBound("spa", w.code(b, set("client_id", "spa")), w.tokenProof("ES256")).tokens(t).AccessToken
	up := *w.Broker
	w.reconfigure(func(c *broker.Config) {
		c.Clients = append(c.Clients, store.Client{ID: "spa", AuthMethod: store.AuthNone, RedirectURIs: c.Clients[0].RedirectURIs})
		c.Store = marklessStore{c.Store.(*memstore.Store)}
	})
	wantError(t, w.redeemBound("spa", code, w.tokenProof("ES256")), http.StatusInternalServerError, "server_error")
	r := send(t, http.MethodGet, w.URL+"/userinfo", nil, withProofs(func(r *http.Request) { r.Header.Set("Authorization", "DPoP "+raw) },
		w.proofFor("ES256", "GET", "/userinfo", fields{"ath": athOf(raw)})))
	if r.StatusCode != http.StatusInternalServerError || strings.Contains(r.text, "alice") {
		t.Errorf("userinfo: status %d %s", r.StatusCode, r.text)
	}
	*w.Broker = up
	w.redeemBound("spa", code, w.tokenProof("ES256")).tokens(t)
}

func TestStrongClientsDiscovery(t *testing.T) { // RFC 8414 §2, RFC 9449 §5.1
	t.Parallel()
	w := newWorld(t, nil)
	var metadata struct {
		Proofs  []string `json:"dpop_signing_alg_values_supported"`
		Methods []string `json:"token_endpoint_auth_methods_supported"`
		Algs    []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	}
	decode(t, send(t, http.MethodGet, w.URL+"/.well-known/openid-configuration", nil, nil), &metadata)
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		if !slices.Contains(metadata.Proofs, alg) || !slices.Contains(metadata.Algs, alg) {
			t.Errorf("%s is not announced: %+v", alg, metadata)
		}
	}
	for _, method := range []string{store.AuthSecretBasic, store.AuthSecretPost, store.AuthSecretJWT, store.AuthPrivateKeyJWT, store.AuthNone} {
		if !slices.Contains(metadata.Methods, method) {
			t.Errorf("%s is not announced: %+v", method, metadata)
		}
	}
	if slices.Contains(metadata.Proofs, "HS256") || slices.Contains(metadata.Algs, "none") || !slices.Contains(metadata.Algs, "HS256") {
		t.Errorf("announced %+v", metadata)
	}
}
