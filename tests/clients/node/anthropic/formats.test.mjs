// The published client `@anthropic-ai/sdk`: answers of a schema, and calls that must be made, by a random model.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { jsonSchemaOutputFormat } from '@anthropic-ai/sdk/helpers/json-schema';

const client = new Anthropic({ baseURL: process.env.KVTAPE_URL, apiKey: process.env.KVTAPE_KEY, maxRetries: 0 });
const REQUEST = { model: 'any', max_tokens: 300, messages: [{ role: 'user', content: 'the system and the user' }] };
const SCHEMA = {
  type: 'object',
  properties: { on: { type: 'boolean' }, room: { enum: ['hall', 'attic'] } },
  required: ['on', 'room'],
  additionalProperties: false,
};

const check = ({ on, room }) => {
  assert.equal(typeof on, 'boolean');
  assert.ok(SCHEMA.properties.room.enum.includes(room));
};

test('an answer of a schema', async () => {
  const request = { ...REQUEST, output_config: { format: jsonSchemaOutputFormat(SCHEMA) } };
  check((await client.messages.parse(request)).parsed_output);
  check((await client.messages.stream(request).finalMessage()).parsed_output);
});

test('a tool that must be called', async () => {
  const tools = [{ name: 'switch', input_schema: SCHEMA, strict: true }];
  const tool_choice = { type: 'tool', name: 'switch', disable_parallel_tool_use: true };
  const request = { ...REQUEST, tools, tool_choice };
  for (const message of [
    await client.messages.create(request),
    await client.messages.stream(request).finalMessage(),
  ]) {
    assert.equal(message.stop_reason, 'tool_use');
    check(message.content[0].input);
  }
});
