package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-idbroker/idbroker/flow"
	"github.com/go-idbroker/idbroker/flow/factor"
	"github.com/go-idbroker/idbroker/flow/firstlogin"
	"github.com/go-idbroker/idbroker/store"
)

// A step is one of a flow in the file: a step of the library by its name, another flow by its name, or a flow that stands there.
type step struct {
	ID   string      `yaml:"id"` // the name of the step, or of the flow, where it is left out
	When requirement `yaml:"when"`
	Step stepName    `yaml:"step"`
	Flow flowName    `yaml:"flow"`
	Sub  []step      `yaml:"sub"`

	// Options of some steps: see steps.
	Mode            reviewMode       `yaml:"mode"`
	SharedEmail     bool             `yaml:"shared_email"`
	RequirePassword bool             `yaml:"require_password"`
	Provable        bool             `yaml:"provable"`
	Reason          string           `yaml:"reason"`
	Missing         bool             `yaml:"missing"`
	OrPasskey       bool             `yaml:"or_passkey"`
	Role            string           `yaml:"role"`
	Attribute       string           `yaml:"attribute"`
	Value           string           `yaml:"value"`
	Providers       []string         `yaml:"providers"`
	Credentials     []credentialKind `yaml:"credentials"`
}

type (
	flowName       string // default, or one of flows
	requirement    string
	stepName       string
	reviewMode     string
	credentialKind string
)

func (requirement) names() []string {
	return []string{"required", "alternative", "conditional", "disabled"}
}
func (stepName) names() []string       { return slices.Sorted(maps.Keys(steps)) }
func (reviewMode) names() []string     { return []string{"missing", "on", "off"} }
func (credentialKind) names() []string { return []string{"password", "totp", "recovery", "passkey"} }

func (r requirement) requirement() flow.Requirement {
	return flow.Requirement(max(0, slices.Index(r.names(), string(r))))
}

func (m reviewMode) mode() firstlogin.ReviewMode {
	return firstlogin.ReviewMode(max(0, slices.Index(m.names(), string(m))))
}

// A stepKind is a step of the library. What it is made of is an authenticator, or a flow in its place.
type stepKind struct {
	of      string   // what it is called in Go
	options []string // that it has; those that end with "!" it cannot do without
	do      func(s *step) flow.Authenticator
	sub     func() flow.Flow
}

// steps are all that the library has, by their names in the file.
var steps = map[string]stepKind{
	"review": {of: "firstlogin.ReviewProfile", options: []string{"mode"}, do: func(s *step) flow.Authenticator {
		return firstlogin.ReviewProfile{Mode: s.Mode.mode()}
	}},
	"create": {of: "firstlogin.CreateUserIfUnique", options: []string{"shared_email", "require_password"}, do: func(s *step) flow.Authenticator {
		return firstlogin.CreateUserIfUnique{SharedEmail: s.SharedEmail, RequirePassword: s.RequirePassword}
	}},
	"confirm_link": {of: "firstlogin.ConfirmLink", options: []string{"provable"}, do: func(s *step) flow.Authenticator {
		if s.Provable {
			return firstlogin.ConfirmLink{Provable: firstlogin.Provable}
		}
		return firstlogin.ConfirmLink{}
	}},
	"verify_email":           {of: "firstlogin.VerifyByEmail", do: only(firstlogin.VerifyByEmail{})},
	"verified_email":         {of: "firstlogin.VerifyEmail", do: only(firstlogin.VerifyEmail{})},
	"verify_provider":        {of: "firstlogin.VerifyByProvider", do: only(firstlogin.VerifyByProvider{})},
	"verify_password":        {of: "firstlogin.VerifyByReauthentication", sub: firstlogin.VerifyByReauthentication},
	"detect_existing":        {of: "firstlogin.DetectExisting", do: only(firstlogin.DetectExisting{})},
	"auto_link":              {of: "firstlogin.AutoLink", do: only(firstlogin.AutoLink{})},
	"insecure_link_existing": {of: "firstlogin.InsecureSetExisting", do: only(firstlogin.InsecureSetExisting{})},
	"override_link":          {of: "firstlogin.ConfirmOverrideLink", do: only(firstlogin.ConfirmOverrideLink{})},
	"allow":                  {of: "firstlogin.Allow", do: only(firstlogin.Allow{})},
	"deny": {of: "firstlogin.Deny", options: []string{"reason"}, do: func(s *step) flow.Authenticator {
		return firstlogin.Deny{Reason: s.Reason}
	}},
	"username_password": {of: "factor.UsernamePassword", options: []string{"or_passkey"}, do: func(s *step) flow.Authenticator {
		return factor.UsernamePassword{OrPasskey: s.OrPasskey}
	}},
	"password":      {of: "factor.Password", do: only(factor.Password{})},
	"otp":           {of: "factor.OTP", do: only(factor.OTP{})},
	"recovery_code": {of: "factor.RecoveryCode", do: only(factor.RecoveryCode{})},
	"second_factor": {of: "factor.SecondFactor", do: only(factor.SecondFactor{})},
	"update_password": {of: "factor.UpdatePassword", options: []string{"missing"}, do: func(s *step) flow.Authenticator {
		return factor.UpdatePassword{Missing: s.Missing}
	}},
	"passkey":     {of: "factor.Passkey", do: only(factor.Passkey{})},
	"own_passkey": {of: "factor.OwnPasskey", do: only(factor.OwnPasskey{})},
	"if_role": {of: "firstlogin.HasRole", options: []string{"role!"}, do: func(s *step) flow.Authenticator {
		return firstlogin.HasRole(s.Role)
	}},
	"if_attribute": {of: "firstlogin.HasAttribute", options: []string{"attribute!", "value!"}, do: func(s *step) flow.Authenticator {
		return firstlogin.HasAttribute(s.Attribute, s.Value)
	}},
	"if_provider": {of: "firstlogin.ByProvider", options: []string{"providers!"}, do: func(s *step) flow.Authenticator {
		return firstlogin.ByProvider(s.Providers...)
	}},
	"if_credential": {of: "factor.Has", options: []string{"credentials!"}, do: func(s *step) flow.Authenticator {
		return factor.Has(s.kinds()...)
	}},
	"if_second_factor": {of: "factor.NeedsSecond", options: []string{"credentials"}, do: func(s *step) flow.Authenticator {
		return factor.NeedsSecond(s.kinds()...)
	}},
}

