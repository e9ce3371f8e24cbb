/**
 * Who moved what, when and why: the aliases' history, newest first.
 */

import { element } from "../../view/dom.js";
import { moment, short } from "../format.js";
import { table } from "./timeline.js";

const MOST_ROWS = 20;

/** The nodes of the section. */
export function showMoves({ moves }) {
  const rows = moves.slice(0, MOST_ROWS).map((move) => [
    moment(move.time), sentence(move), move.reason || "–", who(move.actor),
  ]);
  return [
    element("h2", { id: "moves" }, "Who moved what"),
    rows.length ? table("The latest moves", ["When", "What", "Why", "Who"], rows) : element("p", { class: "muted" }, "Nothing was moved yet."),
  ];
}

function sentence({ alias, action, from_digest, to_digest }) {
  const verb = action === "rollback" ? "rolled back" : "moved";
  return `${alias} ${verb} ${from_digest ? `from ${short(from_digest)} ` : ""}to ${short(to_digest)}`;
}

function who(actor) {
  if (actor === null) return "a command or a training job";
  return actor === "operator" ? "the operator" : actor;
}
