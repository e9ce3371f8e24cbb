/**
 * Saving an export that came as JSON lines, whose last line tells how it ended.
 */

import { element } from "../../view/dom.js";

/** Saves the lines as a file; gives how many there are. Throws what the last line says went wrong. */
export function download(lines, name) {
  const end = JSON.parse(lines.trimEnd().split("\n").at(-1));
  if (end.error) throw new Error(end.error.message);
  const address = URL.createObjectURL(new Blob([lines], { type: "application/x-ndjson" }));
  element("a", { href: address, download: name }).click();
  URL.revokeObjectURL(address);
  return end.num_pairs;
}
