package token

// For FuzzJWKS, without the HTTP client around it, whose goroutines would blur the coverage.
var (
	ParseJWKS          = parseJWKS
	UpstreamAlgorithms = upstreamAlgorithms
)
