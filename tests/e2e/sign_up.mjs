// Signs people up with supabase-js. Input on stdin: {url, key, people: [{email, data}]}. Output: for each of them the id,
// the access token, and what the new session can read of what was provisioned.
import { text } from "node:stream/consumers";
import { createClient } from "@supabase/supabase-js";
import WebSocket from "ws";

const { url, key, people } = JSON.parse(await text(process.stdin));
const outcomes = [];
for (const { email, data } of people) {
  const client = createClient(url, key, { auth: { persistSession: false }, realtime: { transport: WebSocket } });
  const { data: answer, error } = await client.auth.signUp({ email, password: "correct horse battery", options: { data } });
  if (error) {
    outcomes.push({ error: error.message });
    continue;
  }
  const read = async (relation) => {
    const { data: rows, error: refused } = await client.from(relation).select("*").eq(relation === "profiles" ? "id" : "user_id", answer.user.id);
    if (refused) throw new Error(`${relation}: ${refused.message}`);
    return rows;
  };
  outcomes.push({
    id: answer.user.id,
    token: answer.session.access_token,
    profiles: await read("profiles"),
    profile_settings: await read("profile_settings"),
    subscriptions: await read("subscriptions"),
    wallets: await read("wallets"),
  });
}
process.stdout.write(JSON.stringify(outcomes));
