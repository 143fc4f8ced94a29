package broker

import "github.com/go-idbroker/idbroker/flow/factor"

// Local checks and changes the credentials of users as the broker's own pages do: for a host's own pages, and for users who are
// brought in with their passwords. It is nil if [Config].Credentials is.
//
// What its methods and its Credentials write is sealed, and what they read is opened. What a host writes into its store by itself
// is not: the broker then refuses to read it, and that user cannot sign in. So write credentials by way of Local, or put the store
// behind the package store/seal. Who may come to this is for the host to decide.
func (b *Broker) Local() *factor.Local {
	if b.login.Credentials == nil {
		return nil
	}
	return b.login.Factors()
}
