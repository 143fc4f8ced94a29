package op

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/limit"
	"github.com/go-idbroker/idbroker/store"
)

// What a public client may have the broker keep: anybody who knows its name can speak for it (RFC 8628 §5.2, RFC 9126 §7). A
// node keeps for one of them a minute's worth of pushed requests and twenty minutes' of devices at most.
const (
	publicWithin    = time.Minute
	publicOfAddress = 300 // a company's whole staff may come from one address
	publicOfClient  = 3000
)

// PublicLimits bound what public clients may have the broker keep.
type PublicLimits struct {
	// Source names where a request came from; "" if nobody knows.
	Source func(*http.Request) string

	addresses, clients limit.Rate
}

// NewPublicLimits returns limits that nobody has used up.
func NewPublicLimits(now func() time.Time, source func(*http.Request) string) *PublicLimits {
	return &PublicLimits{
		Source:    source,
		addresses: limit.Rate{Now: now, Max: publicOfAddress, Within: publicWithin},
		clients:   limit.Rate{Now: now, Max: publicOfClient, Within: publicWithin},
	}
}

// mayKeep returns an error if the client, which authenticated, is a public one that has had enough kept. It comes right
// before something is written. The address comes first, so that one of them does not use up what all of them have.
func (p *Provider) mayKeep(r *http.Request, client *store.Client) error {
	if client.AuthMethod != store.AuthNone {
		return nil
	}
	var err error
	if source := p.Public.Source(r); source != "" {
		err = p.Public.addresses.Try(source)
	}
	if err == nil {
		err = p.Public.clients.Try(client.ID)
	}
	if err == nil {
		return nil
	}
	return &oauthError{http.StatusTooManyRequests, "temporarily_unavailable", "too many requests of this kind: try again later", err}
}

// retryAfter says in the headers when to come again, if err is that somebody came too soon (RFC 9110 §10.2.3).
func retryAfter(h http.Header, err error) {
	if soon, ok := errors.AsType[*limit.TooSoon](err); ok {
		h.Set("Retry-After", strconv.FormatFloat(math.Ceil(soon.Wait.Seconds()), 'f', 0, 64))
	}
}
