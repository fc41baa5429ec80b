// Prints the tables and functions of schemas auth and storage as Supabase Lite defines them.
// The server itself never creates anything: it runs with the narrow roles a hosted project uses.
import { getAuthSchemaSql, getStorageSchemaSql } from "@supabase/lite";

process.stdout.write(`${getAuthSchemaSql(false)}\n${getStorageSchemaSql(false)}\n`);
