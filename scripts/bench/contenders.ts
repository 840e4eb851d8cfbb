// The servers under comparison: what each is called, what it speaks, how it is started.

import { join } from "node:path";
import { c, erlang, go, tokio, type Built, type Compile, type Missing } from "./compilers.ts";
import type { Tongue } from "./peer.ts";

export interface Contender {
  name: string;
  /** In a table. */
  title: string;
  speaks: Tongue;
  tls: boolean;
  /** Does it belong to parley? Then argv is what follows `parley serve`. */
  isParley: boolean;
  argv: string[];
  /** Sends what anybody says to everybody, and is not for echoes. */
  toAll?: boolean;
  /** Has so many times fewer messages, where otherwise it would take all the time. */
  slow?: number;
  /** Fills in `argv`. */
  compile?: Compile;
}

const PEERS = join(import.meta.dir, "peers");
const bare = [process.execPath, join(PEERS, "bare.ts")];
const framed = [process.execPath, join(PEERS, "framed.ts")];
const handler = (file: string) => ["--auth", "none", "--handler", join(PEERS, file)];
const none = ["--auth", "none"];
const password = ["--auth", "password"];

function peer(name: string, title: string, argv: string[], more: Partial<Contender> = {}): Contender {
  return { name, title, speaks: "bytes", tls: false, isParley: false, argv, ...more };
}

function parley(name: string, title: string, argv: string[], more: Partial<Contender> = {}): Contender {
  const title_ = `parley, ${title}`;
  return { name, title: title_, speaks: "none", tls: false, isParley: true, argv, ...more };
}

/** Echoes on plain TCP are measured by `bare`, over TLS by `bare-tls`. */
export const CONTENDERS: readonly Contender[] = [
  peer("bare", "bare `Bun.listen`", bare),
  peer("framed", "framed `Bun.listen`", framed),
  peer("c", "C, epoll", [], { compile: c }),
  peer("tokio", "tokio, `LengthDelimitedCodec`", [], { compile: tokio }),
  peer("go", "Go, `bufio`", [], { compile: go }),
  peer("erlang", "Erlang, `{packet,4}`", [], { compile: erlang, slow: 5 }),
  parley("none", "`--auth none`", none),
  parley("password", "password session", password, { speaks: "token" }),
  parley("acknowledged", "acknowledged", none, { speaks: "control" }),
  parley("handler", "handler file", handler("echo-handler.ts")),
  parley("object", "handler file, object", handler("echo-object.ts")),
  parley("class", "handler file, class", handler("echo-class.ts")),
  peer("bare-tls", "bare `Bun.listen`, TLS", bare, { tls: true }),
  parley("none-tls", "`--auth none`, TLS", none, { tls: true }),
  parley("password-tls", "password session, TLS", password, { speaks: "token", tls: true }),
  peer("to-all", "bare `Bun.listen`, each chunk to all", [...bare, "--to-all"], { toAll: true }),
  parley("chat", "`--service chat`", [...none, "--service", "chat"], { toAll: true }),
];

/** What there is nothing to start for is left out, and `say` is told why. */
export function available(
  wanted: readonly Contender[],
  folder: string,
  say: (text: string) => void,
): Contender[] {
  return wanted.flatMap((contender) => {
    const built: Built | Missing = contender.compile?.(folder) ?? { argv: contender.argv };
    if ("argv" in built) return { ...contender, argv: built.argv };
    say(`without ${contender.name}: ${built.reason}`);
    return [];
  });
}
