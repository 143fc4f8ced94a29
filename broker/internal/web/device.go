package web

import "net/url"

// DeviceData is the data of the page "device": where a visitor enters the code that a device shows (RFC 8628 §3.3). It is
// posted to Action as "user_code".
type DeviceData struct {
	Action string
	Hidden url.Values
	Value  string // what was entered the last time
	Error  string // message id, "device.error.<id>"; "" for none
}

// DeviceConfirmData is the data of the page "device-confirm": whether the device may have what it asks for.
type DeviceConfirmData struct {
	Application string   // what runs on the device
	Account     string   // who is signed in
	Code        string   // for the visitor to compare with what the device shows
	Scopes      []string // what it asks for
	Action      string   // URL to post the answer to
	Hidden      url.Values
	Field       string // of the answer, which is "allow" or "deny"
	Switch      string // URL to continue as somebody else; "" for none
}

// DeviceDoneData is the data of the page "device-done".
type DeviceDoneData struct {
	Application string
	Allowed     bool
}

// sampleDevice is sample for the pages of this file.
func sampleDevice(page string) (data any, ok bool) {
	switch page {
	case "device":
		return DeviceData{Action: "/", Hidden: url.Values{"k": {"v"}}, Value: "v", Error: "unknown"}, true
	case "device-confirm":
		return DeviceConfirmData{
			Application: "A", Account: "a", Code: "BCDF-GHJK", Scopes: []string{"openid", "other"}, Action: "/",
			Hidden: url.Values{"k": {"v"}}, Field: "decision", Switch: "/",
		}, true
	case "device-done":
		return DeviceDoneData{Application: "A", Allowed: true}, true
	}
	return nil, false
}
