// What the commands of the pages need beside the page itself, and those that cannot run in a test.
//
// Every command of a `sh` or `console` block runs, in the order of its page, unless a rule here has a reason against it.
// A new block needs an entry only where it does not run as it stands. An entry that no command needs fails the test.

/** A rule for each command that `pattern` matches; with its output where the page shows one. The first one counts. */
export interface Rule {
  pattern: RegExp;
  /** Only on this page. */
  page?: string;
  /** Why the command cannot run here. Its syntax and its flags are checked all the same. */
  notRun?: string;
  /** The exit code that is right, where it is not 0. */
  exit?: number;
  /** Added at the end of the command. */
  append?: string;
  /** The lines that it prints come in no certain order: standard output and standard error. */
  anyOrder?: true;
  /** A server that it needs instead of the one that the page has started. */
  server?: string;
}

export const RULES: Rule[] = [
  { pattern: /\bnpx\b/, notRun: "builds and tests everything" },
  { pattern: /example\.org/, notRun: "needs another machine" },
  { page: "docs/compare.md", pattern: /PORT/, notRun: "scripts/bench measures these" },
  { page: "README.md", pattern: /chris → ann/, notRun: "needs three people" },
  { page: "README.md", pattern: /coming back, Ctrl-C leaves/, notRun: "needs a network that fails" },
  { page: "README.md", pattern: /^parley connect {2,}#/, notRun: "asks at a terminal" },
  { page: "README.md", pattern: /parley users (add|passwd) \w+ +#/, append: " --password-file password" },
  { page: "docs/operating.md", pattern: /^parley users log/, notRun: "a server that was attacked" },
  { page: "README.md", pattern: /users revoke ID/, notRun: "ID stands for an id" },
  { page: "README.md", pattern: /users import users\.ndjson/, exit: 1 },
  { page: "README.md", pattern: /--trace\n/, anyOrder: true },
  {
    page: "README.md",
    pattern: /connect .*--key-file key/,
    server: "parley serve --key-file key",
  },
];

/** The server that the commands of a section talk to, where no command of the section starts it. */
export const SERVERS: Record<string, string> = {
  "README.md#connect": "parley serve",
  "README.md#the-wire": "parley serve",
};

/** Run before the first command of a section: it needs files, or lacks users, that its reader is thought to have, or not. */
export const BEFORE: Record<string, string> = {
  "README.md#connect": "printf 'a picture\\n' > photo",
  "README.md#users": "parley users remove ann",
  "README.md#the-wire": "parley connect ann@127.0.0.1:13131",
};

/** The users of a page's sandbox, where it is not ann alone. Their passwords are the same. */
export const USERS: Record<string, string[]> = {
  "README.md": [],
};
