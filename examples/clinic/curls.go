package clinic

import "strings"

// The keys of the sample configuration, where the environment gives no others
// (CLINIC_DOCTOR_KEY, CLINIC_NURSE_KEY). They are public: only for loopback.
const (
	DoctorKey = "demo-doctor-key-0123456789"
	NurseKey  = "demo-nurse-key-0123456789"
)

// A Curl is a command line that shows something of the gateway.
type Curl struct {
	Title      string
	Command    string // for a POSIX shell; its first word is curl
	WantStatus int    // of the outer curl
}

// Curls returns the five command lines of the README for a gateway that runs
// airside.yaml at those two URLs, which have no trailing slash.
func Curls(httpURL, httpsURL string) []Curl {
	fill := strings.NewReplacer("HTTPS", httpsURL, "HTTP", httpURL, "DOCTOR", DoctorKey, "NURSE", NurseKey)
	curls := []Curl{
		{
			Title:      "A doctor reads a record",
			WantStatus: 200,
			Command:    `curl -s HTTP/records/patients/p-003/record -H 'X-API-Key: DOCTOR'`,
		},
		{
			Title:      "Without a key nobody comes in: 401, as a problem document",
			WantStatus: 401,
			Command:    `curl -si HTTP/records/patients/p-003/record`,
		},
		{
			Title:      "A nurse may see the summary (which the gateway makes of the record), but not the record: 403",
			WantStatus: 403,
			Command:    `curl -si HTTP/records/patients/p-003/record -H 'X-API-Key: NURSE'`,
		},
		{
			Title:      "The symptoms agent wants {description, age, patient}; the gateway makes that of what the ward sends",
			WantStatus: 200,
			Command: `curl -s HTTP/symptoms/assess -H 'X-API-Key: NURSE' -H 'Content-Type: application/json'` +
				` -d '{"text": "Sore throat and a headache for two days, no fever", "who": {"id": "p-003", "age": 75}}'`,
		},
		{
			Title:      "Over HTTPS: the treatment agent suggests from the record and the assessment",
			WantStatus: 200,
			Command: `curl -sk HTTPS/treatment/suggest -H 'X-API-Key: DOCTOR' -H 'Content-Type: application/json' -d "{` +
				`\"record\": $(curl -sk HTTPS/records/patients/p-003/record -H 'X-API-Key: DOCTOR'), ` +
				`\"assessment\": $(curl -sk HTTPS/symptoms/assess -H 'X-API-Key: DOCTOR' -H 'Content-Type: application/json'` +
				` -d '{"text": "Sore throat and a headache for two days, no fever", "who": {"id": "p-003", "age": 75}}')}"`,
		},
	}
	for i := range curls {
		curls[i].Command = fill.Replace(curls[i].Command)
	}
	return curls
}
