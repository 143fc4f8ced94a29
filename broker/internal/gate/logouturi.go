package gate

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/go-idbroker/idbroker/store"
)

// checkLogoutURIs returns what is wrong with where a client is told of sign-outs, and with where they may lead back to.
func checkLogoutURIs(c *store.Client) (errs []error) {
	for _, uri := range c.PostLogoutRedirectURIs {
		if err := checkRedirectURI(uri); err != nil {
			errs = append(errs, fmt.Errorf("PostLogoutRedirectURIs: %q %w", uri, err))
		}
	}
	if uri := c.BackchannelLogoutURI; uri != "" {
		if err := checkLogoutURI(uri); err != nil {
			errs = append(errs, fmt.Errorf("BackchannelLogoutURI: %q %w", uri, err))
		}
	}
	if uri := c.FrontchannelLogoutURI; uri != "" {
		err := checkLogoutURI(uri)
		if err == nil && strings.Contains(uri, "://[") {
			err = errors.New("has an IPv6 address as its host, which a page's policy cannot name")
		}
		if err == nil && !sharesOrigin(uri, c.RedirectURIs) {
			err = errors.New("must have scheme, host and port of one of RedirectURIs (Front-Channel Logout §2)")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("FrontchannelLogoutURI: %q %w", uri, err))
		}
	}
	return errs
}

// checkLogoutURI allows what can be fetched: https, and http on a loopback host.
func checkLogoutURI(raw string) error {
	if err := checkRedirectURI(raw); err != nil {
		return err
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("must be https; http is for loopback hosts only")
	case u.Query().Has("sid"):
		return errors.New(`must not have the parameter "sid", which belongs to the message`)
	}
	return nil
}

func sharesOrigin(uri string, others []string) bool {
	u, err := url.Parse(uri)
	if err != nil {
		return false
	}
	for _, other := range others {
		o, err := url.Parse(other)
		if err == nil && o.Scheme == u.Scheme && strings.EqualFold(o.Host, u.Host) {
			return true
		}
	}
	return false
}
