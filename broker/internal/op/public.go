package op

import (
	"errors"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/go-idbroker/idbroker/broker/internal/limit"
	"github.com/go-idbroker/idbroker/store"
)

// What a public client may have the broker keep: anybody who knows its name can speak for it (RFC 8628 §5.2, RFC 9126 §7). A
// node keeps for one of them a minute's worth of pushed requests and twenty minutes' of devices at most.
const (
	publicWithin     = time.Minute
	publicOfAddress  = 300 // a company's whole staff may come from one address
	publicOfClient   = 3000
	bitsOfHouseholds = 64 // of an IPv6 address: who has one has all that begin alike
)

// PublicLimits bound what public clients may have the broker keep.
type PublicLimits struct {
	// Remote returns where a request came from, the zero Addr if nobody knows.
	Remote func(*http.Request) netip.Addr

	addresses, clients limit.Rate
}

// NewPublicLimits returns limits that nobody has used up.
func NewPublicLimits(now func() time.Time, remote func(*http.Request) netip.Addr) *PublicLimits {
	return &PublicLimits{
		Remote:    remote,
		addresses: limit.Rate{Now: now, Max: publicOfAddress, Within: publicWithin},
		clients:   limit.Rate{Now: now, Max: publicOfClient, Within: publicWithin},
	}
}

// carriers are shared by many, and what clouds give to their proxies (RFC 6598).
var carriers = netip.MustParsePrefix("100.64.0.0/10")

// ConnectionAddr is the address at the other end of the connection. One of a private network is a proxy's as a rule, which
// stands for everybody: nobody is known by it.
func ConnectionAddr(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	addr := at.Addr().Unmap()
	if err != nil || !addr.IsGlobalUnicast() || addr.IsPrivate() || carriers.Contains(addr) {
		return netip.Addr{}
	}
	return addr
}

// mayKeep returns an error if the client, which authenticated, is a public one that has had enough kept. It comes right
// before something is written. The address comes first, so that one of them does not use up what all of them have.
func (p *Provider) mayKeep(r *http.Request, client *store.Client) error {
	if client.AuthMethod != store.AuthNone {
		return nil
	}
	var err error
	if addr := p.Public.Remote(r).Unmap().WithZone(""); addr.IsValid() {
		bits := addr.BitLen()
		if addr.Is6() {
			bits = bitsOfHouseholds
		}
		household, _ := addr.Prefix(bits) // the number of bits is right
		err = p.Public.addresses.Try(household.String())
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
