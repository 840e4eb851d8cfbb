// The servers under comparison: what each is called, what it speaks, how it is started.

import { join } from "node:path";
import { BEFORE } from "./comparison.ts";
import { c, erlang, go, tokio, type Built, type Compile, type Missing } from "./compilers.ts";

export interface Contender {
  name: string;
  /** In a table. */
  title: string;
  /** Bytes from the start, or a login: `none`, or by a token. */
  speaks: "bytes" | "none" | "token";
  /** Is it talked to as `parley connect` does it, with acknowledgements in both directions? */
  acknowledge?: boolean;
  tls: boolean;
  /** Does it belong to parley? Then argv is what follows `parley serve`. */
  isParley: boolean;
  argv: string[];
  /** Another executable of parley. */
  executable?: string;
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
const none = ["--auth", "none"];
const password = ["--auth", "password"];
const handler = (file: string) => [...password, "--handler", join(PEERS, file)];
const token = { speaks: "token" } as const;

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
  parley("none", "echo, `--auth none`", none),
  parley("password", "echo, password session", password, token),
  parley("handler", "handler file, password session", handler("echo-handler.ts"), token),
  parley("view", "the same with `message.bytes`", handler("view-handler.ts"), token),
  parley("acknowledged", "handler file, acknowledged", handler("echo-handler.ts"), {
    ...token,
    acknowledge: true,
  }),
  parley("object", "handler file, object", handler("echo-object.ts"), token),
  parley("class", "handler file, class", handler("echo-class.ts"), token),
  peer("bare-tls", "bare `Bun.listen`, TLS", bare, { tls: true }),
  parley("none-tls", "echo, `--auth none`, TLS", none, { tls: true }),
  parley("password-tls", "echo, password session, TLS", password, { ...token, tls: true }),
  peer("to-all", "bare `Bun.listen`, each chunk to all", [...bare, "--to-all"], { toAll: true }),
  parley("room", "handler file, a room", handler("room-handler.ts"), { ...token, toAll: true }),
];

/** The contenders that can be started; `say` gets a line for each other one. */
export function available(
  wanted: readonly Contender[],
  folder: string,
  load: { tls: boolean },
  say: (text: string) => void,
): Contender[] {
  return wanted.flatMap((contender) => {
    if (contender.tls && !load.tls) {
      say(`without ${contender.name}: the load generator was built without OpenSSL`);
      return [];
    }
    const built: Built | Missing = contender.compile?.(folder) ?? { argv: contender.argv };
    if ("argv" in built) return { ...contender, argv: built.argv };
    say(`without ${contender.name}: ${built.reason}`);
    return [];
  });
}

/** A contender of parley, with another executable. */
export function beforeOf(contender: Contender, executable: string): Contender {
  const { name, title } = contender;
  return { ...contender, name: `${name}${BEFORE}`, title: `${title}, before`, executable };
}
