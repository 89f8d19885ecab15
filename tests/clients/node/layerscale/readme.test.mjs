// What the README of LayerScale's npm client has its methods send, sent with fetch and WebSocket: no package of theirs is left.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError, KEY, call, events, eventually, get, open, post } from './browser.mjs';

const ROWS = JSON.parse(process.env.KVTAPE_ROWS);
const CANDLES = ROWS.ohlcv;
const LONG = { maxTokens: 30_000, ignore_eos: true, temperature: 1 };
const messages = [{ role: 'user', content: 'the system and the user' }];

// A session of candles, spelt as the client's options are.
async function session(t, options = {}) {
  const body = { type: 'ohlcv', prompt: 'be brief', flash: [{ query: 'up?', maxTokens: 4 }], markPrefix: true, ...options };
  const created = await post('/v1/sessions/init', body);
  const path = `/v1/sessions/${created.session_id}`;
  t.after(() => eventually(() => call('DELETE', path).then(() => true, ({ status }) => status === 404)));
  return { ...created, path };
}

async function settled(path) {
  const { streaming, statistics } = await get(`${path}/stream/status`);
  return streaming.queue_size === 0 && statistics.items_processed === statistics.total_enqueued;
}

async function push(path, data) {
  const ack = await post(`${path}/stream/push`, { data });
  await eventually(() => settled(path));
  return ack;
}

async function answered(path) {
  const { flash_queries: queries, current_data_version: version } = await get(`${path}/flash`);
  return queries.every((query) => query.has_answer && query.data_version === version) && queries;
}

test('health, models', async () => {
  assert.equal((await call('GET', '/v1/health', { key: 'LS-wrong' })).status, 200);
  assert.equal((await get('/v1/models')).data.length, 1);
});

test('chat, chatStream', async () => {
  const wanted = { messages, max_tokens: 8, temperature: 0, ignore_eos: true };
  const plain = await post('/v1/chat/completions', wanted);
  let text = '';
  let last;
  for await (const { event, data } of events(await call('POST', '/v1/chat/completions', { body: { ...wanted, stream: true } }))) {
    assert.equal(event, undefined);
    last = data;
    text += data.choices?.[0].delta.content ?? '';
  }
  assert.deepEqual([text, last], [plain.choices[0].message.content, '[DONE]']);
});

test('complete', async () => {
  const reply = await post('/v1/completions', { prompt: 'the', max_tokens: 4, temperature: 0, ignore_eos: true, stream: false });
  assert.deepEqual([reply.object, reply.usage.completion_tokens], ['text_completion', 4]);
});

test('message, messageStream', async () => {
  const wanted = { messages, max_tokens: 8, temperature: 0, ignore_eos: true };
  const plain = await post('/v1/messages', wanted);
  const seen = [];
  for await (const { event, data } of events(await call('POST', '/v1/messages', { body: { ...wanted, stream: true } }))) {
    assert.equal(event, data.type);
    seen.push(data);
  }
  assert.equal(seen.map(({ delta }) => delta?.text ?? '').join(''), plain.content[0].text);
  assert.deepEqual([seen[0].type, seen.at(-1).type], ['message_start', 'message_stop']);
});

test('sessions.create in either spelling', async (t) => {
  const camel = await session(t, { contextSize: 1500, windowSize: 600 });
  assert.deepEqual([camel.type, camel.context, camel.window_size, camel.flash_queries], ['ohlcv', 1500, 600, 1]);
  assert.equal((await get(`${camel.path}/state`)).prefix_end, camel.n_tokens);
  assert.equal((await get(`${camel.path}/flash`)).flash_queries[0].max_tokens, 4);
  const snake = await session(t, { context: 1400, contextSize: 1500, window_size: 500, windowSize: 600, mark_prefix: false });
  assert.deepEqual([snake.context, snake.window_size], [1400, 500]);
  assert.equal((await get(`${snake.path}/state`)).prefix_end, 0);
  assert.equal((await session(t, { flash: ['up?', 'down?'] })).flash_queries, 2);
});

