// README.md and docs/*.md: each command of each block runs as a reader would run it, and says what the page shows; each flag
// is one of parley's; each link leads somewhere.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join, normalize } from "node:path";
import { selfSigned } from "../support/certificates.ts";
import { EXECUTABLE, PASSWORD, run } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";
import { lacksTools } from "../support/privileges.ts";
import {
  type Block,
  type Command,
  commandsOf,
  fileNameOf,
  flagsOf,
  readPage,
  readPages,
  ROOT,
  where,
} from "./markdown.ts";
import { type Expected, Sandbox } from "./sandbox.ts";
import { BEFORE, FOREIGN_FLAGS, type Rule, RULES, SERVERS, USERS } from "./table.ts";

setDefaultTimeout(180_000);

const USERS_COMMANDS = ["add", "passwd", "remove", "disable", "sessions", "revoke", "hosts list", "import"];

const pages = readPages();
const blocks = pages.flatMap((page) => page.blocks);

function isShell({ language }: Block): boolean {
  return language === "sh" || language === "console";
}

function ruleOf({ block, text, output = [] }: Command): Rule | undefined {
  const whole = [text, ...output].join("\n");
  return RULES.find(({ page = block.page, pattern }) => page === block.page && pattern.test(whole));
}

/** The commands of a block; one that is all output counts as one command, which a rule has to exempt. */
function allCommandsOf(block: Block): Command[] {
  return isAllOutput(block) ? [{ block, text: block.text }] : commandsOf(block);
}

function isAllOutput({ language, text }: Block): boolean {
  return language === "console" && !/^\$ /m.test(text);
}

describe("the commands of", () => {
  test.each(pages.filter(({ blocks }) => blocks.some(isShell)).map(({ path }) => path))(
    "%s",
    async (path) => {
      await using sandbox = new Sandbox();
      const { certificate, key } = await selfSigned();
      sandbox.write("cert.pem", certificate);
      sandbox.write("key.pem", key);
      sandbox.write("password", PASSWORD);
      for (const user of USERS[path] ?? ["ann"]) await sandbox.addUser(user);
      let section = "";
      for (const block of blocks.filter(({ page }) => page === path)) {
        const name = fileNameOf(block);
        if (name !== undefined) sandbox.write(name, block.text);
        if (!isShell(block)) continue;
        if (block.section !== section) {
          section = block.section;
          for (const text of BEFORE[`${path}#${section}`] ?? []) {
            await runCommand(sandbox, { block, text }, { exit: 0 });
          }
        }
        if (name === undefined) await runBlock(sandbox, block);
      }
      await sandbox.stopServers();
    },
  );
});

