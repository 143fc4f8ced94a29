package token

// For FuzzJWKS, without the HTTP client around it, whose goroutines would blur the coverage.
var (
	ParseJWKS          = parseJWKS
	UpstreamAlgorithms = upstreamAlgorithms
)

// Misses returns how many unknown key ids r remembers.
func (r *Remote) Misses() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.misses)
}
