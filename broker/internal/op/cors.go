package op

import (
	"context"
	"net/http"
	"slices"

	"github.com/go-idbroker/idbroker/store"
)

// A caller is the page whose script calls an endpoint from another site, and the headers of the answer, which let it read
// that once it is known that it belongs to the client.
type caller struct {
	origin string
	answer http.Header
}

type callerKey struct{}

// Shared is for an endpoint whose answers scripts of a client's own origins may read (Fetch §3.3, the CORS protocol). As long
// as no client has authenticated, or been found by its token, nobody may: see [allowOrigin].
func (p *Provider) Shared(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Origin")
		if origins := r.Header.Values("Origin"); len(origins) == 1 {
			c := &caller{origin: origins[0], answer: w.Header()}
			r = r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
		}
		next(w, r)
	})
}

// allowOrigin lets the page that sent the request read the answer, if the client has pages on its origin. The origin is
// echoed, as the wildcard is none where credentials are sent.
func allowOrigin(ctx context.Context, client *store.Client) {
	c, ok := ctx.Value(callerKey{}).(*caller)
	if !ok || !slices.Contains(client.Origins, c.origin) {
		return
	}
	c.answer.Set("Access-Control-Allow-Origin", c.origin)
	c.answer.Set("Access-Control-Allow-Credentials", "true")
	c.answer.Set("Access-Control-Expose-Headers", "WWW-Authenticate, DPoP-Nonce, Retry-After")
}

// Preflight answers a browser that asks whether a script may send a request to a shared endpoint. It is not known yet for
// which client; the answer to the request itself is readable for that one's pages only.
func (p *Provider) Preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Add("Vary", "Origin")
	origins := r.Header.Values("Origin")
	if len(origins) == 1 && p.Gate.HasOrigin(origins[0]) {
		h.Set("Access-Control-Allow-Origin", origins[0])
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Allow-Methods", "GET, POST")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, DPoP")
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
}

// Public is for an endpoint that says the same to everybody: every script may read it.
func Public(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		next(w, r)
	})
}

// PublicPreflight is the preflight of a public endpoint.
func PublicPreflight(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Access-Control-Allow-Headers", "*")
	w.Header().Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}
