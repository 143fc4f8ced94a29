package provider

// NewHTTPClientResolving is NewHTTPClient with a name service of the test's own.
var NewHTTPClientResolving = newHTTPClient

// DialGuard is the check that a client makes between the name look-up and the connection.
var DialGuard = dialGuard
