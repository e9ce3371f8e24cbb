/**
 * Exported conversations as comma-separated values (RFC 4180) for spreadsheets: one row a message, what is known of a
 * reply beside it.
 */

const COLUMNS = {
  conversation_id: ({ conversation }) => conversation.id,
  number: ({ number }) => number,
  role: ({ message }) => message.role,
  content: ({ message }) => message.content,
  is_replaced: ({ message }) => message.is_replaced,
  completion_id: ({ reply }) => reply.completion_id,
  created_at: ({ reply }) => reply.created_at,
  model_digest: ({ reply }) => reply.model_digest,
  language: ({ reply }) => reply.language,
  plan: ({ reply }) => reply.plan,
  plan_confidence: ({ reply }) => reply.plan_confidence,
  rule: ({ reply }) => reply.rule,
  sentiment: ({ reply }) => reply.sentiment,
  finish_reason: ({ reply }) => reply.finish_reason,
  latency_ms: ({ reply }) => reply.latency_ms,
  gold: ({ reply }) => reply.gold,
  num_up: ({ feedback }) => count(feedback, "up"),
  num_down: ({ feedback }) => count(feedback, "down"),
  reasons: ({ feedback }) => [...new Set(feedback.flatMap(({ reasons }) => reasons))].join(" "),
  comments: ({ feedback }) => said(feedback, "comment"),
  corrections: ({ feedback }) => said(feedback, "correction"),
  tags: ({ conversation }) => conversation.tags.join(" "),
};
// A cell that begins so is a formula to spreadsheets, and what customers write is data.
const FORMULA = /^[=+\-@\t\r]/;
// Without it Excel takes UTF-8 for something else.
const BYTE_ORDER_MARK = "\ufeff";

/** The text of the file; `conversations` are those of `/v1/review/export`. */
export function toSpreadsheet(conversations) {
  const rows = conversations.flatMap((conversation) =>
    conversation.messages.map((message, index) => rowOf(conversation, message, index + 1)));
  return BYTE_ORDER_MARK + [Object.keys(COLUMNS), ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

function rowOf(conversation, message, number) {
  const reply = message.reply ?? {};
  const known = { conversation, message, number, reply, feedback: reply.feedback ?? [] };
  return Object.values(COLUMNS).map((read) => read(known));
}

function count(feedback, wanted) {
  return feedback.filter(({ rating }) => rating === wanted).length;
}

function said(feedback, name) {
  return feedback.map((one) => one[name]).filter(Boolean).join("\n");
}

function cell(value) {
  const text = String(value ?? "");
  const safe = typeof value === "string" && FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
