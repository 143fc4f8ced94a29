package provider

// NewHTTPClientResolving is NewHTTPClient with a name service of the test's own.
var NewHTTPClientResolving = newHTTPClient
