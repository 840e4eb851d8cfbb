// A change of the accounts in an engine: one script that compares what the change has read, and appends what it writes to the log.
//
// A store of the name NAME has these keys, one hash tag, so that they are in one slot:
//
//     parley:{NAME}:meta     hash     version; epoch, a random identity of these accounts; head, the position of the last change;
//                                     server; added.KIND, the revision of the last new record
//     parley:{NAME}:users    hash     name → "REVISION JSON", the revision of the change that has written the record
//     parley:{NAME}:tokens   hash     id → the same
//     parley:{NAME}:hosts    hash     address → the same
//     parley:{NAME}:names    hash     folded name of an address → revision; one that no address has by now is of no effect
//     parley:{NAME}:log      stream   the last changes, by position; each has the JSON of a `LogEntry`, and the epoch
//
// A position is REVISION-RANDOM, and an id of the stream. The random half tells changes apart that got the same revision in two
// histories, after a failover that lost writes.
//
// A change is decided on the replica at revision R. It holds while no record that it has read or written was written after R, and
// each of them is there or missing as in the replica. So the tokens of a user are read with the user's record, which every new token
// writes; and a scan of a table is compared with the last new record: a token that a scan deletes may have changed.

import type { DocumentDraft, Kind, Replica } from "./document.ts";
import { KINDS } from "./document.ts";
import type { TableDraft } from "./table.ts";

export const STORE_VERSION = "1";

/** One key of the store `name`. */
export function keyOf(name: string, part: string): string {
  return `parley:{${name}}:${part}`;
}

/** The keys of a store, in the order of the script's KEYS. */
export function keysOf(name: string): string[] {
  return ["meta", "log", ...KINDS, "names"].map((part) => keyOf(name, part));
}

/** Entries that the log keeps, about: a process that missed more reads all records again. 10,000 changes are 5 MB. */
const LOG_ENTRIES = 10_000;
/** After a long entry, such as one of an import, as many as would take so much memory; and so many at least. */
const LOG_BYTES = 16 * 1024 * 1024;
const MIN_LOG_ENTRIES = 16;

/**
 * KEYS: as `keysOf`. ARGV: a JSON array of
 *   epoch ("" for none), new epoch, known revision, deadline in milliseconds of the engine's clock, random half, log entry
 * and then numbers and strings in groups; each group begins with its number of members:
 *   compare KIND: keys that are there; keys that are missing   (for users, tokens, hosts, names)
 *   size: KIND, number                                         scan: KIND
 *   server: expected, new
 *   write KIND: key, JSON                                      delete KIND: key
 *
 * Returns `done`, `conflict`, `late` or `replaced`, and a position, or the present epoch.
 *
 * An error in a script undoes nothing. So what may fail comes before the first write: keys of another type, and the log, whose last
 * entry another program may have written.
 */
export const COMMIT = `
local at = 0
local function take() at = at + 1; return ARGV[at] end
local function count() return tonumber(take()) end
local meta, log = KEYS[1], KEYS[2]
local tables = {users = KEYS[3], tokens = KEYS[4], hosts = KEYS[5], names = KEYS[6]}
local now = redis.call('TIME')
local known = redis.call('HMGET', meta, 'epoch', 'head', 'server')
local epoch, head, server = known[1] or '', known[2] or '0-0', known[3] or ''
local wanted, fresh = take(), take()
if epoch ~= wanted then return {'replaced', epoch} end
local revision, deadline, random, entry = count(), count(), take(), take()
if now[1] * 1000 + now[2] / 1000 > deadline then return {'late', head} end
local conflict = {'conflict', head}
for _ = 1, count() do
  local kind = take()
  for _, isThere in ipairs({true, false}) do
    local keys = {}
    for i = 1, count() do keys[i] = take() end
    for from = 1, #keys, 1000 do
      local values = redis.call('HMGET', tables[kind], unpack(keys, from, math.min(from + 999, #keys)))
      for _, value in ipairs(values) do
        if isThere ~= (value ~= false) and (isThere or kind ~= 'names') then return conflict end
        if value and tonumber(string.match(value, '^%d+')) > revision then return conflict end
      end
    end
  end
end
for _ = 1, count() do
  local kind, size = take(), count()
  if redis.call('HLEN', tables[kind]) ~= size then return conflict end
end
for _ = 1, count() do
  local added = redis.call('HGET', meta, 'added.' .. take())
  if added and tonumber(added) > revision then return conflict end
end
local before, after = take(), take()
if after ~= '' and server ~= before then return conflict end
if entry == '' then return {'done', head} end
for _, key in pairs(tables) do redis.call('HLEN', key) end
local nextRevision = tonumber(string.match(head, '^%d+')) + 1
local text = string.format('%.0f', nextRevision)
head = text .. '-' .. random
local kept = math.max(${MIN_LOG_ENTRIES}, math.min(${LOG_ENTRIES}, math.floor(${LOG_BYTES} / #entry)))
redis.call('XADD', log, 'MAXLEN', '~', kept, head, 'change', entry, 'epoch', epoch == '' and fresh or epoch)
for _ = 1, count() do
  local kind = take()
  local written, new = {}, false
  for i = 1, count() do
    written[2 * i - 1] = take()
    written[2 * i] = text .. ' ' .. take()
  end
  for from = 1, #written, 2000 do
    local added = redis.call('HSET', tables[kind], unpack(written, from, math.min(from + 1999, #written)))
    if added > 0 then new = true end
  end
  if new then redis.call('HSET', meta, 'added.' .. kind, text) end
end
for _ = 1, count() do
  local kind = take()
  local keys = {}
  for i = 1, count() do keys[i] = take() end
  for from = 1, #keys, 1000 do
    redis.call('HDEL', tables[kind], unpack(keys, from, math.min(from + 999, #keys)))
  end
end
redis.call('HSET', meta, 'head', head)
if after ~= '' then redis.call('HSET', meta, 'server', after) end
if epoch == '' then redis.call('HSET', meta, 'epoch', fresh, 'version', '${STORE_VERSION}') end
return {'done', head}
`;

