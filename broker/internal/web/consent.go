package web

import "net/url"

// ConsentData is the data of the page "consent": it asks whether an application may have what it asks for. The answer is
// posted to Action as Field, "allow" or "deny".
type ConsentData struct {
	Application string
	Account     string   // by which the visitor knows that it is theirs; "" for none
	Scopes      []string // each is said by the message "scope.<scope>"; one that has none is shown by its name
	Action      string
	Hidden      url.Values
	Field       string
}