func (s *step) kinds() []store.CredentialKind {
	kinds := make([]store.CredentialKind, len(s.Credentials))
	for i, k := range s.Credentials {
		kinds[i] = store.CredentialKind(k)
	}
	return kinds
}

func only(a flow.Authenticator) func(*step) flow.Authenticator {
	return func(*step) flow.Authenticator { return a }
}

// given returns the options of s that are in the file.
func (s *step) given() []string {
	var all []string
	for key, is := range map[string]bool{
		"mode": s.Mode != "", "shared_email": s.SharedEmail, "require_password": s.RequirePassword, "provable": s.Provable,
		"reason": s.Reason != "", "missing": s.Missing, "or_passkey": s.OrPasskey, "role": s.Role != "", "attribute": s.Attribute != "",
		"value": s.Value != "", "providers": len(s.Providers) > 0, "credentials": len(s.Credentials) > 0,
	} {
		if is {
			all = append(all, key)
		}
	}
	slices.Sort(all)
	return all
}

const defaultFlow = "default" // the library's, for first logins

// flows makes the flows of the file, and reports what is wrong with each, used or not.
func (s *setup) flows() map[flowName]flow.Flow {
	made := map[flowName]flow.Flow{defaultFlow: firstlogin.Default()}
	for _, name := range slices.Sorted(maps.Keys(s.Flows)) {
		if name == defaultFlow {
			s.doc.problem("flows."+name, "is the library's own: choose another name")
			continue
		}
		s.makeFlow(made, flowName(name), nil)
	}
	return made
}

// makeFlow puts the flow with this name into made, if that was not done before: nil if it has a mistake. Those of outer are being
// made, of which it is to be a part.
func (s *setup) makeFlow(made map[flowName]flow.Flow, name flowName, outer []flowName) {
	if _, done := made[name]; done {
		return
	}
	made[name] = nil
	at := "flows." + string(name)
	b := flowBuilder{s: s, made: made, making: append(slices.Clone(outer), name), places: map[string]string{}}
	f := b.level(s.Flows[string(name)], at, "")
	if b.broken || s.doc.has(at) {
		return
	}
	if err := f.Check(); err != nil {
		b.explain(err, at)
		return
	}
	made[name] = f
}

// A flowBuilder makes one flow.
type flowBuilder struct {
	s      *setup
	made   map[flowName]flow.Flow
	making []flowName        // this flow, after those that it is to be a part of
	places map[string]string // the paths in the file of the steps, by those in the flow
	broken bool              // a flow in it has a mistake
}

func (b *flowBuilder) level(list []step, at, path string) flow.Flow {
	f := make(flow.Flow, 0, len(list))
	for i := range list {
		f = append(f, b.step(&list[i], fmt.Sprintf("%s[%d]", at, i), path))
	}
	return f
}