/** What names one try of a change, and limits it. */
export interface Try {
  /** Empty for a store without accounts, which gets `newEpoch`. */
  epoch: string;
  newEpoch: string;
  /** In milliseconds of the engine's clock: later, the engine refuses the change. */
  deadline: number;
  /** The random half of its position. */
  random: string;
  /** The log entry; empty for a change that writes nothing, and is only compared. */
  entry: string;
}

/** The ARGV of {@link COMMIT} for what `draft` has read and written of `replica`. */
export function argumentsOf(draft: DocumentDraft, replica: Replica, tried: Try): string[] {
  const { epoch, newEpoch, deadline, random, entry } = tried;
  const args = [epoch, newEpoch, String(replica.rev), String(Math.floor(deadline)), random, entry];
  const add = (...texts: (string | number)[]) => void args.push(...texts.map(String));
  const addAll = (keys: readonly string[]) => {
    add(keys.length);
    for (const key of keys) args.push(key);
  };
  const compared = comparedKeys(draft);
  add(Object.keys(compared).length);
  for (const [kind, keys] of Object.entries(compared)) {
    const isThere =
      kind === "names"
        ? (key: string) => replica.hosts.groupSize(key) > 0
        : (key: string) => replica[kind as Kind].has(key);
    add(kind);
    addAll(keys.filter(isThere));
    addAll(keys.filter((key) => !isThere(key)));
  }
  const sized = KINDS.filter((kind) => draft[kind].reads.size);
  add(sized.length, ...sized.flatMap((kind) => [kind, replica[kind].size]));
  const scanned = KINDS.filter((kind) => draft[kind].reads.all);
  add(scanned.length, ...scanned);
  add(replica.server ?? "", draft.server === replica.server ? "" : (draft.server ?? ""));
  const names = nameChanges(draft, replica);
  add(KINDS.length + 1);
  for (const kind of KINDS) {
    const written = [...draft[kind].written()];
    add(kind, written.length);
    for (const [key, record] of written) args.push(key, JSON.stringify(record));
  }
  add("names", names.taken.length);
  for (const name of names.taken) args.push(name, "");
  add(KINDS.length + 1);
  for (const kind of KINDS) {
    add(kind);
    addAll([...draft[kind].deleted()]);
  }
  add("names");
  addAll(names.free);
  return args;
}

/** The keys whose records must be as they are in the replica. */
function comparedKeys({ users, tokens, hosts }: DocumentDraft): Record<Kind | "names", string[]> {
  const keysIn = (table: Pick<TableDraft<never>, "reads" | "writtenKeys">) =>
    new Set([...table.reads.keys, ...table.writtenKeys()]);
  return {
    users: [...new Set([...keysIn(users), ...tokens.reads.groups])],
    tokens: [...keysIn(tokens)],
    // Its name becomes free with an address, so that must still be its name.
    hosts: [...new Set([...keysIn(hosts), ...hosts.deleted()])],
    names: [...hosts.reads.groups],
  };
}

/** The names of addresses that are taken or free after the change. */
function nameChanges({ hosts }: DocumentDraft, replica: Replica): { taken: string[]; free: string[] } {
  const groups = new Set<string>();
  for (const [key, host] of hosts.changes()) {
    const before = replica.hosts.get(key);
    for (const record of [host, before]) {
      if (record !== null && record !== undefined) groups.add(replica.hosts.groupOf(record) ?? "");
    }
  }
  const names = [...groups];
  return {
    taken: names.filter((name) => hosts.groupSize(name) > 0),
    free: names.filter((name) => hosts.groupSize(name) === 0),
  };
}
