package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Bounds of what a [Remote] keeps and does.
const (
	minLifetime   = 5 * time.Minute // of a max-age
	maxLifetime   = 24 * time.Hour
	missLifetime  = 2 * time.Minute // of a key id that is not there
	retryInterval = 5 * time.Second // between fetches that fail
	maxMisses     = 256
	maxBody       = 1 << 20
	flightTimeout = 15 * time.Second
)

// A Remote is the cached key set of somebody else: a [KeySource], and an oidc.KeySet for go-oidc. It fetches when it is
// first asked, when the set has outlived its lifetime, and when a key id is unknown, but never more often than
// MinInterval (after a failure: five seconds), whatever tokens it is asked about: a bad signature by a known key fetches
// nothing. Callers at the same
// time share one fetch.
//
// While fetching fails, the last set stays in use for MaxStale beyond its lifetime. A key that was removed is refused as
// soon as the set was fetched again, after its lifetime at the latest.
//
// One of URL and Locate is required. A Remote is safe for concurrent use once its fields are set, and must not be copied
// after its first use.
type Remote struct {
	// URL of the key set (jwks_uri).
	URL string
	// Locate finds the URL, before each fetch, if it is not known beforehand.
	Locate func(context.Context) (string, error)
	// Client fetches, and decides which addresses and redirects are allowed. Nil is one with a timeout of ten seconds
	// that follows no redirect to another host.
	Client *http.Client
	// Algorithms that are accepted. Nil is RS, PS and ES with 256, 384 and 512 bits, and EdDSA.
	Algorithms []string

	// Lifetime of a set whose server does not say "Cache-Control: max-age", which is honoured between five minutes and
	// 24 hours. Zero is an hour.
	Lifetime time.Duration
	// MinInterval between two fetches. Zero is 30 seconds.
	MinInterval time.Duration
	// MaxStale is how long a set is used after its lifetime while it cannot be fetched. Zero is 24 hours, negative is
	// not at all.
	MaxStale time.Duration
	// Now returns the current time for VerifySignature. Nil is time.Now.
	Now func() time.Time

	mu      sync.Mutex
	keys    []PublicKey          // of the last fetch that succeeded
	expires time.Time            // when keys must be fetched again; zero before the first success
	next    time.Time            // when the next fetch may begin
	err     error                // of the last fetch
	flight  chan struct{}        // closed when the fetch that is on its way has ended; nil if none is
	misses  map[string]time.Time // unknown key ids, and until when nothing is fetched for them
}

var upstreamAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

func (r *Remote) algorithms() []string {
	if r.Algorithms == nil {
		return upstreamAlgorithms
	}
	return r.Algorithms
}

// VerifySignature verifies the signature of a JWT and returns its payload, with the checks of a [Parser] as far as they are
// about signature, header and JSON. Type and claims are the caller's business. It makes a Remote an oidc.KeySet.
func (r *Remote) VerifySignature(ctx context.Context, jwt string) (payload []byte, err error) {
	j, err := split(jwt, defaultMaxSize)
	if err != nil {
		return nil, err
	}
	payload, err = j.verify(ctx, r, r.algorithms(), clock(r.Now))
	if err != nil {
		return nil, err
	}
	if _, err := parseObject(payload); err != nil {
		return nil, fmt.Errorf("%w in the claims", err)
	}
	return payload, nil
}

