// /auth/v1/admin/users, which Lite does not have: what supabase-js and supabase-py call with the service key.
import { randomBytes } from "node:crypto";
import { verify } from "./tokens.mjs";

const json = (body, status = 200) => Response.json(body, { status });
const failure = (status, error_code, msg) => json({ code: status, error_code, msg }, status);
const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const present = ({ raw_app_meta_data, raw_user_meta_data, identities, ...user }) => ({
  ...user,
  phone: user.phone ?? "",
  app_metadata: raw_app_meta_data ?? {},
  user_metadata: raw_user_meta_data ?? {},
  identities: identities ?? [],
});

/** @returns a handler (request, path below /admin) => Response; signUp is Lite's own sign-up, (body) => Response */
export function adminApi(sql, secret, signUp) {
  const columns = sql`u.id, u.aud, u.role, u.email, u.phone, u.email_confirmed_at, u.confirmed_at, u.last_sign_in_at,
    u.raw_app_meta_data, u.raw_user_meta_data, u.created_at, u.updated_at, u.is_anonymous, u.banned_until,
    (select jsonb_agg(jsonb_build_object('identity_id', i.id, 'id', i.provider_id, 'user_id', i.user_id,
        'identity_data', i.identity_data, 'provider', i.provider, 'last_sign_in_at', i.last_sign_in_at,
        'created_at', i.created_at, 'updated_at', i.updated_at))
      from auth.identities i where i.user_id = u.id) as identities`;
  const find = async (id) => {
    const [user] = await sql`select ${columns} from auth.users u where u.id = ${id}`;
    return user ? json(present(user)) : failure(404, "user_not_found", "User not found");
  };
  const change = async (id, body) => {
    await sql`update auth.users set
        raw_user_meta_data = raw_user_meta_data || ${sql.json(body.user_metadata ?? {})},
        raw_app_meta_data = raw_app_meta_data || ${sql.json(body.app_metadata ?? {})},
        email = coalesce(${body.email?.toLowerCase() ?? null}, email), updated_at = now()
      where id = ${id}`;
    return find(id);
  };
  const create = async (body) => {
    // Lite hashes at most 72 characters; a user created without a password cannot sign in with one.
    const password = body.password ?? randomBytes(24).toString("hex");
    const answer = await signUp({ email: body.email, password, data: body.user_metadata });
    if (!answer.ok) return answer;
    const { user } = await answer.json();
    await sql`delete from auth.sessions where user_id = ${user.id}`;
    return change(user.id, { app_metadata: body.app_metadata });
  };

  return async (request, path) => {
    const token = request.headers.get("authorization")?.replace(/^Bearer\s+/i, "") ?? "";
    if (verify(token, secret)?.role !== "service_role") return failure(403, "not_admin", "User not allowed");
    const [, resource, id, ...rest] = path.split("/");
    if (resource !== "users" || rest.length || (id && !ID.test(id))) return failure(404, "not_found", "Not found");
    const body = ["POST", "PUT"].includes(request.method) ? await request.json().catch(() => ({})) : {};
    if (!id && request.method === "POST") return create(body);
    if (!id && request.method === "GET") {
      const query = new URL(request.url).searchParams;
      const size = Math.min(Number(query.get("per_page")) || 50, 1000);
      const skip = ((Number(query.get("page")) || 1) - 1) * size;
      const users = await sql`select ${columns} from auth.users u order by u.created_at desc, u.id
        limit ${size} offset ${skip}`;
      return json({ users: users.map(present), aud: "authenticated" });
    }
    if (id && request.method === "GET") return find(id);
    if (id && request.method === "PUT") return change(id, body);
    if (id && request.method === "DELETE") {
      const { count } = await sql`delete from auth.users where id = ${id}`;
      return count ? json({}) : failure(404, "user_not_found", "User not found");
    }
    return failure(405, "method_not_allowed", "Method not allowed");
  };
}
