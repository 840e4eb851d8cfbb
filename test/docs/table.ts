// What the commands of the pages need beside the page itself, and which of them cannot run in a test.
//
// Every command of a `sh` or `console` block runs, in the order of its page, unless a rule here has a reason against it. A new
// block needs an entry only where it does not run as it stands. An entry that no command needs fails the test.
//
//     ```sh        each command has to exit with 0; `parley serve` runs on until another one takes its port, or the page ends
//     ```console   `$ ` begins a command; the lines below are what it prints, on standard output and standard error.
//                  `…` stands for anything, a line of `…` for any lines. Times, ids, pins and durations may differ
//                  `✔ question: answer`, `ann> text` and `ann> ^D` are typed at a terminal; a row of `*` is the password
//     # upper.py   or another file name in the first line of a block: the block is that file
//
// Ports and the paths of a whole machine (/etc/…, /var/lib/…) are replaced by the sandbox's own. The home folder has `password`,
// `cert.pem` and `key.pem`; `ann` is a user with that password.

import { ROOT } from "./markdown.ts";

/** A rule for each command that `pattern` matches; with its output where the page shows one. The first one counts. */
export interface Rule {
  pattern: RegExp;
  /** Only on this page. */
  page?: string;
  /** Why the command cannot run here. Its syntax and its flags are checked all the same. */
  notRun?: string;
  /** The exit code that is right, where it is not 0. */
  exit?: number;
  /** Added in front of the command. */
  prepend?: string;
  /** Added at the end of the command. */
  append?: string;
  /** The lines that it prints come in no certain order: standard output and standard error. */
  anyOrder?: true;
  /** A tool of the machine: without it the command does not run. */
  needs?: string;
  /** A server that it needs instead of the one that the page has started. */
  server?: string;
}

export const RULES: Rule[] = [
  { pattern: /^cd ~\/lab$/, notRun: "the sandbox's folder is that of the lab" },
  { pattern: /\bnpx\b/, notRun: "builds and tests everything" },
  {
    page: "docs/releasing.md",
    pattern: /./,
    notRun: "test/scripts/release.test.ts makes, verifies and installs one",
  },
  { page: "README.md", pattern: /parley(?:-cli-parley)?-\*/, notRun: "needs a release" },
  { pattern: /example\.org/, notRun: "needs another machine" },
  { page: "docs/compare.md", pattern: /PORT/, notRun: "scripts/bench measures these" },
  {
    page: "docs/performance.md",
    pattern: /\/load\b|^dist\/parley/,
    notRun: "the load generator has tests of its own",
  },
  { pattern: /\b(systemctl|journalctl|useradd|userdel|ufw)\b/, notRun: "changes the machine" },
  { pattern: /^sudo (apt|install|rm)\b/, notRun: "changes the machine" },
  { page: "docs/forwarding.md", pattern: /^psql\b/, notRun: "needs a database" },
  {
    page: "docs/operating.md",
    pattern: /^redis-server\b/,
    needs: "redis-server",
    append: " until [ -S /run/parley/redis.sock ]; do sleep 0.01; done",
  },
  { page: "docs/operating.md", pattern: /--store\b/, needs: "redis-server" },
  { pattern: /\bpython3\b/, needs: "python3" },
  { pattern: /\bcurl\b/, needs: "curl" },
  {
    pattern: /^awk .* docs\/labs\.md$/,
    append: " && [ -s lab/echo.py ] && [ -s lab/again.py ] && [ -s lab/guess.ts ]",
  },
  { pattern: /^unshare\b/, notRun: "opens a terminal of its own" },
  {
    pattern: /^cat server\.log/,
    prepend: "until grep -q ' disconnected ' server.log; do sleep 0.01; done; ", // the server sees the end after the client has ended
  },
  { pattern: /\bstdbuf\b/, needs: "stdbuf" },
  { pattern: /^fail2ban-regex\b/, needs: "fail2ban-regex" },
  { page: "docs/classroom.md", pattern: /decimal:10 .*--trace/, anyOrder: true },
  { pattern: /^parley connect 127.0.0.1:4004 --bare --send hi$/m, exit: 1 },
  { pattern: /^parley serve --auth none .*--strict-port --check/, exit: 1 },
];

/** The server that the commands of a section talk to, where no command of the section starts it. */
export const SERVERS: Record<string, string> = {
  "README.md#use-it-in-scripts": "parley serve",
};

/** What a student of docs/labs.md copies from the source. */
const LAB = [`cp -r ${ROOT}/clients .`, "cp clients/python/parley.py clients/typescript/parley.ts ."];

/** Run before the first command of a section, whose reader has files that a test has not. */
export const BEFORE: Record<string, string[]> = {
  "docs/classroom.md#the-labs-tasks": [`cp -r ${ROOT}/clients ${ROOT}/docs .`],
  "docs/clients.md#python": [`cp ${ROOT}/clients/python/parley.py .`],
  "docs/clients.md#typescript": [`cp ${ROOT}/clients/typescript/parley.ts .`],
  "docs/labs.md#before-you-begin": LAB,
  "docs/labs.ru.md#прежде-чем-начать": LAB,
  "docs/labs.zh.md#开始之前": LAB,
  "docs/operating.md#install-by-hand": ["mkdir -p /var/lib/parley", "chmod 700 /var/lib/parley"],
  "docs/operating.md#accounts-in-redis-or-valkey": ["mkdir -p /run/parley /var/lib/redis"],
  "docs/operating.md#failed-logins": [
    `cat > /var/lib/parley/parley.log <<'EOF'
${refusal("2026-11-25T07:12:44.000Z", "198.51.100.4")}
${`${refusal("2026-11-26T10:00:00.000Z", "203.0.113.7", "ann")}\n`.repeat(11).trimEnd()}
2026-11-26T10:40:00.000Z info  refused similar=49 source=203.0.113.7 code=penalised
${refusal("2026-11-26T10:41:12.000Z", "203.0.113.7", "ann")}
EOF`,
  ],
  "docs/operating.md#backup": ["mkdir -p /backup", "parley serve --tls --data /var/lib/parley"],
};

function refusal(time: string, address: string, user?: string): string {
  const who = user === undefined ? "" : ` user=${user}`;
  return `${time} warn  login-refused conn=2 peer=${address}:50122 code=bad_credentials${who} reason="wrong"`;
}

/** The users of a page's sandbox, where it is not ann alone. Their passwords are the same. */
export const USERS: Record<string, string[]> = {
  "README.md": [],
  "docs/labs.md": [],
  "docs/labs.ru.md": [],
  "docs/labs.zh.md": [],
  "docs/operating.md": [],
};

/** Flags of other programs that the pages name in their prose. */
export const FOREIGN_FLAGS: readonly string[] = [
  "--line-buffered", // grep
  "--origin", // websocketd
  "--ssl", // ncat
  "--svg", // scripts/bench.ts
];
