// Who is compared: how each is started with a program, which client goes with it, and what a raw client says to get in.

import { python, websocket } from "./hand-made.ts";

export interface Client {
  /** What sets it apart from the usual one, which has none. */
  name?: string;
  argv: (port: string) => string[];
}

export interface Peer {
  name: string;
  /** Found on the PATH, or by its path. */
  executable: string;
  /** As Debian calls it; otherwise it is asked itself, with `--version`. */
  package?: string;
  serve: (port: string, program: string, ...flags: string[]) => string[];
  /** The first is its own. */
  clients: [Client, ...Client[]];
  /** For row 2: bytes unchanged. */
  bytes?: { serve: string[]; client: string[] };
  /** Turns this machine away by its address. */
  denied?: string[];
  /** What there is in place of a login. */
  login: string;
  /** What a raw client says first, and one line of it. */
  greeting: Uint8Array;
  line: (text: string) => Uint8Array;
}

const HOST = "127.0.0.1";
const NOTHING = new Uint8Array();
const plain = { greeting: NOTHING, line: (text: string) => Buffer.from(`${text}\n`) };
const careful = (port: string) => [python.command, python.client, HOST, port];

function frame(payload: string): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt32BE(payload.length);
  return Buffer.concat([header, Buffer.from(payload)]);
}

const UPGRADE = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;

/** `-t` is how long either half waits for the other when one is at its end: half a second. */
function socat(name: string, ...wait: string[]): Peer {
  return {
    name,
    executable: "socat",
    package: "socat",
    serve: (port, program, ...options) => {
      const listen = [`TCP-LISTEN:${port}`, `bind=${HOST}`, "fork", "reuseaddr", ...options].join(",");
      return ["socat", ...wait, listen, `EXEC:${program}`];
    },
    clients: [{ argv: (port) => ["socat", ...wait, "-", `TCP:${HOST}:${port}`] }],
    denied: ["range=10.0.0.0/8"],
    login: "has none; addresses (`range`), client certificates (`OPENSSL-LISTEN`)",
    ...plain,
  };
}

export function peers(parley: string): Peer[] {
  return [
    {
      name: "parley",
      executable: parley,
      serve: (port, program, ...flags) => {
        const auth = flags.includes("password") ? [] : ["--auth", "none"];
        return [parley, "serve", ...auth, "--port", port, "--strict-port", ...flags, "--", program];
      },
      clients: [{ argv: (port) => [parley, "connect", `${HOST}:${port}`] }],
      bytes: { serve: ["--program-io", "bytes"], client: ["--raw"] },
      denied: ["--deny", "127.0.0.0/8"],
      login: "",
      greeting: frame('{"type":"login","method":"none"}'),
      line: frame,
    },
    {
      name: "Ncat",
      executable: "ncat",
      package: "ncat",
      serve: (port, program, ...flags) => ["ncat", "-l", "-k", ...flags, HOST, port, "-c", program],
      clients: [{ argv: (port) => ["ncat", HOST, port] }, { name: "a careful client", argv: careful }],
      denied: ["--deny", HOST],
      login: "has none; addresses (`--allow`), `--ssl` without client certificates",
      ...plain,
    },
    socat("socat"),
    socat("`-t 10`: socat", "-t", "10"),
    {
      name: "tcpserver",
      executable: "tcpserver",
      package: "ucspi-tcp",
      serve: (port, program, ...flags) => ["tcpserver", "-RHl0", ...flags, HOST, port, program],
      clients: [{ argv: (port) => ["mconnect", HOST, port] }, { name: "a careful client", argv: careful }],
      denied: ["-x", "deny.cdb"],
      login: "has none; addresses (`-x`)",
      ...plain,
    },
    {
      name: "websocketd",
      executable: "websocketd",
      package: "websocketd",
      serve: (port, program, ...flags) => [
        "websocketd",
        `--address=${HOST}`,
        `--port=${port}`,
        "--loglevel=fatal",
        ...flags,
        program,
      ],
      clients: [
        { argv: (port) => [process.execPath, websocket.client, `ws://${HOST}:${port}/`] },
        {
          name: "a client that waits for its answers",
          argv: (port) => [process.execPath, websocket.client, `ws://${HOST}:${port}/`, "--wait"],
        },
      ],
      bytes: { serve: ["--binary=true"], client: ["--binary"] },
      login: "has none; `--origin`, or a web server in front of it",
      greeting: Buffer.from(UPGRADE),
      // A masked text frame, the mask being zero.
      line: (text) => Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]),
    },
    {
      name: "socketserver",
      executable: python.command,
      serve: (port, program) => [python.command, python.server, HOST, port, program],
      clients: [{ argv: careful }],
      login: "has none; `verify_request` by hand",
      ...plain,
    },
  ];
}
