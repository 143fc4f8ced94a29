package broker

import (
	"net/http/httptest"
	"testing"
)

// Nobody else's address counts: that of a proxy would be everybody's.
func TestSource(t *testing.T) {
	t.Parallel()
	c := &Config{RemoteAddr: connectionAddr}
	for addr, want := range map[string]string{
		"203.0.113.7:1234": "203.0.113.7", "[2001:db8:1:2:3:4:5:6]:1": "2001:db8:1:2::/64", "[::ffff:203.0.113.7]:1": "203.0.113.7",
		"127.0.0.1:1": "", "[::1]:1": "", "10.1.2.3:1": "", "100.64.1.1:1": "", "192.168.0.1:1": "", "[fd00::1]:1": "", "[fe80::1%eth0]:1": "",
		"0.0.0.0:1": "", "@": "", "": "", "203.0.113.7": "",
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
		r.RemoteAddr = addr
		r.Header.Set("X-Forwarded-For", "198.51.100.1")
		if got := c.source(r); got != want {
			t.Errorf("from %q: got %q, want %q", addr, got, want)
		}
	}
}
