package limit

// Known returns how many keys are remembered.
func (r *Rate) Known() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.full)
}
