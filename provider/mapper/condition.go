package mapper

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"github.com/go-idbroker/idbroker/provider/internal/claim"
)

// A Condition is about one claim. It holds if the claim, or any element of one that is a list, is the value.
type Condition struct {
	Claim string // path of the claim
	// Value is what the claim has to be. A string is it byte for byte; a number is it if both are the same number ("1" is 1.0);
	// true and false are "true" and "false". Null, objects and lists in lists are nothing. It is required.
	Value string
	// Regex makes a regular expression of Value (package regexp), which the whole text has to match.
	Regex bool
}

// A check is a condition that was read.
type check struct {
	at    claim.Path
	value string
	regex *regexp.Regexp // nil if value is to be equal
}

func (c Condition) check() (check, error) {
	at, err := claim.Parse(c.Claim)
	if err != nil {
		return check{}, err
	}
	if c.Value == "" {
		return check{}, fmt.Errorf("claim %q: the value is missing", c.Claim)
	}
	read := check{at: at, value: c.Value}
	if !c.Regex {
		return read, nil
	}
	if _, err := regexp.Compile(c.Value); err != nil { // before the anchors, which could balance it
		return check{}, fmt.Errorf("claim %q: %w", c.Claim, err)
	}
	read.regex, err = regexp.Compile(`\A(?:` + c.Value + `)\z`)
	return read, err
}

func checks(conditions []Condition) (all []check, err error) {
	for _, c := range conditions {
		one, problem := c.check()
		all, err = append(all, one), errors.Join(err, problem)
	}
	return all, err
}

func (c *check) holds(claims map[string]any) bool {
	for _, e := range claim.Elements(c.at.Find(claims)) {
		text, ok := claim.Scalar(e)
		if !ok {
			continue
		}
		if c.regex != nil && c.regex.MatchString(text) || c.regex == nil && equal(e, text, c.value) {
			return true
		}
	}
	return false
}

// equal compares a claim, whose text is got, with what is configured.
func equal(v any, got, want string) bool {
	if got == want {
		return true
	}
	switch v.(type) {
	case json.Number, float64, int, int64:
		return sameNumber(got, want)
	}
	return false
}

// sameNumber reports whether a number and a text are one number. What a float64 cannot tell from its neighbours equals nothing: an id
// that is nearly somebody's is not theirs.
func sameNumber(number, text string) bool {
	const exact = 1 << 53
	f, err1 := strconv.ParseFloat(number, 64)
	g, err2 := strconv.ParseFloat(text, 64)
	return err1 == nil && err2 == nil && f == g && f < exact && f > -exact
}
