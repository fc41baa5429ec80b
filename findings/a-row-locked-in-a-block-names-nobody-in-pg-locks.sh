#!/usr/bin/env bash
# PostgreSQL 17 (PGlite 0.3.14 is a build of it): whoever looks for the session that keeps a row follows the row's xmax to
# pg_locks, where each running transaction holds its own id. That finds nobody when the row was locked after a savepoint
# that was released, or in a PL/pgSQL block with an exception handler, which is the same: xmax is then the id of the
# subtransaction, and that id's lock is given up when the subtransaction ends, while the row stays locked to the end of
# the transaction. One guesses that a lock that is held has a holder that can be looked up; pg_blocking_pids() does find
# it, but only for somebody who already waits. An advisory lock taken in the same block stays in pg_locks.
#
# Seen:
#   locked in the transaction itself: its xmax is in pg_locks
#   locked in a block with an exception handler: its xmax is in nobody's pg_locks
#   locked after a savepoint that was released: its xmax is in nobody's pg_locks
#   advisory lock in a block with an exception handler: in pg_locks
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @electric-sql/pglite@0.3.14 >/dev/null
cat >seen.mjs <<'JS'
import { PGlite } from "@electric-sql/pglite";
const db = new PGlite();
await db.exec("create table seats (id int primary key); insert into seats values (1)");
const held = `select exists (
  select from pg_locks as l, seats as s where l.locktype = 'transactionid' and l.granted and l.transactionid = s.xmax
) as found`;
const advisory = "select exists (select from pg_locks where locktype = 'advisory' and granted) as found";
const block = (act) => `do $$ begin begin perform ${act}; exception when division_by_zero then null; end; end $$`;
const lock = "from seats where id = 1 for no key update";
const tried = async (name, statements, query, words) => {
  await db.exec("begin");
  for (const statement of statements) await db.exec(statement);
  const { found } = (await db.query(query)).rows[0];
  console.log(`${name}: ${words[found ? 0 : 1]}`);
  await db.exec("commit");
};
const xmax = ["its xmax is in pg_locks", "its xmax is in nobody's pg_locks"];
await tried("locked in the transaction itself", [`select ${lock}`], held, xmax);
await tried("locked in a block with an exception handler", [block(`1 ${lock}`)], held, xmax);
await tried("locked after a savepoint that was released", ["savepoint s", `select ${lock}`, "release s"], held, xmax);
await tried("advisory lock in a block with an exception handler", [block("pg_advisory_xact_lock(1)")], advisory, [
  "in pg_locks",
  "not in pg_locks",
]);
JS
node seen.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
locked in the transaction itself: its xmax is in pg_locks
locked in a block with an exception handler: its xmax is in nobody's pg_locks
locked after a savepoint that was released: its xmax is in nobody's pg_locks
advisory lock in a block with an exception handler: in pg_locks
SEEN
echo "as before"
