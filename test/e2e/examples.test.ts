// The files of examples/, each with real clients; and a handler that is tested as docs/writing-a-service.md says.

import { copyFileSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { addUser, PASSWORD, run, serve, start, type Running, type Serving } from "../support/executable.ts";
import { tempFolder } from "../support/folder.ts";

setDefaultTimeout(90_000);

const EXAMPLES = resolve(import.meta.dir, "../../examples");

function example(
  name: string,
  env: Record<string, string> = {},
  file = join(EXAMPLES, name),
): Promise<Serving> {
  return serve(["--auth", "none", "--handler", file, "--watch"], { env });
}

/** A client with what it has heard so far. */
class Player implements AsyncDisposable {
  readonly #client: Running;
  #seen = 0;

  constructor(server: Serving, user?: string) {
    const target = user === undefined ? server.address : `${user}@${server.address}`;
    const env: Record<string, string> = user === undefined ? {} : { PARLEY_PASSWORD: PASSWORD };
    this.#client = start(["connect", target, "--json", "--retry", "5"], { env });
  }

  get heard(): string {
    return this.#client.stdout.text;
  }

  /** Ends its input, and waits for the end of the session. */
  async leave(): Promise<void> {
    this.#client.endInput();
    expect(await this.#client.exited).toBe(0);
  }

  say(line: string): void {
    this.#client.write(`${line}\n`);
  }

  /** Waits for a message with `wanted` in it, behind those that were waited for. */
  async hears(wanted: string | RegExp): Promise<void> {
    this.#seen = await this.#client.stdout.see(wanted, this.#seen);
  }

  get id(): number {
    return Number(/guest-(\d+)/.exec(this.#client.stdout.text)?.[1]);
  }

  /** Kills it, so that it does not say that it leaves. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]();
  }
}

test("each example has less than 80 lines, and a link on the page", () => {
  const page = readFileSync(join(EXAMPLES, "../docs/writing-a-service.md"), "utf8");
  for (const name of readdirSync(EXAMPLES)) {
    expect(page).toContain(`[${name}](../examples/${name})`);
    const lines = readFileSync(join(EXAMPLES, name), "utf8").trimEnd().split("\n");
    if (!name.endsWith(".d.ts")) expect([name, Math.max(80, lines.length + 1)]).toEqual([name, 80]);
  }
});

describe("quiz.ts", () => {
  test("is played by three, edited meanwhile, left and taken up again, with the same scores", async () => {
    using folder = tempFolder();
    const file = join(folder.path, "quiz.ts");
    const scores = join(folder.path, "scores.json");
    copyFileSync(join(EXAMPLES, "quiz.ts"), file);
    const env = { QUIZ_SECONDS: "1000", QUIZ_SCORES: scores };
    {
      await using server = await example("quiz.ts", env, file);
      await using ann = new Player(server);
      await ann.hears("question 1: 2 + 2?");
      await using bob = new Player(server);
      await bob.hears("question 1: 2 + 2?");
      await ann.hears("plays, too");
      {
        await using cat = new Player(server);
        await cat.hears("question 1");
        bob.say("5");
        await bob.hears("* 5 is wrong");
        bob.say("4");
        for (const player of [ann, bob, cat]) {
          await player.hears(/guest-\d+ is right: 4\. guest-\d+ 1"/);
          await player.hears("question 2: the capital of Japan?");
        }
      }
      await ann.hears("is away");
      writeFileSync(
        file,
        readFileSync(file, "utf8").replace(
          '"the capital of Japan?"',
          '"which city is the capital of Japan?"',
        ),
      );
      await ann.hears("question 2: which city is the capital of Japan?");
      ann.say("tokyo");
      await bob.hears(/is right: Tokyo\. guest-\d+ 1, guest-\d+ 1"/);
      const broken = readFileSync(file, "utf8")
        .replace("the number of bits in a byte?", "how many bits has a byte?")
        .replace("message.text()", "message.txt()");
      writeFileSync(file, broken);
      await bob.hears("question 3: how many bits has a byte?");
      ann.say("8");
      await ann.hears('"service_failed"');
      await bob.hears("has left");
    }
    expect(Object.values(JSON.parse(readFileSync(scores, "utf8")) as object)).toEqual([1, 1]);
    await using server = await example("quiz.ts", env);
    const { stdout } = await run(["connect", server.address, "--send", "/scores", "--count", "2"]);
    expect(stdout).toMatch(/question 1: .*\n\* guest-\d+ 1, guest-\d+ 1\n/);
  });

  test("a person with two windows plays until both are closed, and a new question does not change the present one", async () => {
    using folder = tempFolder();
    const file = join(folder.path, "quiz.ts");
    const data = join(folder.path, "data");
    copyFileSync(join(EXAMPLES, "quiz.ts"), file);
    await Promise.all(["ann", "bob"].map((name) => addUser(data, name)));
    await using server = await serve(["--handler", file, "--watch"], {
      data,
      env: { QUIZ_SECONDS: "1000" },
    });
    await using bob = new Player(server, "bob");
    await bob.hears("question 1: 2 + 2?");
    {
      await using ann = new Player(server, "ann");
      await bob.hears("* ann plays, too");
      await ann.hears("question 1");
    }
    await bob.hears("* ann is away");
    await using ann = new Player(server, "ann");
    await bob.hears("* ann plays, too");
    await using second = new Player(server, "ann");
    await second.hears("question 1");
    await second.leave();
    await ann.hears("question 1");
    bob.say("");
    for (const [index, answer] of ["4", "tokyo", " 8 "].entries()) {
      bob.say(answer);
      await ann.hears("* bob is right");
      await ann.hears(`question ${index + 2}`);
    }
    expect(bob.heard).not.toMatch(/has left|ann plays, too[^]*ann plays, too[^]*ann plays, too|is wrong/);
    expect(JSON.parse(readFileSync(join(folder.path, "scores.json"), "utf8"))).toEqual({ bob: 3 });
    const more = '{ ask: "the largest planet?", answer: "Jupiter" },';
    writeFileSync(file, readFileSync(file, "utf8").replace('answer: "8" },', `$& ${more}`));
    await ann.hears("question 4: 2 + 2?");
    await ann.leave();
    await bob.hears("* ann has left");
  });

  test("goes on when the time is over", async () => {
    using folder = tempFolder();
    const env = { QUIZ_SECONDS: "0.05", QUIZ_SCORES: join(folder.path, "scores.json") };
    await using server = await example("quiz.ts", env);
    await using player = new Player(server);
    for (const wanted of ["question 1", "the time is over: 4", "question 2", "the time is over: Tokyo"]) {
      await player.hears(wanted);
    }
  });
});

test("the handler of README.md greets guests, and a listener who says nothing hears the others", async () => {
  using folder = tempFolder();
  const page = readFileSync(join(EXAMPLES, "../README.md"), "utf8");
  const file = join(folder.path, "greet.ts");
  writeFileSync(file, /```ts\n(\/\/ greet\.ts\n[^]*?)```/.exec(page)?.[1] ?? "");
  await using server = await example("greet.ts", {}, file);
  await using listener = new Player(server);
  await listener.hears("welcome, guest 1");
  await using speaker = new Player(server);
  await speaker.hears("welcome, guest 2");
  speaker.say("hello");
  await listener.hears("guest 2 said hello");
  speaker.say("bye");
  await speaker.hears('"event":"bye","code":"done"');
});

test("upper-class.ts counts the lines of each client", async () => {
  await using server = await example("upper-class.ts");
  const clients = ["a\nb\n", "c\n"].map((stdin) => run(["connect", server.address], { stdin }));
  const [two, one] = await Promise.all(clients);
  expect(two).toMatchObject({ exitCode: 0, stdout: "A\nB\n2 lines\n" });
  expect(one).toMatchObject({ exitCode: 0, stdout: "C\n1 lines\n" });
});

test("chat-bot.ts reminds one, counts for all, and wakes up those who are silent", async () => {
  await using server = await example("chat-bot.ts", { SECOND_MS: "10" });
  await using ann = new Player(server);
  await ann.hears("joined");
  await using bob = new Player(server);
  await ann.hears("joined");
  await bob.hears("joined");
  ann.say("hello");
  await bob.hears(": hello");
  ann.say("/remind 1 tea");
  await ann.hears("I remind you in 1 s");
  await ann.hears("bot: tea");
  bob.say("/count 2");
  for (const line of ["bot: 2", "bot: 1", "bot: go, says guest-"]) await ann.hears(line);
  ann.say("/dance");
  await ann.hears("bot: /remind SECONDS TEXT");
  await bob.hears("are you still there");
});

test("files.ts sends a file of many pieces, and nothing from outside of its folder", async () => {
  using folder = tempFolder();
  const files = join(folder.path, "public");
  mkdirSync(join(files, "more"), { recursive: true });
  const content = Buffer.from(Array.from({ length: 700_001 }, (_, index) => (index * 7919) % 251));
  writeFileSync(join(files, "data.bin"), content);
  writeFileSync(join(folder.path, "secret"), "secret");
  symlinkSync(join(folder.path, "secret"), join(files, "link"));
  await using server = await example("files.ts", { FILES: files });
  const ask = (name: string) => run(["connect", server.address, "--raw", "--send", name, "--exit-status"]);
  const got = await ask("data.bin");
  expect([got.exitCode, Buffer.compare(got.bytes, content)]).toEqual([0, 0]);
  expect((await run(["connect", server.address, "--send", "list"])).stdout).toBe("data.bin\n");
  for (const name of ["../secret", "link", "/etc/passwd", "more", "none", "", "."]) {
    expect(await ask(name)).toMatchObject({ exitCode: 1, stdout: "" });
  }
});
