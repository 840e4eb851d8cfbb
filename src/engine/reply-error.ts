// The errors that an engine answers with: their first word says whether a new try cures them, or only a person.

import { escapeLine } from "../base/escape.ts";
import { EngineError } from "./engine-error.ts";

/** The engine cannot do this now, and can do it in a moment, or another engine can. */
const PASSING: ReadonlySet<string> = new Set([
  "LOADING",
  "READONLY",
  "MASTERDOWN",
  "UNBLOCKED",
  "BUSY",
  "CLUSTERDOWN",
  "TRYAGAIN",
  "NOREPLICAS",
]);

/** The connection leads to an engine that does not serve (any more): a new connection may lead to another one. */
const ELSEWHERE: ReadonlySet<string> = new Set(["LOADING", "READONLY", "MASTERDOWN", "UNBLOCKED"]);

const HINTS: Readonly<Record<string, string>> = {
  OOM: "give the engine more memory (maxmemory), or an engine of its own to parley",
  MISCONF: "look into the engine's log: it cannot save its data, so it takes no changes",
  NOPERM: "give the user of --store the rights that docs/operating.md lists",
  NOAUTH: "check --store-password-file, and the user in --store",
  WRONGTYPE: "choose another --store-name: the keys of this one have another use",
  MOVED: "use an engine that is not part of a cluster",
  ASK: "use an engine that is not part of a cluster",
  CROSSSLOT: "use an engine that is not part of a cluster",
};

/** What a script says that uses a command or a key without the right to it. */
const IN_SCRIPT = /^ERR The user executing the script can't (?:run|access) /;

/** An error reply: `unreachable` when it passes, otherwise `refused`. */
export class ReplyError extends EngineError {
  override name = "ReplyError";
  /** Its first word, such as `NOPERM`. */
  readonly word: string;

  /** @param place the store, as messages show it. @param reply the reply to `command`. */
  constructor(place: string, command: string, reply: string) {
    const word = IN_SCRIPT.test(reply) ? "NOPERM" : (/^[A-Z]+(?= |$)/.exec(reply)?.[0] ?? "ERR");
    const hint = /^ERR unknown (?:sub)?command/i.test(reply)
      ? "use Redis 7 or later, or Valkey"
      : HINTS[word];
    const code = PASSING.has(word) ? "unreachable" : "refused";
    super(code, `${place} answers to ${command}: ${escapeLine(reply)}`, { hint });
    this.word = word;
  }

  /** True when a new connection may lead to an engine that serves. */
  get leadsElsewhere(): boolean {
    return ELSEWHERE.has(this.word);
  }
}
