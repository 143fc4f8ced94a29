package broker

import (
	"net/http"
	"net/netip"
)

// carriers are shared by many, and what clouds give to their proxies (RFC 6598).
var carriers = netip.MustParsePrefix("100.64.0.0/10")

// connectionAddr is the default of [Config].RemoteAddr: the other end of the connection. One of a private network is a
// proxy's as a rule, which stands for everybody: nobody is known by it.
func connectionAddr(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	addr := at.Addr().Unmap()
	if err != nil || !addr.IsGlobalUnicast() || addr.IsPrivate() || carriers.Contains(addr) {
		return netip.Addr{}
	}
	return addr
}

// source names where a request comes from, as limits count it; "" if that is not known.
func (c *Config) source(r *http.Request) string {
	addr := c.RemoteAddr(r).Unmap().WithZone("")
	switch {
	case !addr.IsValid():
		return ""
	case addr.Is6():
		household, _ := addr.Prefix(64) // what one subscriber has; an address of IPv6 always has it
		return household.String()
	}
	return addr.String()
}
