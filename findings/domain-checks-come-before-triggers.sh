#!/usr/bin/env bash
# PostgreSQL 17 (PGlite 0.3.14 is a build of it): a BEFORE INSERT trigger can repair a value for a CHECK constraint of the
# table, but not for the CHECK of a column's domain. The domain's check runs when the value is made, before any trigger;
# the table's runs on the row the triggers leave. So moving a CHECK from tables into a shared domain, which reads like a
# pure tidying-up, turns values that were tidied and stored into refusals.
#
# Seen:
#   check of the table: stored "ana"
#   check of the domain: value for domain tidy violates check constraint "tidy_check"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @electric-sql/pglite@0.3.14 >/dev/null
cat >seen.mjs <<'JS'
import { PGlite } from "@electric-sql/pglite";
const db = new PGlite();
await db.exec(`
  create domain tidy as text constraint tidy_check check (value = btrim(value));
  create table by_table (name text check (name = btrim(name)));
  create table by_domain (name tidy);
  create function tidy() returns trigger language plpgsql as 'begin new.name := btrim(new.name); return new; end';
  create trigger tidy before insert on by_table for each row execute function tidy();
  create trigger tidy before insert on by_domain for each row execute function tidy();
`);
for (const [what, table] of [["table", "by_table"], ["domain", "by_domain"]]) {
  try {
    const { rows } = await db.query(`insert into ${table} values ('  ana ') returning name`);
    console.log(`check of the ${what}: stored "${rows[0].name}"`);
  } catch (error) {
    console.log(`check of the ${what}: ${error.message}`);
  }
}
JS
node seen.mjs | tee seen.txt
diff seen.txt - <<'SEEN'
check of the table: stored "ana"
check of the domain: value for domain tidy violates check constraint "tidy_check"
SEEN
echo "as before"
