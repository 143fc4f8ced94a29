package seal

// Kept is how many keys are remembered.
func (s *Sealer) Kept() int {
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	return len(s.cache.kept)
}
