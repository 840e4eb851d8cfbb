// The files of the Debian package that are made: control, changelog.Debian and copyright.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { folderOf, packagesOf } from "../release/sbom.ts";
import { readJson } from "../release/stage.ts";

/** Of the package, beside the version of parley: it grows when only the packaging changes. */
export const REVISION = 1;

const MAINTAINER = "The parley authors <parley@parley.invalid>";

/** @param kibibytes what the files take when they are installed */
export function control(version: string, architecture: string, kibibytes: number): string {
  return `Package: parley
Version: ${version}-${REVISION}
Architecture: ${architecture}
Maintainer: ${MAINTAINER}
Installed-Size: ${kibibytes}
Depends: adduser, libc6 (>= 2.17)
Recommends: logrotate
Suggests: bash-completion, fail2ban
Section: net
Priority: optional
Description: login, sessions and message framing for TCP services
 parley is a server and a client for conversations over TCP. The server adds
 accounts, TLS 1.3, a log and limits in front of a program that reads and
 writes lines, a handler in TypeScript, or a TCP service that exists already.
 .
 Sessions survive a broken connection, and every message arrives once.
 .
 This package starts a server that only programs on the same machine can
 reach, and that has no accounts: /etc/parley/parley.toml is its configuration.
`;
}

/** An entry for each version of CHANGELOG.md, from `version` back. */
export function debianChangelog(changes: string, version: string): string {
  const all = [...changes.matchAll(/^## (\S+) - (\d{4}-\d\d-\d\d)$/gm)];
  const entries = all.slice(all.findIndex(([, name]) => name === version));
  if (entries[0]?.[1] !== version) throw new Error(`CHANGELOG.md has no ${version}`);
  return entries
    .map(([, name = "", day = ""]) => {
      const date = new Date(day).toUTCString().replace("GMT", "+0000");
      return `parley (${name}-${REVISION}) unstable; urgency=medium

  * Version ${name}: changelog.gz says what users notice.

 -- ${MAINTAINER}  ${date}
`;
    })
    .join("\n");
}

/** Who wrote what is in the executable, and under which licence, as machine-readable text. */
export function copyright(root: string): string {
  const own = readFileSync(join(root, "LICENSE"), "utf8");
  return [
    `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: parley
Comment:
 /usr/bin/parley contains parley, packages from the npm registry (below as
 node_modules), and the runtime Bun with the libraries that Bun names in
 https://bun.com/docs/project/licensing. Their versions are in the bill of
 materials of the release.`,
    stanza(["*"], "MIT", own),
    ...packageStanzas(root),
    `Files: bun/*
Copyright: Oven and the authors of Bun
License: MIT and LGPL-2
 Bun itself has the licence MIT, as above. It is linked with JavaScriptCore, a
 part of WebKit, whose licence is the GNU Library General Public License,
 version 2: /usr/share/common-licenses/LGPL-2. The source of both, and how to
 link them again, is at https://github.com/oven-sh/bun and
 https://github.com/oven-sh/WebKit.`,
    "",
  ].join("\n\n");
}

/** One for each text of a licence. */
function packageStanzas(root: string): string[] {
  const byText = new Map<string, { id: string; files: string[] }>();
  for (const { path } of packagesOf(root).packages.values()) {
    const folder = folderOf(root, path);
    const file = readdirSync(folder).find((name) => /^licen[cs]e/i.test(name));
    if (file === undefined) throw new Error(`${folder} has no file with its licence`);
    const text = readFileSync(join(folder, file), "utf8").replaceAll("\r", "");
    const one = byText.get(text) ?? {
      id: String(readJson(join(folder, "package.json"))["license"]),
      files: [],
    };
    one.files.push(`node_modules/${path.join("/node_modules/")}/*`);
    byText.set(text, one);
  }
  return [...byText].map(([text, { id, files }]) => stanza(files.sort(), id, text));
}

function stanza(files: string[], id: string, text: string): string {
  const isApache = id === "Apache-2.0";
  const holders = text.match(/^\s*copyright (?!notice|\[yyyy\]).*$/gim)?.map(holderOf) ?? [];
  const body = isApache ? "See /usr/share/common-licenses/Apache-2.0." : text.trim();
  return `Files: ${files.join("\n ")}
Copyright: ${(isApache || holders.length === 0 ? ["the authors of the package"] : holders).join("\n ")}
License: ${id}
${body.replaceAll(/^.*$/gm, (line) => (line.trim() === "" ? " ." : ` ${line.trimEnd()}`))}`;
}

/** Without the word and the sign that begin the line. */
function holderOf(line: string): string {
  return line.trim().replace(/^copyright (?:\(c\)|©)? */i, "");
}
