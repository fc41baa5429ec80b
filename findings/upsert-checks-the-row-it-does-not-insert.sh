#!/usr/bin/env bash
# PostgreSQL 17 (PGlite 0.3.14 is a build of it): INSERT … ON CONFLICT DO UPDATE evaluates the table's CHECK constraints
# for the row it proposes, before it looks for a conflict. So the counter everybody writes, "insert -1, on conflict add
# it", fails on a counter that stands at 5, although no row with -1 would ever be stored. One guesses that only the row
# that is stored is checked, because a unique violation of the same proposed row is what DO UPDATE is for.
# A column's NOT NULL behaves the same way. To be safe: UPDATE first, INSERT when nothing was found.
#
# Seen:
#   insert 5: stored 5
#   upsert -1: new row for relation "counter" violates check constraint "counter_n_check"
#   update -1: stored 4
#   upsert null: null value in column "n" of relation "strict" violates not-null constraint
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @electric-sql/pglite@0.3.14 >/dev/null
cat >seen.mjs <<'JS'
import { PGlite } from "@electric-sql/pglite";
const db = new PGlite();
const stored = async (table) => (await db.query(`select n from ${table}`)).rows[0].n;
const tried = async (name, statement, table) => {
  try {
    await db.query(statement);
    console.log(`${name}: stored ${await stored(table)}`);
  } catch (error) {
    console.log(`${name}: ${error.message}`);
  }
};
await db.exec("create table counter (id int primary key, n int check (n >= 0))");
await db.exec("create table strict (id int primary key, n int not null)");
const upsert = (n) => `insert into counter values (1, ${n}) on conflict (id) do update set n = counter.n + excluded.n`;
await tried("insert 5", upsert(5), "counter");
await tried("upsert -1", upsert(-1), "counter");
await tried("update -1", "update counter set n = n - 1 where id = 1", "counter");
await db.exec("insert into strict values (1, 1)");
await tried("upsert null", "insert into strict values (1, null) on conflict (id) do update set n = 2", "strict");
JS
node seen.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
insert 5: stored 5
upsert -1: new row for relation "counter" violates check constraint "counter_n_check"
update -1: stored 4
upsert null: null value in column "n" of relation "strict" violates not-null constraint
SEEN
echo "as before"
