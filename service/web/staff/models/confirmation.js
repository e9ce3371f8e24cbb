/**
 * The question before a move: the service plans it, the dialog says what will happen, and only then it is made.
 */

import { element } from "../../view/dom.js";
import { askInDialog } from "../frame.js";

const PATH = "/v1/model-versions/moves";
const MAX_REASON = "300";
const WORDS = {
  promote: { title: "Promote this version?", action: "Promote" },
  try: { title: "Try this version on a share of the conversations?", action: "Begin the canary" },
  hold: { title: "Hold the candidate?", action: "Hold" },
  roll_back: { title: "Roll back to the version before?", action: "Roll back", isDanger: true },
};

/** Resolves to the move that was made, to null when the person cancels or it cannot be made. */
export async function confirmMove(api, action, version) {
  let problem = "";
  for (;;) {
    try {
      const planned = await api.send(PATH, { action, version, dry_run: true });
      const reason = await askWhether(action, planned.consequences, problem);
      if (reason === null) return null;
      return await api.send(PATH, { action, version, reason, expected_generation: planned.expected_generation });
    } catch (error) {
      if (error.code !== "alias_conflict") {
        await tell(error.message);
        return null;
      }
      problem = error.message; // the dialog comes again, with what would happen now
    }
  }
}

function askWhether(action, consequences, problem) {
  const field = element("input", { type: "text", id: "move-reason", maxlength: MAX_REASON, autocomplete: "off" });
  return askInDialog({
    ...WORDS[action],
    content: [
      ...(problem ? [element("p", { class: "note bad" }, problem)] : []),
      element("ul", { class: "consequences" }, ...consequences.map((sentence) => element("li", {}, sentence))),
      element("div", { class: "field" }, element("label", { for: "move-reason" }, "Why (optional; kept in the history)"), field),
    ],
    answer: () => field.value.trim(),
  });
}

async function tell(message) {
  await askInDialog({ title: "That cannot be done", content: [element("p", {}, message)], action: "Close", isNotice: true });
}
