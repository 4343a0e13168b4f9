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

async function call(method, path, { body, headers = {}, timeout = kTimeout } = {}) {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), timeout);
  try {
    const request = {
      method, headers: { accept: 'application/json', ...headers }, signal: stop.signal, cache: 'no-store',
    };
    if (body !== undefined) {
      request.headers['content-type'] = 'application/json';
      request.body = JSON.stringify(body);
    }
    const response = await fetch(path, request);
    const text = await response.text();
    let data = null;
    try {
      data = text ? JSON.parse(text) : null;
    } catch {
      if (response.ok) throw new Problem({ status: response.status, detail: 'The answer was not understood.' });
    }
    if (!response.ok) {
      throw new Problem({ detail: `The node answered ${response.status}.`, ...data, status: response.status });
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

const path_of = (code) => `/v1/links/${encodeURIComponent(code)}`;

export async function list_links({ limit = 20, cursor = null, q = '' } = {}) {
  const query = new URLSearchParams({ limit: String(limit) });
  if (cursor) query.set('cursor', cursor);
  if (q) query.set('q', q);
  return (await call('GET', `/v1/links?${query}`)).data;
}

// The key makes a repeat after a lost answer harmless: the node creates the link once.
export const create_link = async (body, key) =>
  (await call('POST', '/v1/links', { body, headers: { 'idempotency-key': key } })).data;

export const get_link = (code) => call('GET', path_of(code));
export const change_link = async (code, body, etag) =>
  (await call('PATCH', path_of(code), { body, headers: etag ? { 'if-match': etag } : {} })).data;
export const delete_link = async (code) => { await call('DELETE', path_of(code)); };
export const status = async () => (await call('GET', '/v1/status', { timeout: 4000 })).data;

export function fresh_key() {
  const random = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(random, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
