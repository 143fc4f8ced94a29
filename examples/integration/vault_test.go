package integration

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider/providertest"
)

// Two processes that share nothing but PostgreSQL renew the tokens of one user, for hundreds of callers at once, at an upstream that
// ends everything as soon as a refresh token comes twice. It must never see one.
func TestVaultOnTwoNodes(t *testing.T) {
	t.Parallel()
	const workers, fetches, callers = 40, 5, 500
	upstream := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", AutoLogin: "ada", Users: []providertest.User{
		{Subject: "ada", Username: "ada", Email: "ada@example.com", EmailVerified: true, GivenName: "Ada", FamilyName: "Lovelace"},
	}})
	front, base := newBalancer(t, 2)
	c := newNodeConfig(t, base, upstream, newPostgres(t), "127.0.0.1:1") // there is no Redis
	c.Vault, c.Client.ProviderTokens = true, []string{"demo"}
	for _, addr := range front.addrs {
		n := &node{addr: addr}
		n.start(t, c)
	}
	var lifetime atomic.Int64 // seconds
	upstream.Edit(providertest.Hooks{Token: func(m map[string]any) { m["expires_in"] = lifetime.Load() }})
	lifetime.Store(1) // less than what is handed out has to be good for: whoever asks has it renewed
	user := c.user("ada", &http.Transport{MaxIdleConnsPerHost: callers})
	code, err := user.code(t.Context(), "openid")
	if err != nil {
		t.Fatal(err)
	}
	access := user.redeem(t.Context(), code).Access

	start := time.Now()
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range fetches {
				if status, token := user.fetch(t.Context(), access); status != http.StatusOK || token == "" {
					t.Errorf("fetch: status %d", status)
				}
			}
		})
	}
	all.Wait()
	rotations := rotated(t, upstream)
	t.Logf("%d fetches by %d workers at two processes took %v: %d rotations, none lost, none twice", workers*fetches, workers,
		time.Since(start).Round(time.Millisecond), rotations)
	if rotations < fetches {
		t.Errorf("only %d rotations", rotations)
	}

	lifetime.Store(600)
	start = time.Now()
	tokens := make([]string, callers)
	for i := range callers {
		all.Go(func() {
			var status int
			if status, tokens[i] = user.fetch(t.Context(), access); status != http.StatusOK {
				t.Errorf("fetch: status %d", status)
			}
		})
	}
	all.Wait()
	t.Logf("%d callers of one token that had ended took %v", callers, time.Since(start).Round(time.Millisecond))
	if more := rotated(t, upstream) - rotations; more != 1 {
		t.Errorf("%d rotations for one token that had ended, want 1", more)
	}
	for _, token := range tokens {
		if token != tokens[0] {
			t.Fatal("callers got different tokens")
		}
	}
}

// fetch asks for the upstream's token.
func (u *appUser) fetch(ctx context.Context, access string) (status int, token string) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.Base+"/broker/demo/token", nil)
	if err != nil {
		return 0, ""
	}
	r.Header.Set("Authorization", "Bearer "+access)
	response, err := u.client.Do(r)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	var a answer
	if json.NewDecoder(response.Body).Decode(&a) != nil {
		return response.StatusCode, ""
	}
	return response.StatusCode, a.Access
}

// rotated returns how many refresh tokens the upstream has exchanged. Each came once, and it refused none.
func rotated(t *testing.T, upstream *providertest.OIDC) (n int) {
	t.Helper()
	seen := map[string]bool{}
	for _, r := range upstream.Requests(providertest.Token) {
		if r.Params.Get("grant_type") != "refresh_token" {
			continue
		}
		brought := r.Params.Get("refresh_token")
		if seen[brought] || r.Error != "" {
			t.Fatalf("a refresh token was brought twice (%t) or refused (%q)", seen[brought], r.Error)
		}
		seen[brought] = true
		n++
	}
	return n
}
