package broker

import (
	"net/http"
	"net/netip"
)

// connectionSource is the default of [Config].Source.
func connectionSource(r *http.Request) string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	addr := at.Addr().Unmap().WithZone("")
	if addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast() || addr.IsUnspecified() {
		return "" // a proxy, through which everybody comes
	}
	if addr.Is6() {
		network, _ := addr.Prefix(64) // what one subscriber has; an address of IPv6 always has it
		return network.String()
	}
	return addr.String()
}
