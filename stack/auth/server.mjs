// Auth and Storage of one database on one port: Supabase Lite, embedded, plus what it lacks of a hosted project.
// Settings come from the environment: AUTH_DATABASE_URL, STORAGE_DATABASE_URL, JWT_SECRET, SIGNING_KEYS, PUBLIC_URL,
// STORAGE_DIR, SMTP_PORT, MAIL_FROM, AVENUE_CONFIRM_EMAIL (1: sign-ups are confirmed by mail, as hosted does by
// default), REST_URL, PORT.
process.env.LITE_TELEMETRY = "0";
process.env.EXPERIMENTAL_STORAGE = "1";
// After the flags: Lite reads them when it is loaded.
const { App } = await import("@supabase/lite");
const { createPostgresConnection } = await import("@supabase/lite/postgres");
const { serve } = await import("@hono/node-server");
const { adminApi } = await import("./admin.mjs");
const { FileStore } = await import("./files.mjs");
const { SigningKeys, complete, verify } = await import("./tokens.mjs");
const { createTransport } = await import("nodemailer");

const { AUTH_DATABASE_URL, STORAGE_DATABASE_URL, JWT_SECRET, SIGNING_KEYS, PUBLIC_URL, STORAGE_DIR, PORT } = process.env;
const { SMTP_PORT, MAIL_FROM, AVENUE_CONFIRM_EMAIL, REST_URL } = process.env;
const keys = new SigningKeys(JSON.parse(SIGNING_KEYS));
const ISSUER = `${PUBLIC_URL}/auth/v1`;

function connect(url, settings = {}) {
  const connection = createPostgresConnection({
    url,
    postgresOptions: {
      connection: settings,
      max: 4,
      idle_timeout: 30,
      onnotice: () => {},
      types: {
        // As GoTrue writes them; supabase-py accepts nothing else.
        timestamptz: { to: 1184, from: [1184], serialize: (t) => t, parse: (t) => new Date(t).toISOString() },
        // Lite hands over ready JSON text for some columns and values for others.
        jsonb: {
          to: 3802,
          from: [3802],
          serialize: (value) => (typeof value === "string" ? value : JSON.stringify(value)),
          parse: JSON.parse,
        },
      },
    },
  });
  // Lite would grant everything in every schema with row level security to anon. Roles and grants are ours.
  connection.ensureRlsContext = async () => true;
  return connection;
}

// Two connections with the two roles a hosted project uses, so that a missing grant shows here too.
const auth = connect(AUTH_DATABASE_URL);
// Hosted Storage says so in every transaction of its own; anybody else's DELETE is refused.
const storage = connect(STORAGE_DATABASE_URL, { "storage.allow_delete_query": "true" });
const authConfig = {
  enabled: true,
  jwt_secret: JWT_SECRET,
  jwt_expiry: 3600,
  site_url: PUBLIC_URL,
  enable_signup: true,
  enable_refresh_token_rotation: true,
  refresh_token_reuse_interval: 10,
  minimum_password_length: 6,
  email: { enable_signup: true, enable_confirmations: AVENUE_CONFIRM_EMAIL === "1" },
};
const server = { disableStudio: true };
// Lite's own mailer insists on a password; the stack's mail server keeps what it takes as files and asks for none.
const post = createTransport({ host: "127.0.0.1", port: Number(SMTP_PORT), ignoreTLS: true });
const email = { send: ({ to, subject, text, html }) => post.sendMail({ from: MAIL_FROM, to, subject, text, html }) };
const authApp = new App({
  connection: auth,
  auth: authConfig,
  api: { enabled: false },
  options: { server, drivers: { email } },
});
const storageApp = new App({
  connection: storage,
  auth: { jwt_secret: JWT_SECRET },
  api: { enabled: false },
  storage: { enabled: true, file_size_limit: "50MiB" },
  options: { server },
});
storageApp._storageAdapter = new FileStore(STORAGE_DIR, async (bucket, key) => {
  const [row] = await storage.driver`
    select metadata ->> 'eTag' as tag from storage.objects where bucket_id = ${bucket} and name = ${key}`;
  return row?.tag;
});

const signUp = (body) =>
  authApp.fetch(new Request(`${ISSUER}/signup`, { method: "POST", body: JSON.stringify(body) }));
const admin = adminApi(auth.driver, JWT_SECRET, signUp);

// How a session was opened, by the endpoint that opened it; a refresh keeps what is known.
const METHODS = { "/signup": "password", "/token password": "password", "/token pkce": "oauth", "/verify": "otp" };

