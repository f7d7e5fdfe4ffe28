package latchkey_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	latchkey "github.com/latchkey-dev/latchkey"
)

// canary is 16 bytes that stand nowhere by chance.
var canary = base64.RawURLEncoding.EncodeToString([]byte("canary:tweet-it!"))

func canaryToken(t testing.TB) latchkey.ConnectToken {
	t.Helper()
	token, err := latchkey.ParseConnectToken(canary)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// mustNotLeak fails when out holds the canary in any spelling that fmt makes.
func mustNotLeak(t *testing.T, how, out string) {
	t.Helper()
	var decimal, hexBytes []string
	for _, b := range []byte(canary) {
		decimal = append(decimal, fmt.Sprint(b))
		hexBytes = append(hexBytes, fmt.Sprintf("%#x", b))
	}
	for _, spelling := range []string{
		canary, hex.EncodeToString([]byte(canary)), strings.ToUpper(hex.EncodeToString([]byte(canary))),
		strings.Join(decimal, " "), strings.Join(hexBytes, " "), strings.Join(hexBytes, ", "),
	} {
		if strings.Contains(out, spelling) {
			t.Errorf("%s shows the secret: %s", how, out)
		}
	}
}

func TestSecretsPrintRedacted(t *testing.T) {
	token, password := canaryToken(t), latchkey.NewSecret(canary)
	type open struct {
		Token    latchkey.ConnectToken
		Password latchkey.Secret
	}
	type closed struct {
		token    latchkey.ConnectToken
		password latchkey.Secret
	}
	values := map[string]any{
		"token": token, "token pointer": &token,
		"secret": password, "secret pointer": &password,
		"struct": open{token, password}, "struct pointer": &open{token, password},
		"unexported fields":         closed{token, password},
		"unexported fields pointer": &closed{token, password},
		"slice":                     []latchkey.ConnectToken{token},
		"map":                       map[string]latchkey.Secret{"p": password},
		"map key":                   map[latchkey.ConnectToken]int{token: 1},
		"url":                       latchkey.PairingURL{Password: password, Token: token},
		"url pointer":               &latchkey.PairingURL{Password: password, Token: token},
		"error":                     fmt.Errorf("pair with %v and %v", token, password),
	}
	verbs := []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%c", "%U", "%p", "%b", "%e", "% x", "%+q", "%z"}
	for name, value := range values {
		for _, verb := range verbs {
			mustNotLeak(t, name+" with "+verb, fmt.Sprintf(verb, value))
		}
		text, err := json.Marshal(value)
		if err != nil && name != "map key" {
			t.Errorf("%s: %v", name, err)
		}
		mustNotLeak(t, name+" as JSON", string(text))
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", value)
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", value)
		mustNotLeak(t, name+" in a log", log.String())
	}
	for _, verb := range []string{"%v", "%s", "%+v", "%#v"} {
		if got := fmt.Sprintf(verb, token); got != "REDACTED" {
			t.Errorf("token with %s = %q, want REDACTED", verb, got)
		}
		if got := fmt.Sprintf(verb, password); got != "REDACTED" {
			t.Errorf("secret with %s = %q, want REDACTED", verb, got)
		}
	}
}

func TestAbsentSecrets(t *testing.T) {
	var token latchkey.ConnectToken
	var password latchkey.Secret
	if !token.IsZero() || token.String() != "" || token.Reveal() != "" {
		t.Errorf("zero token = %q, reveals %q", token, token.Reveal())
	}
	if !password.IsZero() || password.String() != "" || password.Reveal() != "" {
		t.Errorf("zero secret = %q, reveals %q", password, password.Reveal())
	}
	if !latchkey.NewSecret("").IsZero() || latchkey.NewSecret("") != password {
		t.Error("an empty password is not the absent one")
	}
}

func TestConnectToken(t *testing.T) {
	a, b := latchkey.NewConnectToken(), latchkey.NewConnectToken()
	if a == b || a.Reveal() == b.Reveal() || a.IsZero() {
		t.Fatalf("two new tokens are equal, or zero")
	}
	again, err := latchkey.ParseConnectToken(a.Reveal())
	if err != nil || again != a || again.Reveal() != a.Reveal() {
		t.Errorf("ParseConnectToken(Reveal) is another token: %v", err)
	}
	if !again.Hash().Equal(a.Hash()) || a.Hash().Equal(b.Hash()) {
		t.Error("hashes do not tell tokens apart")
	}
}

func TestParseConnectTokenRefuses(t *testing.T) {
	good := canaryToken(t).Reveal()
	for name, s := range map[string]string{
		"empty":         "",
		"short":         good[:21],
		"long":          good + "A",
		"padded":        good + "==",
		"standard":      strings.Repeat("+", 22),
		"trailing bits": good[:21] + string(good[21]+1),
		"line break":    good[:10] + "\n" + good[10:],
		"break at end":  good + "\n",
		"space":         " " + good,
	} {
		token, err := latchkey.ParseConnectToken(s)
		if err == nil || !token.IsZero() {
			t.Errorf("%s: ParseConnectToken accepted %q", name, s)
			continue
		}
		if s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("%s: the error echoes its input: %v", name, err)
		}
	}
}

func FuzzParseConnectToken(f *testing.F) {
	f.Add(canary)
	f.Add("")
	f.Add(canary[:10] + "\r\n" + canary[10:])
	f.Fuzz(func(t *testing.T, s string) {
		if token, err := latchkey.ParseConnectToken(s); err == nil && token.Reveal() != s {
			t.Errorf("ParseConnectToken(%q) reveals %q", s, token.Reveal())
		}
	})
}

func TestTokenHashBytes(t *testing.T) {
	h := latchkey.NewConnectToken().Hash()
	if b := h.Sum(); !latchkey.TokenHashFromBytes(b).Equal(h) {
		t.Error("the hash does not survive its bytes")
	}
	other := h.Sum()
	other[31] ^= 1
	if latchkey.TokenHashFromBytes(other).Equal(h) {
		t.Error("hashes that differ in the last bit are equal")
	}
}

func TestTokenHashSum(t *testing.T) {
	token := latchkey.NewConnectToken()
	if got, want := token.Hash().Sum(), sha256.Sum256([]byte(token.Reveal())); got != want {
		t.Errorf("%x, want %x", got, want)
	}
}
