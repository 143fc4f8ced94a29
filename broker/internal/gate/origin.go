package gate

import (
	"errors"
	"net/url"
	"slices"

	"github.com/go-idbroker/idbroker/broker/internal/web"
)

// HasOrigin reports whether scripts of the origin may ask an endpoint something before it is known for which client: whether
// it is that of a client. Clients in a store cannot be looked up by it, so that with them it need only be an origin that a
// client could have.
func (g *Gate) HasOrigin(origin string) bool {
	if g.clientStore != nil {
		return checkOrigin(origin) == nil
	}
	for _, c := range g.clients {
		if !c.Disabled && slices.Contains(c.Origins, origin) {
			return true
		}
	}
	return false
}

// checkOrigin refuses what no browser sends as the origin of a client's page, "null" and "*" among it.
func checkOrigin(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Scheme+"://"+u.Host != raw:
		return errors.New("is no origin, such as https://spa.example")
	case !canonicalHost(u):
		return errors.New("must be written as browsers send it: in lower case, and without a default port")
	case u.Scheme != "https" && (u.Scheme != "http" || !web.Loopback(u.Hostname())):
		return errors.New("must be https; http is for loopback hosts only")
	}
	return nil
}

func canonicalHost(u *url.URL) bool {
	port := u.Port()
	defaultPort := u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80"
	for _, r := range u.Host {
		if r >= 'A' && r <= 'Z' || r > '~' || r == '*' {
			return false
		}
	}
	return !defaultPort && u.Host[len(u.Host)-1] != ':'
}
