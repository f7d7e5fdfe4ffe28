package pairing

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/latchkey-dev/latchkey"
	"github.com/latchkey-dev/latchkey/internal/pake"
)

// A ProverConfig says what a client pairs with.
type ProverConfig struct {
	Request  Request
	Password latchkey.Secret      // of the device or the invitation; only for their modes
	Client   latchkey.Fingerprint // our own key
	Device   latchkey.Fingerprint // the key that the device proved in this session
	ID       latchkey.DeviceID    // the device's id; zero: whatever it says
	Binding  []byte               // as Peer.Binding
}

// A Prover is the client's half of one exchange, in any mode. It belongs to one
// goroutine.
type Prover struct {
	config   ProverConfig
	step     func(coapCode uint8, text []byte) (body []byte, done *Reply, err error)
	exchange *pake.Prover
	proved   bool
}

// NewProver returns a Prover. What is wrong with c is for Next to say.
func NewProver(c ProverConfig) *Prover {
	p := &Prover{config: c}
	p.step = p.request
	return p
}

// errOver reports a Next after the end.
var errOver = errors.New("pairing: the exchange is over")

// Next returns what to post to /pairing/MODE next, or the outcome. Its parameters
// are the device's answer to what it returned before; none, 0 and nil, the first
// time. Refusals of the device end the exchange and are not for Next.
//
// Errors match latchkey.ErrProtocol for answers that are none,
// latchkey.ErrWrongPassword if the device means another password or somebody is
// between us and it, and *MissingError if there is no password. In the modes with
// a password an outcome says in Reply.Proved whether the device knew it; one that
// only says that it knows our key has shown nothing. Deriving the secrets from
// the password takes some 50 ms.
func (p *Prover) Next(coapCode uint8, text []byte) (body []byte, done *Reply, err error) {
	step := p.step
	p.step = func(uint8, []byte) ([]byte, *Reply, error) { return nil, nil, errOver }
	body, done, err = step(coapCode, text)
	if err != nil {
		return nil, nil, err
	}
	return body, done, nil
}

func (p *Prover) request(uint8, []byte) ([]byte, *Reply, error) {
	mode := p.config.Request.Mode
	body, err := p.config.Request.Encode()
	if err != nil {
		return nil, nil, err
	}
	p.step = p.reply
	if passwordModes.Has(mode) {
		if p.config.Password.IsZero() {
			return nil, nil, &MissingError{Offered: mode.Names(), Password: mode == PasswordOpen, Invite: mode == Invite}
		}
		if err := checkBinding(p.config.Binding); err != nil {
			return nil, nil, err
		}
		p.step = p.derive
	}
	return body, nil, nil
}

func (p *Prover) reply(coapCode uint8, text []byte) ([]byte, *Reply, error) {
	r, err := ReadReply(coapCode, text)
	r.Proved = p.proved
	return nil, &r, err
}

// derive reads salt and costs, and makes the share.
func (p *Prover) derive(coapCode uint8, text []byte) ([]byte, *Reply, error) {
	a, err := readAnswer(coapCode, text)
	if err != nil {
		return nil, nil, err
	}
	if a.Salt == "" {
		return p.reply(coapCode, text) // we are known already
	}
	params, err := p.params(a)
	if err != nil {
		return nil, nil, err
	}
	secret, err := pake.Derive(p.config.Password.Reveal(), params)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", latchkey.ErrProtocol, err)
	}
	if p.exchange, err = secret.Start(p.config.Request.context(p.config.Client, p.config.Device, p.config.Binding)); err != nil {
		return nil, nil, err
	}
	body, err := json.Marshal(posted{Share: formatBytes(p.exchange.Share())})
	p.step = p.finish
	return body, nil, err
}

func (p *Prover) params(a answer) (pake.Params, error) {
	salt, err := parseBytes(a.Salt, pake.SaltSize)
	if err != nil {
		return pake.Params{}, fmt.Errorf("%w: the salt: %w", latchkey.ErrProtocol, err)
	}
	id, err := latchkey.ParseDeviceID(a.ID)
	if err != nil {
		return pake.Params{}, fmt.Errorf("%w: %w", latchkey.ErrProtocol, err)
	}
	if want := p.config.ID; want != (latchkey.DeviceID{}) && want != id {
		return pake.Params{}, fmt.Errorf("%w: the device's id is %s, not %s", latchkey.ErrProtocol, id, want)
	}
	costs := pake.Costs{Time: a.Time, Memory: a.Memory, Threads: a.Threads}
	prover := devicePasswordID
	if p.config.Request.Mode == Invite {
		prover = p.config.Request.Invite
	}
	return pake.Params{Costs: costs, Salt: salt, Prover: prover, Verifier: id.String()}, nil
}

// finish reads the device's share and confirmation, and makes ours.
func (p *Prover) finish(coapCode uint8, text []byte) ([]byte, *Reply, error) {
	a, err := readAnswer(coapCode, text)
	if err != nil {
		return nil, nil, err
	}
	if a.Share == "" {
		return p.reply(coapCode, text)
	}
	share, err := parseBytes(a.Share, pake.ShareSize)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: the share: %w", latchkey.ErrProtocol, err)
	}
	confirm, err := parseBytes(a.Confirm, pake.ConfirmSize)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: the confirmation: %w", latchkey.ErrProtocol, err)
	}
	confirm, err = p.exchange.Finish(share, confirm)
	if errors.Is(err, pake.ErrMismatch) {
		return nil, nil, fmt.Errorf("%w: %w", latchkey.ErrWrongPassword, err)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", latchkey.ErrProtocol, err)
	}
	p.proved = true
	body, err := json.Marshal(posted{Confirm: formatBytes(confirm)})
	p.step = p.reply
	return body, nil, err
}

// readAnswer reads an answer while an exchange is under way, which has the code
// of a reply to a key that is known already, and never that of success. It passes
// over fields that it does not know.
func readAnswer(coapCode uint8, text []byte) (a answer, err error) {
	if err := parseLoose(text, &a); err != nil {
		return a, fmt.Errorf("%w: pairing answer: %w", latchkey.ErrProtocol, err)
	}
	if coapCode != changed {
		return a, fmt.Errorf("%w: pairing answer: unexpected code %d.%02d", latchkey.ErrProtocol, coapCode>>5, coapCode&31)
	}
	return a, nil
}
