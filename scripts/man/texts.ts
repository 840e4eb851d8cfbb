// What the manual pages say beside the tables of flags, in markdown.

import type { DataFolder } from "../../src/files/data-folder.ts";

/** A page of a command, and what it says in words. */
export interface PageTexts {
  /** Below the synopsis. */
  description: string;
  /** Beside the examples of `--help`. */
  examples: readonly (readonly [command: string, explanation: string])[];
  /** In place of the table of parley(1). */
  exitStatus?: string;
  seeAlso: readonly string[];
}

export const PARLEY: PageTexts = {
  description: `
\`parley\` is one executable with three commands. \`parley serve\` is a server: it logs clients in, with accounts of its own, and
answers their messages with a built-in service, a file of TypeScript or JavaScript, or a program. \`parley connect\` is its client,
for a person at a terminal and for scripts. \`parley users\` manages the accounts.

A message is 4 bytes of length, then the bytes. If a connection is lost, its session goes on: the client comes back, and every
message arrives once. An answer that is missing shows in the exit status.

Without flags a server can be reached from its own machine only. Beyond it parley uses TLS 1.3 with a key of its own, which the
client knows by its pin.`,
  examples: [
    ["parley serve --service chat --register", "a chat in which everybody can make an account"],
    [
      "printf 'one\\ntwo\\n' | parley connect 127.0.0.1:13131",
      "each line is a message; the answers are printed",
    ],
    ["parley help completion", "how to set up the Tab key"],
  ],
  seeAlso: ["parley-connect 1", "parley-serve 1", "parley-users 1", "parley-protocol 7"],
};

export const SERVE: PageTexts = {
  description: `
\`parley serve\` listens for clients, logs them in and answers their messages. What answers is a built-in service, a handler file
(\`--handler\`), a program that is started for each session (after \`--\`), or another TCP service (\`--to\`).

Without \`--host\` it can be reached from its own machine only, in plain text. On another address it uses TLS 1.3 with a key that it
makes at its first start, and prints the line with which a client connects: the pin of the key is in it. The accounts are those
that \`parley users\` manages. A change is noticed within a second.

On a terminal the server asks for what is missing: the port, and a first user. It stays in the foreground, prints one line when it
accepts connections, and tells systemd that it is ready. A socket that systemd has opened takes the place of \`--host\` and
\`--port\`.

SIGTERM and SIGINT stop it: what has arrived is answered first, for at most the time of \`--drain\`. A second one stops it at once.
SIGHUP lets it read the accounts and the handler file again, and open its log anew.

With \`--config\` flags stand in a TOML file, by their long names: \`port = 4000\`. A flag on the command line wins.`,
  examples: [
    ["parley serve --init greet.ts", "write a first handler file"],
    [
      "parley serve --config /etc/parley/parley.toml --check",
      "check the configuration and everything that it names",
    ],
  ],
  exitStatus: `0 after SIGTERM and SIGINT, and when \`--check\` finds no fault; 2 if a flag is wrong; 1 after any other failure.
\`parley\`(1) has the whole table.`,
  seeAlso: ["parley 1", "parley-connect 1", "parley-users 1", "parley-protocol 7"],
};

export const CONNECT: PageTexts = {
  description: `
\`parley connect\` logs in to a server, sends messages and prints the answers. On a terminal each line that is typed is a message.
Otherwise each line of standard input is one, and the command ends when everything is answered. With \`--send\` the messages are
arguments.

A password is asked for, or comes from \`--password-file\`, \`--password-stdin\` or \`$PARLEY_PASSWORD\`; it is never an argument. After
a login the client has a token for the next one.

The key of a server is remembered at the first connection, as ssh does it: on a terminal after a question, in a script with \`--pin\`
or \`--accept-new\`. A server that shows another key later is refused.

After a lost connection the client comes back into its session, and every message arrives once: on a terminal always, in a pipe
with \`--retry\`. If something may be missing in the end, the exit status is 6, and a sentence on standard error says how much.
With \`--exit-status\` the exit status is that of the program that has answered.

On a terminal Ctrl-D ends the input, and \`/help\` shows the commands that begin with a slash.`,
  examples: [
    [
      "parley connect ann@example.org:13131 --pin sha256/…",
      "a server on another machine, whose key is known",
    ],
    ["parley connect 127.0.0.1:13131 --send hi --json", "one JSON object for each event"],
    ["parley connect --forget example.org:13131", "forget the key of a server that has a new one"],
  ],
  seeAlso: ["parley 1", "parley-serve 1", "parley-users 1", "parley-protocol 7"],
};

export const USERS: PageTexts = {
  description: `
\`parley users\` manages the accounts, session tokens and known addresses of a server, whether it runs or not: it changes the user
file of the data folder, or with \`--store\` a Redis or Valkey server. A running server notices within a second, and ends the sessions
of a user who is removed, disabled or has a new password.

In a folder of another user root acts with the rights of that user.

Passwords are stored as argon2id, tokens as digests. No command prints a password, except a new one with \`--generate\`.`,
  examples: [],
  exitStatus: `0 if the command has done what it should; 2 if a flag is wrong; 1 after any other failure. \`parley\`(1) has the whole
table.`,
  seeAlso: ["parley 1", "parley-connect 1", "parley-serve 1"],
};

/** The commands that read a variable of the environment, or a file. */
type Reader = "serve" | "connect" | "users";
const ALL: readonly Reader[] = ["serve", "connect", "users"];

export interface Entry {
  about: string;
  of: readonly Reader[];
}

export const VARIABLES: Readonly<Record<string, Entry>> = {
  PARLEY_DATA: { about: "The data folder, where `--data` does not name one.", of: ALL },
  PARLEY_STORE: {
    about: "The URL of the accounts in Redis or Valkey, as `--store`.",
    of: ["serve", "users"],
  },
  PARLEY_STORE_PASSWORD: {
    about: "The password of that store. Programs that parley starts do not get it.",
    of: ["serve", "users"],
  },
  PARLEY_PASSWORD: { about: "The password of the login.", of: ["connect"] },
  PARLEY_NO_INPUT: {
    about: "If it is set to anything but 0, parley asks nothing, as with `--no-input`.",
    of: ALL,
  },
  NO_COLOR: { about: "If it is set, parley prints no colors, unless `--color always` is given.", of: ALL },
  XDG_STATE_HOME: { about: "The folder of the data folder, in place of `~/.local/state`.", of: ALL },
};

/** The files of the data folder, by their names in {@link DataFolder}. */
type DataFile = Exclude<keyof DataFolder, "path" | "exists" | "expect" | "make">;

export const FILES: Readonly<Record<DataFile, Entry>> = {
  users: {
    about: "Accounts, tokens and known addresses. With many of them, `users.journal` is beside it.",
    of: ["serve", "users"],
  },
  stores: { about: "The stores of `--store` that were used with this folder.", of: ["serve", "users"] },
  log: { about: "The log of the server.", of: ["serve", "users"] },
  tlsKey: { about: "The private key that the server has made.", of: ["serve"] },
  tlsCertificate: { about: "The certificate that the server has made.", of: ["serve"] },
  knownServers: { about: "The pins of the servers that the client trusts.", of: ["connect"] },
  terminals: { about: "The servers whose programs may draw on the terminal.", of: ["connect"] },
  tokens: { about: "The session tokens of the client.", of: ["connect"] },
  last: { about: "Server and user of the last login, for questions.", of: ["connect"] },
  history: { about: "The lines that were typed.", of: ["connect"] },
};