test('sessions.list, get, delete', async (t) => {
  const { path, session_id: id } = await session(t);
  const listed = await get('/v1/sessions');
  assert.ok(listed.sessions.some((item) => item.session_id === id));
  assert.equal(listed.count, listed.sessions.length);
  assert.ok((await get(`${path}/state`)).context_text.includes('be brief'));
  await call('DELETE', path);
  await assert.rejects(get(`${path}/state`), { name: 'Error', status: 404 });
});

test('sessions.append, markPrefix', async (t) => {
  const { path } = await session(t, { markPrefix: false });
  const { total_tokens: total, n_tokens_added: added, pos_max: last } = await post(`${path}/append`, { text: 'a note\n' });
  assert.ok(added > 0 && last === total - 1);
  assert.equal((await post(`${path}/mark_prefix`, {})).prefix_end, total);
});

for (const [type, rows] of Object.entries(ROWS)) {
  test(`sessions.push, streamStatus, stats: ${type}`, async (t) => {
    const { path } = await session(t, { type, flash: [] });
    const ack = await push(path, rows);
    assert.deepEqual([ack.pushed, ack.dropped, ack.total_enqueued], [rows.length, 0, rows.length]);
    assert.equal((await get(`${path}/stream/status`)).data.data_count, rows.length);
    const stats = await get(`${path}/stats`);
    assert.deepEqual([stats.type, stats.count], [type, rows.length]);
  });
}

test('query', async (t) => {
  const { path } = await session(t);
  await push(path, CANDLES);
  const answer = await post(`${path}/generate`, { prompt: 'down?', maxTokens: 5, ignore_eos: true, stream: false });
  assert.deepEqual([answer.n_tokens, answer.finish_reason, answer.data_version], [5, 'length', 1]);
  await eventually(() => answered(path));
  const hit = await post(`${path}/generate`, { prompt: 'up?', fastAnswer: true, clearAfter: 1, stream: false });
  assert.deepEqual([hit.flash, hit.flash_id, hit.n_tokens], [true, 1, 0]);
});

test('queryStream', async (t) => {
  const { path } = await session(t);
  const wanted = { prompt: 'down?', max_tokens: 6, ignore_eos: true };
  const plain = await post(`${path}/generate`, { ...wanted, stream: false });
  const frames = [];
  for await (const { data } of events(await call('POST', `${path}/generate`, { body: { ...wanted, stream: true } }))) {
    frames.push(data);
  }
  const { done, text } = frames.pop();
  assert.deepEqual([done, text, frames.map(({ token }) => token).join('')], [true, plain.text, plain.text]);
});

test('query and queryStream that are aborted', async (t) => {
  const { path } = await session(t);
  const waiting = new AbortController();
  const query = post(`${path}/generate`, { prompt: 'on and on', ...LONG }, { signal: waiting.signal });
  setTimeout(() => waiting.abort(), 100);
  await assert.rejects(query, { name: 'AbortError' });
  const reading = new AbortController();
  const body = { prompt: 'on and on', ...LONG, stream: true };
  await assert.rejects(async () => {
    for await (const { data } of events(await call('POST', `${path}/generate`, { body, signal: reading.signal }))) {
      if (data.token) reading.abort();
    }
  }, { name: 'AbortError' });
  await eventually(async () => !(await get(`${path}/state`)).in_use);
});

test('flash, listFlash, unflash', async (t) => {
  const { path } = await session(t);
  const added = await post(`${path}/flash`, { query: 'down?', maxTokens: 6 });
  assert.deepEqual([added.id, added.max_tokens, added.total_flash_queries], [2, 6, 2]);
  await push(path, CANDLES);
  const queries = await eventually(() => answered(path));
  assert.deepEqual(queries.map(({ query }) => query), ['up?', 'down?']);
  assert.equal((await (await call('DELETE', `${path}/flash/2`)).json()).remaining, 1);
});

