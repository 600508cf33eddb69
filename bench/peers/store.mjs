// Where both peers keep messages: node-postgres with a pool, or libsql (better-sqlite3's interface, prebuilt).
// As durable as Greenroom's own store: a row is on disk before anybody hears of it.

import Database from "libsql";
import pg from "pg";

const COLUMNS = "id, channel_id, seq, sender_id, client_id, text, create_time";

function poolOf(url) {
  pg.types.setTypeParser(pg.types.builtins.INT8, Number);
  return new pg.Pool({
    connectionString: url,
    max: Number(process.env.PEER_POOL ?? 32),
    idleTimeoutMillis: 0,
  });
}

async function openPostgres(url) {
  const pool = poolOf(url);
  await pool.query(`
    CREATE TABLE IF NOT EXISTS messages (
      id uuid PRIMARY KEY,
      channel_id uuid NOT NULL,
      seq bigint GENERATED ALWAYS AS IDENTITY,
      sender_id text NOT NULL,
      client_id text NOT NULL,
      text text NOT NULL,
      create_time timestamptz NOT NULL DEFAULT now(),
      UNIQUE (channel_id, seq)
    )`);
  // Named statements are prepared once a connection.
  const insert = {
    name: "insert",
    text: `INSERT INTO messages (id, channel_id, sender_id, client_id, text)
      VALUES ($1, $2, $3, $4, $5) RETURNING ${COLUMNS}`,
  };
  const newest = {
    name: "newest",
    text: `SELECT ${COLUMNS} FROM messages WHERE channel_id = $1 ORDER BY seq DESC LIMIT $2`,
  };
  return {
    async insert(...values) {
      return (await pool.query({ ...insert, values })).rows[0];
    },
    async newest(channelId, limit) {
      return (await pool.query({ ...newest, values: [channelId, limit] })).rows;
    },
  };
}

function openSqlite(path) {
  const database = new Database(path);
  database.pragma("journal_mode = WAL");
  database.pragma("synchronous = FULL");
  database.exec(`
    CREATE TABLE IF NOT EXISTS messages (
      seq INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      channel_id TEXT NOT NULL,
      sender_id TEXT NOT NULL,
      client_id TEXT NOT NULL,
      text TEXT NOT NULL,
      create_time INTEGER NOT NULL
    );
    CREATE INDEX IF NOT EXISTS messages_channel ON messages (channel_id, seq)`);
  const insert = database.prepare(
    `INSERT INTO messages (id, channel_id, sender_id, client_id, text, create_time)
      VALUES (?, ?, ?, ?, ?, ?) RETURNING ${COLUMNS}`,
  );
  const newest = database.prepare(
    `SELECT ${COLUMNS} FROM messages WHERE channel_id = ? ORDER BY seq DESC LIMIT ?`,
  );
  return {
    insert(...values) {
      const row = insert.get(...values, Date.now());
      delete row._metadata; // libsql's own, and nobody's business.
      return row;
    },
    newest: (channelId, limit) => newest.all(channelId, limit),
  };
}

// A store of messages at a postgresql: URL, or else in the SQLite file of that name.
export async function openStore(url) {
  return url.startsWith("postgresql:") ? await openPostgres(url) : openSqlite(url);
}
