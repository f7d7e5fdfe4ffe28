package acl

// An Effect is a verdict. The zero Effect refuses.
type Effect uint8

const (
	NoMatch Effect = iota // no statement spoke: refused
	Allow
	Deny // beats any Allow
)

// A Policy is a compiled, immutable list of statements. The zero Policy
// refuses everything.
type Policy struct{}

// A Decision is a verdict and its reasons.
type Decision struct {
	Effect Effect
	Trace  []Step
}

// A Step says what one statement had to say.
type Step struct{}
