//go:build lab

package bearer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/latchkey-dev/latchkey"
)

// jose runs the JOSE implementation of https://github.com/latchset/jose.
func jose(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("jose", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("jose %v: %v: %s", args, err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// file is an argument that stands for a file with that content.
func file(t *testing.T, content string) string {
	t.Helper()
	path := t.TempDir() + "/file"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func sign(t *testing.T, key, head, payload string) string {
	t.Helper()
	return jose(t, payload, "jws", "sig", "-I", "-", "-k", file(t, key), "-s", `{"protected":`+head+`}`, "-c")
}

// What a foreign library signs is accepted where it should be, and refused where
// it should be: 0 forged ones get in.
func TestForeignLibrary(t *testing.T) {
	keys, publics := make(map[string]string), []object{}
	for _, alg := range []string{"ES256", "RS256", "PS256", "ES384", "ES512", "RS512", "HS256", "HS512"} {
		keys[alg] = jose(t, "", "jwk", "gen", "-i", `{"alg":"`+alg+`","kid":"`+alg+`"}`)
		if strings.HasPrefix(alg, "HS") {
			publics = append(publics, object{"kty": "oct", "kid": alg, "alg": alg})
			continue
		}
		var public object
		if err := json.Unmarshal([]byte(jose(t, keys[alg], "jwk", "pub", "-i", "-")), &public); err != nil {
			t.Fatal(err)
		}
		delete(public, "key_ops") // of the private half
		publics = append(publics, public)
	}
	thief := jose(t, "", "jwk", "gen", "-i", `{"alg":"ES256","kid":"ES256"}`)
	client := jose(t, "", "jwk", "gen", "-i", `{"alg":"ES256"}`)
	thumbprint := jose(t, client, "jwk", "thp", "-i", "-", "-a", "S256")
	var half object
	if err := json.Unmarshal([]byte(client), &half); err != nil {
		t.Fatal(err)
	}
	delete(half, "d")
	us := Client{Key: parseEC(half)}
	if got, err := Thumbprint(us.Key); err != nil || got != thumbprint {
		t.Fatalf("the thumbprint is %s, theirs %s, %v", got, thumbprint, err)
	}

	p := newIDP(t)
	p.serve(keySetJSON(publics...))
	v := p.validator(t)
	claims := with(good(), "cnf", object{"jkt": thumbprint})
	head := func(alg, kid string) string { return fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, alg, kid) }
	for _, alg := range []string{"ES256", "RS256", "PS256"} {
		if _, err := v.Validate(t.Context(), sign(t, keys[alg], head(alg, alg), text(claims)), us, noon); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}

	forged := make(map[string]string)
	for _, alg := range []string{"ES384", "ES512", "RS512", "HS256", "HS512"} {
		forged["signed with "+alg] = sign(t, keys[alg], head(alg, alg), text(claims))
		if strings.HasPrefix(alg, "HS") {
			forged[alg+" under another kid"] = sign(t, keys[alg], head(alg, "ES256"), text(claims))
		}
	}
	for i, public := range publics { // HMAC with what is published as the secret
		secret := text(object{"kty": "oct", "alg": "HS256", "k": b64.EncodeToString([]byte(text(public)))})
		forged[fmt.Sprintf("HS256 with public key %d", i)] = sign(t, secret, head("HS256", fmt.Sprint(public["kid"])), text(claims))
	}
	forged["their key"] = sign(t, thief, head("ES256", "ES256"), text(claims))
	forged["their key in jwk"] = sign(t, thief, `{"alg":"ES256","kid":"ES256","jwk":`+jose(t, thief, "jwk", "pub", "-i", "-")+`}`, text(claims))
	forged["the client's own key"] = sign(t, client, head("ES256", "ES256"), text(claims))
	for name, extra := range map[string]string{"crit": `["exp"]`, "jku": `"https://evil.example"`, "x5u": `"https://evil.example"`, "zip": `"DEF"`, "b64": "true"} {
		forged["header "+name] = sign(t, keys["ES256"], `{"alg":"ES256","kid":"ES256","`+name+`":`+extra+`}`, text(claims))
	}
	for name, pairs := range map[string][]any{
		"no exp": {"exp", nil}, "no iss": {"iss", nil}, "no aud": {"aud", nil}, "no cnf": {"cnf", nil}, "no devices": {"devices", nil},
		"late": {"exp", noon.Unix() - 60}, "early": {"nbf", noon.Unix() + 61}, "another audience": {"aud", "door"}, "another issuer": {"iss", "https://evil.example"},
		"another client": {"cnf", object{"jkt": b64.EncodeToString(digest("x"))}}, "everything": {"devices", "*/*"},
	} {
		forged[name] = sign(t, keys["ES256"], head("ES256", "ES256"), text(with(claims, pairs...)))
	}
	whole := sign(t, keys["ES256"], head("ES256", "ES256"), text(claims))
	parts := strings.Split(whole, ".")
	for i := range 64 { // every byte of the signature, and some of what it covers
		sig := must(b64.DecodeString(parts[2]))
		sig[i] ^= 1
		forged[fmt.Sprintf("signature byte %d", i)] = parts[0] + "." + parts[1] + "." + b64.EncodeToString(sig)
		body := must(b64.DecodeString(parts[1]))
		body[(i*len(body))/64] ^= 1
		forged[fmt.Sprintf("payload at %d/64", i)] = parts[0] + "." + b64.EncodeToString(body) + "." + parts[2]
	}
	recipient := jose(t, "", "jwk", "gen", "-i", `{"alg":"ECDH-ES+A128KW"}`)
	forged["encrypted"] = jose(t, whole, "jwe", "enc", "-I", "-", "-k", file(t, recipient), "-c")
	if len(forged) < 100 {
		t.Fatalf("only %d tokens", len(forged))
	}
	login := p.loginValidator(t)
	if _, err := login.Validate(t.Context(), whole, us, noon); err != nil {
		t.Errorf("to log in: %v", err)
	}
	for name, token := range forged {
		if _, err := login.Validate(t.Context(), token, us, noon); !errors.Is(err, latchkey.ErrForbidden) && name != "no devices" && name != "everything" {
			t.Errorf("%s, to log in: %v", name, err)
		}
		if _, err := v.Validate(t.Context(), token, us, noon); !errors.Is(err, latchkey.ErrForbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Logf("%d forged tokens refused", len(forged))
}
