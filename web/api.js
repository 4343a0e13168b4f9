// The HTTP interface of a node as functions. Every failure is a Problem, whether the node said so in problem+json,
// something between answered otherwise, or nobody answered.

const kTimeout = 10000;

export class Problem extends Error {
  constructor(fields) {
    super(fields.detail || fields.title || 'The request failed.');
    this.status = fields.status ?? 0;  // 0: no answer at all
    this.code = fields.code ?? '';
    this.field = fields.field ?? '';
    this.request_id = fields.request_id ?? '';
  }
}

// The key of this tab. Session storage may be refused (a setting of the browser): then it lives as long as the page.
const kKey = 'trellis.key';
let own_key = '';
try {
  own_key = sessionStorage.getItem(kKey) ?? '';
} catch {
  own_key = '';
}

export const key = () => own_key;

export function use_key(text) {
  own_key = text;
  try {
    if (text) sessionStorage.setItem(kKey, text);
    else sessionStorage.removeItem(kKey);
  } catch {
    // Kept in memory only.
  }
}

const with_key = (headers) => (own_key ? { ...headers, 'x-api-key': own_key } : headers);

let on_key_wanted = () => {};
export function when_key_is_wanted(run) { on_key_wanted = run; }

// Of an answer that is none of the good ones. A key that is missing or opens too little is asked for,
// unless the page can do without the answer.
export async function problem_of(response, ask = true) {
  let data = null;
  try {
    data = JSON.parse(await response.text());
  } catch {
    data = null;  // something between us and the node answered
  }
  const problem = new Problem({ detail: `The node answered ${response.status}.`, ...data, status: response.status });
  if (ask && (problem.status === 401 || (problem.status === 403 && problem.code !== 'keys_off'))) on_key_wanted(problem);
  return problem;
}

async function call(method, path, { body, headers = {}, timeout = kTimeout, ask = true } = {}) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), timeout);
  try {
    const request = {
      method, headers: with_key({ accept: 'application/json', ...headers }), signal: stop.signal, cache: 'no-store',
    };
    if (body !== undefined) {
      request.headers['content-type'] = 'application/json';
      request.body = JSON.stringify(body);
    }
    const response = await fetch(path, request);
    if (!response.ok) throw await problem_of(response, ask);
    const text = await response.text();
    let data = null;
    try {
      data = text ? JSON.parse(text) : null;
    } catch {
      throw new Problem({ status: response.status, detail: 'The answer was not understood.' });
    }
    return { data, etag: response.headers.get('etag') };
  } catch (error) {
    if (error instanceof Problem) throw error;
    const detail = stop.signal.aborted ? 'The node took too long to answer.' : 'The node is not reachable.';
    throw new Problem({ detail: `${detail} What you typed is kept; try again.`, code: 'unreachable' });
  } finally {
    clearTimeout(timer);
  }
}

// A code is one link on each domain: only with its host it is a name.
export const name_of = (link) => `${link.domain}/${link.code}`;
export function parts_of(name) {
  const slash = name.lastIndexOf('/');
  return { domain: name.slice(0, slash), code: name.slice(slash + 1) };
}
function path_of(name, what = '', query = {}) {
  const { domain, code } = parts_of(name);
  return `/v1/links/${encodeURIComponent(code)}${what}?${new URLSearchParams({ domain, ...query })}`;
}

export async function list_links({ limit = 20, cursor = null, q = '', tag = '' } = {}) {
  const query = new URLSearchParams({ limit: String(limit) });
  if (cursor) query.set('cursor', cursor);
  if (q) query.set('q', q);
  if (tag) query.set('tag', tag);
  return (await call('GET', `/v1/links?${query}`)).data;
}

// The key makes a repeat after a lost answer harmless: the node creates the link once.
export const create_link = async (body, key) =>
  (await call('POST', '/v1/links', { body, headers: { 'idempotency-key': key } })).data;

export const get_link = (name) => call('GET', path_of(name));
export const change_link = async (name, body, etag) =>
  (await call('PATCH', path_of(name), { body, headers: etag ? { 'if-match': etag } : {} })).data;
export const delete_link = async (name) => { await call('DELETE', path_of(name)); };
export const status = async () => (await call('GET', '/v1/status', { timeout: 4000 })).data;


// Of one link, or of all with an empty name.
export async function stats(name, query) {
  const path = name ? path_of(name, '/stats', query) : `/v1/stats?${new URLSearchParams(query)}`;
  return (await call('GET', path, { timeout: 30000 })).data;
}

export const list_keys = async (cursor) =>
  (await call('GET', `/v1/keys?limit=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`)).data;
export const create_key = async (body) => (await call('POST', '/v1/keys', { body })).data;
export const delete_key = async (id) => { await call('DELETE', `/v1/keys/${encodeURIComponent(id)}`); };

// All of them: there are 1,000 at most. A key for one domain may not read them, and the page does without.
const kMostDomainPages = 11;
export async function list_domains() {
  const domains = [];
  let cursor = null;
  for (let page = 0; page < kMostDomainPages; page += 1) {
    const path = `/v1/domains?limit=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`;
    const { data } = await call('GET', path, { ask: false });
    domains.push(...data.items);
    cursor = data.next;
    if (!cursor) break;
  }
  return domains;
}
export const add_domain = async (body) => (await call('POST', '/v1/domains', { body })).data;
export const change_domain = async (id, body) => (await call('PATCH', `/v1/domains/${id}`, { body })).data;
export const delete_domain = async (id) => { await call('DELETE', `/v1/domains/${id}`); };

export const list_blocked = async (cursor) =>
  (await call('GET', `/v1/blocklist?limit=100${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`)).data;
export const block = async (body) => (await call('POST', '/v1/blocklist', { body })).data;
export const unblock = async (id) => { await call('DELETE', `/v1/blocklist/${id}`); };

// An answer that goes on: its body is read as it comes, and it ends with the signal. Not EventSource, which can send no key.
export async function open(path, { method = 'GET', body, headers = {}, signal } = {}) {
  let response;
  try {
    response = await fetch(path, { method, body, headers: with_key(headers), signal, cache: 'no-store' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem({ detail: 'The node is not reachable.', code: 'unreachable' });
  }
  if (!response.ok) throw await problem_of(response);
  return response;
}

// The lines of a body, without what ends them.
export async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split('\n');
    rest = parts.pop();
    for (const line of parts) yield line.endsWith('\r') ? line.slice(0, -1) : line;
  }
  if (rest) yield rest;
}

export function fresh_key() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
