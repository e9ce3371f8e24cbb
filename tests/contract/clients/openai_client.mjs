// What the `openai` package makes of a service: `node openai_client.mjs PACKAGE BASE_URL`, one JSON object on stdout.
import { pathToFileURL } from "node:url";
import { createRequire } from "node:module";

const [directory, baseURL] = process.argv.slice(2);
const { default: OpenAI } = await import(pathToFileURL(createRequire(`${directory}/`).resolve("openai")).href);
const client = new OpenAI({ baseURL, apiKey: "none needed", maxRetries: 0 });
const question = { model: "rejoinder", messages: [{ role: "user", content: "Where is my order A1B2-77345?" }] };

const whole = await client.chat.completions.create(question);
const pieces = [];
const stream = await client.chat.completions.create({ ...question, stream: true, stream_options: { include_usage: true } });
for await (const piece of stream) pieces.push(piece);
const models = [];
for await (const model of client.models.list()) models.push(model.id);
let refusal = null;
try {
  await client.chat.completions.create({ ...question, model: "nobody" });
} catch (error) {
  refusal = { is: error instanceof OpenAI.NotFoundError, status: error.status, code: error.code };
}

console.log(
  JSON.stringify({
    text: whole.choices[0].message.content,
    finish_reason: whole.choices[0].finish_reason,
    total_tokens: whole.usage.total_tokens,
    feedback_token: whole.feedback_token,
    streamed: pieces.map((piece) => piece.choices[0]?.delta?.content ?? "").join(""),
    streamed_usage: pieces.at(-1).usage?.total_tokens,
    num_pieces: pieces.length,
    models,
    refusal,
  }),
);
