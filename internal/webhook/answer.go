package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
)

var errAnswer = errors.New(`the answer is not {"result": true} or {"result": false}`)

// parseAnswer reads an object whose member result is true or false. Other members
// are allowed, because servers tell what it cost and why. The name counts
// exactly, and once: json.Unmarshal would take RESULT too, and the last of two.
func parseAnswer(body []byte) (bool, error) {
	if !json.Valid(body) {
		return false, errAnswer
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return false, errAnswer
	}
	var results []json.RawMessage
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return false, errAnswer
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return false, errAnswer
		}
		if name == "result" {
			results = append(results, value)
		}
	}
	if len(results) != 1 {
		return false, errAnswer
	}
	switch string(results[0]) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, errAnswer
}
