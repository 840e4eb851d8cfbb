// The flags of parley serve, in the order of --help.

import { AUTH_MODES } from "../../auth/identity.ts";
import { DEFAULT_PORT, TARGET_TIMEOUT_MS } from "../../base/limits.ts";
import { duration } from "../../base/option-kinds.ts";
import { writeDuration } from "../../base/units.ts";
import { LOG_FORMATS, LOG_LEVELS } from "../../log/log.ts";
import { optionEntries } from "../../server/option-table.ts";
import { PROGRAM_IOS } from "../../services/program/codec.ts";
import { STDERR_WAYS } from "../../services/program/program.ts";
import { definitionOf, type Flags } from "../flags.ts";
import { commonFlags, type FlagsDef } from "../parse.ts";

const firstFlags = {
  host: { type: "string", valueHint: "HOST", description: "address to listen on (127.0.0.1)" },
  port: {
    type: "string",
    valueHint: "PORT",
    description: `port, 0 for any (${DEFAULT_PORT}); a busy one: the next free`,
  },
  "strict-port": { type: "boolean", description: "a busy port is an error" },
  auth: {
    type: "enum",
    options: [...AUTH_MODES],
    description: "who may talk: accounts, known addresses, anybody (password)",
  },
  register: { type: "boolean", description: "clients may create their own account" },
  service: { type: "string", valueHint: "NAME", description: "what answers (echo)" },
  handler: {
    type: "string",
    valueHint: "FILE",
    description: "a TypeScript or JavaScript module that answers",
  },
  watch: { type: "boolean", description: "load the handler again when it is saved" },
  init: { type: "string", valueHint: "FILE", description: "write a handler to begin with, and leave" },
  to: {
    type: "string",
    valueHint: "HOST:PORT",
    description: "forward each conversation to a TCP service, or to unix:/PATH",
  },
  "to-timeout": definitionOf({
    kind: duration(),
    help: `for that service to accept (${writeDuration(TARGET_TIMEOUT_MS)})`,
  }),
  "send-proxy": {
    type: "boolean",
    description: "tell it address and name of the client, with PROXY protocol v2",
  },
  "program-io": {
    type: "enum",
    options: [...PROGRAM_IOS],
    description:
      "how messages go through PROGRAM: a line each, as they are, behind 4 bytes of length (lines)",
  },
  "program-stderr": {
    type: "enum",
    options: [...STDERR_WAYS],
    description: "where its standard error goes (log)",
  },
  "pass-env": {
    type: "string",
    multiple: true,
    valueHint: "NAME",
    description: "a variable that PROGRAM gets, too; repeatable",
  },
  pty: { type: "boolean", description: "give PROGRAM a terminal" },
  "list-services": { type: "boolean", description: "say which services there are" },
  bare: { type: "boolean", description: "frames only: no login, no session" },
  open: { type: "boolean", description: "allow --bare beyond this machine" },
  "key-file": {
    type: "string",
    valueHint: "FILE",
    description: "shared key that clients must prove; made when there is none",
  },
  "allow-md5": { type: "boolean", description: "shared key also with Python 3.11 and older" },
  tls: { type: "boolean", description: "encrypt; by itself unless only this machine can connect" },
  "no-tls": { type: "boolean", description: "listen in plain text, also beyond this machine" },
  "tls-cert": { type: "string", valueHint: "FILE", description: "certificate, PEM (one made by itself)" },
  "tls-key": { type: "string", valueHint: "FILE", description: "its private key, PEM" },
  log: {
    type: "string",
    valueHint: "FILE",
    description: "where service messages go (parley.log in the data folder)",
  },
  "log-level": { type: "enum", options: [...LOG_LEVELS], description: "least level that is written (info)" },
  "log-format": {
    type: "enum",
    options: [...LOG_FORMATS],
    description: "one line, or one JSON object, an event (text)",
  },
} satisfies FlagsDef;

/** The flags of {@link SERVER_OPTIONS}: limits, times, and who may connect. */
const optionFlags: FlagsDef = Object.fromEntries(
  optionEntries.map(([, option]) => [option.flag, definitionOf(option)]),
);

const lastFlags = {
  metrics: {
    type: "string",
    valueHint: "ADDRESS:PORT",
    description: "numbers for Prometheus, and /healthz, over HTTP (off)",
  },
  json: { type: "boolean", description: "ready line as JSON" },
  "port-file": { type: "string", valueHint: "FILE", description: "write the port there when ready" },
  check: { type: "boolean", description: "try everything out, then leave" },
  program: {
    type: "positional",
    required: false,
    rest: true,
    valueHint: "-- PROGRAM ARGS…",
    description: "answers: one for each conversation, without a shell",
  },
  ...commonFlags,
} satisfies FlagsDef;

export const serveFlags: FlagsDef = { ...firstFlags, ...optionFlags, ...lastFlags };

/** The flags that are read by their names; `planServer` reads those of the options all together. */
export type ServeFlags = Flags<keyof typeof firstFlags | keyof typeof lastFlags>;
