package memstore

// Len is how many entries all maps, indexes and queues have together.
func (s *Store) Len() int {
	return len(s.users) + len(s.usernames) + len(s.emails) + len(s.links) + len(s.linksOf) + len(s.keys) + len(s.clients) +
		len(s.credentials) + len(s.credentialsOf) + len(s.fences) +
		len(s.transient.items) + len(s.transient.queue) + len(s.sessions.items) + len(s.sessions.queue) +
		len(s.sessionsOfUser) + len(s.sessionsOfProvider) + len(s.sessionsOfSubject) + len(s.sessionsOfUpstream) +
		len(s.grants.items) + len(s.grants.queue) + len(s.grantsOfUser) + len(s.grantsOfClient) + len(s.grantsOfSession)
}
