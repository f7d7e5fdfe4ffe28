// Package form reads what others fill in: one JSON object with fields that are
// known beforehand. encoding/json alone takes too much, and each thing that two
// readers could take for different ones is refused here: names in another case,
// fields that come twice, null, text that is not UTF-8, and whatever follows.
package form