test('events', async (t) => {
  const { path } = await session(t);
  const leaving = new AbortController();
  const kinds = [];
  await assert.rejects(async () => {
    for await (const { event, data } of events(await call('GET', `${path}/events`, { signal: leaving.signal }))) {
      assert.equal(data.type, event); // where this client looks for it
      kinds.push(data.type);
      if (event === 'connected') await post(`${path}/stream/push`, { data: CANDLES });
      if (event === 'flash_ready') leaving.abort();
    }
  }, { name: 'AbortError' });
  assert.deepEqual(kinds, ['connected', 'data_updated', 'flash_ready']);
});

const quoted = encodeURIComponent(KEY);
for (const [way, query, protocols] of [
  ['in the query as api_key', `?api_key=${quoted}`],
  ['in the query as token', `?token=${quoted}`],
  ['behind a subprotocol', '', ['bearer', KEY]],
]) {
  test(`stream(id), with the key ${way}`, async (t) => {
    const { path, session_id: id } = await session(t);
    const socket = await open(`${path}/ws${query}`, protocols);
    assert.equal(socket.protocol, protocols ? 'bearer' : '');
    const { type, data } = await socket.next();
    assert.deepEqual([type, data.session_id, data.streaming], ['connected', id, true]);
    socket.send({ type: 'push', data: CANDLES });
    const seen = [await socket.next(), await socket.next(), await socket.next()];
    assert.deepEqual(seen.map((message) => message.type), ['push_ack', 'data_updated', 'flash_ready']);
    assert.deepEqual([seen[0].data.pushed, seen[2].data.query], [5, 'up?']);
    socket.send({ type: 'push', data: [{ o: 1 }] });
    const wrong = await socket.next();
    assert.deepEqual([wrong.type, wrong.data.code, typeof wrong.data.message], ['error', 400, 'string']);
    socket.send({ type: 'ping' });
    assert.equal((await socket.next()).type, 'pong');
    socket.close();
    assert.equal(await socket.next(), undefined);
  });
}

test('a socket without a key, or to no session, is refused', async (t) => {
  const { path } = await session(t);
  for (const wrong of [`${path}/ws`, `${path}/ws?token=LS-wrong`, `/v1/sessions/sess_nobody/ws?token=${quoted}`]) {
    await assert.rejects(open(wrong), /refused/);
  }
});

test('a key in the query opens nothing else', async () => {
  await assert.rejects(call('GET', `/v1/models?api_key=${quoted}`, { key: 'LS-wrong' }), { status: 401 });
});

test('errors have a status and a message', async (t) => {
  const { path } = await session(t);
  for (const [status, request] of [
    [400, () => post('/v1/sessions/init', { type: 'weather' })],
    [400, () => post(`${path}/stream/push`, { data: [{ o: 1 }] })],
    [400, () => post(`${path}/generate`, { prompt: '' })],
    [401, () => get('/v1/sessions', { key: 'LS-wrong' })],
    [404, () => get('/v1/sessions/sess_nobody/state')],
    [404, () => get('/v1/nothing')],
    [405, () => post(`${path}/state`, {})],
    [409, () => post(`${path}/flash`, { query: 'up?' })],
  ]) {
    await assert.rejects(request(), (error) => {
      assert.ok(error instanceof ApiError);
      assert.equal(error.status, status);
      assert.ok(error.body.error.message);
      return true;
    });
  }
});

test('another origin may call it', async () => {
  const headers = { Origin: 'https://example.org', 'Access-Control-Request-Method': 'POST' };
  const asked = { ...headers, 'Access-Control-Request-Headers': 'authorization,content-type,x-layerscale-session-id' };
  const allowed = await call('OPTIONS', '/v1/chat/completions', { key: '', headers: asked });
  assert.match(allowed.headers.get('access-control-allow-headers'), /x-layerscale-session-id/i);
  const reply = await call('GET', '/v1/models', { headers: { Origin: 'https://example.org' } });
  assert.ok(['*', 'https://example.org'].includes(reply.headers.get('access-control-allow-origin')));
});
