package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/go-idbroker/idbroker/store"
)

// client is another application, at an address of its own. It shares nothing with the broker but an OpenID Connect
// registration, and could be written in any language. This one uses x/oauth2 and go-oidc.
type client struct {
	url, issuer string
	secret      string

	mu       sync.Mutex
	provider *oidc.Provider // as discovered at the first sign-in
	sessions map[string]*signedIn
}

// signedIn is what the application knows about somebody who signed in.
type signedIn struct {
	Subject string `json:"sub"`
	Name    string `json:"name"`
	Email   string `json:"email"`

	ID     decoded `json:"-"`
	Access decoded `json:"-"`
}

const (
	attemptCookie = "another-app-attempt"
	sessionCookie = "another-app-session"
)

func newClient(url, issuer string) *client {
	return &client{url: url, issuer: issuer, secret: rand.Text(), sessions: map[string]*signedIn{}}
}

// registration is what the broker has to know.
func (c *client) registration() store.Client {
	return store.Client{
		ID: "another-app", Name: "Another App", HomeURL: c.url,
		Secrets: [][]byte{[]byte(c.secret)}, RedirectURIs: []string{c.url + "/callback"},
	}
}

func (c *client) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.home)
	mux.HandleFunc("GET /login", c.login)
	mux.HandleFunc("GET /callback", c.callback)
	mux.HandleFunc("POST /logout", c.logout)
	mux.Handle("/static/", static)
	return http.NewCrossOriginProtection().Handler(mux)
}

// connect returns the broker as the client sees it. It is asked when it is needed first, and again if it did not answer.
func (c *client) connect(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.provider == nil {
		p, err := oidc.NewProvider(ctx, c.issuer)
		if err != nil {
			return nil, nil, err
		}
		c.provider = p
	}
	endpoint := c.provider.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	return c.provider, &oauth2.Config{
		ClientID: "another-app", ClientSecret: c.secret, Endpoint: endpoint, RedirectURL: c.url + "/callback",
		Scopes: []string{oidc.ScopeOpenID, "profile", "email"},
	}, nil
}

// login sends the browser to the broker. What the answer must fit goes along in a cookie.
func (c *client) login(w http.ResponseWriter, r *http.Request) {
	_, config, err := c.connect(r.Context())
	if err != nil {
		c.problem(w, r, http.StatusBadGateway, err)
		return
	}
	state, nonce, verifier := rand.Text(), rand.Text(), oauth2.GenerateVerifier()
	setCookie(w, attemptCookie, state+"."+nonce+"."+verifier)
	http.Redirect(w, r, config.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)), http.StatusSeeOther)
}

func (c *client) callback(w http.ResponseWriter, r *http.Request) {
	who, err := c.finish(r)
	setCookie(w, attemptCookie, "")
	if errors.Is(err, errWentBack) {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	if err != nil {
		c.problem(w, r, http.StatusBadRequest, err)
		return
	}
	id := rand.Text()
	c.mu.Lock()
	c.sessions[id] = who
	c.mu.Unlock()
	setCookie(w, sessionCookie, id)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// errWentBack says that the person changed their mind.
var errWentBack = errors.New("went back without signing in")

// finish checks what came back, and exchanges the code for tokens.
func (c *client) finish(r *http.Request) (*signedIn, error) {
	provider, config, err := c.connect(r.Context())
	if err != nil {
		return nil, err
	}
	cookie, err := r.Cookie(attemptCookie)
	if err != nil {
		return nil, errors.New("nobody began to sign in with this browser")
	}
	attempt := strings.Split(cookie.Value, ".")
	params := r.URL.Query()
	switch {
	case len(attempt) != 3 || attempt[0] == "" || params.Get("state") != attempt[0]:
		return nil, errors.New("the answer belongs to another attempt to sign in")
	case params.Get("iss") != c.issuer: // RFC 9207
		return nil, errors.New("the answer comes from another issuer")
	case params.Get("error") == "access_denied":
		return nil, errWentBack
	case params.Has("error"):
		return nil, fmt.Errorf("the broker says %q", params.Get("error"))
	}
	tokens, err := config.Exchange(r.Context(), params.Get("code"), oauth2.VerifierOption(attempt[2]))
	if err != nil {
		return nil, err
	}
	raw, _ := tokens.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: config.ClientID}).Verify(r.Context(), raw)
	if err != nil {
		return nil, err
	}
	if id.Nonce != attempt[1] {
		return nil, errors.New("the ID token belongs to another attempt to sign in")
	}
	if err := id.VerifyAccessToken(tokens.AccessToken); err != nil {
		return nil, err
	}
	who := &signedIn{ID: decode(raw), Access: decode(tokens.AccessToken)}
	return who, id.Claims(who)
}

func (c *client) home(w http.ResponseWriter, r *http.Request) {
	var who *signedIn
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		c.mu.Lock()
		who = c.sessions[cookie.Value]
		c.mu.Unlock()
	}
	render(w, http.StatusOK, "client", view{App: "Another App", Icon: "client.svg", Class: "another", Data: struct {
		Who     *signedIn // nil if nobody is signed in
		Issuer  string
		YourApp string
	}{who, c.issuer, strings.TrimSuffix(c.issuer, "/id") + "/app"}})
}

// logout ends the session here. That at the broker goes on, and with it those at other applications.
func (c *client) logout(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		c.mu.Lock()
		delete(c.sessions, cookie.Value)
		c.mu.Unlock()
	}
	setCookie(w, sessionCookie, "")
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// problem says on the page that it did not work, and on the terminal why.
func (c *client) problem(w http.ResponseWriter, r *http.Request, status int, err error) {
	slog.WarnContext(r.Context(), "another app: sign in", "error", err)
	render(w, status, "problem", view{App: "Another App", Icon: "client.svg", Class: "another"})
}

// setCookie sets a cookie that lasts as long as the browser, or clears it. Over https it would be Secure, too.
func setCookie(w http.ResponseWriter, name, value string) {
	cookie := &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if value == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

// decoded is a JSON Web Token that can be read.
type decoded struct{ Header, Claims, Raw string }

func decode(jwt string) decoded {
	d := decoded{Raw: jwt}
	parts := strings.Split(jwt, ".")
	if len(parts) == 3 {
		d.Header, d.Claims = readable(parts[0]), readable(parts[1])
	}
	return d
}

func readable(part string) string {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return part
	}
	var out bytes.Buffer
	if json.Indent(&out, text, "", "  ") != nil {
		return part
	}
	return out.String()
}
