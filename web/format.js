// How numbers, times and addresses are written. Pure functions: text in, text out.

const kRelative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const kAbsolute = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const kWhole = new Intl.NumberFormat('en');
const kShort = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const kSteps = [
  ['year', 31557600], ['month', 2629800], ['week', 604800], ['day', 86400], ['hour', 3600], ['minute', 60],
];

export const whole = (n) => kWhole.format(n);

export function relative_time(when, now = Date.now()) {
  const seconds = (new Date(when).getTime() - now) / 1000;
  if (!Number.isFinite(seconds)) return '';
  if (Math.abs(seconds) < 45) return seconds > 5 ? 'in a moment' : 'just now';
  for (const [unit, size] of kSteps) {
    if (Math.abs(seconds) >= size * 0.95) return kRelative.format(Math.round(seconds / size), unit);
  }
  return kRelative.format(Math.round(seconds / 60) || Math.sign(seconds), 'minute');
}

export function absolute_time(when) {
  const date = new Date(when);
  return Number.isNaN(date.getTime()) ? '' : kAbsolute.format(date);
}

export function duration(seconds) {
  if (seconds < 0.0005) return '0 s';
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

export function number(n) {
  if (Math.abs(n) >= 10000) return kShort.format(n);
  if (Math.abs(n) >= 100 || Number.isInteger(n)) return kWhole.format(Math.round(n));
  if (Math.abs(n) < 0.05) return n === 0 ? '0' : '<0.1';
  return n.toFixed(1);
}

export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  while (n >= 1024 && at < units.length - 1) {
    n /= 1024;
    at += 1;
  }
  return `${at === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[at]}`;
}

function milliseconds(n) {
  if (n <= 0) return '–';  // nothing was measured: no request takes no time
  if (n < 1) return `${Math.round(n * 1000)} µs`;
  if (n >= 1000) return duration(n / 1000);
  return `${n < 10 ? n.toFixed(1) : Math.round(n)} ms`;
}

// The figures a tier is known to publish: [label, what it means].
const kFigures = {
  requests_per_second: ['requests/s', 'requests in a second'],
  errors_per_second: ['errors/s', 'failed requests in a second'],
  p50_ms: ['p50', 'half of the requests are faster'],
  p99_ms: ['p99', '99 of 100 requests are faster'],
  in_flight: ['in flight', 'requests being answered now'],
  hit_ratio: ['hit ratio', 'share answered from memory'],
  objects: ['objects', 'objects held'],
  bytes: ['size', 'bytes held'],
  queue_depth: ['waiting', 'events not yet counted'],
  oldest_seconds: ['oldest', 'age of the oldest waiting event'],
};

// A figure that is not known is still shown: its name without underscores, its unit read from the end of the name.
export function figure_label(name) {
  if (kFigures[name]) return kFigures[name][0];
  return name.replace(/_per_second$/, '/s').replace(/_(ms|seconds)$/, '').replaceAll('_', ' ');
}

export const figure_meaning = (name) => (kFigures[name] ? kFigures[name][1] : '');

export function figure_value(name, value) {
  if (value === null || value === undefined || value === '') return '–';
  if (typeof value !== 'number') return String(value);
  if (name.endsWith('_ms')) return milliseconds(value);
  if (name.endsWith('_seconds')) return duration(value);
  if (name.endsWith('ratio')) {
    const whole_share = value >= 0.9995 || value === 0;
    return `${whole_share ? Math.round(value * 100) : (value * 100).toFixed(1)} %`;
  }
  if (name === 'bytes' || name.endsWith('_bytes')) return bytes(value);
  return number(value);
}

export const without_scheme = (url) => url.replace(/^https?:\/\//i, '');

// Where a long address is cut in the middle: the end is kept whole, the beginning gives way to the width there is.
export function middle(text, keep = 14) {
  if (text.length <= keep * 2) return [text, ''];
  return [text.slice(0, -keep), text.slice(-keep)];
}

// <input type=datetime-local> speaks local time without a zone; the API speaks RFC 3339.
export function to_local_input(when) {
  const date = new Date(when);
  if (!when || Number.isNaN(date.getTime())) return '';
  const pad = (n) => String(n).padStart(2, '0');
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}` +
    `T${pad(date.getHours())}:${pad(date.getMinutes())}`;
}

export function from_local_input(text) {
  if (!text) return null;
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? text : date.toISOString().replace(/\.\d{3}Z$/, 'Z');
}