func (b *flowBuilder) step(s *step, at, path string) flow.Step {
	made := flow.Step{ID: cmp.Or(s.ID, string(s.Step), string(s.Flow)), When: s.When.requirement()}
	if b.s.doc.has(at+".step") || s.Sub == nil && b.s.doc.has(at+".sub") {
		b.broken = true
		return made
	}
	kinds := 0
	for _, is := range []bool{s.Step != "", s.Flow != "", s.Sub != nil} {
		if is {
			kinds++
		}
	}
	if kinds != 1 {
		b.s.doc.problem(at, "is to have one of step, flow and sub")
		return made
	}
	if made.ID == "" {
		b.s.doc.problem(at, "is to have an id, as it has no name of its own")
	}
	path = strings.TrimPrefix(path+"/"+made.ID, "/")
	b.places[path] = at
	b.options(s, at)
	switch kind := steps[string(s.Step)]; {
	case kind.sub != nil:
		made.Sub = kind.sub()
	case kind.do != nil:
		made.Do = kind.do(s)
	case s.Flow != "":
		made.Sub = b.named(s.Flow, at+".flow")
	default:
		made.Sub = b.level(s.Sub, at+".sub", path)
	}
	return made
}

// named returns a flow that is a part of another one. Its own mistakes are told where it stands.
func (b *flowBuilder) named(name flowName, at string) flow.Flow {
	if _, ok := b.s.Flows[string(name)]; !ok && name != defaultFlow {
		b.s.doc.problem(at, "%s", b.s.unknownFlow(name))
		return nil
	}
	if slices.Contains(b.making, name) {
		b.s.doc.problem(at, "%q would contain itself", name)
		return nil
	}
	b.s.makeFlow(b.made, name, b.making)
	b.broken = b.broken || b.made[name] == nil
	return b.made[name]
}

func (s *setup) unknownFlow(name flowName) string {
	known := append([]string{defaultFlow}, slices.Sorted(maps.Keys(s.Flows))...)
	return fmt.Sprintf("%q is unknown; there is %s", name, strings.Join(slices.Compact(known), ", "))
}

// options reports the options that a step does not have, or lacks.
func (b *flowBuilder) options(s *step, at string) {
	given, has := s.given(), steps[string(s.Step)].options
	for _, key := range given {
		if !slices.Contains(has, key) && !slices.Contains(has, key+"!") {
			b.s.doc.problem(at+"."+key, "is no option of this step%s", whose(key))
		}
	}
	for _, option := range has {
		if key, must := strings.CutSuffix(option, "!"); must && !slices.Contains(given, key) && !b.s.doc.has(at+"."+key) {
			b.s.doc.problem(at, "%s is missing: %s needs it", key, s.Step)
		}
	}
}

// whose says which steps have an option.
func whose(key string) string {
	var all []string
	for name, kind := range steps {
		if slices.Contains(kind.options, key) || slices.Contains(kind.options, key+"!") {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return ": " + strings.Join(all, " and ") + " has it"
}

// inFile is how what Flow.Check says in the words of Go is said in those of the file.
var inFile = strings.NewReplacer(
	"make a step Required that decides, or implement Decider", "make a step required that decides, such as create",
	"add one made by If", "add one, such as if_role", "Alternatives", "alternatives", "Alternative", "alternative",
	"Conditional", "conditional", "Required", "required", "Disabled", "disabled", "REQUIRED", "required", "CONDITIONAL", "conditional",
)

// explain reports what Flow.Check says at the steps that it is about.
func (b *flowBuilder) explain(err error, at string) {
	if joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		for _, one := range joined.Unwrap() {
			b.explain(one, at)
		}
		return
	}
	path, text, _ := strings.Cut(err.Error(), ": ")
	place, inner := path, ""
	for b.places[place] == "" && place != "" {
		cut := max(strings.LastIndex(place, "/"), 0)
		place, inner = place[:cut], path[cut:]
	}
	if found := b.places[place]; found != "" {
		at = found
	}
	if inner = strings.TrimPrefix(inner, "/"); inner != "" && path != "flow" {
		text = inner + " " + text // of a flow that is named there
	}
	b.s.doc.problem(at, "%s", inFile.Replace(text))
}

// firstLogin returns the flow of this name for first logins, nil for none: the library's default, or that of the whole broker, is
// used then. What is wrong with it has been told.
func (s *setup) firstLogin(made map[flowName]flow.Flow, name flowName, at string) flow.Flow {
	if _, known := s.Flows[string(name)]; !known && name != "" && name != defaultFlow {
		s.doc.problem(at, "%s", s.unknownFlow(name))
	}
	return made[name]
}

// postLogin returns the flow of this name for every login, nil for none.
func (s *setup) postLogin(made map[flowName]flow.Flow, name flowName, at string) flow.Flow {
	if name == defaultFlow {
		s.doc.problem(at, "%s is for first logins: nobody could get in a second time", defaultFlow)
		return nil
	}
	return s.firstLogin(made, name, at)
}
