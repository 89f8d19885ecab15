// The published client `openai`, unmodified, against our server: tools and answers in a format.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { zodFunction, zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';

const client = new OpenAI({ baseURL: `${process.env.KVTAPE_URL}/v1`, apiKey: process.env.KVTAPE_KEY, maxRetries: 0 });
const messages = [{ role: 'user', content: 'the system and the user' }];
const parameters = z.object({ unit: z.enum(['celsius', 'kelvin']), sure: z.boolean() });
const TOOL = zodFunction({ name: 'look_up', parameters });
const REQUEST = { model: 'any', messages, max_tokens: 400, seed: 1 };

test('a forced call and its result', async () => {
  const reply = await client.chat.completions.parse({ ...REQUEST, tools: [TOOL], tool_choice: 'required', parallel_tool_calls: false });
  const [choice] = reply.choices;
  const [call] = choice.message.tool_calls;
  assert.deepEqual([choice.finish_reason, choice.message.content, call.function.name], ['tool_calls', null, 'look_up']);
  assert.ok(parameters.safeParse(call.function.parsed_arguments).success);
  const result = { role: 'tool', tool_call_id: call.id, content: 'warm' };
  const next = await client.chat.completions.create({ ...REQUEST, messages: [...messages, choice.message, result], tools: [TOOL], max_tokens: 4 });
  assert.ok(next.usage.prompt_tokens > reply.usage.prompt_tokens);
});

test('the stream helper tells arguments as they come', async () => {
  const tool_choice = { type: 'function', function: { name: 'look_up' } };
  const stream = client.chat.completions.stream({ ...REQUEST, tools: [TOOL], tool_choice });
  const pieces = [];
  stream.on('tool_calls.function.arguments.delta', ({ arguments_delta }) => pieces.push(arguments_delta));
  const [choice] = (await stream.finalChatCompletion()).choices;
  assert.equal(choice.finish_reason, 'tool_calls');
  assert.equal(pieces.join(''), choice.message.tool_calls[0].function.arguments);
  assert.ok(parameters.safeParse(choice.message.tool_calls[0].function.parsed_arguments).success);
});

test('the older function call', async () => {
  const functions = [{ name: 'look_up', parameters: TOOL.function.parameters }];
  const [choice] = (await client.chat.completions.create({ ...REQUEST, functions, function_call: { name: 'look_up' } })).choices;
  assert.equal(choice.finish_reason, 'function_call');
  assert.ok(parameters.safeParse(JSON.parse(choice.message.function_call.arguments)).success);
});

test('tools run by the client', async () => {
  const seen = [];
  const tool = zodFunction({ name: 'look_up', parameters, function: (found) => seen.push(found) && 'warm' });
  const tool_choice = { type: 'function', function: { name: 'look_up' } };
  const runner = client.chat.completions.runTools({ ...REQUEST, tools: [tool], tool_choice });
  await runner.done();
  assert.equal(seen.length, 1);
  assert.ok(parameters.safeParse(seen[0]).success);
});

test('an answer that follows a schema', async () => {
  const response_format = zodResponseFormat(parameters, 'reading');
  const parsed = (await client.chat.completions.parse({ ...REQUEST, response_format })).choices[0].message.parsed;
  assert.ok(parameters.safeParse(parsed).success);
  const stream = client.chat.completions.stream({ ...REQUEST, response_format });
  assert.deepEqual((await stream.finalChatCompletion()).choices[0].message.parsed, parsed);
});

test('a schema that cannot be enforced', async () => {
  const response_format = { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'nothing' } } };
  for (const stream of [false, true]) {
    await assert.rejects(
      async () => client.chat.completions.create({ ...REQUEST, response_format, stream }),
      (error) => error instanceof OpenAI.BadRequestError && error.param === 'response_format.json_schema.schema',
    );
  }
});
