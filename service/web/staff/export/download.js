/**
 * Saving what the service exported as JSON lines, whose last line tells how it ended.
 */

import { element } from "../../view/dom.js";

/** What the lines hold and the last one, which says how many these are. Throws what that one says went wrong. */
export function readLines(lines) {
  const rows = lines.trimEnd().split("\n").map((line) => JSON.parse(line));
  const end = rows.pop();
  if (end.error) throw new Error(end.error.message);
  return { rows, end };
}

/** Saves a text as a file of this name. */
export function save(text, name, type = "application/x-ndjson") {
  const address = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: address, download: name }).click();
  URL.revokeObjectURL(address);
}
