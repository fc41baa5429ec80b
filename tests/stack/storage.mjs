// What test_auth_storage.py checks with supabase-js: node storage.mjs URL ANON_KEY prints what was seen as JSON.
import { createClient } from "@supabase/supabase-js";
import ws from "ws";

const [url, key] = process.argv.slice(2);
const options = { realtime: { transport: ws }, auth: { persistSession: false } };
const client = createClient(url, key, options);
const must = ({ data, error }) => {
  if (error) throw error;
  return data;
};

const { user } = must(
  await client.auth.signUp({ email: `${crypto.randomUUID()}@example.com`, password: "correct horse battery" }),
);
const bucket = client.storage.from("own");
const path = (name) => `${user.id}/${name}`;
const text = (body) => new Blob([body], { type: "text/plain" });
must(await bucket.upload(path("note.txt"), text("hello from js")));
const first = await must(await bucket.download(path("note.txt"))).text();
const { signedUrl } = must(await bucket.createSignedUrl(path("note.txt"), 60));
const signed = await (await fetch(signedUrl)).text();
must(await bucket.update(path("note.txt"), text("once more")));
const second = await must(await bucket.download(path("note.txt"))).text();
must(await bucket.copy(path("note.txt"), path("copy.txt")));
must(await bucket.move(path("copy.txt"), path("moved.txt")));
const upload = must(await bucket.createSignedUploadUrl(path("signed.txt")));
must(await createClient(url, key, options).storage.from("own").uploadToSignedUrl(upload.path, upload.token, text("s")));
const listed = must(await bucket.list(user.id, { sortBy: { column: "created_at", order: "asc" } }));
console.log(JSON.stringify({ first, second, listed: listed.map(({ name }) => name), signed }));
process.exit(0);