async function runBlock(sandbox: Sandbox, block: Block): Promise<void> {
  const commands = allCommandsOf(block);
  for (const [at, command] of commands.entries()) {
    const { notRun, needs, exit = 0, prepend = "", append = "", anyOrder, server } = ruleOf(command) ?? {};
    if (notRun === undefined && isAllOutput(block)) throw new Error(`${where(block)}: no line begins with $`);
    if (notRun !== undefined || (needs !== undefined && lacksTools(needs))) continue;
    const bare = append === "" ? command.text : command.text.replace(/\s+#.*/, "");
    const text = `${prepend}${bare}${append}`;
    const tellsCode = commands[at + 1]?.text.includes("$?") === true;
    const expected = { exit: tellsCode ? undefined : exit, anyOrder };
    await runCommand(sandbox, { ...command, text }, expected, server);
  }
}

async function runCommand(sandbox: Sandbox, command: Command, expected: Expected, server?: string) {
  const { block, text } = command;
  const needed = server ?? SERVERS[`${block.page}#${block.section}`];
  try {
    if (needed !== undefined && /parley connect\b/.test(text)) await sandbox.ensureServer(needed);
    await sandbox.run(command, expected);
  } catch (error) {
    throw new Error(`${where(block)}: ${text}`, { cause: error });
  }
}

describe("each block", () => {
  test("has a language that says what it is", () => {
    const known = ["sh", "console", "ts", "js", "python", "json", "ini", "toml", "yaml", "dockerfile", ""];
    expect(blocks.filter(({ language }) => !known.includes(language)).map(where)).toEqual([]);
  });

  test("that a shell runs is well-formed", () => {
    for (const block of blocks.filter(isShell)) {
      for (const { text } of commandsOf(block)) {
        const { exitCode, stderr } = Bun.spawnSync(["bash", "-n", "-c", text]);
        expect([where(block), text, exitCode, stderr.toString()]).toEqual([where(block), text, 0, ""]);
      }
    }
  });

  test("gives parley only flags that it has", async () => {
    const helps = new Map<string, string>();
    const wrong: string[] = [];
    for (const block of blocks.filter(({ language }) => language !== "json")) {
      for (const { subcommand, flag } of flagsOf(block.text)) {
        const help = helps.get(subcommand) ?? (await run([...subcommand.split(" "), "--help"])).stdout;
        helps.set(subcommand, help);
        const isFlag = flag === "--help" || new RegExp(`(?:^|[\\s,])${flag}(?:$|[\\s,])`, "m").test(help);
        if (!isFlag) wrong.push(`${where(block)}: ${subcommand} ${flag}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  test("of TypeScript, Python or JSON is well-formed, where it is a whole file", () => {
    for (const block of blocks.filter((one) => fileNameOf(one) !== undefined)) {
      if (block.language === "ts") new Bun.Transpiler({ loader: "ts" }).transformSync(block.text);
      if (block.language !== "python") continue;
      const { stderr } = Bun.spawnSync([
        "python3",
        "-c",
        "import ast, sys; ast.parse(sys.argv[1])",
        block.text,
      ]);
      expect([where(block), stderr.toString()]).toEqual([where(block), ""]);
    }
  });
});

test("each flag that a page names is one of parley's", async () => {
  const commands = ["serve", "connect", ...USERS_COMMANDS.map((name) => `users ${name}`)];
  const helps = await Promise.all(commands.map((words) => run([...words.split(" "), "--help"])));
  const flags = new Set(["--help", "--version"]);
  for (const { stdout } of helps) for (const [flag] of stdout.matchAll(/--[a-z][\w-]*/g)) flags.add(flag);
  const named = pages.flatMap(({ path, flags }) =>
    flags.map(({ line, flag }) => ({ at: `${path}:${line}`, flag })),
  );
  const unknown = named.filter(({ flag }) => !flags.has(flag) && !FOREIGN_FLAGS.includes(flag));
  expect(unknown).toEqual([]);
  expect(FOREIGN_FLAGS.filter((foreign) => !named.some(({ flag }) => flag === foreign))).toEqual([]);
});

describe("the files of docs/operating.md", () => {
  const files = new Map(blocks.map((block) => [fileNameOf(block) ?? "", block.text]));
  const text = (name: string) => files.get(name) ?? "";

  test.each([
    ["/etc/systemd/system/parley.service", "parley.service"],
    ["/etc/systemd/system/parley.socket", "parley.socket"],
    ["/etc/logrotate.d/parley", "logrotate"],
    ["/etc/fail2ban/filter.d/parley.conf", "fail2ban-filter.conf"],
    ["/etc/fail2ban/jail.d/parley.conf", "fail2ban-jail.conf"],
  ])("are those of the Debian package: %s", (name, file) => {
    const packaged = readFileSync(join(ROOT, "scripts/debian", file), "utf8");
    const shown = text(name).replace("/usr/local/bin/parley", "/usr/bin/parley");
    expect(shown.slice(shown.indexOf("\n") + 1).trimEnd()).toBe(packaged.trimEnd());
  });

  test.skipIf(lacksTools("systemd-analyze"))("are units that systemd takes without a warning", () => {
    using folder = tempFolder();
    const units = ["parley.service", "parley.socket"].map((name) => join(folder.path, name));
    for (const unit of units) {
      const content = text(`/etc/systemd/system/${basename(unit)}`);
      writeFileSync(unit, content.replaceAll("/usr/local/bin/parley", EXECUTABLE));
    }
    const { exitCode, stderr } = Bun.spawnSync(["systemd-analyze", "verify", "--man=no", ...units]);
    expect([exitCode, stderr.toString()]).toEqual([0, ""]);
  });

  test.skipIf(lacksTools("logrotate"))("are a configuration that logrotate takes", () => {
    using folder = tempFolder();
    const path = join(folder.path, "parley");
    writeFileSync(path, text("/etc/logrotate.d/parley").replace("su parley parley", ""));
    const { exitCode, stderr } = Bun.spawnSync(["logrotate", "--debug", path]);
    expect(stderr.toString()).not.toMatch(/error/i);
    expect(exitCode).toBe(0);
  });
});

test("each entry of the table is of use", () => {
  const commands = blocks.filter(isShell).flatMap(allCommandsOf);
  const used = new Set(commands.map(ruleOf));
  expect(RULES.filter((rule) => !used.has(rule)).map(({ pattern }) => String(pattern))).toEqual([]);
  const sections = new Set(commands.map(({ block }) => `${block.page}#${block.section}`));
  expect(
    [...Object.keys(SERVERS), ...Object.keys(BEFORE)].filter((section) => !sections.has(section)),
  ).toEqual([]);
  expect(Object.keys(USERS).filter((path) => !pages.some((page) => page.path === path))).toEqual([]);
});

test("each link leads to a file, and each anchor to a heading", () => {
  const all = [...pages, ...["CONTRIBUTING.md", "SECURITY.md"].map(readPage)];
  const anchors = new Map(all.map(({ path, anchors }) => [path, anchors]));
  const broken: string[] = [];
  for (const { path, links } of all) {
    for (const { line, target } of links) {
      if (/^(?:https?|mailto):/.test(target)) continue;
      const [file = "", anchor] = target.split("#");
      const to = file === "" ? path : normalize(join(dirname(path), file));
      const leads = anchor === undefined ? existsSync(join(ROOT, to)) : anchors.get(to)?.has(anchor) === true;
      if (!leads) broken.push(`${path}:${line}: ${target}`);
    }
  }
  expect(broken).toEqual([]);
});
