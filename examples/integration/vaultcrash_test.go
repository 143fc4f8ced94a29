package integration

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-idbroker/idbroker/provider/providertest"
)

// A node is killed by kill -9 while it renews tokens. Who asks the other node then waits for as long as the dead one could have been at
// it, and no longer: upstreams that take a refresh token once more for a moment have that moment still to go. One that does not has the
// user told to sign in again, at once from then on.
func TestVaultNodeKilled(t *testing.T) {
	t.Parallel()
	for name, taken := range map[string]bool{"before the upstream has taken the refresh token": false, "after it has": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			upstream := providertest.StartOIDC(t, providertest.OIDCConfig{Alg: "ES256", AutoLogin: "ada", Users: []providertest.User{
				{Subject: "ada", Username: "ada", Email: "ada@example.com", EmailVerified: true, GivenName: "Ada", FamilyName: "Lovelace"},
			}})
			front, base := newBalancer(t, 2)
			dsn := newPostgres(t)
			c := newNodeConfig(t, base, upstream, dsn, "127.0.0.1:1") // there is no Redis
			c.Vault, c.Client.ProviderTokens = true, []string{"demo"}
			var nodes []*node
			for _, addr := range front.addrs {
				n := &node{addr: addr}
				n.start(t, c)
				nodes = append(nodes, n)
			}
			var renewing atomic.Bool
			var lifetime atomic.Int64 // seconds
			upstream.Edit(providertest.Hooks{Token: func(m map[string]any) {
				if renewing.CompareAndSwap(true, false) {
					nodes[0].kill()
				}
				m["expires_in"] = lifetime.Load()
			}})
			lifetime.Store(1) // less than what is handed out has to be good for
			user := c.user("ada", &http.Transport{})
			code, err := user.code(t.Context(), "openid")
			if err != nil {
				t.Fatal(err)
			}
			access := user.redeem(t.Context(), code).Access
			lifetime.Store(600)

			answered := make(chan int, 1)
			ask := func() {
				status, _ := fetchAt(t, user, nodes[0], access)
				answered <- status
			}
			if taken {
				renewing.Store(true)
				go ask()
			} else {
				upstream.Break(providertest.TokenSlow)
				db := openPostgres(t, dsn)
				written := func() int64 { return queryInt(t, db, `SELECT version FROM idbroker_links`) }
				before := written()
				go ask()
				waitFor(t, func() bool { return written() > before }) // the node says that it begins
				nodes[0].kill()
			}
			if status := <-answered; status != 0 {
				t.Fatalf("a node that was killed has answered with status %d", status)
			}
			upstream.Break()
			killed := time.Now()
			status, a := fetchAt(t, user, nodes[1], access)
			took := time.Since(killed)
			t.Logf("after the kill the next caller had an answer in %v", took.Round(100*time.Millisecond))
			if took > time.Minute {
				t.Errorf("the next caller waited for %v", took)
			}
			if !taken && (status != http.StatusOK || a.AccessToken == "") || taken && (status != http.StatusBadGateway || a.Error != "link_again") {
				t.Errorf("the next caller: status %d, %q", status, a.Error)
			}
			began := time.Now()
			if now, b := fetchAt(t, user, nodes[1], access); now != status || b != a || time.Since(began) > 15*time.Second {
				t.Errorf("the one after: status %d, %q after %v", now, b.Error, time.Since(began))
			}
		})
	}
}

// An upstreamAnswer is a token of the upstream, or why there is none.
type upstreamAnswer struct {
	AccessToken string `json:"access_token"`
	Error       string `json:"error"`
}

// fetchAt asks a node for the upstream's token. The status is 0 if it has not answered.
func fetchAt(t *testing.T, u *appUser, n *node, access string) (status int, a upstreamAnswer) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.addr+"/broker/demo/token", nil)
	if err != nil {
		t.Error(err)
		return 0, a
	}
	r.Header.Set("Authorization", "Bearer "+access)
	response, err := u.client.Do(r)
	if err != nil {
		return 0, a
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&a); err != nil {
		t.Errorf("status %d: %v", response.StatusCode, err)
	}
	return response.StatusCode, a
}
