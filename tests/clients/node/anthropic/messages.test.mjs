// The published client `@anthropic-ai/sdk`, unmodified, against our server.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';

const client = new Anthropic({ baseURL: process.env.KVTAPE_URL, apiKey: process.env.KVTAPE_KEY, maxRetries: 0 });
const HELLO = { role: 'user', content: 'the system and the user' };
const REQUEST = { model: 'any', max_tokens: 8, messages: [HELLO], temperature: 0, ignore_eos: true };
const TOOL = {
  name: 'look_up',
  description: 'Finds it.',
  input_schema: { type: 'object', properties: { what: { type: 'string' } }, required: ['what'] },
};

const comparable = (message) => [
  message.content.map(({ type, text, name, input }) => ({ type, text, name, input })),
  message.stop_reason,
  message.usage.output_tokens,
];

test('a message', async () => {
  const message = await client.messages.create(REQUEST);
  assert.deepEqual([message.type, message.role, message.content[0].type], ['message', 'assistant', 'text']);
  assert.deepEqual([message.stop_reason, message.stop_sequence], ['max_tokens', null]);
  assert.equal(message.usage.output_tokens, 8);
  assert.match(message._request_id, /^req_/);
});

test('the stream helper', async () => {
  const plain = await client.messages.create(REQUEST);
  const stream = client.messages.stream(REQUEST);
  const texts = [];
  stream.on('text', (text) => texts.push(text));
  assert.deepEqual(comparable(await stream.finalMessage()), comparable(plain));
  assert.equal(texts.join(''), plain.content[0].text);
  assert.equal(await client.messages.stream(REQUEST).finalText(), plain.content[0].text);
});

test('the raw stream', async () => {
  const kinds = [];
  for await (const event of await client.messages.create({ ...REQUEST, stream: true })) kinds.push(event.type);
  assert.deepEqual(kinds.slice(0, 2), ['message_start', 'content_block_start']);
  assert.deepEqual(kinds.slice(-3), ['content_block_stop', 'message_delta', 'message_stop']);
});

test('counting, with tools and results of earlier calls', async () => {
  const call = { type: 'tool_use', id: 'toolu_1', name: 'look_up', input: { what: 'the moon' } };
  const result = { type: 'tool_result', tool_use_id: 'toolu_1', content: 'bright' };
  const messages = [HELLO, { role: 'assistant', content: [call] }, { role: 'user', content: [result] }];
  const request = { model: 'any', messages, tools: [TOOL], tool_choice: { type: 'auto' } };
  const { input_tokens } = await client.messages.countTokens(request);
  const { usage } = await client.messages.create({ ...REQUEST, ...request });
  assert.equal(usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens, input_tokens);
  assert.ok(input_tokens > (await client.messages.countTokens({ model: 'any', messages: [HELLO] })).input_tokens);
});

test('errors are its typed ones', async () => {
  const refused = [
    [Anthropic.BadRequestError, { ...REQUEST, max_tokens: 0 }],
    [Anthropic.BadRequestError, { ...REQUEST, tools: [{ type: 'web_search_20250305', name: 'web_search' }] }],
    [Anthropic.BadRequestError, { ...REQUEST, messages: [{ role: 'user', content: 'x'.repeat(4000) }] }],
  ];
  for (const [kind, request] of refused) {
    for (const stream of [false, true]) {
      await assert.rejects(
        async () => client.messages.create({ ...request, stream }),
        (error) => {
          assert.ok(error instanceof kind, `${error}`);
          assert.deepEqual([error.status, error.error.error.type], [400, 'invalid_request_error']);
          assert.equal(error.requestID, error.error.request_id);
          return true;
        },
      );
    }
  }
  const stranger = client.withOptions({ apiKey: 'wrong' });
  await assert.rejects(async () => stranger.messages.create(REQUEST), Anthropic.AuthenticationError);
  await assert.rejects(async () => client.models.retrieve('nobody'), Anthropic.NotFoundError);
});

test('a stream that is aborted', async () => {
  const stream = client.messages.stream({ ...REQUEST, max_tokens: 1900 });
  stream.on('text', () => stream.abort());
  await assert.rejects(async () => stream.done(), Anthropic.APIUserAbortError);
});