// PublicKeys returns the keys with this id, or all if it is "", fetching them if need be. When ctx ends it returns, and
// the fetch goes on for the others. Without keys that may still be used it fails with what kept them from being fetched.
func (r *Remote) PublicKeys(ctx context.Context, id string, now time.Time) ([]PublicKey, error) {
	flight, mine := r.board(ctx, id, now)
	if flight != nil {
		select {
		case <-flight:
		case <-ctx.Done():
			return nil, fmt.Errorf("fetch key set: %w", ctx.Err())
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.find(id, now)
	if len(found) == 0 && r.err != nil {
		return nil, r.err // for all we know the key is there by now
	}
	if len(found) == 0 && mine {
		r.miss(id, now)
	}
	return found, nil
}

// Err returns what kept the set from being fetched when that was last tried, though an older one may still be in use. It is
// nil if it was fetched, and before the first try.
func (r *Remote) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// board returns the fetch that the caller should wait for, having started it (mine) if none was on its way. It returns
// nil if the caller can do with what is there, or has to because it is too early for another fetch.
func (r *Remote) board(ctx context.Context, id string, now time.Time) (flight <-chan struct{}, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := len(r.find(id, now)) > 0
	if now.Before(r.expires) && (known || now.Before(r.misses[id])) {
		return nil, false
	}
	// Once a fetch has failed, nobody who knows a key waits for the next one to time out.
	wait := !known || r.err == nil
	if r.flight == nil {
		if now.Before(r.next) {
			return nil, false
		}
		r.start(ctx, now)
		mine = true
	}
	if !wait {
		return nil, false
	}
	return r.flight, mine
}

// start starts a fetch. It belongs to nobody: it outlives the caller whose request began it, and ends by its own timeout.
func (r *Remote) start(ctx context.Context, now time.Time) {
	flight := make(chan struct{})
	r.flight = flight
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flightTimeout)
	go func() {
		defer cancel()
		keys, lifetime, err := r.fetch(ctx)
		r.mu.Lock()
		defer r.mu.Unlock()
		defer close(flight)
		interval := cmp.Or(r.MinInterval, 30*time.Second)
		r.flight, r.err = nil, err
		if err != nil {
			r.next = now.Add(min(interval, retryInterval))
			return
		}
		r.keys, r.expires, r.next = keys, now.Add(lifetime), now.Add(interval)
	}()
}

// find returns the keys with this id that may be used at now: while fetching fails, those of the last set until MaxStale.
func (r *Remote) find(id string, now time.Time) []PublicKey {
	stale := max(cmp.Or(r.MaxStale, 24*time.Hour), 0)
	if r.err != nil && !now.Before(r.expires.Add(stale)) {
		return nil
	}
	if id == "" {
		return r.keys
	}
	var found []PublicKey
	for _, k := range r.keys {
		if k.ID == id {
			found = append(found, k)
		}
	}
	return found
}

// miss remembers that the id was not in a set that was fetched for its sake.
func (r *Remote) miss(id string, now time.Time) {
	if r.misses == nil || len(r.misses) >= maxMisses {
		r.misses = make(map[string]time.Time)
	}
	r.misses[id] = now.Add(missLifetime)
}

func (r *Remote) fetch(ctx context.Context) ([]PublicKey, time.Duration, error) {
	url := r.URL
	if url == "" {
		if r.Locate == nil {
			return nil, 0, errors.New("fetch key set: the Remote has no URL")
		}
		var err error
		if url, err = r.Locate(ctx); err != nil {
			return nil, 0, fmt.Errorf("find key set: %w", err)
		}
	}
	body, header, err := get(ctx, r.Client, url)
	if err != nil {
		return nil, 0, fmt.Errorf("fetch key set: %w", err)
	}
	keys, err := parseJWKS(body, r.algorithms())
	if err != nil {
		return nil, 0, fmt.Errorf("fetch key set: %s: %w", url, err)
	}
	return keys, lifetime(header, cmp.Or(r.Lifetime, time.Hour)), nil
}

// lifetime returns how long a reply may be used.
func lifetime(h http.Header, unsaid time.Duration) time.Duration {
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return minLifetime
		case "max-age":
			if s, err := strconv.Atoi(strings.Trim(value, `"`)); err == nil {
				unsaid = time.Duration(min(max(s, 0), 1<<30)) * time.Second
				unsaid = min(max(unsaid, minLifetime), maxLifetime)
			}
		}
	}
	return unsaid
}

// defaultClient is for those who give none.
var defaultClient = &http.Client{
	Timeout: 10 * time.Second,
	CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme || len(via) > 3 {
			return errors.New("redirected elsewhere")
		}
		return nil
	},
}

// get fetches a small JSON document.
func get(ctx context.Context, client *http.Client, url string) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/json, application/jwk-set+json")
	if client == nil {
		client = defaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s: status %d", url, resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", url, err)
	}
	if len(body) > maxBody {
		return nil, nil, fmt.Errorf("%s: more than %d bytes", url, maxBody)
	}
	return body, resp.Header, nil
}