async function handleAuth(request, url) {
  const path = url.pathname.slice("/auth/v1".length);
  if (path === "/.well-known/jwks.json" && request.method === "GET") {
    return Response.json({ keys: keys.published }, { headers: { "cache-control": "public, max-age=600" } });
  }
  if (path.startsWith("/admin/") && request.method !== "OPTIONS") return admin(request, path.slice("/admin".length));
  const answer = await authApp.fetch(request);
  if (request.method !== "POST" || !answer.ok || !/^\/(signup|token|verify)$/.test(path)) return answer;
  const body = await answer.json();
  const method = METHODS[`${path} ${url.searchParams.get("grant_type")}`] ?? METHODS[path] ?? null;
  const full = body.access_token ? await complete(body, method, auth.driver, keys, ISSUER) : body;
  const headers = new Headers(answer.headers);
  headers.delete("content-length");
  return Response.json(full, { status: answer.status, headers });
}

/** Objects and folders directly under a prefix, as hosted lists them (Lite answers a flat list of full names). */
async function list(bucket, body, claims) {
  const prefix = body.prefix ? `${body.prefix.replace(/\/+$/, "")}/` : "";
  const start = prefix + (body.search ?? "");
  const rows = await storage.driver.begin(async (sql) => {
    await sql`select set_config('role', ${claims?.role ?? "anon"}, true),
      set_config('request.jwt.claims', ${JSON.stringify(claims ?? {})}, true),
      set_config('storage.operation', 'storage.object.list', true)`;
    return sql`select id, name, updated_at, created_at, last_accessed_at, metadata from storage.objects
      where bucket_id = ${bucket} and lower(left(name, ${start.length})) = lower(${start})`;
  });
  const found = new Map();
  for (const row of rows) {
    const rest = row.name.slice(prefix.length);
    const name = rest.split("/")[0];
    const folder = rest.includes("/");
    const empty = { id: null, updated_at: null, created_at: null, last_accessed_at: null, metadata: null };
    if (!found.has(`${folder}${name}`)) found.set(`${folder}${name}`, { ...row, ...(folder ? empty : {}), name });
  }
  const { column = "name", order = "asc" } = body.sortBy ?? {};
  const by = (a, b) => (String(a[column] ?? "") < String(b[column] ?? "") ? -1 : 1) * (order === "desc" ? -1 : 1);
  const offset = body.offset ?? 0;
  return Response.json([...found.values()].sort(by).slice(offset, offset + (body.limit ?? 100)));
}

/** An upload as Lite takes it everywhere: the file alone as the body, its type without parameters. */
async function bareUpload(request) {
  const type = request.headers.get("content-type") ?? "application/octet-stream";
  const headers = new Headers(request.headers);
  let body = request.body;
  if (type.startsWith("multipart/form-data")) {
    const parts = [...(await request.formData())];
    const file = parts.map(([, value]) => value).find((value) => typeof value !== "string");
    if (!file) return request;
    body = new Uint8Array(await file.arrayBuffer());
    headers.set("content-type", file.type || "application/octet-stream");
    headers.set("content-length", String(body.length));
    const [, age] = parts.find(([name]) => name === "cacheControl") ?? [];
    if (age) headers.set("cache-control", /^\d+$/.test(age) ? `max-age=${age}` : age);
  }
  headers.set("content-type", (headers.get("content-type") ?? type).split(";")[0].trim());
  return new Request(request.url, { method: request.method, headers, body, duplex: "half" });
}

/** Signed download URLs, one or many. The clients expect hosted's field signedURL, relative to the Storage API. */
async function sign(request, url, many) {
  const body = await request.json().catch(() => ({}));
  const one = async (pathname) => {
    const { headers } = request;
    const expiry = JSON.stringify({ expiresIn: Number(body.expiresIn) });
    const answer = await storageApp.fetch(new Request(new URL(pathname, url), { method: "POST", headers, body: expiry }));
    const { signedUrl, ...rest } = await answer.json();
    return { ok: answer.ok, status: answer.status, body: signedUrl ? { signedURL: signedUrl.slice("/storage/v1".length) } : rest };
  };
  if (!many) {
    const { status, body: answer } = await one(url.pathname);
    return Response.json(answer, { status });
  }
  const paths = Array.isArray(body.paths) ? body.paths : [];
  const answers = await Promise.all(
    paths.map(async (path) => {
      const { ok, body: answer } = await one(`${url.pathname}/${path.split("/").map(encodeURIComponent).join("/")}`);
      return { path, signedURL: answer.signedURL ?? null, error: ok ? null : answer.message };
    }),
  );
  return Response.json(answers);
}

