// What Vapi's side of a custom LLM does, with the client that it says it uses. Usage: client.mjs SCENARIO, with the
// client's options and the request as JSON on standard input. Writes one JSON object a line; the last is {"end": true}.
import OpenAI from "openai";
import { createInterface } from "node:readline";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { options, request } = JSON.parse((await lines.next()).value);
const client = new OpenAI(options);
const tell = (told) => process.stdout.write(`${JSON.stringify(told)}\n`);

const scenarios = {
  // Every chunk as it comes.
  async stream() {
    for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) tell({ chunk });
  },
  // The client's own idea of what a stream adds up to.
  async gathered() {
    tell({ completion: await client.chat.completions.stream(request).finalChatCompletion() });
  },
  async whole() {
    tell({ completion: await client.chat.completions.create(request) });
  },
  // Leaves in mid-stream, and lives on: what ends the connection is the abort, not the end of this process.
  async abort() {
    const stream = await client.chat.completions.create({ ...request, stream: true });
    for await (const chunk of stream) {
      tell({ chunk });
      if (chunk.choices[0]?.delta?.content) break;
    }
    stream.controller.abort();
    tell({ aborted: true });
    await lines.next();
  },
};

try {
  await scenarios[process.argv[2]]();
} catch (error) {
  if (!(error instanceof OpenAI.APIError)) throw error;
  const { status = null, code = null, type = null, message } = error;
  tell({ error: { kind: error.constructor.name, status, code, type, message } });
}
tell({ end: true });
process.exit(0);
