// Reads a line that log.ts has written, in either form.

import { LOG_EVENTS, LOG_LEVELS } from "./log.ts";

export interface LogLine {
  /** As in the log. The texts sort in the order of time. */
  time: string;
  event: string;
  /** The values of a text line are texts, still escaped. */
  fields: Readonly<Record<string, unknown>>;
}

const TIME = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;
const LEVEL = `(?:${LOG_LEVELS.join("|")})`;
const EVENT = `(${LOG_EVENTS.join("|")})`;
const TEXT = new RegExp(`^(${TIME}) ${LEVEL} +${EVENT}(?= |$)`);
const FIELD = / ([a-z_]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s"=]+))/y;
const JSON_TEXT = new RegExp(`^\\{"time":"(${TIME})","level":"${LEVEL}","event":"${EVENT}"[,}]`);

/**
 * The parts of `text`; undefined when it is not a whole line of a log.
 *
 * @param isWanted whether the fields of an event are needed; otherwise there are none, and only the begin of the line is checked.
 */
export function parseLogLine(text: string, isWanted: (event: string) => boolean): LogLine | undefined {
  const isJson = text.startsWith("{");
  const [head, time, event] = (isJson ? JSON_TEXT : TEXT).exec(text) ?? [];
  if (head === undefined || time === undefined || event === undefined) return undefined;
  if (!isWanted(event)) return { time, event, fields: {} };
  const fields = isJson ? jsonFields(text) : textFields(text, head.length);
  return fields && { time, event, fields };
}

function jsonFields(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function textFields(text: string, start: number): Record<string, unknown> | undefined {
  const fields: Record<string, unknown> = {};
  let end = start;
  while (end < text.length) {
    FIELD.lastIndex = end;
    const [all, name, quoted, plain] = FIELD.exec(text) ?? [];
    if (all === undefined || name === undefined) return undefined;
    fields[name] = plain ?? quoted?.replace(/\\(["\\])/g, "$1");
    end += all.length;
  }
  return fields;
}