async function handleStorage(request, url) {
  // Two names for one thing; Lite knows the short one.
  const short = url.pathname.replace(/^(\/storage\/v1\/object(?:\/info)?)\/authenticated\//, "$1/");
  if (short !== url.pathname) {
    url.pathname = short;
    request = new Request(url, request);
  }
  const path = url.pathname.slice("/storage/v1".length);
  const bearer = request.headers.get("authorization")?.replace(/^Bearer\s+/i, "");
  const listing = path.match(/^\/object\/list\/([^/]+)$/);
  if (listing && request.method === "POST") {
    const claims = bearer ? verify(bearer, JWT_SECRET) : null;
    if (bearer && !claims) {
      return Response.json({ statusCode: "403", error: "Unauthorized", message: "Invalid JWT" }, { status: 400 });
    }
    return list(decodeURIComponent(listing[1]), await request.json().catch(() => ({})), claims);
  }
  if (["POST", "PUT"].includes(request.method) && /^\/object\/(?!list\/|sign\/|move$|copy$)/.test(path)) {
    request = await bareUpload(request);
  }
  const signing = path.match(/^\/object\/sign\/([^/]+)(\/.+)?$/);
  if (signing && request.method === "POST") return sign(request, url, signing[2] === undefined);
  const answer = await storageApp.fetch(request);
  if (path.startsWith("/object/upload/sign/") && request.method === "POST" && answer.ok) {
    const { signedUrl, token } = await answer.json();
    return Response.json({ url: signedUrl.slice("/storage/v1".length), token });
  }
  const name = url.searchParams.get("download");
  if (name !== null && answer.ok && request.method === "GET") {
    const file = encodeURIComponent(name || decodeURIComponent(path.split("/").at(-1)));
    const headers = new Headers(answer.headers);
    headers.set("content-disposition", `attachment; filename="${file}"; filename*=UTF-8''${file}`);
    return new Response(answer.body, { status: answer.status, headers });
  }
  return answer;
}

/** A read of the Data API that was answered 400, asked once more: the gateway cannot look into an answer. PostgREST 12 says an
 *  empty 400 when the database goes away under a request; later ones say a 503 like this one. */
async function again(request, url) {
  const headers = new Headers(request.headers);
  for (const name of ["host", "connection"]) headers.delete(name);
  const answer = await fetch(REST_URL + url.pathname.slice("/again".length) + url.search, { headers }).catch(() => null);
  const body = answer?.status === 400 ? await answer.text() : answer?.body;
  if (answer && !(answer.status === 400 && JSON.parse(body).code === "")) {
    const theirs = new Headers(answer.headers);
    theirs.delete("transfer-encoding");
    return new Response(body, { status: answer.status, headers: theirs });
  }
  const lost = { code: "PGRST001", details: null, hint: null, message: "Database client error. Retrying the connection." };
  return Response.json(lost, { status: 503, headers: { "retry-after": "1" } });
}

async function health() {
  try {
    await Promise.all([auth.driver`select 1`, storage.driver`select 1`]);
    return new Response("ok");
  } catch (error) {
    console.error(`the database does not answer: ${error.message}`);
    return new Response("the database does not answer", { status: 503 });
  }
}

/** The request with a token Lite can check. */
function forLite(request) {
  const token = request.headers.get("authorization")?.match(/^Bearer\s+(\S+)$/i)?.[1];
  const known = token && keys.forLite(token, JWT_SECRET);
  if (!known || known === token) return request;
  const headers = new Headers(request.headers);
  headers.set("authorization", `Bearer ${known}`);
  return new Request(request.url, { method: request.method, headers, body: request.body, duplex: "half" });
}

async function handle(incoming) {
  const request = forLite(incoming);
  const url = new URL(request.url);
  try {
    if (url.pathname === "/healthz") return await health();
    if (url.pathname.startsWith("/again/")) return await again(incoming, url);
    return await (url.pathname.startsWith("/storage/v1/") ? handleStorage(request, url) : handleAuth(request, url));
  } catch (error) {
    console.error(request.method, url.pathname, error);
    return Response.json({ code: 500, error_code: "unexpected_failure", msg: "Unexpected failure" }, { status: 500 });
  }
}

const listener = serve({ fetch: handle, hostname: "127.0.0.1", port: Number(PORT) });
listener.on("error", (error) => {
  console.error(`cannot listen on port ${PORT}: ${error.code ?? error.message}`);
  process.exit(1);
});
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit(0));
