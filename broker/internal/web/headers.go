package web

import "net/http"

// The policies of a page (CSP Level 3). Nothing is loaded from elsewhere, nothing inline runs, nobody frames it.
//
// The post page and those that ask for a passkey have a script of ours. The former has no form-action: some browsers hold the redirects that follow a post against
// it too, and an upstream may send the visitor on to hosts that nobody here knows.
const (
	commonPolicy = "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
		"base-uri 'none'; frame-ancestors 'none'"
	pagePolicy   = commonPolicy + "; form-action 'self'"
	scriptPolicy = "; script-src 'self'"
	postPolicy   = commonPolicy + scriptPolicy
)

// Headers sets the security headers of a page.
//
// Two that one might expect are missing on purpose. Referrer-Policy is not no-referrer: with that, browsers send
// "Origin: null" when a page of ours posts to ourselves (Fetch §3.2), and where they send no Sec-Fetch-Site (plain http
// that is not loopback, old browsers) such a post could not be told from a foreign one. With strict-origin no path and
// no query ever leaves, only our origin, which whoever is next in a login knows anyway. Cross-Origin-Opener-Policy is
// not set: with same-origin, and with same-origin-allow-popups as well, a single-page application that opens the login
// in a popup would lose the window it waits for. The pages keep no secret in their window for an opener to find.
func Headers(h http.Header) {
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "strict-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
}
