package cli

import (
	"bytes"
	"encoding/json"
)

// ShownPolicy takes what the programs print for policy show with --json apart: it
// returns the policy, and the version at which it was shown. The policy stands where
// it stood, with blanks around it, so that positions in it are those of the file.
// Any other text is returned as it is, without a version.
func ShownPolicy(text []byte) (policy []byte, version string) {
	var shown struct {
		Name    *string         `json:"name"`
		Version string          `json:"version"`
		Policy  json.RawMessage `json:"policy"`
	}
	if json.Unmarshal(text, &shown) != nil || shown.Name == nil || shown.Version == "" || len(shown.Policy) == 0 {
		return text, ""
	}
	i := bytes.LastIndex(text, shown.Policy)
	out := bytes.Clone(text)
	for j, b := range out {
		if b != '\n' && (j < i || j >= i+len(shown.Policy)) {
			out[j] = ' '
		}
	}
	return out, shown.Version
}
