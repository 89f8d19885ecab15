// The published client `@anthropic-ai/sdk` against a model that recites: tools and thinking.
// KVTAPE_SAYS has the end of the message that each reply answers.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema';

const client = new Anthropic({ baseURL: process.env.KVTAPE_URL, apiKey: 'any', maxRetries: 0 });
const SAYS = JSON.parse(process.env.KVTAPE_SAYS);
const SCHEMA = {
  type: 'object',
  properties: { city: { type: 'string' }, days: { type: 'array', items: { type: 'integer' } } },
};
const WEATHER = { name: 'weather', description: 'Says how the weather is.', input_schema: SCHEMA };
const CLOCK = { name: 'clock', input_schema: { type: 'object' } };
const INPUT = { city: 'Zürich', days: [1, 2] };

const asking = (name) => ({
  model: 'any',
  max_tokens: 400,
  messages: [{ role: 'user', content: `How is the weather? ${SAYS[name]}` }],
  tools: [WEATHER, CLOCK],
});
const shown = (message) => [
  message.content.map((block) => ({ ...block, id: null })),
  message.stop_reason,
  message.usage.output_tokens,
];

test('a call and its result', async () => {
  const request = asking('call');
  const message = await client.messages.create(request);
  const [text, used] = message.content;
  assert.deepEqual([text.text, used.type, used.name, used.input], ['Let me see.', 'tool_use', 'weather', INPUT]);
  assert.equal(message.stop_reason, 'tool_use');
  const result = { type: 'tool_result', tool_use_id: used.id, content: `18 degrees ${SAYS.answer}` };
  request.messages.push({ role: 'assistant', content: message.content }, { role: 'user', content: [result] });
  const second = await client.messages.create(request);
  assert.deepEqual([second.content[0].text, second.stop_reason], ['It is warm.', 'end_turn']);
});

test('the stream helper', async () => {
  const stream = client.messages.stream(asking('call'));
  const pieces = [];
  let snapshot;
  stream.on('inputJson', (piece, whole) => {
    pieces.push(piece);
    snapshot = whole;
  });
  const message = await stream.finalMessage();
  assert.deepEqual(JSON.parse(pieces.join('')), INPUT);
  assert.deepEqual(snapshot, INPUT);
  assert.deepEqual(shown(message), shown(await client.messages.create(asking('call'))));
});

test('whatever the model writes, streamed equals plain', async () => {
  for (const name of Object.keys(SAYS)) {
    const plain = await client.messages.create(asking(name));
    assert.deepEqual(shown(await client.messages.stream(asking(name)).finalMessage()), shown(plain), name);
  }
});

test('a call that is cut', async () => {
  const message = await client.messages.stream({ ...asking('call'), max_tokens: 25 }).finalMessage();
  assert.deepEqual([message.stop_reason, message.content[1].input.city], ['max_tokens', 'Zürich']);
});

test('thinking', async () => {
  const stream = client.messages.stream({ ...asking('thought'), thinking: { type: 'adaptive' } });
  const pieces = [];
  const signatures = [];
  stream.on('thinking', (piece) => pieces.push(piece));
  stream.on('signature', (signature) => signatures.push(signature));
  const [thought, answer] = (await stream.finalMessage()).content;
  assert.deepEqual([pieces.join(''), answer.text], ['Warm?\nYes.', 'It is warm.']);
  assert.deepEqual([thought.thinking, [thought.signature]], [pieces.join(''), signatures]);
});

test('the tool runner', async () => {
  for (const stream of [false, true]) {
    const seen = [];
    const run = (input) => {
      seen.push(input);
      return `18 degrees ${SAYS.answer}`;
    };
    const weather = betaTool({ name: 'weather', description: 'Says.', inputSchema: SCHEMA, run });
    const runner = client.beta.messages.toolRunner({ ...asking('call'), tools: [weather], stream });
    const message = await runner.runUntilDone();
    assert.deepEqual([seen, message.content[0].text], [[INPUT], 'It is warm.']);
  }
});
