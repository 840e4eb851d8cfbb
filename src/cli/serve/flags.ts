// The flags of parley serve, in the order of --help.

import { AUTH_MODES } from "../../auth/identity.ts";
import { DEFAULT_PORT, TARGET_TIMEOUT_MS } from "../../base/limits.ts";
import { duration } from "../../base/option-kinds.ts";
import { writeDuration } from "../../base/units.ts";
import { LOG_FORMATS, LOG_LEVELS } from "../../log/log.ts";
import { optionEntries } from "../../server/option-table.ts";
import { listServices } from "../../services/catalogue.ts";
import { PROGRAM_IOS } from "../../services/program/codec.ts";
import { STDERR_WAYS } from "../../services/program/program.ts";
import { definitionOf, framingFlag, type Flags } from "../flags.ts";
import { storeFlags } from "../store.ts";
import type { FlagRules } from "../flag-rules.ts";
import { commonFlags, inGroup, type FlagsDef } from "../parse.ts";

const serviceNames = listServices()
  .map(({ name }) => name)
  .join(", ");

const TO_EXAMPLE = "for example: parley serve --to 127.0.0.1:5432";
const PROGRAM_EXAMPLE = "name it after --, for example: parley serve -- wc -l";

const firstFlags = {
  ...inGroup("What answers", {
    service: {
      type: "string",
      valueHint: "NAME",
      completes: "service",
      description: `built-in service: ${serviceNames} (default echo)`,
    },
    handler: {
      type: "string",
      valueHint: "FILE",
      description: "TypeScript or JavaScript file that answers",
    },
    watch: { type: "boolean", description: "reload the handler when its file changes" },
    init: { type: "string", valueHint: "FILE", description: "write a first handler and exit" },
    to: {
      type: "string",
      valueHint: "HOST:PORT",
      description: "forward each session to a TCP service, or to unix:/PATH",
    },
    "to-timeout": definitionOf({
      kind: duration(),
      help: `wait so long for it to accept (default ${writeDuration(TARGET_TIMEOUT_MS)})`,
    }),
    "send-proxy": { type: "boolean", description: "tell it address and user, with PROXY protocol v2" },
    program: {
      type: "positional",
      required: false,
      rest: true,
      valueHint: "-- PROGRAM ARGS…",
      description: "program to run for each session, without a shell",
    },
    "program-io": {
      type: "enum",
      options: [...PROGRAM_IOS],
      description: "how messages pass through it (default lines)",
    },
    "program-stderr": {
      type: "enum",
      options: [...STDERR_WAYS],
      description: "where its standard error goes (default log)",
    },
    "pass-env": {
      type: "string",
      multiple: true,
      valueHint: "NAME",
      completes: "variable",
      description: "pass this environment variable on; repeatable",
    },
    pty: { type: "boolean", description: "run the program on a terminal, the client's if it has one" },
    "list-services": { type: "boolean", description: "list the built-in services and exit" },
  }),
  ...inGroup("Who may connect", {
    auth: {
      type: "enum",
      options: [...AUTH_MODES],
      description: "accounts, addresses, no login (default password)",
    },
    register: { type: "boolean", description: "let clients create accounts" },
    "key-file": {
      type: "string",
      valueHint: "FILE",
      description: "require a shared key; create it if missing",
    },
    "allow-md5": { type: "boolean", description: "accept MD5 proofs of it (Python 3.11 and older)" },
    bare: { type: "boolean", description: "message frames only: no login, no session" },
    framing: framingFlag,
    open: { type: "boolean", description: "allow --bare beyond loopback" },
  }),
  ...storeFlags,
  ...inGroup("Network and TLS", {
    host: { type: "string", valueHint: "HOST", description: "address to listen on (default 127.0.0.1)" },
    port: {
      type: "string",
      valueHint: "PORT",
      description: `port; 0 picks a free one (default ${DEFAULT_PORT})`,
    },
    "strict-port": { type: "boolean", description: "fail if the port is busy, do not try the next" },
    tls: { type: "boolean", description: "use TLS (default beyond loopback)" },
    "no-tls": { type: "boolean", description: "use plain TCP (default on loopback)" },
    "tls-cert": {
      type: "string",
      valueHint: "FILE",
      description: "PEM certificate (default self-signed)",
    },
    "tls-key": { type: "string", valueHint: "FILE", description: "PEM private key of the certificate" },
  }),
} satisfies FlagsDef;

/** The flags of {@link SERVER_OPTIONS}: limits, times, and who may connect. */
const optionFlags: FlagsDef = Object.fromEntries(
  optionEntries.map(([, option]) => [option.flag, { ...definitionOf(option), group: option.group }]),
);

const lastFlags = {
  ...inGroup("Log and scripts", {
    log: {
      type: "string",
      valueHint: "FILE",
      description: "log file (default parley.log in the data folder)",
    },
    "log-level": { type: "enum", options: [...LOG_LEVELS], description: "minimum level (default info)" },
    "log-format": { type: "enum", options: [...LOG_FORMATS], description: "log format (default text)" },
    metrics: {
      type: "string",
      valueHint: "ADDRESS:PORT",
      description: "serve /metrics and /healthz over HTTP (default off)",
    },
    config: {
      type: "string",
      valueHint: "FILE",
      description: "TOML file of flags; flags given here win",
    },
    json: { type: "boolean", description: "print the ready line as JSON" },
    "port-file": { type: "string", valueHint: "FILE", description: "write the port to this file when ready" },
    check: { type: "boolean", description: "check the configuration and exit" },
  }),
  ...commonFlags,
} satisfies FlagsDef;

export const serveFlags: FlagsDef = { ...firstFlags, ...optionFlags, ...lastFlags };

const ACCOUNTS = ["register", ...Object.keys(storeFlags)];

/**
 * Which of them cannot stand together. `--check` takes all flags of the server. A limit of what the server has not is taken, too, so
 * that a configuration file may have all limits: docs/security.md names them.
 */
export const serveRules: FlagRules = {
  alone: { "list-services": [], init: [] },
  apart: {
    service: ["handler", "to", "program"],
    handler: ["to", "program"],
    to: ["program"],
    pty: ["program-stderr"],
    bare: ["auth", ...ACCOUNTS],
    "auth none": ACCOUNTS,
    "auth ip": ["register"],
    "no-tls": ["tls", "tls-cert", "tls-key"],
    "penalties off": ["penalty-exempt"],
  },
  needs: {
    watch: ["handler"],
    "to-timeout": ["to", TO_EXAMPLE],
    "send-proxy": ["to", TO_EXAMPLE],
    "program-io": ["program", PROGRAM_EXAMPLE],
    "program-stderr": ["program", PROGRAM_EXAMPLE],
    "pass-env": ["program", PROGRAM_EXAMPLE],
    pty: ["program", PROGRAM_EXAMPLE],
    open: ["bare"],
    "allow-md5": ["key-file"],
    "tls-cert": ["tls-key"],
    "tls-key": ["tls-cert"],
  },
  names: { program: "a program" },
};

/** The flags that are read by their names; `planServer` reads those of the options all together. */
export type ServeFlags = Flags<keyof typeof firstFlags | keyof typeof lastFlags>;
