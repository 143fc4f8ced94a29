package web

import "net/url"

// LogoutData is the data of the page "logout": it asks whether the visitor wants to sign out.
type LogoutData struct {
	Action      string // URL to post the answer to
	Hidden      url.Values
	Back        string // URL of the application; "" for none
	Application string // its name; "" if it has none
}
