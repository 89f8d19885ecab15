// A page that talks to LayerScale's routes with what a browser has: fetch and WebSocket. Names as its README has them.

export const URL_BASE = process.env.KVTAPE_URL;
export const KEY = process.env.KVTAPE_KEY;

export class ApiError extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `status ${status}`);
    Object.assign(this, { status, body });
  }
}

export async function call(method, path, { body, signal, key = KEY, headers = {} } = {}) {
  const response = await fetch(URL_BASE + path, {
    method,
    signal,
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${key}`, ...headers },
    body: body && JSON.stringify(body),
  });
  if (!response.ok) throw new ApiError(response.status, JSON.parse(await response.text()));
  return response;
}

export const get = async (path, options) => (await call('GET', path, options)).json();
export const post = async (path, body, options) => (await call('POST', path, { ...options, body })).json();

// Events of a response as they come: { event, data }, data parsed unless it is [DONE].
export async function* events(response) {
  const decoder = new TextDecoder();
  let held = '';
  for await (const bytes of response.body) {
    held += decoder.decode(bytes, { stream: true });
    const frames = held.split('\n\n');
    held = frames.pop();
    for (const frame of frames) {
      const lines = frame.split('\n').filter((line) => !line.startsWith(':'));
      const value = (name) => lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
      const data = value('data').join('\n');
      if (data) yield { event: value('event')[0], data: data === '[DONE]' ? data : JSON.parse(data) };
    }
  }
  if (held) throw new Error(`half a frame: ${held}`);
}

// A socket whose messages can be awaited one by one; undefined is its end.
export async function open(path, protocols) {
  const socket = new WebSocket(URL_BASE.replace('http', 'ws') + path, protocols);
  const seen = [];
  const waiting = [];
  const put = (message) => (waiting.length ? waiting.shift()(message) : seen.push(message));
  socket.addEventListener('message', ({ data }) => put(JSON.parse(data)));
  socket.addEventListener('close', () => put(undefined));
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve);
    socket.addEventListener('error', () => reject(new Error(`refused: ${path}`)));
  });
  return {
    protocol: socket.protocol,
    send: (message) => socket.send(JSON.stringify(message)),
    next: () => (seen.length ? Promise.resolve(seen.shift()) : new Promise((resolve) => waiting.push(resolve))),
    close: () => socket.close(),
  };
}

export async function eventually(condition) {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; ) {
    const found = await condition();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`not so within 20 s: ${condition}`);
}
