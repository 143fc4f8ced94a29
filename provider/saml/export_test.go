package saml

// Canonical is for tests that compare octets.
var Canonical = canonical
