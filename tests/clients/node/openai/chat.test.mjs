// The published client `openai`, unmodified, against our server: chats and raw completions.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';

const client = new OpenAI({ baseURL: `${process.env.KVTAPE_URL}/v1`, apiKey: process.env.KVTAPE_KEY, maxRetries: 0 });
const messages = [{ role: 'user', content: 'the system and the user' }];
const REQUEST = { model: 'any', messages, max_tokens: 8, temperature: 0, ignore_eos: true };

test('a chat', async () => {
  const reply = await client.chat.completions.create(REQUEST);
  const [choice] = reply.choices;
  assert.deepEqual([reply.object, choice.message.role, choice.finish_reason], ['chat.completion', 'assistant', 'length']);
  assert.equal(reply.usage.completion_tokens, 8);
  assert.match(reply._request_id, /^req_/);
});

test('a stream adds up to the plain reply', async () => {
  const wanted = { ...REQUEST, n: 2, seed: 1, temperature: 1, logprobs: true, top_logprobs: 2 };
  const plain = await client.chat.completions.create(wanted);
  const stream = await client.chat.completions.create({ ...wanted, stream: true, stream_options: { include_usage: true } });
  const texts = ['', ''];
  const logprobs = [[], []];
  const reasons = [];
  let usage;
  for await (const chunk of stream) {
    usage = chunk.usage;
    for (const { index, delta, logprobs: more, finish_reason } of chunk.choices) {
      texts[index] += delta.content ?? '';
      logprobs[index].push(...(more?.content ?? []));
      reasons[index] = finish_reason;
    }
  }
  assert.deepEqual(texts, plain.choices.map((choice) => choice.message.content));
  assert.deepEqual(logprobs, plain.choices.map((choice) => choice.logprobs.content));
  assert.deepEqual(reasons, plain.choices.map((choice) => choice.finish_reason));
  assert.deepEqual([usage.prompt_tokens, usage.completion_tokens], [plain.usage.prompt_tokens, 16]);
});

test('the stream helper', async () => {
  const plain = await client.chat.completions.create(REQUEST);
  const stream = client.chat.completions.stream({ ...REQUEST, logprobs: true });
  const pieces = [];
  const entries = [];
  stream.on('content', (delta) => pieces.push(delta));
  stream.on('logprobs.content.delta', ({ content }) => entries.push(...content));
  const final = await stream.finalChatCompletion();
  assert.equal(final.choices[0].message.content, plain.choices[0].message.content);
  assert.equal(pieces.join(''), plain.choices[0].message.content);
  assert.equal(entries.length, 8);
});

test('raw completions and models', async () => {
  const text = await client.completions.create({ model: 'any', prompt: 'the', max_tokens: 3, echo: true, ignore_eos: true });
  assert.ok(text.choices[0].text.startsWith('the'));
  const listed = (await client.models.list()).data;
  assert.equal((await client.models.retrieve(listed[0].id)).id, listed[0].id);
});

test('errors are its typed ones', async () => {
  const refused = [
    ['temperature', null, { ...REQUEST, temperature: 3 }],
    ['tools[0].function.name', null, { ...REQUEST, tools: [{ type: 'function', function: { name: '?' } }] }],
    ['messages', 'context_length_exceeded', { ...REQUEST, messages: [{ role: 'user', content: 'x'.repeat(4000) }] }],
  ];
  for (const [param, code, request] of refused) {
    for (const stream of [false, true]) {
      await assert.rejects(
        async () => client.chat.completions.create({ ...request, stream }),
        (error) => {
          assert.ok(error instanceof OpenAI.BadRequestError, `${error}`);
          assert.deepEqual([error.status, error.type, error.param], [400, 'invalid_request_error', param]);
          assert.equal(error.code ?? null, code);
          assert.match(error.requestID, /^req_/);
          return true;
        },
      );
    }
  }
  const stranger = client.withOptions({ apiKey: 'wrong' });
  await assert.rejects(async () => stranger.chat.completions.create(REQUEST), OpenAI.AuthenticationError);
  await assert.rejects(async () => client.models.retrieve('nobody'), OpenAI.NotFoundError);
});

test('a stream that is aborted', async () => {
  const stream = client.chat.completions.stream({ ...REQUEST, max_tokens: 1900 });
  stream.on('content', () => stream.abort());
  await assert.rejects(async () => stream.done(), OpenAI.APIUserAbortError);
});
