package firstlogin

import "github.com/go-idbroker/idbroker/flow/internal/spelling"

// Username returns the one spelling under which a username is stored and looked up: without space around it, in Unicode
// normal form KC, in lower case. It is "" for what is no username: nothing, more than 255 bytes, text that is not UTF-8,
// or with characters that cannot be seen.
func Username(s string) string { return spelling.Username(s) }

// Email returns the one spelling under which an e-mail address is stored and looked up: without space around it and in
// lower case. It is "" for what is not exactly one address of the ordinary kind: an ASCII dot-atom of at most 64 bytes,
// "@", and a domain name (RFC 5321 §4.1.2 and §4.5.3.1). Quoted local parts, IP addresses and addresses beyond ASCII are
// refused: in these, what looks like one mailbox can be another.
func Email(s string) string { return spelling.Email(s) }
