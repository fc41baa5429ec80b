// Access tokens as a hosted project issues them: ES256, with all claims. Lite knows HS256 only and signs only sub, role,
// email and session_id; so its answers are signed anew, and what comes in is handed to it signed its way.
import * as crypto from "node:crypto";

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const hmac = (text, secret) => crypto.createHmac("sha256", secret).update(text).digest("base64url");

/** @returns the claims of a token, unverified */
export const claimsOf = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url").toString());

/** @returns a signed HS256 token */
export function sign(claims, secret) {
  const text = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(claims)}`;
  return `${text}.${hmac(text, secret)}`;
}

/** @returns the claims, or null when the token is malformed, expired or not signed with HS256 and this secret */
export function verify(token, secret) {
  try {
    const [header, payload, signature] = token.split(".");
    if (JSON.parse(Buffer.from(header, "base64url").toString()).alg !== "HS256") return null;
    const expected = Buffer.from(hmac(`${header}.${payload}`, secret));
    const given = Buffer.from(signature);
    if (expected.length !== given.length || !crypto.timingSafeEqual(expected, given)) return null;
    const claims = claimsOf(token);
    return claims.exp === undefined || claims.exp * 1000 > Date.now() ? claims : null;
  } catch {
    return null;
  }
}

const header = (token) => JSON.parse(Buffer.from(token.split(".")[0], "base64url").toString());

/** The project's ES256 keys. @param keys private JWKs with kid: the first signs, all verify */
export class SigningKeys {
  constructor(keys) {
    this.current = { kid: keys[0].kid, key: crypto.createPrivateKey({ key: keys[0], format: "jwk" }) };
    this.published = keys.map(({ d, ...key }) => ({ ...key, key_ops: ["verify"], ext: true }));
    this.verifiers = new Map(keys.map((key) => [key.kid, crypto.createPublicKey({ key, format: "jwk" })]));
  }

  /** @returns a signed ES256 token */
  sign(claims) {
    const { kid, key } = this.current;
    const text = `${encode({ alg: "ES256", kid, typ: "JWT" })}.${encode(claims)}`;
    const signature = crypto.sign("sha256", Buffer.from(text), { key, dsaEncoding: "ieee-p1363" });
    return `${text}.${signature.toString("base64url")}`;
  }

  /** @returns the same claims signed with HS256 when the token is ours; anything else as it is */
  forLite(token, secret) {
    try {
      const { alg, kid } = header(token);
      const key = this.verifiers.get(kid);
      const [head, payload, signature] = token.split(".");
      if (alg !== "ES256" || !key) return token;
      const signed = Buffer.from(`${head}.${payload}`);
      const valid = crypto.verify("sha256", signed, { key, dsaEncoding: "ieee-p1363" }, Buffer.from(signature, "base64url"));
      return valid ? sign(claimsOf(token), secret) : token;
    } catch {
      return token;
    }
  }
}

/**
 * Re-signs a session's access token with everything hosted tokens carry. amr (how and when the session was opened) is
 * kept in auth.mfa_amr_claims, so it survives refreshes: whoever asks for a fresh login looks at its timestamp.
 * @param session Lite's answer with access_token and user; @param method of this request, null for a refresh
 */
export async function complete(session, method, sql, keys, issuer) {
  const claims = claimsOf(session.access_token);
  if (method) {
    await sql`insert into auth.mfa_amr_claims (session_id, authentication_method)
      values (${claims.session_id}, ${method}) on conflict do nothing`;
  }
  const amr = await sql`select authentication_method as method, floor(extract(epoch from created_at))::int as timestamp
    from auth.mfa_amr_claims where session_id = ${claims.session_id} order by created_at desc`;
  const user = session.user;
  const full = {
    iss: issuer,
    ...claims,
    phone: user.phone ?? "",
    app_metadata: user.app_metadata,
    user_metadata: user.user_metadata,
    aal: "aal1",
    amr: amr.map(({ method, timestamp }) => ({ method, timestamp })),
    is_anonymous: user.is_anonymous ?? false,
  };
  return { ...session, access_token: keys.sign(full) };
}
