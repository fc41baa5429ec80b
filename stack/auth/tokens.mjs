// Access tokens as a hosted project issues them. Lite signs only sub, role, email and session_id.
import { createHmac, timingSafeEqual } from "node:crypto";

const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const hmac = (text, secret) => createHmac("sha256", secret).update(text).digest("base64url");

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
    if (expected.length !== given.length || !timingSafeEqual(expected, given)) return null;
    const claims = claimsOf(token);
    return claims.exp === undefined || claims.exp * 1000 > Date.now() ? claims : null;
  } catch {
    return null;
  }
}

/**
 * Re-signs a session's access token with everything hosted tokens carry. amr (how and when the session was opened) is
 * kept in auth.mfa_amr_claims, so it survives refreshes: whoever asks for a fresh login looks at its timestamp.
 * @param session Lite's answer with access_token and user; @param method of this request, null for a refresh
 */
export async function complete(session, method, sql, secret, issuer) {
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
  return { ...session, access_token: sign(full, secret) };
}
